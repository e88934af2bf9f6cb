"""Silero VAD, versions 5 and 6 at 16 kHz, run by our own graph.

In: a ggml file of weights, samples. Out: a probability of speech for each window of 512 samples.
Knows nothing of: how the file is laid out, kernels.

A window and the 64 samples before it, mirrored at the end to 640, are four short spectra; four convolutions make
one vector of them, an LSTM carries what was heard before, and one last layer gives the probability.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from whisperlite.audio.vad.detector import VoiceStream, probabilities_of
from whisperlite.audio.vad.options import WINDOW_SAMPLES
from whisperlite.audio.vad.silero_file import SileroFile, read_silero

if TYPE_CHECKING:
    from whisperlite.graph import Graph
    from whisperlite.runtime.executor import Program

N_CONTEXT = 64
N_MIRRORED = 64
BLOCK = 128  # a spectrum is of two blocks of samples, and starts at each block
N_BLOCKS = (N_CONTEXT + WINDOW_SAMPLES + N_MIRRORED) // BLOCK
N_BINS, N_HIDDEN = 129, 128
STRIDES = (1, 2, 2, 1)
BATCHES = (64, 8, 1)  # windows that one run of a program takes

# ref: whisper.cpp whisper_vad_build_graph, which lacks the context and mirrors the window at both ends; here as in
# silero-vad's own model and faster-whisper.


class SileroDetector:
    """Silero VAD.

    Parameters
    ----------
    path : str or Path
        whisper.cpp's ggml file of version 5 or 6, such as ``ggml-silero-v6.2.0.bin``.
    threads : int
        One is best: windows follow each other.
    backend : str, optional
        ``numba`` or ``numpy``; default ``WHISPERLITE_BACKEND``.

    Attributes
    ----------
    version : tuple of int
        (6, 2, 0) or the like.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or another model.
    OptionError
        No such backend or number of threads.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1, backend: str | None = None):
        from whisperlite.runtime.executor import Workspace, checked_backend
        from whisperlite.runtime.threads import checked_threads
        from whisperlite.runtime.weights import Weights

        file = read_silero(path)
        self.version = file.version
        self._path = os.fspath(path)
        self._threads = checked_threads(threads)
        self._backend = checked_backend(backend)
        self._weights = Weights(_Tensors(file))
        self._workspace = Workspace()
        self._programs: dict[int, Program] = {}
        self._lock = threading.Lock()

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """See ``VoiceDetector``."""
        return probabilities_of(self.stream(), audio)

    def stream(self) -> VoiceStream:
        """See ``VoiceDetector``; a stream carries the state of the LSTM."""
        return VoiceStream(N_CONTEXT, _Recurrence(self).judge)

    def program(self, n_windows: int) -> Program:
        """The program for so many windows at once, made at the first call."""
        from whisperlite.graph import make_plan
        from whisperlite.runtime.executor import Program

        with self._lock:
            if n_windows not in self._programs:
                plan = make_plan(_graph(), {"T": n_windows})
                program = Program(plan, self._weights, self._workspace, self._backend, self._threads)
                self._programs[n_windows] = program
            return self._programs[n_windows]

    def __repr__(self) -> str:
        return f"SileroDetector({self._path!r})"


class _Recurrence:
    """What one stream carries from window to window."""

    def __init__(self, detector: SileroDetector):
        self._detector = detector
        self._state = np.zeros((1, 2 * N_HIDDEN), np.float32)
        self._runs: dict[int, _Batch] = {}

    def judge(self, samples: np.ndarray) -> np.ndarray:
        span = N_CONTEXT + WINDOW_SAMPLES
        windows = sliding_window_view(samples, span)[::WINDOW_SAMPLES]  # (T, 576)
        probabilities = np.empty(len(windows), np.float32)
        at = 0
        while at < len(windows):
            size = next(size for size in BATCHES if size <= len(windows) - at)
            if size not in self._runs:
                self._runs[size] = _Batch(self._detector.program(size), size, self._state)
            self._runs[size].run(windows[at : at + size], probabilities[at : at + size])
            at += size
        return probabilities


