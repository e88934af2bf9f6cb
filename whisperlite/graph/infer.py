"""Read the op table: complete attributes, match input facts, give the result's fact.

In: op name, attributes, input facts. Out: attributes with defaults, the result's fact, or a one-line GraphError.
Knows nothing of: the arena, which node an input comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from whisperlite.errors import GraphError
from whisperlite.graph.facts import FLOAT32, Fact, shape_text
from whisperlite.graph.ops import OPS, REQUIRED, Attr, Attrs, Dims, Op, RefusalError, Slot
from whisperlite.graph.sizes import Expr, Size

# A model repeats the same few nodes in every layer, and every pass makes them anew: what was right once is known.
_COMPLETED: dict[Any, Attrs] = {}
_INFERRED: dict[Any, tuple[Fact, Attrs]] = {}


def complete_attrs(label: str, op_name: str, given: Mapping[str, Any]) -> Attrs:
    """Attributes of a node, checked against the table, defaults filled in.

    Raises
    ------
    GraphError
        The op is unknown; an attribute is unknown, missing, of another type or out of range.
    """
    key: tuple[Any, ...] = (op_name, *given.items(), *map(type, given.values()))  # True would be found for 1
    try:
        known = _COMPLETED.get(key)
    except TypeError:  # a list is not hashable
        if not any(isinstance(value, list) for value in given.values()):
            raise
        hashable = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return complete_attrs(label, op_name, hashable)
    if known is not None:
        return known
    op = OPS.get(op_name)
    if op is None:
        raise GraphError(f"node {label}: op '{op_name}' is unknown; use one of {', '.join(OPS)}")
    for name in given:
        if name not in op.attrs:
            names = ", ".join(op.attrs) or "none"
            raise GraphError(f"node {label} ({op_name}), attribute '{name}': unknown; expected {names}")
    attrs: dict[str, Any] = {}
    for name, schema in op.attrs.items():
        value = given.get(name, schema.default)
        if value is REQUIRED:
            raise GraphError(f"node {label} ({op_name}), attribute '{name}': expected {schema.kind}, given none")
        attrs[name] = _checked(label, op_name, name, schema, value)
    _COMPLETED[key] = MappingProxyType(attrs)
    return _COMPLETED[key]


def infer_fact(label: str, op_name: str, attrs: Attrs, facts: Sequence[Fact]) -> Fact:
    """Fact of a node's result.

    Parameters
    ----------
    label : str
        What errors call the node.
    attrs : mapping
        From `complete_attrs`.
    facts : sequence of Fact
        One for each input.

    Raises
    ------
    GraphError
        The number of inputs, a dtype or a shape does not fit; names node, slot, expected and given fact.
    """
    key = (op_name, id(attrs), *facts)
    if key in _INFERRED:
        return _INFERRED[key][0]
    op = OPS[op_name]
    slots = slots_of(op, attrs, len(facts))
    if len(slots) != len(facts):
        names = ", ".join(slot.name for slot in slots) or "none"
        raise GraphError(f"node {label} ({op_name}): expected {len(slots)} inputs ({names}), given {len(facts)}")
    dims: Dims = {}
    lead: list[tuple[Size, ...]] = []
    try:
        for slot, fact in zip(slots, facts, strict=True):
            _match(op, slot, attrs, fact, dims, lead)
        if op.check is not None:
            op.check(dims, attrs, tuple(facts))
        result = op.result(attrs) if callable(op.result) else op.result
        shape = _result_shape(op, result, attrs, dims, lead)
    except RefusalError as refusal:
        raise GraphError(
            f"node {label} ({op_name}), slot '{refusal.where}': expected {refusal.expected}, given {refusal.given}"
        ) from None
    fact = Fact(attrs["dtype"] if op.packed else FLOAT32, shape)
    _INFERRED[key] = fact, attrs  # kept, so that their id stays their own
    return fact


def slots_of(op: Op, attrs: Attrs, n_inputs: int) -> tuple[Slot, ...]:
    """The slots that a node with these attributes and this many inputs has."""
    slots = [slot for slot in op.slots if not slot.when or attrs[slot.when]]
    if slots and slots[-1].optional and n_inputs < len(slots):
        slots.pop()
    return tuple(slots)


def _checked(label: str, op_name: str, name: str, schema: Attr, value: Any) -> Any:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if schema.kind == "ints" and isinstance(value, list | tuple):
        value = tuple(value)
    valid = {
        "int": is_int,
        "float": is_int or isinstance(value, float),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "size": is_int or isinstance(value, Expr),
        "ints": isinstance(value, tuple) and all(isinstance(item, int) for item in value),
    }[schema.kind]
    limit = ""
    if schema.minimum is not None:
        limit = f" of {schema.minimum} or more"
        valid = valid and (isinstance(value, Expr) or value >= schema.minimum)
    if schema.choices:
        limit = f" among {', '.join(schema.choices)}"
        valid = valid and value in schema.choices
    if not valid:
        raise GraphError(
            f"node {label} ({op_name}), attribute '{name}': expected {schema.kind}{limit}, given {value!r}"
        )
    return value


def _match(op: Op, slot: Slot, attrs: Attrs, fact: Fact, dims: Dims, lead: list[tuple[Size, ...]]) -> None:
    """Bind the letters of a slot's pattern to the sizes of a fact, or refuse."""
    pattern = slot.pattern(attrs) if callable(slot.pattern) else slot.pattern
    words, shape = pattern.split(), fact.shape
    bound_before = dict(dims)
    fits = fact.dtype in slot.dtypes
    if words[0] == ".." and len(shape) >= max(len(words) - 1, 1):
        split = len(shape) - len(words) + 1
        lead.append(shape[:split])
        words, shape = words[1:], shape[split:]
    if pattern != "*":
        fits = fits and len(words) == len(shape)
        for word, size in zip(words, shape, strict=False):
            known = _size_of(op, word, attrs, dims) if fits else size
            fits = fits and (known is None or known == size)
            dims.setdefault(word, size)
    if not fits:
        raise RefusalError(slot.name, _expected(op, slot, pattern, attrs, bound_before), fact)


def _size_of(op: Op, word: str, attrs: Attrs, dims: Dims) -> Size | None:
    """Size of a pattern's word, or None for a letter that this axis is the first to use."""
    if word.isdigit():
        return int(word)
    if word not in dims and word in op.derived:
        dims[word] = op.derived[word](dims, attrs)
    return dims.get(word)


def _expected(op: Op, slot: Slot, pattern: str, attrs: Attrs, dims: Dims) -> str:
    dtype = " or ".join(slot.dtypes) if len(slot.dtypes) < 4 else "a weight dtype"
    axes = []
    for word in pattern.split():
        try:
            known = _size_of(op, word, attrs, dims)
        except KeyError:  # derived from a letter that this very slot binds
            known = None
        axes.append(word if known is None or str(known) == word else f"{word}={known}")
    return f"{dtype} ({', '.join(axes)})"


def _result_shape(op: Op, pattern: str, attrs: Attrs, dims: Dims, lead: list[tuple[Size, ...]]) -> tuple[Size, ...]:
    words = pattern.split()
    shape: list[Size] = []
    if words[0] == "..":
        shape += lead[0]
        words = words[1:]
    for word in words:
        size = _size_of(op, word, attrs, dims)
        assert size is not None, f"op table: result letter '{word}' is bound by no slot"
        shape.append(size)
    below = [size for size in shape if isinstance(size, int) and size < 1]
    if below:
        raise RefusalError("result", "axes of 1 or more", shape_text(tuple(shape)))
    return tuple(shape)
