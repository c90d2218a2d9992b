r"""Figures of correlation functions against separation.

Each is multiplied by a power of the separation, its `plot_power`, which takes away most of the slope:
r^2 xi, r omega, r_p w_gg. Values of both signs and small errors can then be seen on a linear axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES
from iaemu_likelihood.plots.style import COLUMN, PAGE, colours, label_decades, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# More panels go into the next row, and more lines have no legend.
MAX_COLUMNS = 3
MAX_LINES = 7
PANEL_HEIGHT = 2.6


@dataclass(frozen=True)
class Points:
    """Measured values with their errors.

    Attributes
    ----------
    label : str
    r_min, r_max : ndarray, shape (n_bins,)
        Edges of the bins, Mpc/h.
    values, errors : mapping of str to ndarray, shape (n_bins,)
        By statistic.
    """

    label: str
    r_min: Array
    r_max: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Array]


@dataclass(frozen=True)
class Lines:
    """Predicted values, with bands of one standard deviation about them.

    Attributes
    ----------
    label : str
    r : ndarray, shape (n_bins,)
        Mpc/h.
    values : mapping of str to ndarray, shape (n_bins,) or (n, n_bins)
        By statistic; one line for each of n points.
    bands : mapping of str to mapping of str to ndarray
        Standard deviations by statistic, of the shape of `values`, by what they are of. They are
        drawn about a single line.
    """

    label: str
    r: Array
    values: Mapping[str, Array]
    bands: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)


def correlation_plot(*shown: Points | Lines) -> Figure:
    """Draw each statistic in a panel of its own, what is given over each other.

    Parameters
    ----------
    *shown : Points or Lines

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for each in shown for name in each.values))
    n_columns = min(len(names), MAX_COLUMNS)
    n_rows = -(-len(names) // n_columns)
    with styled():
        figure = Figure(figsize=(COLUMN if n_columns == 1 else PAGE, PANEL_HEIGHT * n_rows))
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for name, panel in zip(names, panels, strict=False):
            for i, each in enumerate(shown):
                if name in each.values:
                    draw = _draw_points if isinstance(each, Points) else _draw_lines
                    draw(panel, each, name, colours()[i % len(colours())])
            _finish(panel, name)
        for panel in panels[len(names) :]:
            panel.remove()
        legend_of_names(panels[0])
    return figure


def legend_of_names(axes: Axes, **options: Any) -> None:
    """A legend whose labels mean themselves; none if there are none."""
    if not axes.get_legend_handles_labels()[1]:
        return
    for text in axes.legend(**options).get_texts():
        text.set_parse_math(False)


def centres(r_min: Array, r_max: Array) -> Array:
    """Where bins are drawn on a logarithmic axis: their geometric centres, or the middle of (0, r)."""
    return np.where(r_min > 0, np.sqrt(r_min * r_max), r_max / 2)


def scale(name: str, r: Array) -> Array:
    """By what the values of a statistic are multiplied in figures, at separations in Mpc/h."""
    observable = OBSERVABLES.get(name)
    return np.ones_like(r) if observable is None else r**observable.plot_power


def separation_label(name: str) -> str:
    """Label of the axis of separations."""
    return rf"${_separation(name)}\ [\mathrm{{Mpc}}/h]$"


def value_label(name: str) -> str:
    """Label of the axis of a statistic's values, multiplied by `scale`."""
    observable = OBSERVABLES.get(name)
    if observable is None:
        return name.replace("$", r"\$")
    r, power = _separation(name), observable.plot_power
    factor = rf"{_power(r, power)}\," if power else ""
    lengths = power + (observable.unit == "Mpc/h")
    units = [rf"\mathrm{{{observable.unit}}}"] if observable.unit not in ("", "Mpc/h") else []
    if lengths:
        units.append(_power(r"\mathrm{Mpc}/h" if lengths == 1 else r"(\mathrm{Mpc}/h)", lengths))
    unit = rf"\ [{'; '.join(units)}]" if units else ""
    return rf"${factor}{observable.latex}({r}){unit}$"


def _power(base: str, power: float) -> str:
    return base if power == 1 else rf"{base}^{{{Fraction(power)}}}"


def _separation(name: str) -> str:
    return r"r_\mathrm{p}" if getattr(OBSERVABLES.get(name), "is_integrated", False) else "r"


def _draw_points(axes: Axes, points: Points, name: str, colour: str) -> None:
    r = centres(points.r_min, points.r_max)
    factor = scale(name, r)
    axes.errorbar(
        r, factor * points.values[name], factor * points.errors[name], fmt="o", color=colour,
        label=points.label,
    )  # fmt: skip


def _draw_lines(axes: Axes, lines: Lines, name: str, colour: str) -> None:
    factor = scale(name, lines.r)
    values = np.atleast_2d(factor * lines.values[name])
    if len(values) == 1:
        axes.plot(lines.r, values[0], color=colour, label=lines.label)
        for i, (of, sigma) in enumerate(lines.bands.items()):
            width = factor * np.ravel(sigma[name])
            axes.fill_between(
                lines.r, values[0] - width, values[0] + width, color=colour, lw=0,
                alpha=0.25 + 0.25 * i, label=rf"± 1σ, {of}",
            )  # fmt: skip
        return
    several = len(values) > MAX_LINES
    for i, row in enumerate(values):
        look: dict[str, Any] = {"color": colour, "alpha": 0.3} if several else {"color": f"C{i}"}
        label = None if several else f"{lines.label} {i}".strip()
        axes.plot(lines.r, row, label=label, **look)


def _finish(axes: Axes, name: str) -> None:
    axes.set(xscale="log", xlabel=separation_label(name), ylabel=value_label(name))
    axes.axhline(0, color="0.7", lw=0.6, zorder=0)
    label_decades(axes.xaxis)
