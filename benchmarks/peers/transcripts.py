"""Transcripts of files by one engine, for ``accuracy`` and ``choose``; run in the engine's own environment.

In: a JSON request on stdin. Out: JSON on stdout. Knows nothing of: references, other engines' files.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.worker import peak_rss_mb

Words = list[tuple[str, float, float]]


def by_whisperlite(request: dict[str, Any]):
    from whisperlite import WhisperModel

    model = WhisperModel(request["model"], compute_type=request["compute_type"], threads=request["threads"])

    def transcribe(path: str, language: str | None) -> tuple[str, Words]:
        result = model.transcribe(
            path, language=language, word_timestamps=request["times"], beam_size=request["beam_size"]
        )
        segments = [segment for window in result.iter_windows() for segment in window.segments]
        words = [(word.word, word.start, word.end) for segment in segments for word in segment.words or ()]
        return "".join(segment.text for segment in segments), words

    return transcribe


def by_openai(request: dict[str, Any]):
    import torch
    from whisper.model import ModelDimensions, Whisper

    from benchmarks.peers.names import openai_weights

    folder = Path(request["model"])
    config = json.loads((folder / "config.json").read_text())
    heads = json.loads((folder / "generation_config.json").read_text()).get("alignment_heads")
    torch.set_num_threads(request["threads"])
    names = ("num_mel_bins", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers",
             "vocab_size", "max_target_positions", "d_model", "decoder_attention_heads",
             "decoder_layers")  # fmt: skip
    model = Whisper(ModelDimensions(*(config[name] for name in names))).eval()
    weights = {name: torch.from_numpy(value) for name, value in openai_weights(folder).items()}
    model.load_state_dict(weights, strict=False)
    if heads:
        mask = torch.zeros(config["decoder_layers"], config["decoder_attention_heads"], dtype=torch.bool)
        for layer, head in heads:
            mask[layer, head] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)

    def transcribe(path: str, language: str | None) -> tuple[str, Words]:
        result = model.transcribe(
            _samples(path), language=language, word_timestamps=request["times"], beam_size=request["beam_size"],
            fp16=False,
        )  # fmt: skip
        words = [word for segment in result["segments"] for word in segment.get("words", ())]
        return result["text"], [(word["word"], float(word["start"]), float(word["end"])) for word in words]

    return transcribe


def by_faster_whisper(request: dict[str, Any]):
    from faster_whisper import WhisperModel

    folder = Path(request["model"]) / "converted" / "ctranslate2"
    model = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=request["threads"])

    def transcribe(path: str, language: str | None) -> tuple[str, Words]:
        segments, _ = model.transcribe(
            path, language=language, word_timestamps=request["times"], beam_size=request["beam_size"] or 1
        )
        found = list(segments)
        words = [(word.word, word.start, word.end) for segment in found for word in segment.words or ()]
        return "".join(segment.text for segment in found), words

    return transcribe


def _samples(path: str) -> Any:
    """Mono at 16 kHz without ffmpeg, where the file has that rate already or whisperlite can be imported."""
    try:
        from whisperlite import load_audio

        return load_audio(path)
    except ImportError:
        import soundfile

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != 16000:
            raise ValueError(f"{path}: {rate} Hz; this environment reads 16000 Hz only") from None
        return samples.mean(axis=1)


ENGINES = {"whisperlite": by_whisperlite, "openai-whisper": by_openai, "faster-whisper": by_faster_whisper}


def main() -> None:
    request = json.load(sys.stdin)
    transcribe = ENGINES[request["engine"]](request)
    answer = {}
    for name, (path, language) in request["files"].items():
        for _ in range(request.get("warm", 0)):
            transcribe(path, language)
        started = time.perf_counter()
        text, words = transcribe(path, language)
        seconds = time.perf_counter() - started
        answer[name] = {"text": text, "words": words, "seconds": seconds, "rss_mb": peak_rss_mb()}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
