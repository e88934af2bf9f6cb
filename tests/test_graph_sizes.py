"""Size algebra: canonical forms are equal exactly when they should be, and mean what integers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlite.errors import GraphError
from whisperlite.graph import Expr, Fact, Size, ceil_div, evaluate, symbol

B, T, U = symbol("B"), symbol("T"), symbol("U")
VALUES = st.fixed_dictionaries({name: st.integers(0, 200) for name in "BTU"})


@st.composite
def formulas(draw: st.DrawFn, depth: int = 3) -> str:
    """Python text over B, T, U that can be evaluated with symbols and with integers."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["B", "T", "U", *map(str, range(-3, 7))]))
    left = draw(formulas(depth - 1))
    if draw(st.booleans()):
        return f"({left}) // {draw(st.integers(1, 9))}"
    return f"({left}) {draw(st.sampled_from('+-*'))} ({draw(formulas(depth - 1))})"


@given(formula=formulas(), values=VALUES)
def test_an_expression_means_what_integers_mean(formula: str, values: dict[str, int]) -> None:
    size = eval(formula, {"B": B, "T": T, "U": U})
    assert evaluate(size, values) == eval(formula, dict(values))


@given(a=formulas(), b=formulas(), c=formulas())
def test_ring_laws_hold_as_equality(a: str, b: str, c: str) -> None:
    x, y, z = (eval(text, {"B": B, "T": T, "U": U}) for text in (a, b, c))
    assert x + y == y + x and x * y == y * x
    assert x * (y + z) == x * y + x * z
    assert x - x == 0
    assert hash(x + y) == hash(y + x)


@given(a=formulas(), n=st.integers(1, 9), m=st.integers(1, 9))
def test_quotients_are_canonical(a: str, n: int, m: int) -> None:
    x = eval(a, {"B": B, "T": T, "U": U})
    assert (x * n) // n == x
    assert (x + n) // n == x // n + 1
    assert (x * m) // (n * m) == x // n


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((2 * T - 1) // 2 + 1, "T"),
        ((2 * T + 2 - 3) // 1 + 1, "2*T"),
        (ceil_div(T, 32), "ceil(T/32)"),
        (ceil_div(2 * T + 1, 32), "T//16+1"),
        (ceil_div(3 * T + 1, 32), "(3*T)//32+1"),
        (ceil_div(3 * T, 32), "ceil((3*T)/32)"),
        ((T // 2 + 1) // 2, "(T+2)//4"),
        (3 * B * T - U + 4, "3*B*T-U+4"),
        (5 - T, "-T+5"),
        (7 * ceil_div(T, 4), "7*ceil(T/4)"),
    ],
)
def test_canonical_text(size: Size, text: str) -> None:
    assert str(size) == text


def test_constant_expressions_are_integers() -> None:
    assert (T + 3) - T == 3 and isinstance((T + 3) - T, int)
    assert ceil_div(65, 32) == 3


def test_ceil_div_is_an_atom() -> None:
    assert ceil_div(T, 32) == ceil_div(T, 32) != T // 32
    assert ceil_div(T, 32) - ceil_div(T, 32) == 0
    assert isinstance(ceil_div(T, 32), Expr) and ceil_div(T, 32).symbols() == {"T"}


def test_a_missing_symbol_is_named() -> None:
    with pytest.raises(GraphError, match=r"size '2\*T\+1': symbol 'T' has no value; given \['B'\]"):
        evaluate(2 * T + 1, {"B": 1})


def test_refusals() -> None:
    with pytest.raises(GraphError, match="cannot be divided by 0"):
        T // 0
    with pytest.raises(GraphError, match="not an identifier"):
        symbol("2T")
    with pytest.raises(GraphError, match="dtype 'float64' is unknown"):
        Fact("float64", (1,))
    with pytest.raises(GraphError, match="axis 0"):
        Fact("float32", (0, T))
    with pytest.raises(GraphError, match="axis below 1"):
        Fact("float32", (T - 3,)).evaluate({"T": 3})
