"""whisperlite, through its public stages.

In: an HF folder. Out: times. Knows nothing of: other engines.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.engine import BATCH_SIZE, BEAM_SIZE, Engine, Job, LeftOut, clock
from whisperlite import WhisperModel
from whisperlite.audio import log_mel_spectrogram


class Ours(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        self.model = WhisperModel(job.model, compute_type=job.compute_type, threads=job.threads)
        self._features: np.ndarray | None = None

    @classmethod
    def prepare(cls, job: Job) -> None:
        """Have every kernel compiled and on disk, so that no compiler is in the memory that is measured."""
        engine = cls(job)
        for stage in engine.stages():
            engine.warm(stage)

    @property
    def features(self) -> np.ndarray:
        if self._features is None:
            self._features = self.model.encode(self.mel_frames)
            self._cross = self.model.cross_kv(self._features)
        return self._features

    @property
    def cross_cache(self):
        _ = self.features
        return self._cross

    def mel(self) -> None:
        log_mel_spectrogram(self.audio, self.model.dims.n_mels, threads=self.model.threads)

    def encode(self) -> None:
        self.model.encode(self.mel_frames)

    def cross(self) -> float:
        features = self.features
        return clock(lambda: self.model.cross_kv(features))

    def first_token(self) -> None:
        """Samples to the first logits."""
        mel = log_mel_spectrogram(self.audio, self.model.dims.n_mels, threads=self.model.threads)
        cross = self.model.cross_kv(self.model.encode(mel[None]))
        tokens = np.array([self.job.sot_sequence], np.int32)
        self.model.prefill(tokens, self.model.new_cache(1), cross).argmax()

    def prompt(self) -> float:
        cross, tokens = self.cross_cache, np.array([self.job.prompt], np.int32)
        cache = self.model.new_cache(1)
        return clock(lambda: self.model.prefill(tokens, cache, cross))

    def decode(self) -> float:
        return self._steps(1)

    def sample(self) -> float:
        """Choice of the most probable token and its log-probability, without model and rules."""
        from whisperlite.decode.choose import log_normaliser

        row = np.random.default_rng(2).standard_normal(self.model.dims.n_vocab).astype(np.float32)

        def choose() -> None:
            for _ in range(self.job.n_steps):
                row[row.argmax()] - log_normaliser(row)

        return clock(choose)

    def beam5(self) -> float:
        """Steps of five rows whose beams move at every step."""
        return self._steps(BEAM_SIZE)

    def _steps(self, n_rows: int) -> float:
        model, cross = self.model, self.cross_cache
        cache = model.new_cache(n_rows)
        logits = model.prefill(np.array([self.job.sot_sequence] * n_rows, np.int32), cache, cross)[:, -1]
        order = np.arange(n_rows)[::-1].copy()

        def steps() -> None:
            rows = logits
            for _ in range(self.job.n_steps):
                tokens = rows.argmax(axis=1)
                if n_rows > 1:
                    cache.reorder(order)
                rows = model.step(tokens, cache, cross)

        return clock(steps)

    def window(self) -> None:
        self._decode(self._mel(), None)

    def window_beam5(self) -> None:
        self._decode(self._mel(), BEAM_SIZE)

    def batch8(self) -> None:
        self._decode(np.repeat(self._mel(), BATCH_SIZE, axis=0), None)

    def _mel(self) -> np.ndarray:
        return log_mel_spectrogram(self.audio, self.model.dims.n_mels, threads=self.model.threads)[None]

    def _decode(self, mel: np.ndarray, beam_size: int | None) -> None:
        results = self.model.decode(
            mel, language="en", sample_len=self.job.n_tokens, beam_size=beam_size, without_timestamps=True,
            suppress_tokens=[-1, self.job.eot],
        )  # fmt: skip
        if any(len(result.tokens) != self.job.n_tokens for result in results):
            raise LeftOut(f"decoded {len(results[0].tokens)} tokens, not {self.job.n_tokens}")


ENGINE = Ours
