"""faster-whisper: its mel, and CTranslate2's Whisper below it, which it calls once for a window.

In: an HF folder. Out: times. Knows nothing of: other engines.

CTranslate2 gives no single steps: the prompt is a generation of one token, and a decode step is the difference
between a generation of many tokens and one of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from benchmarks.peers.engine import BATCH_SIZE, BEAM_SIZE, Engine, Job, LeftOut, clock
from benchmarks.peers.names import openai_weights


class FasterWhisper(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        self.model = ctranslate2.models.Whisper(
            str(converted(job)), device="cpu", compute_type=job.compute_type, intra_threads=job.threads,
            inter_threads=1,
        )  # fmt: skip
        self.extract = FeatureExtractor(feature_size=int(job.config["num_mel_bins"]))
        self._features = None

    @classmethod
    def prepare(cls, job: Job) -> None:
        folder = converted(job)
        if not (folder / "model.bin").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            spec = specification(job)
            spec.validate()
            spec.optimize(quantization="float16")
            spec.save(str(folder))

    def encoded(self, n: int) -> Any:
        if self._features is None:
            self._features = {}
        if n not in self._features:
            mel = np.repeat(self.mel_frames, n, axis=0)
            self._features[n] = self.model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True)
        return self._features[n]

    def mel(self) -> None:
        self.extract(self.audio)

    def encode(self) -> None:
        self.model.encode(ctranslate2.StorageView.from_array(self.mel_frames), to_cpu=True)

    def prompt(self) -> float:
        features = self.encoded(1)
        return clock(lambda: self._generate(features, [self.job.prompt], 1, 1))

    def decode(self) -> float:
        return self._steps(1)

    def beam5(self) -> float:
        return self._steps(BEAM_SIZE)

    def _steps(self, beam_size: int) -> float:
        features, prompts = self.encoded(1), [self.job.sot_sequence]
        one = clock(lambda: self._generate(features, prompts, 1, beam_size))
        return clock(lambda: self._generate(features, prompts, 1 + self.job.n_steps, beam_size)) - one

    def window(self) -> None:
        self._window(1, 1)

    def window_beam5(self) -> None:
        self._window(1, BEAM_SIZE)

    def batch8(self) -> None:
        self._window(BATCH_SIZE, 1)

    def _window(self, n: int, beam_size: int) -> None:
        mel = np.repeat(self.extract(self.audio)[None, :, :3000], n, axis=0).astype(np.float32)
        features = self.model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(mel)))
        self._generate(features, [self.job.sot_sequence] * n, self.job.n_tokens, beam_size)

    def _generate(self, features: Any, prompts: list[list[int]], n_tokens: int, beam_size: int) -> None:
        # ref: CTranslate2 whisper.cc: at most max_length / 2 new tokens, and max_length with the prompt
        max_length = max(2 * n_tokens, n_tokens + len(prompts[0]) - 1)
        results = self.model.generate(
            features, prompts, beam_size=beam_size, max_length=max_length, return_scores=True,
            suppress_tokens=[-1, self.job.eot], suppress_blank=False,
        )  # fmt: skip
        n_found = len(results[0].sequences_ids[0])
        if n_found != n_tokens:
            raise LeftOut(f"decoded {n_found} tokens, not {n_tokens}")


def converted(job: Job) -> Path:
    return job.cache / "ctranslate2"


def specification(job: Job) -> Any:
    """The model as CTranslate2's converter describes it, made without transformers and torch."""
    config, weights = job.config, openai_weights(job.model)
    spec = ctranslate2.specs.WhisperSpec(
        config["encoder_layers"], config["encoder_attention_heads"], config["decoder_layers"],
        config["decoder_attention_heads"],
    )  # fmt: skip
    for name in ("conv1", "conv2"):
        conv = getattr(spec.encoder, name)
        conv.weight, conv.bias = weights[f"encoder.{name}.weight"], weights[f"encoder.{name}.bias"]
    spec.encoder.position_encodings.encodings = weights["encoder.positional_embedding"]
    spec.decoder.position_encodings.encodings = weights["decoder.positional_embedding"]
    spec.decoder.embeddings.weight = weights["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = weights["decoder.token_embedding.weight"]
    spec.decoder.scale_embeddings = 1.0
    _norm(spec.encoder.layer_norm, weights, "encoder.ln_post")
    _norm(spec.decoder.layer_norm, weights, "decoder.ln")
    for side in ("encoder", "decoder"):
        for i, layer in enumerate(getattr(spec, side).layer):
            block = f"{side}.blocks.{i}"
            _attention(layer.self_attention, weights, f"{block}.attn", fused=("query", "key", "value"))
            if side == "decoder":
                _attention(layer.attention, weights, f"{block}.cross_attn", ("query",), ("key", "value"))
            _linear(layer.ffn.linear_0, weights, (f"{block}.mlp.0",))
            _linear(layer.ffn.linear_1, weights, (f"{block}.mlp.2",))
            _norm(layer.ffn.layer_norm, weights, f"{block}.mlp_ln")
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids, spec.config.alignment_heads = list(range(50259, 50358)), [[0, 0]]
    spec.register_vocabulary(_vocabulary(job))
    return spec


def _vocabulary(job: Job) -> list[str]:
    """Tokens by id; CTranslate2 looks some of them up by name."""
    tokens = [f"<token {i}>" for i in range(int(job.config["vocab_size"]))]
    content = json.loads((job.model / "tokenizer.json").read_text())
    for token, index in content["model"]["vocab"].items():
        tokens[index] = token
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
    return tokens


def _attention(layer: Any, weights: dict[str, np.ndarray], name: str, *groups: tuple[str, ...], fused=()) -> None:
    wanted = [fused] if fused else list(groups)
    for linear, parts in zip(layer.linear, [*wanted, ("out",)], strict=True):
        _linear(linear, weights, tuple(f"{name}.{part}" for part in parts))
    _norm(layer.layer_norm, weights, f"{name}_ln")


def _linear(layer: Any, weights: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    layer.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    biases = [weights.get(f"{name}.bias", np.zeros(len(weights[f"{name}.weight"]), np.float32)) for name in names]
    layer.bias = np.concatenate(biases)


def _norm(layer: Any, weights: dict[str, np.ndarray], name: str) -> None:
    layer.gamma, layer.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


ENGINE = FasterWhisper
