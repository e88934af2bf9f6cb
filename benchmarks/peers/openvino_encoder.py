"""OpenVINO: the encoder in float32, bfloat16, or quantised to int8 by NNCF.

In: an HF folder. Out: times. Knows nothing of: other engines.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from benchmarks.peers.engine import Engine, Job, LeftOut
from benchmarks.peers.onnx_export import torch_encoder

CALIBRATION_WINDOWS = 8


class OpenVinoEncoder(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        core = ov.Core()
        precision = "bf16" if job.compute_type == "bfloat16" else "f32"
        settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(str(file_of(job)), "CPU", settings)
        self.request = compiled.create_infer_request()

    @classmethod
    def prepare(cls, job: Job) -> None:
        target = file_of(job)
        if target.is_file():
            return
        plain = target.with_name("encoder.xml")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not plain.is_file():
            shape = (1, int(job.config["num_mel_bins"]), 3000)
            model = ov.convert_model(torch_encoder(job), example_input=np.zeros(shape, np.float32), input=[shape])
            ov.save_model(model, str(plain), compress_to_fp16=False)
        if target != plain:
            _quantise(job, plain, target)

    def encode(self) -> None:
        self.request.infer([self.mel_frames])


def _quantise(job: Job, plain: Path, target: Path) -> None:
    try:
        import nncf
    except ImportError as error:
        raise LeftOut(f"int8 needs nncf: {error}") from None
    rng = np.random.default_rng(3)
    shape = (1, int(job.config["num_mel_bins"]), 3000)
    windows = [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(CALIBRATION_WINDOWS)]
    quantised = nncf.quantize(
        ov.Core().read_model(str(plain)), nncf.Dataset(windows), model_type=nncf.ModelType.TRANSFORMER,
        subset_size=CALIBRATION_WINDOWS,
    )  # fmt: skip
    ov.save_model(quantised, str(target), compress_to_fp16=False)


def file_of(job: Job) -> Path:
    return job.cache / "openvino" / ("encoder_int8.xml" if job.compute_type == "int8" else "encoder.xml")


ENGINE = OpenVinoEncoder
