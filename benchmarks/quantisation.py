"""Quantised models: time, memory and words wrong by type; what k-quants lose; a true-size model beside whisper.cpp.

In: recordings with reference texts, an interpreter that has pywhispercpp and ctranslate2 with transformers.
Out: ``docs/quantisation.md``. Knows nothing of: how blocks are stored or computed with.

    python -m benchmarks.quantisation --peer /path/to/python --out docs/quantisation.md

Every row is a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS = ROOT.parent / "shared" / "audio"
CT2_TYPES = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16")
LOSS_SIZE, LOSS_TOKENS = "base", 64
SIZE, KIND, N_STEPS = "small", "q5_0", 220
PEAK_FACTOR, INTERPRETER_MB, LOAD_SECONDS = 1.25, 120, 1.0
FEATURES = ("sse3", "avx", "f16c", "avx2", "fma", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "avx512_fp16",
            "amx_int8", "amx_bf16", "neon", "asimd", "asimddp", "i8mm")  # fmt: skip


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation; a CJK character is a word."""
    return re.findall(r"[぀-ヿ㐀-鿿]|[^\W_]+(?:'[^\W_]+)*", text.lower())


def word_errors(reference: Sequence[str], found: Sequence[str]) -> int:
    """Fewest words put in, left out or changed."""
    row = list(range(len(found) + 1))
    for i, wanted in enumerate(reference, start=1):
        before, row[0] = row[0], i
        for j, got in enumerate(found, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (wanted != got))
    return row[-1]


def peak_mb() -> float:
    """Most memory that this program has held, in 10^6 bytes."""
    import resource

    try:  # what getrusage tells survives exec: a worker would inherit its parent's peak
        return int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6
    except (OSError, IndexError):
        pass

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


# Workers: each is called by name in a new process and answers in JSON.


def transcribe_recordings(model: str, compute_type: str) -> dict[str, Any]:
    """Transcribe every recording that has a reference."""
    import time

    from whisperlite import WhisperModel

    references = json.loads((RECORDINGS / "refs.json").read_text())
    whisper = WhisperModel(model, compute_type=compute_type)
    options = {"temperature": 0.0, "condition_on_previous_text": False}
    texts, seconds = {}, 0.0
    warm = next(iter(references))
    whisper.transcribe(RECORDINGS / f"{warm}.flac", **options).text  # noqa: B018
    for name, reference in references.items():
        if "segments" not in reference:  # two speakers at once
            continue
        started = time.perf_counter()
        texts[name] = whisper.transcribe(
            RECORDINGS / f"{name}.flac", language=reference.get("language"), **options
        ).text
        seconds += time.perf_counter() - started
    return {"texts": texts, "seconds": seconds, "peak_mb": peak_mb(), "weights_mb": whisper._model.n_bytes / 1e6}


def load_and_decode(model: str, compute_type: str) -> dict[str, Any]:
    """Load a model, encode one window, and decode as many tokens as whisper.cpp lets a window have."""
    import time

    from whisperlite.checkpoint import open_checkpoint
    from whisperlite.kernels.packing_blocks import pack_blocks32
    from whisperlite.model import Whisper

    pack_blocks32.address()  # Numba itself, once a process
    started, cpu = time.perf_counter(), time.process_time()
    whisper = Whisper(open_checkpoint(model), compute_type=compute_type)
    load, load_cpu = time.perf_counter() - started, time.process_time() - cpu
    mel = np.random.default_rng(0).standard_normal((1, whisper.dims.n_mels, 3000)).astype(np.float32)
    started = time.perf_counter()
    cross, cache = whisper.cross_kv(whisper.encode(mel)), whisper.new_cache(1)
    encode = time.perf_counter() - started
    logits = whisper.prefill([[50258, 50259, 50359]], cache, cross)[:, 0]
    started = time.perf_counter()
    for _ in range(N_STEPS):
        logits = whisper.step(logits.argmax(-1), cache, cross, copy=False)
    return {
        "load": load, "load_cpu": load_cpu, "total": encode + time.perf_counter() - started, "peak_mb": peak_mb(),
        "weights_mb": whisper.n_bytes / 1e6,
    }  # fmt: skip


def whisper_cpp(model: str, compute_type: str) -> dict[str, Any]:
    """The same window and number of tokens through pywhispercpp."""
    import time

    from pywhispercpp.model import Model

    started, cpu = time.perf_counter(), time.process_time()
    whisper = Model(
        model, n_threads=2, print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None
    )
    load, load_cpu = time.perf_counter() - started, time.process_time() - cpu
    audio = (0.1 * np.random.default_rng(0).standard_normal(480000)).astype(np.float32)
    started = time.perf_counter()
    whisper.transcribe(
        audio, language="en", temperature_inc=0.0, max_tokens=N_STEPS, single_segment=True, greedy={"best_of": 1}
    )
    return {"load": load, "load_cpu": load_cpu, "total": time.perf_counter() - started, "peak_mb": peak_mb()}


