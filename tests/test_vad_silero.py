"""Silero VAD: the file and its refusals, both backends against a float64 oracle, whisper.cpp's own figures."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from whisperlite.audio import load_audio
from whisperlite.audio.vad import SileroDetector, VadOptions, detect_speech, speech_spans
from whisperlite.audio.vad.silero_file import read_silero
from whisperlite.errors import CheckpointError, OptionError

BACKENDS = ("numba", "numpy")
HEADER = (512, 64, 4, 129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3, 128, 128, 128, 1)
SHAPES = {
    "_model.encoder.0.reparam_conv.weight": (128, 129, 3),
    "_model.encoder.0.reparam_conv.bias": (128,),
    "_model.encoder.1.reparam_conv.weight": (64, 128, 3),
    "_model.encoder.1.reparam_conv.bias": (64,),
    "_model.encoder.2.reparam_conv.weight": (64, 64, 3),
    "_model.encoder.2.reparam_conv.bias": (64,),
    "_model.encoder.3.reparam_conv.weight": (128, 64, 3),
    "_model.encoder.3.reparam_conv.bias": (128,),
    "_model.decoder.rnn.weight_ih": (512, 128),
    "_model.decoder.rnn.weight_hh": (512, 128),
    "_model.decoder.rnn.bias_ih": (512,),
    "_model.decoder.rnn.bias_hh": (512,),
    "_model.decoder.decoder.2.weight": (128,),
    "_model.decoder.decoder.2.bias": (),
    "_model.stft.forward_basis_buffer": (258, 1, 256),
}


# --- files, and the oracle: float64, written from the definitions, without whisperlite


def tensor_bytes(name: str, values: np.ndarray, half: bool = False) -> bytes:
    shape = values.shape[::-1]
    head = struct.pack(f"<3i{len(shape)}i", len(shape), len(name), int(half), *shape)
    return head + name.encode() + values.astype("<f2" if half else "<f4").tobytes()


def file_bytes(tensors: dict[str, np.ndarray], header=HEADER, kind=b"silero-16k", halves=()) -> bytes:
    head = struct.pack("<2i", 0x67676D6C, len(kind)) + kind + struct.pack("<3i", 5, 1, 2)
    head += struct.pack(f"<{len(header)}i", *header)
    return head + b"".join(tensor_bytes(name, values, name in halves) for name, values in tensors.items())


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep probabilities away from 0 and 1."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in SHAPES.items():
        n_in = int(np.prod(shape[1:])) or 1
        values = rng.standard_normal(shape) * (1.4 / np.sqrt(n_in) if len(shape) > 1 else 0.1)
        tensors[name] = np.asarray(values, np.float16).astype(np.float32)  # exact in both dtypes
    return tensors


def oracle(tensors: dict[str, np.ndarray], audio: np.ndarray) -> np.ndarray:
    w = {name: values.astype(np.float64) for name, values in tensors.items()}
    n = -(-len(audio) // 512)
    samples = np.concatenate([np.zeros(64), audio.astype(np.float64), np.zeros(n * 512 - len(audio))])
    hidden = cell = np.zeros(128)
    found = []
    for i in range(n):
        x = samples[512 * i : 512 * i + 576]
        x = np.concatenate([x, x[-2:-66:-1]])
        basis = w["_model.stft.forward_basis_buffer"][:, 0]
        parts = np.stack([basis @ x[at : at + 256] for at in (0, 128, 256, 384)])
        y = np.hypot(parts[:, :129], parts[:, 129:])
        for layer, stride in enumerate((1, 2, 2, 1)):
            weight = w[f"_model.encoder.{layer}.reparam_conv.weight"]
            padded = np.pad(y, ((1, 1), (0, 0)))
            rows = [np.einsum("tn,dnt->d", padded[t : t + 3], weight) for t in range(0, len(y), stride)]
            y = np.maximum(np.stack(rows) + w[f"_model.encoder.{layer}.reparam_conv.bias"], 0)
        z = w["_model.decoder.rnn.weight_ih"] @ y[0] + w["_model.decoder.rnn.bias_ih"]
        z = z + w["_model.decoder.rnn.weight_hh"] @ hidden + w["_model.decoder.rnn.bias_hh"]
        i_gate, f_gate, o_gate = (1 / (1 + np.exp(-z[a : a + 128])) for a in (0, 128, 384))
        cell = f_gate * cell + i_gate * np.tanh(z[256:384])
        hidden = o_gate * np.tanh(cell)
        logit = w["_model.decoder.decoder.2.weight"].reshape(-1) @ np.maximum(hidden, 0)
        found.append(1 / (1 + np.exp(-(logit + w["_model.decoder.decoder.2.bias"].reshape(-1)[0]))))
    return np.array(found)


@pytest.fixture(scope="module")
def random_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vad") / "random.bin"
    tensors = random_tensors()
    path.write_bytes(file_bytes(tensors, halves=[name for name in tensors if name.endswith("conv.weight")]))
    return path


@pytest.fixture(scope="module")
def silero_path(shared) -> Path:
    return shared / "vad" / "silero-v6.2.0-ggml.bin"


# --- values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 512, 513, 40000])
def test_random_weights_against_the_oracle(random_file, backend, n):
    audio = np.random.default_rng(n).standard_normal(n).astype(np.float32) * 0.3
    found = SileroDetector(random_file, backend=backend).probabilities(audio)
    assert found.dtype == np.float32 and found.shape == (-(-n // 512),)
    np.testing.assert_allclose(found, oracle(random_tensors(), audio), atol=5e-6)


def test_shadow_execution(random_file, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")
    audio = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    found = SileroDetector(random_file, backend="numba").probabilities(audio)
    np.testing.assert_allclose(found, oracle(random_tensors(), audio), atol=5e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_jfk_has_the_windows_and_segments_of_whisper_cpp(silero_path, shared, backend):
    # ref: whisper.cpp tests/test-vad.cpp: 344 probabilities, 4 segments with its default parameters
    audio = load_audio(shared / "audio" / "jfk.wav")
    detector = SileroDetector(silero_path, backend=backend)
    assert detector.version == (6, 2, 0)
    probabilities = detector.probabilities(audio)
    assert probabilities.shape == (344,)
    tensors = dict(read_silero(silero_path).tensors)
    np.testing.assert_allclose(probabilities, oracle(tensors, audio), atol=1e-5)
    options = VadOptions(min_speech_duration_ms=250, min_silence_duration_ms=100, speech_pad_ms=30)
    spans = speech_spans(probabilities, len(audio), options)
    assert len(spans) == 4
    assert spans == [(5152, 36320), (52256, 71136), (86048, 122848), (130592, 169952)]


def test_noise_and_silence_are_no_speech(silero_path, audio_file):
    for name in ("noise_20s", "silence_12s"):
        assert detect_speech(load_audio(audio_file(name)), model=silero_path) == []


def test_threads_of_the_caller_share_a_detector(random_file):
    detector = SileroDetector(random_file)
    audios = [np.random.default_rng(i).standard_normal(30000).astype(np.float32) for i in range(4)]
    found: dict[int, np.ndarray] = {}

    def work(i):
        found[i] = detector.probabilities(audios[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, audio in enumerate(audios):
        np.testing.assert_array_equal(found[i], detector.probabilities(audio))


# --- the file


def test_a_file_reads_back(random_file):
    file = read_silero(random_file)
    assert file.version == (5, 1, 2) and set(file.tensors) == set(SHAPES)
    for name, values in random_tensors().items():
        np.testing.assert_array_equal(file.tensors[name].reshape(values.shape), values)


def broken(name: str, **changes) -> bytes:
    tensors = random_tensors()
    tensors[name] = changes.get("values", tensors[name])
    return file_bytes(tensors)


GOOD = file_bytes(random_tensors())
FIRST_TENSOR = 4 + 4 + 10 + 12 + 4 * len(HEADER)
BIAS = "_model.encoder.1.reparam_conv.bias"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends inside its magic number: 4 bytes from byte 0, 0 are left"),
        (b"RIFF" + GOOD[4:], "no ggml file: it begins with 0x46464952"),
        (GOOD[:4] + struct.pack("<i", 51865) + GOOD[8:], "a ggml file, but not of Silero VAD"),
        (GOOD[:4] + struct.pack("<i", -1) + GOOD[8:], "a ggml file, but not of Silero VAD"),
        (file_bytes({}, kind=b"silero-8k"), "holds model type 'silero-8k'"),
        (file_bytes({}, header=(512, 32, *HEADER[2:])), r"Silero VAD 5.1.2 has sizes \(512, 32"),
        (GOOD[:60], "ends inside its header"),
        (file_bytes({}), "tensor '_model.stft.forward_basis_buffer' is missing"),
        (GOOD[:-1], "ends inside tensor '_model.stft.forward_basis_buffer'"),
        (GOOD + b"\0", "ends inside a tensor's header"),
        (GOOD + tensor_bytes(BIAS, np.zeros(64)), f"'{BIAS}' is there twice"),
        (GOOD + tensor_bytes("surplus", np.zeros(4)), "'surplus' is not one of Silero VAD"),
        (broken(BIAS, values=np.zeros(65)), rf"'{BIAS}' is \(65,\); the header says \(64,\)"),
        (broken(BIAS, values=np.full(64, np.nan)), f"'{BIAS}' holds NaN"),
        (GOOD[:FIRST_TENSOR] + struct.pack("<i", 5) + GOOD[FIRST_TENSOR + 4 :], "a tensor of 5 axes"),
        (GOOD[:FIRST_TENSOR] + struct.pack("<i", -1) + GOOD[FIRST_TENSOR + 4 :], "a tensor of -1 axes"),
        (
            GOOD[: FIRST_TENSOR + 4] + struct.pack("<i", 1 << 30) + GOOD[FIRST_TENSOR + 8 :],
            "a tensor's name of 1073741824 bytes",
        ),
        (GOOD[: FIRST_TENSOR + 8] + struct.pack("<i", 8) + GOOD[FIRST_TENSOR + 12 :], "has dtype 8"),
        (bytes(1 << 24) + b"0", "is larger than 16777216 bytes"),
    ],
)
def test_refuses(tmp_path, data, message):
    path = tmp_path / "vad.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        SileroDetector(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_cut_is_refused(tmp_path):
    path = tmp_path / "vad.bin"
    for n in (*range(200), *range(200, len(GOOD), 20011)):
        path.write_bytes(GOOD[:n])
        with pytest.raises(CheckpointError):
            read_silero(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.bin", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read as a Silero VAD model"):
            SileroDetector(path)


def test_wrong_backend_and_threads(random_file):
    with pytest.raises(OptionError, match="backend='cuda'"):
        SileroDetector(random_file, backend="cuda")
    with pytest.raises(OptionError, match="threads=0"):
        SileroDetector(random_file, threads=0)
