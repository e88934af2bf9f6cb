"""Programs: plans bound to kernels or to NumPy, ready to run.

In: a plan, weights, arrays by name. Out: output arrays by name.
Knows nothing of: what the graph means, caches of programs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlite import knobs, trace
from whisperlite.errors import BackendError, CheckFailedError, OptionError
from whisperlite.graph import Node, NodeId, Plan
from whisperlite.kernels.reference.ops import OPS as REFERENCE
from whisperlite.kernels.reference.ops import unpacked
from whisperlite.runtime.panels import aligned
from whisperlite.runtime.weights import Weights

Array = NDArray[Any]
Storage = tuple[str, str]  # kind and external name; the arena and the scratch have no name
ARENA, SCRATCH = ("arena", ""), ("scratch", "")
EXACT = ("float32", "float16", "bfloat16", "int32")  # dtypes that both backends compute on in float32
BACKENDS = ("numba", "numpy")
# Largest difference of the two backends, to the largest magnitude in a node's result. Kernels on quantised weights
# round activations to bytes, the reference does not.
# Some kernels round them to bf16.
CHECK_TOLERANCE, BF16_TOLERANCE, BLOCK_TOLERANCE = 2e-4, 1e-2, 3e-2


def checked_backend(backend: str | None) -> str:
    """``backend`` or ``WHISPERLITE_BACKEND``; numpy, with a debug line, where Numba cannot be imported."""
    chosen = backend or knobs.BACKEND.get()
    if chosen not in BACKENDS:
        raise OptionError(f"backend={chosen!r}: give one of {', '.join(BACKENDS)}")
    if chosen == "numba":
        from whisperlite.kernels.cpu import check_numba

        try:
            check_numba()
        except ImportError as error:
            trace.debug(1, f"Numba cannot be imported ({error}); using the numpy backend")
            return "numpy"
    return chosen


class Workspace:
    """Memory that the programs of one model take turns with: the arena, and scratch for each thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.arena: Array = aligned((64,), np.uint8)
        self.scratch: Array = aligned((64,), np.uint8)

    def reserve(self, arena_bytes: int, scratch_bytes: int) -> None:
        """Grow to at least these sizes; contents are lost."""
        if self.arena.nbytes < arena_bytes:
            self.arena = aligned((arena_bytes,), np.uint8)
        if self.scratch.nbytes < scratch_bytes:
            self.scratch = aligned((scratch_bytes,), np.uint8)


