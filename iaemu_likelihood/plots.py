"""Figures of chains: GetDist corner plots, and data against the posterior's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from numpy.typing import NDArray

from iaemu_likelihood.emulator.physics.statistics import STATISTICS, Statistic

if TYPE_CHECKING:
    from getdist import MCSamples

    from iaemu_likelihood.data_vectors.measurement import Measurement

Array = NDArray[np.float64]

BURN_IN = 0.3
COLOURS = {"data": "black", "model": "#2a6f97"}


def load_chains(root: str | Path) -> MCSamples:
    """Load the chains of a Cobaya run by their prefix, without the first 30 % of each.

    Raises
    ------
    FileNotFoundError
        If there are no chains with this prefix.
    """
    from getdist import chains, loadMCSamples

    if not list(Path(root).parent.glob(f"{Path(root).name}.*.txt")):
        raise FileNotFoundError(
            f"No chains {root}.*.txt. Give the output prefix of a run, such as chains/tng300_sample1."
        )
    chains.print_load_details = False
    return loadMCSamples(str(root), settings={"ignore_rows": BURN_IN}, no_cache=True)


def load_nuts(root: str | Path) -> MCSamples:
    """Load the chains of `iaemu_likelihood.sampling.nuts`, which hold no burn-in, by their root."""
    from getdist import chains, loadMCSamples

    chains.print_load_details = False
    return loadMCSamples(str(root), no_cache=True)


def corner_plot(
    samples: Sequence[MCSamples], path: str | Path, labels: Sequence[str] | None = None
) -> Path:
    """Draw the corner plot of all sampled parameters.

    Parameters
    ----------
    samples : sequence of getdist.MCSamples
        Drawn over each other; the parameters are those of the first.
    path : str or Path
        File to write; its suffix is the format.
    labels : sequence of str, optional
        Labels of the legend.
    """
    import matplotlib

    matplotlib.use("Agg")
    from getdist import plots

    first = samples[0]
    names = first.paramNames.getRunningNames() if first.paramNames else None
    plotter = plots.get_subplot_plotter(width_inch=3.2 * max(len(names or []), 2))
    several = len(samples) > 1
    plotter.triangle_plot(
        list(samples), names, filled=[i == 0 for i in range(len(samples))],
        legend_labels=labels, title_limit=0 if several else 1,
    )  # fmt: skip
    plotter.export(str(path))
    return Path(path)


@dataclass(frozen=True)
class PosteriorPrediction:
    """A measurement, and the prediction of a chain for it.

    Attributes
    ----------
    measurement : Measurement
        The bins that were kept.
    draws : dict of str to ndarray, shape (n, n_bins)
        Predictions by statistic, at draws from the posterior.
    """

    measurement: Measurement
    draws: dict[str, Array]


def predictions(root: str | Path, n: int = 400, seed: int = 0) -> list[PosteriorPrediction]:
    """Predict the measured statistics of each sample at draws from a chain.

    Parameters
    ----------
    root : str or Path
        Output prefix of the run; PREFIX.updated.yaml must be there.
    n : int
        Number of draws.
    seed : int
    """
    from cobaya.model import get_model

    from iaemu_likelihood.cobaya.likelihood import IACorrelations

    info = yaml.safe_load(Path(f"{root}.updated.yaml").read_text())
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")}, stop_at_error=True)
    samples = load_chains(root)
    weights = samples.weights / samples.weights.sum()
    rows = np.random.default_rng(seed).choice(len(weights), size=n, p=weights)
    names = [p.name for p in samples.getParamNames().names]
    columns = [names.index(p) for p in model.parameterization.sampled_params()]
    likelihoods = [x for x in model.likelihood.values() if isinstance(x, IACorrelations)]
    drawn = []
    for row in rows:
        model.logposterior(samples.samples[row, columns])
        drawn.append([part for likelihood in likelihoods for part in likelihood.predicted()])
    parts = [part for likelihood in likelihoods for part in likelihood.core.data.parts]
    return [
        PosteriorPrediction(
            part.kept, {name: np.array([x[name] for x in each]) for name in part.statistics}
        )
        for part, each in zip(parts, zip(*drawn, strict=True), strict=True)
    ]


def prediction_plot(fits: Sequence[PosteriorPrediction], path: str | Path) -> Path:
    """Draw data with errors against the 68 and 95 % bands of the posterior's prediction.

    Parameters
    ----------
    fits : sequence of PosteriorPrediction
    path : str or Path
        File to write; its suffix is the format.
    """
    from matplotlib.figure import Figure

    panels = [(fit, STATISTICS[name]) for fit in fits for name in fit.draws]
    figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, (fit, statistic) in zip(axes[0], panels, strict=True):
        measured, draws = fit.measurement, fit.draws[statistic.name]
        values, errors = measured.values[statistic.name], measured.errors[statistic.name]
        edges = measured.r_edges
        centres = np.sqrt(edges[1:] * edges[:-1])
        for low, high, alpha in ((2.5, 97.5, 0.25), (16, 84, 0.45)):
            band = np.percentile(draws, [low, high], axis=0)
            axis.stairs(
                band[1], edges, baseline=band[0], fill=True, alpha=alpha, lw=0,
                color=COLOURS["model"], label=f"posterior, {high - low:.0f} %",
            )  # fmt: skip
        axis.errorbar(
            centres, values, errors, fmt="o", ms=4, color=COLOURS["data"], label=measured.name
        )
        axis.set(
            xscale="log", xlabel=r"$r\ [\mathrm{Mpc}/h]$", ylabel=_label(statistic),
            yscale=statistic.plot_scale if (values > 0).all() else "linear",
        )  # fmt: skip
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    return Path(path)


def _label(statistic: Statistic) -> str:
    unit = rf"\ [\mathrm{{{statistic.unit}}}]" if statistic.unit else ""
    return rf"${statistic.latex}(r){unit}$"


def prediction_figure(root: str | Path, suffix: str = "png") -> Path:
    """Draw the data against the posterior's prediction into a file beside the chains."""
    return prediction_plot(predictions(root), f"{root}_prediction.{suffix}")


def plot_chains(root: str | Path, suffix: str = "png") -> list[Path]:
    """Draw the corner plot and the prediction into files beside the chains."""
    return [
        corner_plot([load_chains(root)], f"{root}_corner.{suffix}"),
        prediction_figure(root, suffix),
    ]
