"""The figure of a halo catalogue: how many halos of each mass it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.plots.correlations import legend_below
from iaemu_likelihood.plots.style import colours, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Width of the bins in log10 of mass.
STEP = 0.1


def mass_function_plot(masses: Mapping[str, Array], volume: float) -> Figure:
    """Draw numbers of halos per volume and decade of mass, with Poisson errors.

    Parameters
    ----------
    masses : mapping of str to ndarray, shape (n,)
        Masses in Msun/h, by their labels in the legend.
    volume : float
        Of the box, (Mpc/h)^3.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    logs = {label: np.log10(mass) for label, mass in masses.items()}
    first = np.floor(min(x.min() for x in logs.values()) / STEP)
    last = np.ceil(max(x.max() for x in logs.values()) / STEP)
    edges = STEP * np.arange(first, last + 1)
    with styled():
        figure = Figure()
        axes = figure.subplots()
        for colour, (label, x) in zip(colours(), logs.items(), strict=False):
            number, _ = np.histogram(x, edges)
            some = number > 0
            density, centres = number[some] / volume / STEP, (edges[1:] + edges[:-1])[some] / 2
            error = density / np.sqrt(number[some])
            axes.errorbar(centres, density, error, fmt=".-", color=colour, label=label)
        axes.set(
            yscale="log", xlabel=r"$\log_{10} M_\mathrm{vir} / (h^{-1} M_\odot)$",
            ylabel=r"$\mathrm{d}n / \mathrm{d}\log_{10} M\ [(h/\mathrm{Mpc})^3]$",
        )  # fmt: skip
        axes.yaxis.set_minor_formatter(NullFormatter())
        legend_below(figure)
    return figure
