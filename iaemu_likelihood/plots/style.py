"""One style for every figure: sizes of a journal's page, colours for all eyes, embedded fonts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Of `matplotlib.style.use`; the file is beside this module.
STYLE = "iaemu_likelihood.plots.paper"
# Widths of a column and of a page of a journal, inch.
COLUMN, PAGE = 3.4, 7.1


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of the package, whatever the caller has set, which stays as it was."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        yield


def colours() -> list[str]:
    """Colours of what is drawn over each other, in this order."""
    import matplotlib

    with styled():
        found: list[str] = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return found


def write_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure in the format that the file's suffix names, with fonts that can be edited.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path

    Raises
    ------
    ValueError
        If matplotlib does not write this format.
    OSError
        If the file cannot be written.
    """
    from iaemu_likelihood.emulator.atomic import atomic_write

    suffix = Path(path).suffix.removeprefix(".")
    check_format(suffix)
    with styled(), atomic_write(path) as unfinished:
        figure.savefig(unfinished, format=suffix)
    return Path(path)


def check_format(suffix: str) -> None:
    """Raise a ValueError if matplotlib does not write files with this suffix, given without its dot."""
    from matplotlib.backend_bases import FigureCanvasBase

    # Without pgf, which gives labels to LaTeX.
    formats = [x for x in FigureCanvasBase.get_supported_filetypes() if x != "pgf"]
    if suffix not in formats:
        raise ValueError(f"No format {suffix!r} for figures; there are {', '.join(formats)}.")


def label_decades(axis: Axis) -> None:
    """Label a logarithmic axis by whole decades as plain numbers, 0.1, 1, 10.

    If fewer than two decades are in view, 2 and 5 between them are labelled, too.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def plain(x: float, _: Any) -> str:
        return f"{x:g}"

    low, high = axis.get_view_interval()
    ticks = [x for x in LogLocator().tick_values(low, high) if low <= x <= high]
    axis.set_major_locator(LogLocator(subs=(1.0,) if len(ticks) > 1 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_locator(LogLocator(subs="all"))
    axis.set_minor_formatter(NullFormatter())
