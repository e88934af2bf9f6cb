"""Numba's decorators, without Numba until something must be compiled.

In: functions of the kernels. Out: what Numba makes of them, from the first compilation on.
Knows nothing of: kernels, caches.

Numba takes longer to import than a small model to load, and where kernels are cached nothing of it is used. So its
decorators here note a function and hand it over when ``load`` is called; from then on they are Numba's own, and the
names that stood for noted functions are those of compiled ones.

No function raises: divisions by zero give what NumPy gives. Code that could raise would need Numba's run time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

_lock = threading.RLock()
_noted: list[Noted] = []
_functions: list[Callable[..., Any]] = []  # that may hold noted ones in their closures


class Noted:
    """A function that Numba has not been given yet."""

    def __init__(self, function: Callable[..., Any], decorate: Callable[[Any, Callable[..., Any]], Any]):
        self.py_func = function
        self._decorate = decorate
        self._made: Any = None

    def hand_over(self) -> Any:
        """What Numba makes of it."""
        if self._made is None:
            import numba.extending

            self._made = self._decorate(numba, self.py_func)
        return self._made

    def __call__(self, *arguments: Any) -> Any:
        load()
        return self.hand_over()(*arguments)

    def __repr__(self) -> str:
        return f"Noted({self.py_func.__qualname__})"


class _Types:
    """``numba.types``, imported when one is asked for."""

    def __getattr__(self, name: str) -> Any:
        import numba

        return getattr(numba.types, name)


types: Any = _Types()


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``numba.njit`` of a function that raises nothing."""
    if function is None:
        return lambda function: njit(function, **options)
    return _note(function, lambda numba, function: numba.njit(error_model="numpy", **options)(function))


def intrinsic(function: Callable[..., Any]) -> Any:
    """``numba.extending.intrinsic``."""
    return _note(function, lambda numba, function: numba.extending.intrinsic(function))


def njit_as(label: str) -> Callable[[Callable[..., Any]], Any]:
    """``njit`` for a function that a factory makes several of: ``label`` tells them apart.

    Numba names compiled code by a function's qualified name and a number that starts anew in each process. Kernels
    loaded from the cache come from different processes; two functions of one name would be taken for each other.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ += f"[{label}]"
        return njit(function)

    return decorate


def entry(function: Callable[..., Any], signature: str, **options: Any) -> Any:
    """``numba.cfunc`` of a function that raises nothing; Numba is there afterwards."""
    load()
    import numba

    return numba.cfunc(signature, error_model="numpy", **options)(function)


def uses(function: Callable[..., Any]) -> None:
    """Say that a function which is no noted one may have such in its closure."""
    _functions.append(function)


def load() -> None:
    """Import Numba and hand over all functions noted so far, under whatever names they are known.

    Raises
    ------
    ImportError
        Numba cannot be imported.
    """
    with _lock:
        import numba.extending  # noqa: F401

        if not _noted:
            return
        noted = list(_noted)
        _noted.clear()
        for one in noted:
            one.hand_over()
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            for name, value in list(names.items()):
                if type(value) is Noted:
                    names[name] = value.hand_over()
        for function in (*_functions, *(one.py_func for one in noted)):
            for cell in function.__closure__ or ():
                if type(cell.cell_contents) is Noted:
                    cell.cell_contents = cell.cell_contents.hand_over()


def _note(function: Callable[..., Any], decorate: Callable[[Any, Callable[..., Any]], Any]) -> Any:
    one = Noted(function, decorate)
    if "numba" in sys.modules:
        load()
        return one.hand_over()
    _noted.append(one)
    return one