class _Batch:
    """A bound run of ``size`` windows."""

    def __init__(self, program: Program, size: int, state: np.ndarray):
        self._state = state
        self._samples = np.empty((size, N_BLOCKS, BLOCK), np.float32)
        self._run = program.bind({"samples": self._samples, "state": state})

    def run(self, windows: np.ndarray, probabilities: np.ndarray) -> None:
        flat = self._samples.reshape(len(windows), -1)
        n_given = windows.shape[1]
        flat[:, :n_given] = windows
        flat[:, n_given:] = windows[:, -2 : -2 - N_MIRRORED : -1]
        outputs = self._run.run()
        probabilities[:] = outputs["speech"][:, 0, 0]
        self._state[:] = outputs["states"][-1]


class _Tensors:
    """The file's tensors in the shapes and under the names of the graph."""

    def __init__(self, file: SileroFile):
        given = file.tensors
        basis = given["_model.stft.forward_basis_buffer"]  # (258, 1, 256)
        self._tensors = {
            "stft.basis": basis.reshape(2 * N_BINS, 2, BLOCK).transpose(0, 2, 1),
            "lstm.input.weight": given["_model.decoder.rnn.weight_ih"],
            "lstm.input.bias": given["_model.decoder.rnn.bias_ih"] + given["_model.decoder.rnn.bias_hh"],
            "lstm.recurrent.weight": given["_model.decoder.rnn.weight_hh"],
            "decoder.weight": given["_model.decoder.decoder.2.weight"][None],
            "decoder.bias": given["_model.decoder.decoder.2.bias"],
        }
        for i in range(len(STRIDES)):
            for part in ("weight", "bias"):
                self._tensors[f"encoder.{i}.{part}"] = given[f"_model.encoder.{i}.reparam_conv.{part}"]

    def read(self, name: str) -> np.ndarray:
        return self._tensors[name]

    def release(self) -> None:
        """Nothing: the tensors are small."""


def _graph() -> Graph:
    """Samples (T, 5, 128) and state (1, 256) to speech (T, 1, 1) and the states (T, 1, 256) after each window."""
    from whisperlite.graph import FLOAT32, Fact, Graph, NodeId, optimize, symbol

    graph = Graph()

    def weight(name: str, *shape: int) -> NodeId:
        return graph.weight(name, Fact(FLOAT32, shape))

    samples = graph.input("samples", Fact(FLOAT32, (symbol("T"), N_BLOCKS, BLOCK)))
    state = graph.input("state", Fact(FLOAT32, (1, 2 * N_HIDDEN)))
    x = graph.add("linear", [samples, weight("stft.basis", 2 * N_BINS, BLOCK, 2)], "stft", taps=2)  # (T, 4, 258)
    x = graph.add("magnitude", [x])  # (T, 4, 129)
    n_in = N_BINS
    for i, (n_out, stride) in enumerate(zip((128, 64, 64, 128), STRIDES, strict=True)):
        inputs = [x, weight(f"encoder.{i}.weight", n_out, n_in, 3), weight(f"encoder.{i}.bias", n_out)]
        x = graph.add("relu", [graph.add("conv1d", inputs, f"encoder.{i}", stride=stride)])
        n_in = n_out  # frames: 4, 2, 1, 1
    inputs = [x, weight("lstm.input.weight", 4 * N_HIDDEN, n_in), weight("lstm.input.bias", 4 * N_HIDDEN)]
    gates = graph.add("linear", inputs, "lstm.input", has_bias=True)  # (T, 1, 512)
    states = graph.add("lstm", [gates, weight("lstm.recurrent.weight", 4 * N_HIDDEN, N_HIDDEN), state], "lstm")
    graph.output("states", states)  # (T, 1, 256)
    heard = graph.add("relu", [graph.add("columns", [states], start=0, stop=N_HIDDEN)])
    inputs = [heard, weight("decoder.weight", 1, N_HIDDEN), weight("decoder.bias", 1)]
    graph.output("speech", graph.add("sigmoid", [graph.add("linear", inputs, "decoder", has_bias=True)]))
    return optimize(graph)
