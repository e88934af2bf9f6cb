"""Sizes: integers, or integer expressions of symbols such as ``2*T`` and ``ceil(T/32)``.

In: symbols, integers, ``+ - * //``. Out: expressions in a canonical form, so that equal sizes compare equal.
Knows nothing of: tensors, ops, what a symbol stands for.

An expression is a polynomial with integer coefficients. A quotient that does not divide is an atom of the
polynomial, with its numerator reduced modulo the divisor: ``(2*T - 1)//2 + 1`` is ``T``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import TypeAlias, Union

from whisperlite.errors import GraphError

Size: TypeAlias = Union[int, "Expr"]
Atom: TypeAlias = Union[str, "Quotient"]
Monomial: TypeAlias = tuple[Atom, ...]


@dataclass(frozen=True)
class Quotient:
    """Floor of ``numerator / divisor``, where the division leaves a rest that symbols decide."""

    numerator: Expr
    divisor: int

    def __str__(self) -> str:
        constant = dict(self.numerator.terms).get((), 0)
        if constant == self.divisor - 1:
            return f"ceil({_in_product(self.numerator - constant)}/{self.divisor})"
        return f"{_in_product(self.numerator)}//{self.divisor}"


@dataclass(frozen=True)
class Expr:
    """A size that depends on at least one symbol. Made by `symbol` and arithmetic, never directly.

    Parameters
    ----------
    terms : tuple of (monomial, coefficient)
        Sorted, coefficients not zero; a monomial is a sorted tuple of atoms, ``()`` for the constant.
    """

    terms: tuple[tuple[Monomial, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.terms))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Value for given symbols; raises GraphError naming a symbol that has none."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                if isinstance(atom, Quotient):
                    coefficient *= atom.numerator.evaluate(values) // atom.divisor
                elif atom in values:
                    coefficient *= values[atom]
                else:
                    raise GraphError(f"size '{self}': symbol '{atom}' has no value; given {sorted(values)}")
            total += coefficient
        return total

    def symbols(self) -> frozenset[str]:
        """Names this size depends on."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                found |= atom.numerator.symbols() if isinstance(atom, Quotient) else {atom}
        return frozenset(found)

    def __add__(self, other: Size) -> Size:
        if not isinstance(other, int | Expr):
            return NotImplemented
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _canonical(total)

    def __mul__(self, other: Size) -> Size:
        if not isinstance(other, int | Expr):
            return NotImplemented
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=str))
                total[monomial] = total.get(monomial, 0) + a * b
        return _canonical(total)

    def __floordiv__(self, divisor: int) -> Size:
        if not isinstance(divisor, int):
            return NotImplemented
        if divisor < 1:
            raise GraphError(f"size '{self}': cannot be divided by {divisor}; a divisor is 1 or more")
        return _floor_divide(self, divisor)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __rsub__(self, other: int) -> Size:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            text += sign if text or coefficient < 0 else ""
            size = abs(coefficient)
            factors = [str(size)] if size != 1 or not monomial else []
            text += "*".join([*factors, *map(str, monomial)])
        return text

    __repr__ = __str__


def symbol(name: str) -> Expr:
    """The size called `name`, a letter of the table of dimension letters."""
    if not name.isidentifier():
        raise GraphError(f"symbol '{name}' is not an identifier; use a letter such as 'T'")
    return Expr((((name,), 1),))


def ceil_div(size: Size, divisor: int) -> Size:
    """Smallest count of `divisor` that holds `size`."""
    return (size + (divisor - 1)) // divisor


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """`size` as an integer; raises GraphError naming a symbol that has no value."""
    return size.evaluate(values) if isinstance(size, Expr) else size


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Expr) else (((), size),)


def _canonical(terms: Mapping[Monomial, int]) -> Size:
    kept = [(monomial, coefficient) for monomial, coefficient in terms.items() if coefficient]
    if all(not monomial for monomial, _ in kept):
        return sum(coefficient for _, coefficient in kept)
    kept.sort(key=lambda term: (-len(term[0]), [str(atom) for atom in term[0]]))
    return Expr(tuple(kept))


def _floor_divide(size: Expr, divisor: int) -> Size:
    whole = _canonical({monomial: coefficient // divisor for monomial, coefficient in size.terms})
    rest = {monomial: coefficient % divisor for monomial, coefficient in size.terms}
    constant = rest.pop((), 0)
    common = gcd(divisor, *rest.values())
    # floor((g*x + c) / (g*d)) = floor((x + floor(c/g)) / d) for integer x.
    numerator = _canonical({monomial: c // common for monomial, c in rest.items()}) + constant // common
    divisor //= common
    if isinstance(numerator, int) or divisor == 1:
        return whole + numerator // divisor
    inner = _lone_quotient(numerator)
    if inner is not None:
        # floor((floor(x/a) + c) / b) = floor((x + a*c) / (a*b)).
        quotient, extra = inner
        merged = quotient.numerator + extra * quotient.divisor
        return whole + merged // (quotient.divisor * divisor)
    return whole + Expr((((Quotient(numerator, divisor),), 1),))


def _lone_quotient(size: Expr) -> tuple[Quotient, int] | None:
    """The parts of ``quotient + constant``, or None for any other form."""
    terms = dict(size.terms)
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return None
    [(monomial, coefficient)] = terms.items()
    if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Quotient):
        return monomial[0], constant
    return None


def _in_product(size: Size) -> str:
    text = str(size)
    return text if text.isidentifier() or text.isdigit() else f"({text})"
