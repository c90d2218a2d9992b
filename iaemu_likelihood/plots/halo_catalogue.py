"""The figure of a halo catalogue: what its halos are worth for galaxies and their alignments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, Columns, richness
from iaemu_likelihood.emulator.halos.theory import mass_function
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology
from iaemu_likelihood.plots.style import PAGE, colours, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Width of the bins in log10 of mass: for numbers, and for what hosts have.
STEP, WIDE_STEP = 0.1, 0.25
# Bins of the cosines of axes, and what is drawn beside isotropy, 1.
N_COSINES, SHOWN = 10, 0.1
MASS_LABEL = r"$\log_{10} M_\mathrm{vir} / (h^{-1} M_\odot)$"


def halo_catalogue_plot(
    columns: Columns, box: float, redshift: float, cosmology: str | None = None
) -> Figure:
    """Draw how many halos there are by mass, how their axes are spread, and what subhalos they have.

    The first panel holds the mass functions with Poisson errors, and that of Despali et al. (2016) if the
    catalogue's cosmology is known. The second has, for each side of the box, the distribution of the
    cosine between it and the hosts' major axes over that of axes of no preferred direction: finders that
    work on a grid may prefer one. The third shows the number of subhalos of each host, mean and 16 to 84
    %, or, without subhalos, concentrations.

    Parameters
    ----------
    columns, box, redshift, cosmology
        As the attributes of `HaloCatalogue`: box in Mpc/h, cosmology in words.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(PAGE, 2.5))
        of_masses, of_axes, of_hosts = figure.subplots(1, 3)
        _draw_masses(of_masses, columns, box, redshift, cosmology)
        _draw_cosines(of_axes, columns)
        _draw_subhalos(of_hosts, columns)
    return figure


def _draw_masses(
    panel: Axes, columns: Columns, box: float, redshift: float, cosmology: str | None
) -> None:
    from matplotlib.ticker import NullFormatter

    hosts, mass = columns["halo_upid"] == -1, columns["halo_mvir"]
    logs = {"hosts": np.log10(mass[hosts])}
    if not hosts.all():
        logs["subhalos"] = np.log10(mass[~hosts & (mass > 0)])
    volume = box**3
    edges = _edges(np.concatenate([*logs.values()]), STEP)
    for colour, (label, x) in zip(colours(), logs.items(), strict=False):
        number, _ = np.histogram(x, edges)
        some = number > 0
        density, centres = number[some] / volume / STEP, (edges[1:] + edges[:-1])[some] / 2
        error = density / np.sqrt(number[some])
        panel.errorbar(centres, density, error, fmt=".", color=colour, label=label)
    try:
        universe = Cosmology.from_words(cosmology)
    except ValueError:
        pass  # none is known, and none is drawn
    else:
        at = np.linspace(logs["hosts"].min(), logs["hosts"].max(), 60)
        theory = mass_function(10**at, redshift, universe)
        panel.plot(at, theory, "k-", lw=0.8, zorder=0, label="Despali et al. 2016")
    panel.set(
        yscale="log",
        xlabel=MASS_LABEL,
        ylabel=r"$\mathrm{d}n / \mathrm{d}\log_{10} M\ [(h/\mathrm{Mpc})^3]$",
    )
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.legend()


def _draw_cosines(panel: Axes, columns: Columns) -> None:
    hosts = columns["halo_upid"] == -1
    edges = np.linspace(0, 1, N_COSINES + 1)
    centres, expected = (edges[1:] + edges[:-1]) / 2, hosts.sum() / N_COSINES
    furthest = SHOWN
    for i, (colour, key) in enumerate(zip(colours(), AXES, strict=False)):
        number, _ = np.histogram(np.clip(np.abs(columns[key][hosts]), 0, 1), edges)
        ratio, error = number / expected, np.sqrt(number) / expected
        furthest = max(furthest, 1.3 * float(np.abs(ratio - 1).max() + error.max()))
        # Side by side, as they have the same bins.
        shift = (i - 1) * 0.02
        panel.errorbar(centres + shift, ratio, error, fmt=".", color=colour, label=key[-1])
    panel.axhline(1, color="k", lw=0.8, zorder=0)
    panel.set(
        xlabel=r"$|\cos|$ of major axis and side of the box", ylabel="hosts / isotropic",
        xlim=(0, 1), ylim=(1 - furthest, 1 + furthest),
    )  # fmt: skip
    panel.legend(ncols=3)


def _draw_subhalos(panel: Axes, columns: Columns) -> None:
    hosts = columns["halo_upid"] == -1
    logM = np.log10(columns["halo_mvir"][hosts])
    if hosts.all():
        values, label = columns[CONCENTRATION], "concentration of hosts"
    else:
        values, label = richness(columns), "subhalos of a host"
    edges = _edges(logM, WIDE_STEP)
    bins = np.digitize(logM, edges) - 1
    found = np.unique(bins)
    several = [values[bins == i] for i in found]
    centres = (edges[found] + edges[found + 1]) / 2
    mean = np.array([each.mean() for each in several])
    low, high = np.array([np.percentile(each, [16, 84]) for each in several]).T
    panel.fill_between(centres, low, high, color=colours()[0], alpha=0.3, lw=0, label="16 to 84 %")
    panel.plot(centres, mean, ".-", color=colours()[0], label="mean")
    panel.set(xlabel=MASS_LABEL, ylabel=label)
    if mean.max() > 20 * max(mean.min(), 1e-3):
        panel.set_yscale("symlog", linthresh=1)
        panel.set_ylim(bottom=0)
    panel.legend()


def _edges(logs: Array, step: float) -> Array:
    """Edges at multiples of a step that enclose all of an array."""
    first, last = np.floor(logs.min() / step), np.floor(logs.max() / step) + 1
    return step * np.arange(first, last + 1)
