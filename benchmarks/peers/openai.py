"""openai-whisper on torch, in float32 or bfloat16.

In: an HF folder. Out: times. Knows nothing of: other engines.
"""

from __future__ import annotations

import torch
from whisper import DecodingOptions, log_mel_spectrogram
from whisper import decode as whisper_decode
from whisper.model import ModelDimensions, Whisper

from benchmarks.peers.engine import BATCH_SIZE, BEAM_SIZE, Engine, Job, LeftOut, clock
from benchmarks.peers.names import openai_weights


class OpenAI(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        torch.set_num_threads(job.threads)
        config = job.config
        dims = ModelDimensions(
            config["num_mel_bins"], config["max_source_positions"], config["d_model"],
            config["encoder_attention_heads"], config["encoder_layers"], config["vocab_size"],
            config["max_target_positions"], config["d_model"], config["decoder_attention_heads"],
            config["decoder_layers"],
        )  # fmt: skip
        self.dtype = getattr(torch, job.compute_type)
        self.model = Whisper(dims)
        weights = {name: torch.from_numpy(value) for name, value in openai_weights(job.model).items()}
        self.model.load_state_dict(weights, strict=False)  # masks are not in the file
        self.model = self.model.to(self.dtype).eval()
        if self.dtype == torch.bfloat16:
            _keep_norms_exact(self.model)
        self.tensor_mel = torch.from_numpy(self.mel_frames).to(self.dtype)
        self._features = None

    @property
    def features(self):
        if self._features is None:
            with torch.inference_mode():
                self._features = self.model.encoder(self.tensor_mel)
        return self._features

    def mel(self) -> None:
        log_mel_spectrogram(self.audio, self.model.dims.n_mels)

    @torch.inference_mode()
    def encode(self) -> None:
        self.model.encoder(self.tensor_mel)

    def prompt(self) -> float:
        return self._steps(1, self.job.prompt, 0)

    def decode(self) -> float:
        return self._steps(1, self.job.sot_sequence, self.job.n_steps)

    def beam5(self) -> float:
        return self._steps(BEAM_SIZE, self.job.sot_sequence, self.job.n_steps)

    @torch.inference_mode()
    def _steps(self, n_rows: int, start: list[int], n_steps: int) -> float:
        """Time of the first call when no steps are asked for, else of the steps alone."""
        features = self.features.expand(n_rows, -1, -1)
        cache, hooks = self.model.install_kv_cache_hooks()
        order = torch.arange(n_rows - 1, -1, -1)
        selves = [block.attn for block in self.model.decoder.blocks]
        state = {}

        def first() -> None:
            tokens = torch.tensor([start] * n_rows)
            state["logits"] = self.model.decoder(tokens, features, kv_cache=cache)[:, -1]

        def steps() -> None:
            for _ in range(n_steps):
                tokens = state["logits"].float().argmax(dim=-1)
                if n_rows > 1:  # ref: openai/whisper decoding.py rearrange_kv_cache
                    for attention in selves:
                        for module in (attention.key, attention.value):
                            cache[module] = cache[module][order].detach()
                state["logits"] = self.model.decoder(tokens[:, None], features, kv_cache=cache)[:, -1]

        try:
            first_ms = clock(first)
            return clock(steps) if n_steps else first_ms
        finally:
            for hook in hooks:
                hook.remove()

    def window(self) -> None:
        self._decode(1, None)

    def window_beam5(self) -> None:
        self._decode(1, BEAM_SIZE)

    def batch8(self) -> None:
        self._decode(BATCH_SIZE, None)

    def _decode(self, n: int, beam_size: int | None) -> None:
        mel = log_mel_spectrogram(self.audio, self.model.dims.n_mels)[None].repeat(n, 1, 1)
        options = DecodingOptions(
            language="en", sample_len=self.job.n_tokens, beam_size=beam_size, without_timestamps=True, fp16=False,
            suppress_tokens=[-1, self.job.eot],
        )  # fmt: skip
        with torch.inference_mode():
            features = self.model.encoder(mel.to(self.dtype))
        if self.dtype == torch.bfloat16:
            results = _decode_bfloat16(self.model, features, options)
        else:
            results = whisper_decode(self.model, features, options)
        if any(len(result.tokens) != self.job.n_tokens for result in results):
            raise LeftOut(f"decoded {len(results[0].tokens)} tokens, not {self.job.n_tokens}")


def _keep_norms_exact(model: Whisper) -> None:
    """Norms compute in float32 and have float32 parameters, as openai-whisper's own half precision does not."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.float()


def _decode_bfloat16(model: Whisper, features, options: DecodingOptions):
    """openai-whisper's search, whose check of the features' dtype knows float16 and float32 only."""
    from whisper.decoding import DecodingTask

    task = DecodingTask(model, options)
    task._get_audio_features = lambda mel: mel
    return task.run(features)


ENGINE = OpenAI