class Program:
    """A plan bound to kernels, or to NumPy.

    Parameters
    ----------
    plan : Plan
    weights : Weights
        Shared with other programs of the model.
    workspace : Workspace
        Likewise. A run holds its lock.
    backend : str
        ``numba`` or ``numpy``.
    threads : int
        Members of the team; the NumPy backend ignores it.
    """

    def __init__(self, plan: Plan, weights: Weights, workspace: Workspace, backend: str, threads: int):
        self.plan = plan
        self.weights = weights
        self.workspace = workspace
        self.native = _Native(plan, weights, threads) if backend == "numba" else None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see ``bind`` for the arguments and errors."""
        return self.bind(inputs).run()

    def bind(self, inputs: Mapping[str, Array]) -> Run:
        """Check arrays and make a run that can be repeated after their contents change.

        Parameters
        ----------
        inputs : mapping of str to array
            Every input of the graph, C-contiguous, of the plan's shape and dtype. Mutable ones are written.

        Raises
        ------
        BackendError
            An array is missing, unknown, or has another shape, dtype or layout.
        """
        unknown = set(inputs) - set(self.plan.inputs)
        if unknown:
            raise BackendError(f"input '{min(unknown)}' is not one of {', '.join(self.plan.inputs)}")
        self.weights.finish()
        storages: dict[Storage, Array] = {}
        for name, node in self.plan.inputs.items():
            buffer = self.plan.buffers[node]
            array = inputs.get(name)
            if array is None:
                raise BackendError(f"input '{name}' {buffer.dtype} {buffer.shape} is missing")
            if array.shape != buffer.shape or array.dtype != buffer.dtype or not array.flags.c_contiguous:
                layout = "" if array.flags.c_contiguous else ", not contiguous"
                raise BackendError(
                    f"input '{name}' is {array.dtype} {array.shape}{layout}; "
                    f"the plan wants {buffer.dtype} {buffer.shape}"
                )
            storages["input", name] = array
        for name, node in self.plan.outputs.items():
            storages["output", name] = aligned((self.plan.buffers[node].n_bytes,), np.uint8)
        return Run(self, storages)

    def profile(self, inputs: Mapping[str, Array], repeats: int = 1) -> list[trace.OpRecord]:
        """Run node by node with a clock; one record per op, the costliest first."""
        run = self.bind(inputs)
        totals: dict[str, list[float]] = {}
        for _ in range(repeats):
            for node in self.plan.steps:
                started = time.perf_counter()
                run.run_node(node)
                seconds = time.perf_counter() - started
                flops, n_bytes = self.native.costs[node] if self.native else (0, 0)
                row = totals.setdefault(self.plan.graph[node].op, [0, 0.0, 0, 0])
                for i, value in enumerate((1, seconds, flops, n_bytes)):
                    row[i] += value
        records = [
            trace.OpRecord(op, int(calls), seconds, int(flops), int(n_bytes))
            for op, (calls, seconds, flops, n_bytes) in totals.items()
        ]
        return sorted(records, key=lambda record: -record.seconds)


class Run:
    """A program with its arrays: run it as often as their contents change.

    Outputs are overwritten by the next run of the same object.
    """

    def __init__(self, program: Program, storages: dict[Storage, Array]):
        self._program = program
        self._storages = storages
        plan = program.plan
        self._table = program.native.new_table(storages) if program.native else None
        self.outputs: dict[str, Array] = {name: self._view(node) for name, node in plan.outputs.items()}

    def run(self) -> dict[str, Array]:
        """Compute every output; gives ``outputs``.

        Raises
        ------
        CheckFailedError
            Under ``WHISPERLITE_CHECK=1``: the two backends differ at a node.
        """
        program = self._program
        with program.workspace.lock:
            self._enter()
            if self._table is None:
                for node in program.plan.steps:
                    self._run_reference(node)
            elif knobs.CHECK.get():
                for node in program.plan.steps:
                    self._run_checked(node)
            else:
                self._table.run()
        return self.outputs

    def run_node(self, node: NodeId) -> None:
        """Run one step; the earlier ones must have run."""
        with self._program.workspace.lock:
            self._enter()
            if self._table is None:
                self._run_reference(node)
            else:
                self._table.run(node)

    def _enter(self) -> None:
        """Take the shared memory as it is now."""
        workspace, native = self._program.workspace, self._program.native
        workspace.reserve(self._program.plan.arena_bytes, native.scratch_bytes if native else 0)
        for storage, array in ((ARENA, workspace.arena), (SCRATCH, workspace.scratch)):
            if self._storages.get(storage) is not array:
                self._storages[storage] = array
                if self._table is not None:
                    self._table.place(storage, array)

    def _view(self, node: NodeId) -> Array:
        """A value as an array over its bytes."""
        plan = self._program.plan
        buffer = plan.buffers[node]
        if buffer.kind == "weight":
            return self._program.weights.array(plan.graph[node].attrs["parts"], buffer.shape, buffer.dtype)
        raw = self._storages[buffer.kind, buffer.key].reshape(-1).view(np.uint8)
        return np.ndarray(buffer.shape, buffer.dtype, raw, buffer.offset, buffer.strides)

    def _run_reference(self, node: NodeId) -> None:
        plan = self._program.plan
        arguments = [self._view(i) for i in plan.graph[node].inputs]
        REFERENCE[plan.graph[node].op](*arguments, out=self._view(node), **plan.attrs(node))

    def _run_checked(self, node: NodeId) -> None:
        """Run a node on both backends from the same inputs; keep the compiled result."""
        native = self._program.native
        assert self._table is not None and native is not None
        plan = self._program.plan
        entry = plan.graph[node]
        out = self._view(node)
        before = out.copy() if entry.in_place is not None else None
        self._table.run(node)
        compiled = out.copy()
        if before is not None:
            out[...] = before
        self._run_reference(node)
        reference = out.copy()
        out[...] = compiled
        if entry.fact.dtype == "int8":
            n_ctx = plan.buffers[entry.inputs[0]].shape[1]
            compiled, reference = (unpacked(entry.op, panels, n_ctx) for panels in (compiled, reference))
        scale = float(np.abs(reference).max(initial=1e-6))
        difference = float(np.abs(compiled.astype(np.float32) - reference).max(initial=0.0))
        tolerance = CHECK_TOLERANCE
        if self._has_codes(entry) or entry.fact.dtype in ("float16", "int8"):
            tolerance = BLOCK_TOLERANCE
        elif node in native.rounds_to_bf16:
            tolerance = BF16_TOLERANCE
        limit = scale * tolerance
        if not difference <= limit:
            raise CheckFailedError(
                f"node {node} ({entry.op} {entry.name}): compiled and reference differ by {difference:.3g}; "
                f"the largest value is {scale:.3g} and the limit {limit:.3g}"
            )

    def _has_codes(self, node: Node) -> bool:
        buffers = [self._program.plan.buffers[i] for i in node.inputs]
        return any(buffer.dtype not in EXACT for buffer in buffers)


class _Native:
    """What the tables of one program have in common."""

    def __init__(self, plan: Plan, weights: Weights, threads: int):
        from whisperlite.runtime.lower import Ref, lower

        calls, self._kept = lower(plan, weights)
        width = 1 + max(len(call.kernel.params) for call in calls)
        self.template = np.zeros((len(calls), width), np.int64)
        self.rows_of: dict[NodeId, list[int]] = {}
        self.costs: dict[NodeId, tuple[int, int]] = {}
        self.rounds_to_bf16 = {call.node for call in calls if call.rounds_to_bf16}
        self.scratch_bytes = threads * max(call.scratch_bytes for call in calls)
        places: dict[Storage, list[tuple[int, int]]] = {}
        for i, call in enumerate(calls):
            self.template[i, 0] = call.kernel.address()
            self.rows_of.setdefault(call.node, []).append(i)
            flops, n_bytes = self.costs.get(call.node, (0, 0))
            self.costs[call.node] = flops + call.flops, n_bytes + call.n_bytes
            for j, name in enumerate(call.kernel.params, start=1):
                value = call.arguments[name]
                if isinstance(value, Ref):
                    places.setdefault(value.storage, []).append((i * width + j, value.offset))
                else:
                    self.template[i, j] = value
        self.places = {
            storage: (np.array([word for word, _ in found]), np.array([offset for _, offset in found], np.int64))
            for storage, found in places.items()
        }
        self.threads = threads

    def new_table(self, storages: Mapping[Storage, Array]) -> _Table:
        table = _Table(self)
        for storage, array in storages.items():
            table.place(storage, array)
        return table


class _Table:
    """A program table with addresses in it."""

    def __init__(self, native: _Native):
        self._native = native
        self._rows = native.template.copy()
        self._words = self._rows.reshape(-1)
        self._address = self._rows.ctypes.data
        self._row_bytes = self._rows.strides[0]

    def place(self, storage: Storage, array: Array) -> None:
        """Write the address of a storage wherever the table needs it."""
        if storage in self._native.places:
            words, offsets = self._native.places[storage]
            self._words[words] = offsets + array.ctypes.data

    def run(self, node: NodeId | None = None) -> None:
        """Run all rows, or those of one node."""
        from whisperlite.runtime.team import team_of

        first, count = 0, len(self._rows)
        if node is not None:
            found = self._native.rows_of[node]
            first, count = found[0], len(found)
        team_of(self._native.threads).run(self._address + first * self._row_bytes, count, self._row_bytes)
