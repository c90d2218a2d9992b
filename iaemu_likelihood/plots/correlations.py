r"""Figures of correlation functions against separation.

Each is multiplied by a power of the separation, its `plot_power`, which takes away most of the slope:
r^2 xi, r omega, r_p w_gg. Values of both signs and small errors can then be seen on a linear axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.binned import MEASURED, Binned
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES
from iaemu_likelihood.plots.style import COLUMN, PAGE, colours, label_decades, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Panels in a row, and labels in a row of the legend.
MAX_COLUMNS, MAX_LABELS = 3, 5
PANEL_HEIGHT = 2.6


def correlation_plot(shown: Mapping[str, Sequence[Binned]]) -> Figure:
    """Draw each statistic in a panel of its own, what is given over each other.

    Parameters
    ----------
    shown : mapping of str to sequence of Binned
        By their labels in the legend. Measured values are points with errors; others are lines, with
        bands of one standard deviation if they are of one point.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> correlation_plot({"data": measurement.binned(), "model": prediction.binned()})
    """
    from matplotlib.figure import Figure

    drawn = [(label, each) for label, several in shown.items() for each in several]
    names = list(dict.fromkeys(name for _, each in drawn for name in each.values))
    n_columns = 2 if len(names) == 4 else min(len(names), MAX_COLUMNS)
    n_rows = -(-len(names) // n_columns)
    colour = {label: colours()[i % len(colours())] for i, label in enumerate(shown)}
    with styled():
        figure = Figure(figsize=(COLUMN if n_columns == 1 else PAGE, PANEL_HEIGHT * n_rows))
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for name, panel in zip(names, panels, strict=False):
            for label, each in drawn:
                if name in each.values:
                    draw = _draw_points if MEASURED in each.errors else _draw_lines
                    draw(panel, each, name, label, colour[label])
            low, high = panel.get_ylim()
            if low < 0 < high:
                panel.axhline(0, color="0.7", lw=0.6, zorder=0)
            panel.set(xscale="log", xlabel=separation_label(name), ylabel=value_label(name))
            label_decades(panel.xaxis)
        for panel in panels[len(names) :]:
            panel.remove()
        legend_below(figure)
    return figure


def legend_below(figure: Figure) -> None:
    """One legend for all panels, whose labels mean themselves."""
    found = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    fitting = MAX_LABELS if figure.get_figwidth() > COLUMN else MAX_LABELS - 1
    legend = figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=fitting, columnspacing=1.2
    )
    for text in legend.get_texts():
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


def _draw_points(axes: Axes, binned: Binned, name: str, label: str, colour: str) -> None:
    factor = scale(name, binned.centres)
    axes.errorbar(
        binned.centres, factor * binned.values[name], factor * binned.errors[MEASURED][name],
        fmt="o", color=colour, label=label,
    )  # fmt: skip


def _draw_lines(axes: Axes, binned: Binned, name: str, label: str, colour: str) -> None:
    factor = scale(name, binned.centres)
    values = np.atleast_2d(factor * binned.values[name])
    if len(values) > 1:
        axes.plot(binned.centres, values.T, color=colour, alpha=0.3)
        axes.plot([], [], color=colour, label=f"{label}, {len(values)} points")
        return
    axes.plot(binned.centres, values[0], color=colour, label=label)
    for i, (of, sigma) in enumerate(binned.errors.items()):
        width = factor * np.ravel(sigma[name])
        axes.fill_between(
            binned.centres, values[0] - width, values[0] + width, color=colour, lw=0,
            alpha=0.25 + 0.25 * i, label=f"± 1σ, {of}",
        )  # fmt: skip
