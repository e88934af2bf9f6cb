"""Engines that are measured, one file each, each run in a process of its own by ``worker``.

In: a model folder. Out: times of stages. Knows nothing of: other engines, tables, statistics.

Imported by peers' interpreters: nothing here needs more than NumPy, and an engine's packages only in its own file.
"""

from __future__ import annotations

# Engine: its file and the compute types that are measured, best known first.
ROSTER: dict[str, tuple[str, tuple[str, ...]]] = {
    "whisperlite": ("ours", ("default", "float32", "bfloat16", "int8")),
    "openai-whisper": ("openai", ("float32", "bfloat16")),
    "faster-whisper": ("faster", ("float32", "int8")),
    "whisper.cpp": ("whispercpp", ("f16", "q8_0", "q5_0")),
    "transformers": ("transformers_whisper", ("float32", "bfloat16")),
    "openvino": ("openvino_encoder", ("float32", "bfloat16", "int8")),
    "openvino-genai": ("openvino_genai", ("float32", "bfloat16", "int8")),
    "onnxruntime": ("onnx_encoder", ("float32", "int8")),
}
OURS = "whisperlite"
# Engines whose ``prepare`` has something to do: convert the model, or compile kernels, in a process of its own.
PREPARED = frozenset({OURS, "faster-whisper", "openvino", "openvino-genai", "onnxruntime"})
STAGES = (
    "load", "mel", "encode", "cross", "first_token", "prompt", "decode", "sample", "beam5",
    "window", "window_beam5", "batch8", "total", "rss_mb",
)  # fmt: skip
