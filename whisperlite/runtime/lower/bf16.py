"""Whether many rows meet bf16 weights as dot products of bf16, or with the weights widened to float32.

In: the CPU, ``WHISPERLITE_BF16``. Out: yes, no, or not measured yet.
Knows nothing of: plans, how a measurement is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whisperlite import knobs
from whisperlite.errors import OptionError
from whisperlite.kernels import cpu, matmul, matmul_bf16
from whisperlite.runtime.choices import fastest, remembered
from whisperlite.runtime.panels import PANEL, aligned

# A part of a projection of tiny: both kernels reach their speed, and take less than a millisecond.
MEASURED_ROWS, MEASURED_IN, MEASURED_OUT = 96, 384, 384


NAMES = ("widen", "dot")


def takes_dot_products(measure: bool = True) -> bool | None:
    """Whether the rows are rounded to bf16 as well; None where that is to be measured, and ``measure`` is False.

    Raises
    ------
    OptionError
        ``WHISPERLITE_BF16=dot`` on a CPU that has no such instruction.
    """
    wanted = knobs.BF16.get()
    if wanted == "dot" and not cpu.has_bf16_dot():
        raise OptionError(f"{knobs.BF16.name}=dot: this CPU has no AVX-512 BF16; give widen or auto")
    if wanted != "auto" or not cpu.has_bf16_dot():
        return wanted == "dot"
    choice = fastest("bf16", NAMES, _candidates) if measure else remembered("bf16", NAMES)
    return None if choice is None else choice == "dot"


def _candidates() -> dict[str, Callable[[], None]]:
    """Both kernels on one product, on the calling thread."""
    a, c = aligned((MEASURED_ROWS, MEASURED_IN + 16)), aligned((MEASURED_ROWS, MEASURED_OUT + 16))
    panels = aligned((MEASURED_OUT // PANEL, MEASURED_IN // 2, PANEL), np.uint32)
    scratch = aligned((matmul_bf16.dot_scratch_bytes(MEASURED_IN, 1, 1),), np.uint8)
    a[...], panels[...] = 1, 0x3F803F80  # ones: numbers of ordinary size

    def shared() -> dict[str, int]:
        return {
            "a": a.ctypes.data, "a_batch": 0, "n_batch": 1, "n_rows": MEASURED_ROWS, "taps": 1, "n_in": MEASURED_IN,
            "panels": panels.ctypes.data, "n_panels": len(panels), "c": c.ctypes.data, "c_batch": 0,
            "ldc": c.strides[0], "bias": 0, "residual": 0, "residual_batch": 0, "ldr": 0, "activation": 0,
        }  # fmt: skip

    def widen() -> None:
        matmul.matmul_bf16(**shared(), lda=a.strides[0], tap_stride=0)

    def dot() -> None:
        matmul_bf16.matmul_bf16_dot(
            **shared(), ldf=a.strides[0], stride=1, item_rows=matmul_bf16.dot_rows(MEASURED_IN, 1),
            pitch=matmul_bf16.dot_pitch(MEASURED_IN), scratch=scratch.ctypes.data, scratch_bytes=scratch.nbytes,
        )  # fmt: skip

    return {"widen": widen, "dot": dot}
