"""ONNX Runtime: the encoder in float32, or with weights and activations quantised dynamically to int8.

In: an HF folder. Out: times. Knows nothing of: other engines.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmarks.peers.engine import Engine, Job
from benchmarks.peers.onnx_export import export_onnx


class OnnxEncoder(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(file_of(job)), options, ["CPUExecutionProvider"])

    @classmethod
    def prepare(cls, job: Job) -> None:
        path = export_onnx(job)
        target = file_of(job)
        if not target.is_file():
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                str(path),
                str(target),
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul"],
            )

    def encode(self) -> None:
        self.session.run(None, {"mel": self.mel_frames})


def file_of(job: Job) -> Path:
    return job.cache / "onnx" / ("encoder.onnx" if job.compute_type == "float32" else "encoder_int8.onnx")


ENGINE = OnnxEncoder