def write_ctranslate2(model: str, kinds: str) -> dict[str, Any]:
    """Convert an HF folder with CTranslate2's own converter; the targets, one for each type, are beside it."""
    import contextlib

    from ctranslate2.converters import TransformersConverter

    found = {}
    for kind in kinds.split(","):
        found[kind] = str(Path(model).with_name(f"ct2-{kind}"))
        with contextlib.redirect_stdout(sys.stderr):
            TransformersConverter(model).convert(found[kind], quantization=kind, force=True)
    return found


def write_pt(model: str, kind: str) -> dict[str, Any]:
    """Write an HF folder as openai-whisper's checkpoint, with torch."""
    import torch

    from benchmarks.peers.names import openai_weights

    config = json.loads((Path(model) / "config.json").read_text())
    dims = {
        "n_mels": config["num_mel_bins"], "n_audio_ctx": config["max_source_positions"],
        "n_audio_state": config["d_model"], "n_audio_head": config["encoder_attention_heads"],
        "n_audio_layer": config["encoder_layers"], "n_vocab": config["vocab_size"],
        "n_text_ctx": config["max_target_positions"], "n_text_state": config["d_model"],
        "n_text_head": config["decoder_attention_heads"], "n_text_layer": config["decoder_layers"],
    }  # fmt: skip
    state = {name: torch.from_numpy(value.astype(kind)) for name, value in openai_weights(Path(model)).items()}
    target = Path(model).with_name(f"model-{kind}.pt")
    torch.save({"dims": dims, "model_state_dict": state}, target)
    return {"path": str(target)}


WORKERS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "ctranslate2": write_ctranslate2,
    "pt": write_pt,
    "transcribe": transcribe_recordings,
    "ours": load_and_decode,
    "whisper.cpp": whisper_cpp,
}


