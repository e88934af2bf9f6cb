"""Block formats of quantised weights, byte for byte ggml's.

In: float32 rows. Out: bytes, and back.
Knows nothing of: tensors' names, model files, kernels.
"""

from whisperlite.quant.codec import dequantize, quantize
from whisperlite.quant.codes import SHAPES as CODE_SHAPES
from whisperlite.quant.codes import Codes, codes_of
from whisperlite.quant.formats import BY_FTYPE, BY_GGML_TYPE, FORMATS, QUANTIZED, Format, format_of

__all__ = [
    "BY_FTYPE",
    "BY_GGML_TYPE",
    "CODE_SHAPES",
    "FORMATS",
    "QUANTIZED",
    "Codes",
    "Format",
    "codes_of",
    "dequantize",
    "format_of",
    "quantize",
]
