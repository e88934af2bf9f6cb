"""Silero VAD against onnxruntime, with the weights of the models that faster-whisper and silero-vad bundle."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from test_vad_silero import file_bytes

from whisperlite.audio import load_audio
from whisperlite.audio.vad import SileroDetector, VadOptions, speech_spans

pytestmark = pytest.mark.peer
AUDIO = ("jfk", "long_mixed", "speech_silence_speech", "digits_human_a", "noise_20s")


def bundled(package: str, inside: str) -> Path:
    spec = find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]) / inside


def initializers(path: Path) -> dict[str, np.ndarray]:
    onnx = pytest.importorskip("onnx")
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def faster_whisper_weights(path: Path) -> dict[str, np.ndarray]:
    """By the names of whisper.cpp's file."""
    found = initializers(path)

    def gates(values: np.ndarray) -> np.ndarray:
        i, o, f, c = np.split(values, 4)  # ONNX's order
        return np.concatenate([i, f, c, o])

    tensors = {"_model.stft.forward_basis_buffer": found["encoder.feature_extractor.forward_basis_buffer"]}
    for i in range(4):
        for part in ("weight", "bias"):
            tensors[f"_model.encoder.{i}.reparam_conv.{part}"] = found[f"encoder.conv_layers.{i}.{part}"]
    weight_ih, weight_hh = (values[0] for values in found.values() if values.shape == (1, 512, 128))
    [bias] = [values[0] for values in found.values() if values.shape == (1, 1024)]
    tensors["_model.decoder.rnn.weight_ih"] = gates(weight_ih)
    tensors["_model.decoder.rnn.weight_hh"] = gates(weight_hh)
    tensors["_model.decoder.rnn.bias_ih"] = gates(bias[:512])
    tensors["_model.decoder.rnn.bias_hh"] = gates(bias[512:])
    tensors["_model.decoder.decoder.2.weight"] = found["decoder.conv1d.weight"].reshape(128)
    tensors["_model.decoder.decoder.2.bias"] = found["decoder.conv1d.bias"]
    return tensors


def silero_vad_weights(path: Path) -> dict[str, np.ndarray]:
    tensors = {f"_{name}": values for name, values in initializers(path).items()}
    tensors["_model.decoder.decoder.2.weight"] = tensors["_model.decoder.decoder.2.weight"].reshape(128)
    return tensors


@pytest.fixture(scope="module")
def faster_whisper_file(tmp_path_factory) -> Path:
    """The bundled model's float32 weights as whisper.cpp's file."""
    path = tmp_path_factory.mktemp("vad") / "faster_whisper.bin"
    path.write_bytes(file_bytes(faster_whisper_weights(bundled("faster_whisper", "assets/silero_vad_v6.onnx"))))
    return path


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_faster_whisper_s_bundled_model(faster_whisper_file, audio_file, backend):
    pytest.importorskip("onnxruntime")
    vad = pytest.importorskip("faster_whisper.vad")
    detector = SileroDetector(faster_whisper_file, backend=backend)
    for name in AUDIO:
        audio = load_audio(audio_file(name))
        expected = vad.get_vad_model()(np.pad(audio, (0, 512 - len(audio) % 512)))
        found = detector.probabilities(audio)
        np.testing.assert_allclose(found, expected[: len(found)], atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"min_silence_duration_ms": 100, "max_speech_duration_s": 5}])
def test_faster_whisper_s_timestamps(faster_whisper_file, audio_file, settings):
    pytest.importorskip("onnxruntime")
    vad = pytest.importorskip("faster_whisper.vad")
    detector = SileroDetector(faster_whisper_file)
    for name in AUDIO:
        audio = load_audio(audio_file(name))
        expected = vad.get_speech_timestamps(audio, vad.VadOptions(**settings))
        found = speech_spans(detector.probabilities(audio), len(audio), VadOptions(**settings))
        assert found == [(span["start"], span["end"]) for span in expected]


def test_silero_vad_s_own_model(tmp_path, audio_file, shared):
    """Version 6.2: with its float32 weights, and with whisper.cpp's file, whose weights are rounded to float16."""
    ort = pytest.importorskip("onnxruntime")
    onnx_path = bundled("silero_vad", "data/silero_vad_16k_op15.onnx")
    session = ort.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    (tmp_path / "exact.bin").write_bytes(file_bytes(silero_vad_weights(onnx_path)))
    exact = SileroDetector(tmp_path / "exact.bin")
    rounded = SileroDetector(shared / "vad" / "silero-v6.2.0-ggml.bin")
    for name in AUDIO:
        audio = load_audio(audio_file(name))
        windows = np.pad(audio, (0, -len(audio) % 512)).reshape(-1, 1, 512)
        state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
        for window in windows:
            x = np.concatenate([context, window], axis=1)
            speech, state = session.run(None, {"input": x, "state": state, "sr": np.array(16000, np.int64)})
            context = x[:, -64:]
            expected.append(speech[0, 0])
        np.testing.assert_allclose(exact.probabilities(audio), expected, atol=1e-4)
        np.testing.assert_allclose(rounded.probabilities(audio), expected, atol=0.02)