def ask(
    worker: str, model: Path | str, compute_type: str = "default", python: str = sys.executable
) -> dict[str, Any]:
    """What a worker answers."""
    command = [python, "-m", "benchmarks.quantisation", "--worker", worker, str(model), compute_type]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{worker} {model}: {done.stderr.strip()[-400:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


# The report.


def machine() -> str:
    """CPU, its instruction sets that matter here, and the threads used."""
    try:
        info = dict(
            (part.strip() for part in line.split(":", 1))
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
    except OSError:
        info = {}
    has = set((info.get("flags") or info.get("Features") or "").split())
    sets = ", ".join(name for name in FEATURES if name in has)
    import os

    load = f"; load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{info.get('model name', platform.machine())}, {os.cpu_count()} CPUs; {sets or 'features unknown'}{load}"
    )


def types_table(folder: Path, peer: str | None, rows: str) -> list[str]:
    """Rows of nano: the first, which the others are compared with, and those whose name the pattern fits."""
    from whisperlite.checkpoint import resolve
    from whisperlite.checkpoint.convert import convert
    from whisperlite.conversion import companions
    from whisperlite.errors import WhisperliteError
    from whisperlite.quant import FORMATS

    source = resolve("nano")
    models: list[tuple[str, Path, str]] = [("HF, float32", source, "float32")]
    models += [(f"HF, {kind}", source, kind) for kind in ("default", "bfloat16", "int8")]
    for kind in FORMATS:
        path = folder / f"ggml-nano-{kind}.bin"
        try:
            models.append((f"ggml {kind}", convert(source, path, "ggml", kind, companions), "default"))
        except WhisperliteError as error:  # rows too short for its blocks
            print(f"{kind}: {error}", file=sys.stderr)
    models.append(("ggml q8_0, float32", folder / "ggml-nano-q8_0.bin", "float32"))
    copied = Path(shutil.copytree(source, folder / "nano"))
    pt = [kind for kind in ("float32", "float16") if re.search(rows, f".pt {kind}")]
    ct2 = [kind for kind in CT2_TYPES if re.search(rows, f"CTranslate2 {kind}")]
    if peer and pt:
        models += [(f".pt {kind}", Path(ask("pt", copied, kind, peer)["path"]), "default") for kind in pt]
    if peer and ct2:
        made = ask("ctranslate2", copied, ",".join(ct2), peer)
        models += [(f"CTranslate2 {kind}", Path(made[kind]), "default") for kind in ct2]
    references = json.loads((RECORDINGS / "refs.json").read_text())
    wanted = {
        name: words_of(" ".join(segment["text"] for segment in reference["segments"]))
        for name, reference in references.items()
        if "segments" in reference
    }
    n_words = sum(map(len, wanted.values()))
    lines = [
        f"| nano as | file MB | weights MB | peak RSS MB | seconds | word errors of {n_words} | texts as float32 |",
        "|---|---|---|---|---|---|---|",
    ]
    exact: dict[str, str] = {}
    for label, path, compute_type in models[:1] + [model for model in models[1:] if re.search(rows, model[0])]:
        answer = ask("transcribe", path, compute_type)
        texts = answer["texts"]
        exact = exact or texts
        wrong = sum(word_errors(wanted[name], words_of(text)) for name, text in texts.items())
        same = sum(text == exact[name] for name, text in texts.items())
        files = [path] if path.is_file() else [*path.glob("*.safetensors"), *path.glob("model.bin")]
        size = sum(file.stat().st_size for file in files) / 1e6
        lines.append(
            f"| {label} | {size:.1f} | {answer['weights_mb']:.1f} | {answer['peak_mb']:.0f} | "
            f"{answer['seconds']:.2f} | {wrong} ({100 * wrong / n_words:.1f} %) | {same} of {len(texts)} |"
        )
        print(lines[-1], file=sys.stderr)
    return lines


def compute_outputs(model: Path, compute_type: str) -> tuple[float, dict[str, np.ndarray]]:
    """Megabytes of packed weights; encoder output and logits of the demo recording."""
    from whisperlite import demo_audio
    from whisperlite.audio import load_audio, log_mel_spectrogram
    from whisperlite.checkpoint import open_checkpoint
    from whisperlite.model import Whisper

    whisper = Whisper(open_checkpoint(model), compute_type=compute_type)
    mel = log_mel_spectrogram(load_audio(demo_audio()), whisper.dims.n_mels, padding=480000)[None, :, :3000]
    features = whisper.encode(mel)
    tokens = [50258, 50259, 50359, 50363, *range(1000, 1000 + LOSS_TOKENS - 4)]
    logits = whisper.prefill(
        [tokens], whisper.new_cache(1), whisper.cross_kv(features), logits_at=tuple(range(LOSS_TOKENS))
    )
    return whisper.n_bytes / 1e6, {"features": features.copy(), "logits": logits.copy()}


def loss_table(folder: Path, rows: str) -> list[str]:
    """Rows by type, of a random model of true size: how far its numbers are from float32's.

    Raises
    ------
    ValueError
        A type gives numbers that are none.
    """
    from benchmarks.random_models import cached_random_model
    from whisperlite.checkpoint.convert import convert
    from whisperlite.conversion import companions
    from whisperlite.quant import FORMATS

    lines = [
        f"| {LOSS_SIZE} as | file MB | weights MB | relative error: encoder | logits | same token |",
        "|---|---|---|---|---|---|",
    ]
    source = cached_random_model(LOSS_SIZE)
    exact: dict[str, np.ndarray] = {}
    plain = convert(source, folder / f"ggml-{LOSS_SIZE}-f32.bin", "ggml", "f32", companions)
    runs = [
        ("f32", "float32"),
        ("f32", "bfloat16"),
        ("f32", "int8"),
        *((kind, "default") for kind in list(FORMATS)[1:]),
    ]
    for kind, compute_type in runs:
        label = f"ggml {kind}" + (f", {compute_type}" if compute_type != "default" else "")
        if exact and not re.search(rows, label):
            continue
        path = folder / f"ggml-{LOSS_SIZE}-{kind}.bin"
        if path != plain:
            convert(source, path, "ggml", kind, companions)
        weights_mb, outputs = compute_outputs(path, compute_type)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise ValueError(f"{label}: not every output is a finite number")
        exact = exact or outputs
        errors = [np.linalg.norm(outputs[name] - exact[name]) / np.linalg.norm(exact[name]) for name in outputs]
        same = np.mean(outputs["logits"].argmax(-1) == exact["logits"].argmax(-1))
        lines.append(
            f"| {label} | {path.stat().st_size / 1e6:.0f} | {weights_mb:.0f} | {errors[0]:.2g} | "
            f"{errors[1]:.2g} | {100 * same:.0f} % |"
        )
        print(lines[-1], file=sys.stderr)
        if path != plain:
            path.unlink()
    return lines


def size_table(folder: Path, peer: str | None) -> list[str]:
    """A random model of true size, here and in whisper.cpp."""
    from benchmarks.random_models import cached_random_model
    from whisperlite.checkpoint.convert import convert
    from whisperlite.conversion import companions

    path = convert(cached_random_model(SIZE), folder / f"ggml-{SIZE}-{KIND}.bin", "ggml", KIND, companions)
    ask("ours", path)  # compiles kernels
    ours = min((ask("ours", path) for _ in range(3)), key=lambda answer: answer["load"])
    file_mb = path.stat().st_size / 1e6
    lines = [
        f"| {SIZE} {KIND}, {file_mb:.0f} MB | load s | of it CPU s | window and tokens s | peak RSS MB |",
        "|---|---|---|---|---|",
        f"| whisperlite | {_timings(ours)} |",
    ]
    if peer:
        theirs = ask("whisper.cpp", path, python=peer)
        lines.append(f"| whisper.cpp | {_timings(theirs)} |")
        limit = PEAK_FACTOR * theirs["peak_mb"] + INTERPRETER_MB
        lines += [
            "",
            f"Limit of the peak: {PEAK_FACTOR} x {theirs['peak_mb']:.0f} + {INTERPRETER_MB} = {limit:.0f} MB: "
            f"{'held' if ours['peak_mb'] <= limit else 'MISSED'}. Limit of the load: {LOAD_SECONDS:g} s: "
            f"{'held' if ours['load'] <= LOAD_SECONDS else 'MISSED'}. Packed weights: {ours['weights_mb']:.0f} MB.",
        ]
    print("\n".join(lines), file=sys.stderr)
    return lines


def _timings(answer: dict[str, Any]) -> str:
    return " | ".join(
        (*(f"{answer[name]:.2f}" for name in ("load", "load_cpu", "total")), f"{answer['peak_mb']:.0f}")
    )


HEAD = """\
# Quantised models

Quantised weights stay in their blocks: a model takes about the memory of its file, and a decode step reads 4, 5 or
8 bits a weight. `whisperlite quantize SOURCE TARGET --type q5_0` makes one; its blocks are byte for byte ggml's.

Written by `python -m benchmarks.quantisation`. Machine: {machine}.
"""

TYPES = """\
## By type

All recordings of the test set that have a reference, greedily at temperature 0, after one to warm up; each row in a
process of its own. Peak RSS holds the interpreter and the audio too; Numba and LLVM are loaded only where a kernel
has to be compiled. nano is tiny, so it shows what a type costs in words rather than in memory. CTranslate2's
folders are written by its own converter, `.pt` files by torch.

{table}
"""

LOSSES = """\
## k-quants

Blocks of q2_k .. q6_k hold 256 columns of one row. Rows of nano have 128 and those of tiny 384, so neither can be
written in them; base (512), small (768), medium (1024) and large (1280) can. `whisperlite quantize` refuses such
a model with the reason. whisper.cpp's `quantize` does not: it writes blocks that run on over the ends of rows and
says nothing, and whisper.cpp then stops at an assertion when it loads that file (seen with its `whisper-cli`,
built for release). whisperlite names the tensor and says what to do when it is given such a file.

What a type loses is therefore shown on random weights of the size of `{loss_size}`: the encoder's output on the
demo recording, and the logits of {loss_tokens} given tokens on top of that, against float32: the norm of the
difference over the norm. Last, how often the most probable token is the same. Random weights say nothing of
words; a trained model's logits are further apart, and change their order less.

{table}
"""

SIZES = """\
## Against whisper.cpp, at true size

One window of 30 s and {n_steps} tokens after it, random weights of the size of `{size}`; each engine in a process
of its own, one after the other. Load is from the file to a model that is ready; ours is the best of three.

{table}
"""
PARTS = {"types": TYPES, "losses": LOSSES, "sizes": SIZES}
FIGURES = {"n_steps": N_STEPS, "size": SIZE, "loss_size": LOSS_SIZE, "loss_tokens": LOSS_TOKENS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worker", nargs=3, metavar=("NAME", "MODEL", "TYPE"), help=argparse.SUPPRESS)
    parser.add_argument("--peer", help="interpreter that has pywhispercpp")
    parser.add_argument("--out", type=Path, help="file to write; standard output when not given")
    parser.add_argument("--parts", default=",".join(PARTS), help="sections to measure; default %(default)s")
    parser.add_argument("--rows", default="", metavar="REGEX", help="rows of the tables by type; default all")
    arguments = parser.parse_args()
    if arguments.worker:
        name, model, compute_type = arguments.worker
        print(json.dumps(WORKERS[name](model, compute_type)))
        return
    parts = arguments.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts {min(unknown)}: give some of {', '.join(PARTS)}")
    texts = [HEAD.format(machine=machine())]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {
            "types": lambda: types_table(folder, arguments.peer, arguments.rows),
            "losses": lambda: loss_table(folder, arguments.rows),
            "sizes": lambda: size_table(folder, arguments.peer),
        }
        for part in parts:
            texts.append(PARTS[part].format(table="\n".join(tables[part]()), **FIGURES))
    text = "\n".join(texts)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
