"""OpenVINO GenAI's Whisper pipeline, on a model that optimum-intel exported.

In: an HF folder with its tokenizer. Out: times. Knows nothing of: other engines.

The export needs optimum-intel, which pins its own torch and transformers: give this engine an interpreter whose
environment has both (``--python openvino-genai=PATH``), or export once there; the files are kept with the model.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import openvino_genai

from benchmarks.peers.engine import BEAM_SIZE, Engine, Job, LeftOut, clock


class GenAI(Engine):
    def __init__(self, job: Job):
        super().__init__(job)
        settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if job.compute_type == "bfloat16" else "f32",
        }
        self.pipeline = openvino_genai.WhisperPipeline(str(folder_of(job)), "CPU", **settings)

    @classmethod
    def prepare(cls, job: Job) -> None:
        target = folder_of(job)
        if (target / "openvino_encoder_model.xml").is_file():
            return
        program = Path(sys.executable).with_name("optimum-cli")
        if not program.is_file():
            raise LeftOut("the model is not exported, and optimum-intel is not installed here")
        weights = "int8" if job.compute_type == "int8" else "fp32"
        command = [str(program), "export", "openvino", "--model", str(job.model), "--weight-format", weights]
        done = subprocess.run(
            [*command, "--task", "automatic-speech-recognition-with-past", str(target)],
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(target, ignore_errors=True)
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise LeftOut(f"optimum-cli: {lines[-1] if lines else done.returncode}")

    def decode(self) -> float:
        one = clock(lambda: self._generate(1, 1))
        return clock(lambda: self._generate(1 + self.job.n_steps, 1)) - one

    def beam5(self) -> float:
        one = clock(lambda: self._generate(1, BEAM_SIZE))
        return clock(lambda: self._generate(1 + self.job.n_steps, BEAM_SIZE)) - one

    def window(self) -> None:
        self._generate(self.job.n_tokens, 1)

    def window_beam5(self) -> None:
        self._generate(self.job.n_tokens, BEAM_SIZE)

    def _generate(self, n_tokens: int, beam_size: int) -> None:
        config = self.pipeline.get_generation_config()
        config.max_new_tokens = n_tokens
        config.min_new_tokens = n_tokens
        config.ignore_eos = True
        config.language, config.task, config.return_timestamps = "<|en|>", "transcribe", False
        config.num_beams = beam_size
        self.pipeline.generate(self.audio, config)


def folder_of(job: Job) -> Path:
    return job.cache / ("genai-int8" if job.compute_type == "int8" else "genai-float32")


ENGINE = GenAI
