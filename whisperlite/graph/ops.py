"""The op table: what each op takes, what it gives, and whether it copies.

In: nothing. Out: `OPS`, one entry per op; `LEAVES`.
Knows nothing of: nodes, storage, kernels. `infer` reads the table.

A pattern is a shape written in letters, one word per axis. A letter gets its size at the first axis that uses it
and must agree afterwards; ``..`` stands for any leading axes, ``*`` for a shape that `check` judges. A derived
letter is computed from others and from attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from whisperlite.graph.facts import FLOAT32, INT8, INT32, WEIGHT_DTYPES, Fact, shape_text
from whisperlite.graph.sizes import Size, ceil_div

Attrs: TypeAlias = Mapping[str, Any]
Dims: TypeAlias = dict[str, Size]
Derive: TypeAlias = Callable[[Dims, Attrs], Size]
Check: TypeAlias = Callable[[Dims, Attrs, tuple[Fact, ...]], None]

LEAVES = ("input", "weight")
PANEL = 32
VALUE_SPAN = 128  # positions of values in bytes that share a scale
REQUIRED = object()


class RefusalError(Exception):
    """A rule of the table is broken: the slot or attribute, what it should be and what it is."""

    def __init__(self, where: str, expected: str, given: object) -> None:
        super().__init__(where, expected, given)
        self.where, self.expected, self.given = where, expected, given


@dataclass(frozen=True)
class Attr:
    """Type, default and limits of one attribute.

    Parameters
    ----------
    kind : str
        ``int``, ``float``, ``bool``, ``str``, ``size`` (an int or an expression) or ``ints`` (a tuple of ints).
    """

    kind: str
    default: Any = REQUIRED
    minimum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """One input of an op.

    Parameters
    ----------
    pattern : str or function of the attributes
        Shape in letters.
    dtypes : tuple of str
        Accepted dtypes.
    when : str
        Name of the bool attribute that says whether the slot is there; "" for always.
    optional : bool
        A last slot that is there when an input is given for it.
    """

    name: str
    pattern: str | Callable[[Attrs], str]
    dtypes: tuple[str, ...] = (FLOAT32,)
    when: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Op:
    """One row of the table.

    Parameters
    ----------
    view : bool
        The result is a part of the first input: no copy, no step.
    in_place : int or None
        Index of the input that the op overwrites and returns.
    packed : bool
        The result is dense panels, without a row pitch, in the dtype of the attribute ``dtype``.
    """

    slots: tuple[Slot, ...]
    result: str | Callable[[Attrs], str]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    derived: Mapping[str, Derive] = field(default_factory=dict)
    check: Check | None = None
    view: bool = False
    in_place: int | None = None
    packed: bool = False


def _from_attr(name: str) -> Derive:
    return lambda dims, attrs: attrs[name]


def _head_size(dims: Dims, attrs: Attrs) -> int:
    width, n_head = dims["D"], attrs["n_head"]
    if not isinstance(width, int) or width % n_head:
        raise RefusalError("n_head", f"a divisor of D={width}", n_head)
    return width // n_head


def _padded(dims: Dims, attrs: Attrs) -> Size:
    return dims["F"] + 2 * attrs["pad"]


def _conv_frames(dims: Dims, attrs: Attrs) -> Size:
    pad = dims["taps"] // 2
    return (dims["F"] + 2 * pad - dims["taps"]) // attrs["stride"] + 1


def _linear_frames(dims: Dims, attrs: Attrs) -> Size:
    return (dims["F"] - attrs["taps"]) // attrs["stride"] + 1 + 2 * attrs["pad"]


def _half(dims: Dims, attrs: Attrs) -> Size:
    width = dims["N"]
    if not isinstance(width, int) or width % 2:
        raise RefusalError("x", "a last axis that is an even int", width)
    return width // 2


def _check_gates(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    if dims["G"] != 4 * dims["H"]:
        raise RefusalError("weight", f"four rows for each of its H={dims['H']} columns", facts[1])
    if dims["S"] != 2 * dims["H"]:
        raise RefusalError("state", f"(B, {2 * dims['H']})", facts[2])


def is_framed(attrs: Attrs) -> bool:
    """Whether a linear with these attributes works on frames (B, F, N) rather than on any rows (.., N)."""
    return bool(attrs["taps"] > 1 or attrs["stride"] > 1 or attrs["pad"])


def _check_columns(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    width, start, stop = dims["N"], attrs["start"], attrs["stop"]
    if not isinstance(width, int):
        raise RefusalError("x", "a last axis that is an int", facts[0])
    if not start < stop <= width:
        raise RefusalError("start:stop", f"a range within 0:{width}", f"{start}:{stop}")


def _check_suffix(slot: str, whole: tuple[Size, ...], given: Fact) -> None:
    rank = len(given.shape)
    if rank < 1 or rank > len(whole) or whole[len(whole) - rank :] != given.shape:
        raise RefusalError(slot, f"{shape_text(whole)} or its last axes", given)


def _check_add(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    _check_suffix("y", facts[0].shape, facts[1])


def _check_linear(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    if not attrs["has_residual"]:
        return
    rows = facts[0].shape[:-1]
    if is_framed(attrs):
        rows = (dims["B"], _linear_frames(dims, {**attrs, "pad": 0}))
    _check_suffix("residual", (*rows, dims["D"]), facts[-1])


def _check_heads(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    heads, n_head = attrs["heads"], attrs["n_head"]
    _check_panels(dims, attrs, facts)
    if not heads or any(not 0 <= head < n_head for head in heads):
        raise RefusalError("heads", f"one or more of 0..{n_head - 1}", heads)
    if len(facts) == 2:
        _check_audio_per_row(dims, attrs, facts)


def _check_byte_heads(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    _require_heads(dims, attrs)
    if attrs["dtype"] == INT8 and _head_size(dims, attrs) % PANEL:
        raise RefusalError("n_head", f"heads of a multiple of {PANEL} columns in bytes", attrs["n_head"])


def _check_panels(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    for fact in facts[1:]:
        if fact.dtype != attrs["dtype"] and fact.dtype != INT32:
            raise RefusalError("dtype", f"the panels' {fact.dtype}", attrs["dtype"])


def _check_attention(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    _check_panels(dims, attrs, facts)
    _check_audio_per_row(dims, attrs, facts)


def _check_audio_per_row(dims: Dims, attrs: Attrs, facts: tuple[Fact, ...]) -> None:
    if "A+1" not in dims and dims["A"] != dims["B"]:
        raise RefusalError("audio_rows", f"an input, as q has B={dims['B']} and keys have A={dims['A']}", "none")


_N_HEAD = {"n_head": Attr("int", minimum=1)}
_HEADS: Mapping[str, Derive] = {"H": _from_attr("n_head"), "K": _head_size}
_PANEL_DTYPES = (FLOAT32, "float16", INT8)
_PACK = {**_N_HEAD, "dtype": Attr("str", FLOAT32, choices=_PANEL_DTYPES)}


def _keys_pattern(attrs: Attrs) -> str:
    return f"A H panels {'byte_keys' if attrs['dtype'] == INT8 else 'K'} {PANEL}"


def _values_pattern(attrs: Attrs) -> str:
    return f"A H value_panels {'byte_values' if attrs['dtype'] == INT8 else 'T'} {PANEL}"


# In bytes, a panel of keys begins with a float32 scale for each position; 32 columns of values with one for each
# column, for every 128 positions.
def _byte_keys(dims: Dims, attrs: Attrs) -> Size:
    return _head_size(dims, attrs) + 4


def _byte_values(n_ctx: Size) -> Size:
    return ceil_div(n_ctx, VALUE_SPAN) * (VALUE_SPAN + 4)


_PANELS: Mapping[str, Derive] = {
    **_HEADS,
    "T": _from_attr("n_ctx"),
    "panels": lambda dims, attrs: ceil_div(attrs["n_ctx"], PANEL),
    "value_panels": lambda dims, attrs: ceil_div(_head_size(dims, attrs), PANEL),
    "byte_keys": _byte_keys,
    "byte_values": lambda dims, attrs: _byte_values(attrs["n_ctx"]),
    "A+1": lambda dims, attrs: dims["A"] + 1,
}
_KEY_PANELS = Slot("key panels", _keys_pattern, _PANEL_DTYPES)
_AUDIO_ROWS = Slot("audio_rows", "A+1", (INT32,), optional=True)

OPS: Mapping[str, Op] = MappingProxyType(
    {
        "columns": Op(
            slots=(Slot("x", ".. N"),),
            attrs={"start": Attr("int", minimum=0), "stop": Attr("int", minimum=1)},
            result=".. width",
            derived={"width": lambda dims, attrs: attrs["stop"] - attrs["start"]},
            check=_check_columns,
            view=True,
        ),
        "transpose_frames": Op(
            slots=(Slot("mel", "B M F"),),
            attrs={"pad": Attr("int", 0, minimum=0)},
            result="B padded M",
            derived={"padded": _padded},
        ),
        "pad_frames": Op(
            slots=(Slot("x", "B F D"),),
            attrs={"pad": Attr("int", minimum=1)},
            result="B padded D",
            derived={"padded": _padded},
        ),
        "conv1d": Op(
            slots=(Slot("x", "B F N"), Slot("weight", "D N taps", WEIGHT_DTYPES), Slot("bias", "D")),
            attrs={"stride": Attr("int", 1, minimum=1)},
            result="B frames D",
            derived={"frames": _conv_frames},
        ),
        "linear": Op(
            slots=(
                Slot("x", lambda attrs: "B F N" if is_framed(attrs) else ".. N"),
                Slot("weight", lambda attrs: "D N taps" if attrs["taps"] > 1 else "D N", WEIGHT_DTYPES),
                Slot("bias", "D", when="has_bias"),
                Slot("residual", "*", when="has_residual"),
            ),
            attrs={
                "activation": Attr("str", "none", choices=("none", "gelu")),
                "taps": Attr("int", 1, minimum=1),
                "stride": Attr("int", 1, minimum=1),
                "pad": Attr("int", 0, minimum=0),
                "has_bias": Attr("bool", False),
                "has_residual": Attr("bool", False),
                "may_round": Attr("bool", False),
            },
            result=lambda attrs: "B frames D" if is_framed(attrs) else ".. D",
            derived={"taps": _from_attr("taps"), "frames": _linear_frames},
            check=_check_linear,
        ),
        "gelu": Op(slots=(Slot("x", ".."),), result=".."),
        "relu": Op(slots=(Slot("x", ".."),), result=".."),
        "sigmoid": Op(slots=(Slot("x", ".."),), result=".."),
        "magnitude": Op(slots=(Slot("x", ".. N"),), result=".. half", derived={"half": _half}),
        "lstm": Op(
            slots=(Slot("gates", "T B G"), Slot("weight", "G H"), Slot("state", "B S")),
            result="T B S",
            check=_check_gates,
        ),
        "add": Op(slots=(Slot("x", ".."), Slot("y", "*")), result="..", check=_check_add),
        "layer_norm": Op(
            slots=(Slot("x", ".. D"), Slot("gamma", "D"), Slot("beta", "D")),
            attrs={"eps": Attr("float", 1e-5, minimum=0.0)},
            result=".. D",
        ),
        "norm_linear": Op(
            slots=(
                Slot("x", ".. N"),
                Slot("gamma", "N"),
                Slot("beta", "N"),
                Slot("weight", "D N", WEIGHT_DTYPES),
                Slot("bias", "D"),
            ),
            attrs={"eps": Attr("float", 1e-5, minimum=0.0)},
            result=".. D",
        ),
        "mlp": Op(
            slots=(
                Slot("x", ".. D"),
                Slot("gamma", "D"),
                Slot("beta", "D"),
                Slot("weight", "M D", WEIGHT_DTYPES),
                Slot("bias", "M"),
                Slot("output weight", "D M", WEIGHT_DTYPES),
                Slot("output bias", "D"),
            ),
            attrs={"eps": Attr("float", 1e-5, minimum=0.0)},
            result=".. D",
        ),
        "attention": Op(
            slots=(Slot("q", "B T D"), Slot("k", "B T D"), Slot("v", "B T D")),
            attrs=_N_HEAD,
            result="B T D",
            derived=_HEADS,
            check=lambda dims, attrs, facts: _require_heads(dims, attrs),
        ),
        "pack_keys": Op(
            slots=(Slot("k", "A T D"),),
            attrs=_PACK,
            result=_keys_pattern,
            derived={
                **_HEADS,
                "byte_keys": _byte_keys,
                "panels": lambda dims, attrs: ceil_div(dims["T"], PANEL),
            },
            check=_check_byte_heads,
            packed=True,
        ),
        "pack_values": Op(
            slots=(Slot("v", "A T D"),),
            attrs=_PACK,
            result=_values_pattern,
            derived={
                **_HEADS,
                "byte_values": lambda dims, attrs: _byte_values(dims["T"]),
                "value_panels": lambda dims, attrs: ceil_div(_head_size(dims, attrs), PANEL),
            },
            check=_check_byte_heads,
            packed=True,
        ),
        "attention_packed": Op(
            slots=(
                Slot("q", "B U D"),
                _KEY_PANELS,
                Slot("value panels", _values_pattern, _PANEL_DTYPES),
                _AUDIO_ROWS,
            ),
            attrs={**_PACK, "n_ctx": Attr("size", minimum=1)},
            result="B U D",
            derived=_PANELS,
            check=_check_attention,
        ),
        "cross_scores": Op(
            slots=(Slot("q", "B U D"), _KEY_PANELS, _AUDIO_ROWS),
            attrs={**_PACK, "n_ctx": Attr("size", minimum=1), "heads": Attr("ints")},
            result="B U n_heads T",
            derived={**_PANELS, "n_heads": lambda dims, attrs: len(attrs["heads"])},
            check=_check_heads,
        ),
        "embed": Op(
            slots=(
                Slot("tokens", "B U", (INT32,)),
                Slot("past", "B", (INT32,)),
                Slot("token embedding", "V D", WEIGHT_DTYPES),
                Slot("positional embedding", "C D", WEIGHT_DTYPES),
            ),
            result="B U D",
        ),
        "cache_append": Op(
            slots=(
                Slot("new", "B U D"),
                Slot("cache", "rows C D"),
                Slot("past", "B", (INT32,)),
                Slot("own_rows", "B", (INT32,)),
            ),
            result="rows C D",
            in_place=1,
        ),
        "cached_attention": Op(
            slots=(
                Slot("q", "B U D"),
                Slot("key cache", "rows C D"),
                Slot("value cache", "rows C D"),
                Slot("past", "B", (INT32,)),
                Slot("own_rows", "B", (INT32,)),
                Slot("cache_rows", "B C", (INT32,)),
                Slot("positions", "U", (INT32,), optional=True),
            ),
            attrs=_N_HEAD,
            result="B U D",
            derived=_HEADS,
            check=lambda dims, attrs, facts: _require_heads(dims, attrs),
        ),
        "select_rows": Op(slots=(Slot("x", "B U D"), Slot("positions", "R", (INT32,))), result="B R D"),
    }
)


def _require_heads(dims: Dims, attrs: Attrs) -> None:
    _head_size(dims, attrs)
