"""The encoder as an ONNX file, traced by torch from openai-whisper's or transformers' definition.

In: an HF folder. Out: an .onnx file. Knows nothing of: what reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.engine import Job, LeftOut


def torch_encoder(job: Job) -> Any:
    """A torch module: mel to audio features."""
    try:
        import torch
        from transformers import WhisperForConditionalGeneration
    except ImportError as error:
        raise LeftOut(f"the encoder is exported through torch and transformers: {error}") from None

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            whole = WhisperForConditionalGeneration.from_pretrained(job.model, dtype=torch.float32)
            self.encoder = whole.model.encoder

        def forward(self, mel):
            return self.encoder(mel).last_hidden_state

    return Encoder().eval()


def export_onnx(job: Job) -> Path:
    """The encoder's ONNX file; made at the first call."""
    path = job.cache / "onnx" / "encoder.onnx"
    if not path.is_file():
        import torch

        encoder = torch_encoder(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        example = torch.zeros(1, int(job.config["num_mel_bins"]), 3000)
        torch.onnx.export(
            encoder, (example,), str(path), input_names=["mel"], output_names=["features"], opset_version=17,
            dynamo=False,
        )  # fmt: skip
    return path
