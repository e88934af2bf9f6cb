"""The model: encode, cross keys and values, prefill, step, cross attention.

In: a checkpoint, arrays. Out: arrays; state lives in the caches that callers hold.
Knows nothing of: search, tokens' meaning, audio files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whisperlite import trace
from whisperlite.checkpoint import Checkpoint
from whisperlite.errors import OptionError
from whisperlite.graph import Graph, Plan, make_plan
from whisperlite.model.build import PARTS, graph_of
from whisperlite.model.cache import CrossKV, KVCache
from whisperlite.model.dtypes import KeptDtypes, resolve_compute_type
from whisperlite.runtime.executor import Program, Run, Workspace, checked_backend
from whisperlite.runtime.threads import checked_threads
from whisperlite.runtime.weights import Weights

if TYPE_CHECKING:
    from whisperlite.kernels.registry import Kernel

Array = NDArray[Any]
MAX_PROGRAMS = 24


class Whisper:
    """A Whisper model ready to run.

    Parameters
    ----------
    checkpoint : Checkpoint
        Read and packed here; closed when the constructor returns.
    compute_type : str
        What matmul weights are kept in; sums are float32 always.

        - ``default``: as the checkpoint has them. Quantised blocks stay blocks, and bytes of CTranslate2 bytes.
          Floating point stays exact: weights that the decoder reads stay in 16 bits where they are so stored,
          which changes no bit of a result.
        - ``float32``: exact; quantised weights are unpacked.
        - ``bfloat16``: rounded to bf16. On CPUs with AVX-512 BF16, where a measurement finds it faster, the
          activations of the encoder and of long prompts are too; ``WHISPERLITE_BF16`` decides it.
        - ``int8``: bytes, a scale for each 128. Activations are rounded too: to bytes in the encoder and in
          prompts, to two bytes in a decoding step.
        - ``auto``: ``int8`` where the CPU sums byte products in one instruction and the file is not quantised,
          else ``default``.

        Where weights are rounded, the keys and values of the audio are kept in float16; with ``int8`` in bytes, as
        are those of the encoder's own attention.
    threads : int, optional
        Members of the thread team; default ``WHISPERLITE_THREADS`` or all CPUs of the process.
    backend : str, optional
        ``numba`` (default) or ``numpy``; default ``WHISPERLITE_BACKEND``.

    Raises
    ------
    OptionError
        A value is not one of the above.
    CheckpointError
        The checkpoint cannot be read.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        compute_type: str = "default",
        threads: int | None = None,
        backend: str | None = None,
    ):
        self.dims = checkpoint.dims
        self.threads = checked_threads(threads)
        self.backend = checked_backend(backend)
        self.alignment_heads: tuple[tuple[int, int], ...] = tuple(checkpoint.alignment_heads)
        stored = {name: checkpoint.dtype(name) for name in checkpoint.names()}
        self.compute_type = resolve_compute_type(compute_type, stored, self.backend)
        self._kept = KeptDtypes(self.compute_type, stored, self.backend)
        self._weights = Weights(checkpoint, self.threads)
        self._workspace = Workspace()
        self._lock = threading.RLock()
        self._programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()
        self._graphs: dict[Any, Graph] = {}
        self._load()
        checkpoint.close()

    @property
    def is_multilingual(self) -> bool:
        return self.dims.is_multilingual

    @property
    def num_languages(self) -> int:
        return self.dims.num_languages

    @property
    def n_bytes(self) -> int:
        """Memory held by packed parameters."""
        return self._weights.n_bytes

    def encode(self, mel: ArrayLike) -> Array:
        """Run the encoder.

        Parameters
        ----------
        mel : float32 (B, n_mels, 2*T)
            Log-mel frames, an even number up to 2 * n_audio_ctx; 3000 for Whisper's usual window.

        Returns
        -------
        float32 (B, T, n_audio_state)
        """
        frames = np.ascontiguousarray(mel, np.float32)
        if frames.ndim != 3 or frames.shape[1] != self.dims.n_mels:
            raise OptionError(f"mel is {frames.shape}; the model wants (batch, {self.dims.n_mels}, frames)")
        n_batch, _, n_frames = frames.shape
        if n_batch < 1 or n_frames % 2 or not 2 <= n_frames <= 2 * self.dims.n_audio_ctx:
            raise OptionError(
                f"mel has {n_batch} x {n_frames} frames; give 1 or more windows of an even number of frames "
                f"up to {2 * self.dims.n_audio_ctx}"
            )
        program = self._program("encoder", {"B": n_batch, "T": n_frames // 2})
        return np.ascontiguousarray(program.run({"mel": frames})["audio_features"])

    def cross_kv(self, audio_features: ArrayLike) -> CrossKV:
        """Cross-attention keys and values of every decoder layer, computed once for each audio.

        Parameters
        ----------
        audio_features : float32 (A, T, n_audio_state)
            From ``encode``.
        """
        features = np.ascontiguousarray(audio_features, np.float32)
        if features.ndim != 3 or features.shape[2] != self.dims.n_audio_state:
            raise OptionError(
                f"audio features are {features.shape}; the model wants (audios, positions, "
                f"{self.dims.n_audio_state})"
            )
        program = self._program("cross_kv", {"A": features.shape[0], "T": features.shape[1]})
        packed = program.run({"audio_features": features})
        layers = range(self.dims.n_text_layer)
        return CrossKV(
            keys=tuple(packed[f"keys.{i}"] for i in layers),
            values=tuple(packed[f"values.{i}"] for i in layers),
            n_audio=features.shape[0],
            n_ctx=features.shape[1],
        )

    def new_cache(self, n_rows: int) -> KVCache:
        """An empty cache for ``n_rows`` sequences of up to n_text_ctx tokens."""
        return KVCache.empty(self.dims, n_rows)

    def prefill(
        self,
        tokens: ArrayLike,
        cache: KVCache,
        cross: CrossKV,
        logits_at: Sequence[int] = (-1,),
        audio_rows: ArrayLike | None = None,
        cache_rows: Sequence[int] | None = None,
    ) -> Array:
        """Run several new tokens of each sequence and append them to the cache.

        Parameters
        ----------
        tokens : int (B, U)
        cache : KVCache
            Written. Row b of tokens continues cache row b, or ``cache_rows[b]``.
        cross : CrossKV
        logits_at : sequence of int
            Positions among the U new ones (negative: from the end) whose logits are wanted.
        audio_rows : int (A+1,), optional
            Rows ``audio_rows[a] .. audio_rows[a+1]`` listen to audio a. Default: row b listens to audio b, or every
            row to the only audio.
        cache_rows : sequence of int, optional
            Cache rows that take part; default all.

        Returns
        -------
        float32 (B, len(logits_at), n_vocab)
        """
        new = self._checked_tokens(tokens)
        n_batch, n_new = new.shape
        own = self._own_rows(cache, n_batch, cache_rows)
        offsets = np.array([at + n_new if at < 0 else at for at in logits_at], np.int32)
        if len(offsets) == 0 or offsets.min() < 0 or offsets.max() >= n_new:
            raise OptionError(f"logits_at={tuple(logits_at)}: give positions of the {n_new} new tokens")
        run = self._bind_decoder((), new, own, cache, cross, offsets, audio_rows)
        logits = run.run()["logits"].copy()
        cache.advance(own, n_new)
        return logits

    def step(
        self,
        tokens: ArrayLike,
        cache: KVCache,
        cross: CrossKV,
        audio_rows: ArrayLike | None = None,
        copy: bool = True,
        cache_rows: Sequence[int] | Array | None = None,
    ) -> Array:
        """Run one new token of each of the cache's sequences, or of some.

        Parameters
        ----------
        tokens : int (B,)
        cache, cross, audio_rows, cache_rows
            As in ``prefill``. The step is bound to the cache once and repeated; other rows than in the step before
            bind it anew.
        copy : bool
            False gives memory that the next step with this cache overwrites.

        Returns
        -------
        float32 (B, n_vocab)
        """
        new = self._checked_tokens(np.asarray(tokens)[:, None])
        key = tuple(None if rows is None else tuple(np.asarray(rows).tolist()) for rows in (audio_rows, cache_rows))
        bound = cache.runs.get((id(self), id(cross), len(new), *key))
        if bound is None:
            own = self._own_rows(cache, len(new), cache_rows)
            state = cache.state(own)
            buffer, wanted = new.copy(), np.zeros(1, np.int32)
            run = self._bind_decoder((), buffer, own, cache, cross, wanted, audio_rows, state)
            cache.runs.clear()  # one at a time; the entry keeps ``cross`` alive, so that its id stays its own
            bound = cache.runs[id(self), id(cross), len(new), *key] = (run, buffer, own, state, cross)
        run, buffer, own, state, _ = bound
        cache.read_state(own, state)
        self._check_room(state[0], 1)
        buffer[...] = new
        logits = run.run()["logits"][:, 0]
        cache.advance(own, 1)
        return logits.copy() if copy else logits

    def cross_attention(
        self,
        tokens: ArrayLike,
        cross: CrossKV,
        audio: int = 0,
        heads: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[Array, Array]:
        """Cross-attention scores, before softmax, while a whole token sequence is read; for word times.

        Parameters
        ----------
        tokens : int (U,)
        cross : CrossKV
        audio : int
            Which of its audios.
        heads : sequence of (layer, head), optional
            Default: the model's alignment heads.

        Returns
        -------
        scores : float32 (len(heads), U, T)
            Scaled dot products of queries and keys, in the order of ``heads``.
        logits : float32 (U, n_vocab)
        """
        chosen = tuple((int(layer), int(head)) for layer, head in (heads or self.alignment_heads))
        for layer, head in chosen:
            if not (0 <= layer < self.dims.n_text_layer and 0 <= head < self.dims.n_text_head):
                raise OptionError(
                    f"head {(layer, head)}: the decoder has {self.dims.n_text_layer} layers of "
                    f"{self.dims.n_text_head} heads"
                )
        if not 0 <= audio < cross.n_audio:
            raise OptionError(f"audio={audio}: there are {cross.n_audio}")
        new = self._checked_tokens(np.asarray(tokens)[None])
        cache = self.new_cache(1)
        only = CrossKV(
            tuple(np.ascontiguousarray(keys[audio : audio + 1]) for keys in cross.keys),
            tuple(np.ascontiguousarray(values[audio : audio + 1]) for values in cross.values),
            1,
            cross.n_ctx,
        )
        wanted = np.arange(new.shape[1], dtype=np.int32)
        own = np.zeros(1, np.int32)
        results = self._bind_decoder(chosen, new, own, cache, only, wanted, None).run()
        place = {}
        for layer in sorted({layer for layer, _ in chosen}):
            for i, head in enumerate(head for at, head in chosen if at == layer):
                place[layer, head] = results[f"scores.{layer}"][0, :, i]
        return np.stack([place[pair] for pair in chosen]), results["logits"][0].copy()

    def plan_of(self, part: str, **sizes: int) -> Plan:
        """The plan of ``encoder``, ``cross_kv`` or ``decoder`` for given sizes; for dumps and reports."""
        return make_plan(self._graph(part, ()), self._all_sizes(sizes))

    def program_of(self, part: str, **sizes: int) -> Program:
        """The program of a part, as ``plan_of``; for profiles."""
        return self._program(part, self._all_sizes(sizes))

    def _all_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        usual = {"A": 1, "B": 1, "N": 1, "R": 1, "T": self.dims.n_audio_ctx, "U": 1}
        unknown = set(sizes) - set(usual)
        if unknown:
            raise OptionError(f"size '{min(unknown)}': give one of {', '.join(usual)}")
        return {**usual, **sizes}

    def _load(self) -> None:
        """Pack every parameter, and compile the kernels that a first window needs."""
        sizes = self._all_sizes({})
        if self.backend == "numba":
            from whisperlite.runtime.precompile import kernels_of, together

            def first_kernels() -> Iterator[Kernel]:
                from whisperlite.kernels import log_mel, logits

                yield from kernels_of(make_plan(self._graph(part, ()), sizes) for part in PARTS)
                yield from (log_mel.log_mel_f32, log_mel.floor_and_scale_f32, logits.row_peaks_f32)

            with together(first_kernels, self.threads):
                for part in PARTS:
                    self._weights.start()  # what the part before needs is packed meanwhile
                    self._program(part, sizes)
                self._weights.finish()
        else:
            for part in PARTS:
                graph = self._graph(part, ())
                for _, node in graph:
                    if node.op == "weight":
                        self._weights.array(node.attrs["parts"], node.fact.evaluate(sizes), node.fact.dtype)

    def _graph(self, part: str, heads: tuple[tuple[int, int], ...]) -> Graph:
        key = (part, heads)
        if key not in self._graphs:
            self._graphs[key] = graph_of(part, self.dims, heads, kept=self._kept)
        return self._graphs[key]

    def _program(self, part: str, sizes: Mapping[str, int], heads: tuple[tuple[int, int], ...] = ()) -> Program:
        key = (part, heads, *sorted(sizes.items()))
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                plan = make_plan(self._graph(part, heads), sizes)
                trace.debug(1, f"{part}: {plan}")
                program = Program(plan, self._weights, self._workspace, self.backend, self.threads)
                self._programs[key] = program
                if len(self._programs) > MAX_PROGRAMS:
                    self._programs.popitem(last=False)
            else:
                self._programs.move_to_end(key)
            return program

    def _bind_decoder(
        self,
        heads: tuple[tuple[int, int], ...],
        tokens: Array,
        own_rows: Array,
        cache: KVCache,
        cross: CrossKV,
        wanted: Array,
        audio_rows: ArrayLike | None,
        state: tuple[Array, Array] | None = None,
    ) -> Run:
        n_batch, n_new = tokens.shape
        past, rows = cache.state(own_rows) if state is None else state
        self._check_room(past, n_new)
        inputs = {
            "tokens": tokens,
            "past": past,
            "own_rows": own_rows,
            "cache_rows": rows,
            "audio_rows": self._audio_rows(audio_rows, n_batch, cross.n_audio),
            "wanted": wanted,
        }
        for i in range(self.dims.n_text_layer):
            inputs[f"past_keys.{i}"] = cache.keys[i]
            inputs[f"past_values.{i}"] = cache.values[i]
            inputs[f"keys.{i}"] = cross.keys[i]
            inputs[f"values.{i}"] = cross.values[i]
        sizes = {
            "A": cross.n_audio, "B": n_batch, "N": cache.n_rows, "R": len(wanted), "T": cross.n_ctx, "U": n_new,
        }  # fmt: skip
        return self._program("decoder", sizes, heads).bind(inputs)

    def _check_room(self, past: Array, n_new: int) -> None:
        used = int(past.max()) + n_new
        if used > self.dims.n_text_ctx:
            raise OptionError(f"{used} tokens in a sequence: the model has {self.dims.n_text_ctx} positions")

    def _audio_rows(self, audio_rows: ArrayLike | None, n_batch: int, n_audio: int) -> Array:
        if audio_rows is None:
            if n_audio == 1:
                return np.array([0, n_batch], np.int32)
            if n_audio != n_batch:
                raise OptionError(f"{n_batch} rows and {n_audio} audios: give audio_rows")
            return np.arange(n_batch + 1, dtype=np.int32)
        offsets = np.ascontiguousarray(audio_rows, np.int32)
        rising = offsets.shape == (n_audio + 1,) and offsets[0] == 0 and offsets[-1] == n_batch
        if not rising or (np.diff(offsets) < 0).any():
            raise OptionError(
                f"audio_rows={offsets.tolist()}: give {n_audio + 1} rising offsets from 0 to {n_batch}"
            )
        return offsets

    def _checked_tokens(self, tokens: ArrayLike) -> Array:
        new = np.ascontiguousarray(tokens, np.int32)
        if new.ndim != 2 or new.size == 0:
            raise OptionError(f"tokens have shape {new.shape}; give (rows, tokens), at least one of each")
        if new.min() < 0 or new.max() >= self.dims.n_vocab:
            bad = int(new.max() if new.max() >= self.dims.n_vocab else new.min())
            raise OptionError(f"token {bad}: the vocabulary has ids 0 to {self.dims.n_vocab - 1}")
        return new

    @staticmethod
    def _own_rows(cache: KVCache, n_batch: int, cache_rows: Sequence[int] | Array | None) -> Array:
        if cache_rows is None:
            if n_batch != cache.n_rows:
                raise OptionError(f"{n_batch} rows of tokens for a cache of {cache.n_rows}: give cache_rows")
            return np.arange(n_batch, dtype=np.int32)
        own = np.ascontiguousarray(cache_rows, np.int32)
        valid = own.shape == (n_batch,) and len(set(own.tolist())) == n_batch
        if not valid or own.min() < 0 or own.max() >= cache.n_rows:
            raise OptionError(
                f"cache_rows={own.tolist()}: give {n_batch} different rows of a cache of {cache.n_rows}"
            )
        return own
