"""whisper.cpp through pywhispercpp; its own benchmark program is run by ``benchmarks.captured``.

In: a ggml file. Out: times; the encoder's include the cross keys and values. Knows nothing of: other engines.

The published wheel is built for any x86 CPU: give the path of a native whisper-bench for whisper.cpp at its best.
"""

from __future__ import annotations

import _pywhispercpp as pw

from benchmarks.peers.engine import BEAM_SIZE, Engine, Job, LeftOut, clock


class WhisperCpp(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        path = job.files.get(f"ggml-{job.compute_type}")
        if path is None:
            raise LeftOut(f"no ggml file of type {job.compute_type} was made")
        self.context = pw.whisper_init_from_file_with_params(path, pw.whisper_context_default_params())
        if self.context is None:
            raise LeftOut(f"whisper.cpp cannot read {path}")
        self.encoded = False

    def mel(self) -> None:
        self._check(pw.whisper_pcm_to_mel(self.context, self.audio, len(self.audio), self.job.threads))

    def encode(self) -> float:
        self.mel()
        elapsed = clock(lambda: self._check(pw.whisper_encode(self.context, 0, self.job.threads)))
        self.encoded = True
        return elapsed

    def decode(self) -> float:
        self._ready()

        def steps() -> None:
            for i in range(self.job.n_steps):
                self._check(pw.whisper_decode(self.context, 1000 + i, 1, 4 + i, self.job.threads))

        for i, token in enumerate(self.job.sot_sequence):  # the binding takes one token at a time
            self._check(pw.whisper_decode(self.context, token, 1, i, self.job.threads))
        return clock(steps)

    def window(self) -> None:
        self._full(pw.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY)

    def window_beam5(self) -> None:
        self._full(pw.whisper_sampling_strategy.WHISPER_SAMPLING_BEAM_SEARCH)

    def _ready(self) -> None:
        if not self.encoded:
            self.encode()

    def _full(self, strategy: int) -> None:
        options = pw.whisper_full_default_params(strategy)
        options.n_threads, options.max_tokens = self.job.threads, self.job.n_tokens
        options.temperature_inc, options.single_segment, options.no_timestamps = 0.0, True, True
        options.no_context, options.language = True, "en"
        options.no_speech_thold = 2.0
        options.print_progress = options.print_realtime = options.print_timestamps = False
        options.beam_search = {"beam_size": BEAM_SIZE, "patience": -1.0}
        options.greedy = {"best_of": 1}
        self._check(pw.whisper_full(self.context, options, self.audio, len(self.audio)))
        found = [pw.whisper_full_n_tokens(self.context, i) for i in range(pw.whisper_full_n_segments(self.context))]
        if abs(sum(found) - self.job.n_tokens) > 2:
            raise LeftOut(f"decoded {sum(found)} tokens, not {self.job.n_tokens}")

    @staticmethod
    def _check(code: int) -> None:
        if code:
            raise LeftOut(f"whisper.cpp returned {code}")


ENGINE = WhisperCpp
