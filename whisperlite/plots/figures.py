"""What every picture shares: matplotlib where it is installed, fonts, files.

In: figures. Out: the same, drawn or written.
Knows nothing of: what is drawn.

Figures are made without pyplot: nothing is shown, kept or configured outside of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperlite.errors import BackendError, OptionError
from whisperlite.replace import replacement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
INK, FAINT, ACCENT = "#222222", "#999999", "#d1495b"
SPEECH = "#2a9d8f"

# Matplotlib's own font has no Chinese, Japanese or Korean; these have, and some of them is on most machines.
_WIDE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "Arial Unicode MS",
)  # fmt: skip


def need_matplotlib() -> None:
    """Ask for it before any work is done.

    Raises
    ------
    BackendError
        It is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise BackendError('pictures need matplotlib: pip install "whisperlite[plot]"') from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; inches.

    Raises
    ------
    BackendError
        matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def fonts() -> list[str]:
    """Fonts to write words in: matplotlib's, and one with more characters where there is one."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _WIDE_FONTS if name in there)]


@contextlib.contextmanager
def one_warning() -> Iterator[None]:
    """Draw, and warn once of all characters without a glyph, where matplotlib does of each."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    missing = []
    for warning in found:
        if glyph := re.match(r"Glyph (\d+) .* missing from font", str(warning.message)):
            missing.append(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        text = "".join(dict.fromkeys(missing))
        warnings.warn(f"no font here has {text}; install one that has, such as Noto Sans CJK", stacklevel=3)


def bare(axes: Any, sides: Sequence[str] = ("top", "right")) -> None:
    """Leave out some sides of the frame and draw the others lightly."""
    for name, spine in axes.spines.items():
        spine.set_visible(name not in sides)
        spine.set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3, color=FAINT)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format its path names: png, svg, pdf, ...; the file is there whole or not at all.

    Raises
    ------
    OptionError
        The path ends in no known format.
    OSError
        The folder cannot be written to.
    """
    path = Path(path)
    format = path.suffix.removeprefix(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if format not in known:
        raise OptionError(f"'{path}': give a name that ends in one of {', '.join(sorted(known))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    smaller: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if format == "png" else {}
    with replacement(path) as temporary, one_warning():
        figure.savefig(temporary, format=format, **smaller)
