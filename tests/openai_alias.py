"""A pytest plugin: ``whisper`` is ``whisperlite.compat.openai``, and ``whisper.normalizers`` the bench extra's."""

from __future__ import annotations

import importlib
import sys

sys.modules["whisper"] = importlib.import_module("whisperlite.compat.openai")
for name in ("audio", "decoding", "model", "timing", "tokenizer", "transcribe", "utils"):
    module = importlib.import_module(f"whisperlite.compat.openai.{name}")
    sys.modules[f"whisper.{name}"] = module
try:
    sys.modules["whisper.normalizers"] = importlib.import_module("benchmarks.normalizers")
    sys.modules["whisper.normalizers.english"] = importlib.import_module("whisper_normalizer.english")
except ImportError:
    pass
