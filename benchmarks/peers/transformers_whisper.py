"""Hugging Face transformers on torch.

In: an HF folder. Out: times. Knows nothing of: other engines.
"""

from __future__ import annotations

import torch
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from benchmarks.peers.engine import BATCH_SIZE, BEAM_SIZE, Engine, Job, LeftOut, clock


class Transformers(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        torch.set_num_threads(job.threads)
        self.dtype = getattr(torch, job.compute_type)
        self.model = WhisperForConditionalGeneration.from_pretrained(job.model, dtype=self.dtype).eval()
        self.extract = WhisperFeatureExtractor(feature_size=self.model.config.num_mel_bins)
        self.tensor_mel = torch.from_numpy(self.mel_frames).to(self.dtype)
        self._features = None

    @property
    def features(self):
        if self._features is None:
            with torch.inference_mode():
                self._features = self.model.model.encoder(self.tensor_mel).last_hidden_state
        return self._features

    def mel(self) -> None:
        self.extract(self.audio, sampling_rate=16000, return_tensors="pt")

    @torch.inference_mode()
    def encode(self) -> None:
        self.model.model.encoder(self.tensor_mel)

    @torch.inference_mode()
    def prompt(self) -> float:
        tokens = torch.tensor([self.job.prompt])
        features = self.features

        def run() -> None:
            hidden = self.model.model.decoder(input_ids=tokens, encoder_hidden_states=features, use_cache=True)
            self.model.proj_out(hidden.last_hidden_state[:, -1])

        return clock(run)

    def decode(self) -> float:
        return self._steps(1)

    def beam5(self) -> float:
        return self._steps(BEAM_SIZE)

    def _steps(self, beam_size: int) -> float:
        one = clock(lambda: self._generate(1, 1, beam_size, self.features))
        return clock(lambda: self._generate(1, 1 + self.job.n_steps, beam_size, self.features)) - one

    def window(self) -> None:
        self._window(1, 1)

    def window_beam5(self) -> None:
        self._window(1, BEAM_SIZE)

    def batch8(self) -> None:
        self._window(BATCH_SIZE, 1)

    def _window(self, n: int, beam_size: int) -> None:
        mel = self.extract([self.audio] * n, sampling_rate=16000, return_tensors="pt").input_features
        with torch.inference_mode():
            features = self.model.model.encoder(mel.to(self.dtype)).last_hidden_state
        self._generate(n, self.job.n_tokens, beam_size, features)

    @torch.inference_mode()
    def _generate(self, n: int, n_tokens: int, beam_size: int, features) -> None:
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        start = torch.tensor([self.job.sot_sequence] * n)
        options = GenerationConfig(
            max_new_tokens=n_tokens, min_new_tokens=n_tokens, num_beams=beam_size, do_sample=False, use_cache=True,
            eos_token_id=self.job.eot, pad_token_id=self.job.eot, decoder_start_token_id=start[0, 0].item(),
        )  # fmt: skip
        found = GenerationMixin.generate(
            self.model,
            encoder_outputs=BaseModelOutput(features),
            decoder_input_ids=start,
            generation_config=options,
        )
        if found.shape[1] - start.shape[1] != n_tokens:
            raise LeftOut(f"decoded {found.shape[1] - start.shape[1]} tokens, not {n_tokens}")


ENGINE = Transformers
