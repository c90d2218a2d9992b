"""Data against what a chain predicts for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from iaemu_likelihood.cobaya.inputs import (
    model_of,
    read_input,
    read_updated,
    restored_logging,
    updated_file,
)
from iaemu_likelihood.cobaya.likelihood import IACorrelations
from iaemu_likelihood.data_vectors.data_vector import Part
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.plots.chains import load
from iaemu_likelihood.plots.correlations import (
    MAX_COLUMNS,
    centres,
    legend_below,
    scale,
    separation_label,
    value_label,
)
from iaemu_likelihood.plots.style import COLUMN, PAGE, colours, label_decades, styled
from iaemu_likelihood.sampling.optimum import climb
from iaemu_likelihood.sampling.posterior import Posterior

if TYPE_CHECKING:
    from cobaya.model import Model
    from getdist import MCSamples
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

ROW_HEIGHT = 3.2
# Intervals of the bands: percentiles, and opacity.
BANDS = ((2.5, 97.5, 0.25), (16, 84, 0.4))


@dataclass(frozen=True)
class PosteriorPrediction:
    """A measurement, and the prediction of a chain for it.

    Attributes
    ----------
    measurement : Measurement
        Its bins from the first to the last that is fitted.
    draws : dict of str to ndarray, shape (n, n_edges - 1)
        Predictions by statistic, at draws from the posterior, between the edges
        `measurement.r_edges`.
    best : dict of str to ndarray, shape (n_edges - 1,)
        At the maximum of the posterior that is reached from the chain's highest sample; at this sample
        if the run has likelihoods of others, which give no gradient.
    best_label : str
        Which of the two it is: best fit or best sample.
    sigma : dict of str to ndarray, shape (n_bins,)
        One standard deviation of data and emulator together, as the fit has it; NaN in bins that are
        not fitted.
    chi2 : float
        At the same point, of all data of this likelihood.
    n_data, n_parameters : int
        Of this likelihood, and of the sampled parameters on which it depends.
    """

    measurement: Measurement
    draws: dict[str, Array]
    best: dict[str, Array]
    best_label: str
    sigma: dict[str, Array]
    chi2: float
    n_data: int
    n_parameters: int

    @property
    def p_value(self) -> float:
        """Probability of a larger chi^2, if the model is right; NaN without degrees of freedom."""
        from scipy.stats import chi2

        degrees = self.n_data - self.n_parameters
        return float(chi2.sf(self.chi2, degrees)) if degrees > 0 else float("nan")


@restored_logging()
def predictions(
    source: str | Path, n: int = 400, seed: int = 0, run: str | Path | None = None
) -> list[PosteriorPrediction]:
    """Predict the measured statistics of each sample at draws from a chain.

    Parameters
    ----------
    source : str or Path
        A chain, as for `iaemu_likelihood.plots.load`.
    n : int
        Number of draws.
    seed : int
    run : str or Path, optional
        Cobaya input of the chain, if it has none beside it, as Cobaya's have (PREFIX.updated.yaml).

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`; also if the input is missing, or is not of these chains.
    """
    samples = load(source, run)
    own = run is None or updated_file(source).is_file()
    info = read_updated(source) if own else read_input(str(run))
    model = model_of(info, debug=logging.ERROR)
    weights = samples.weights / samples.weights.sum()
    rows = np.random.default_rng(seed).choice(len(weights), size=n, p=weights)
    highest, *points = _points(source, samples, model, [int(np.argmin(samples.loglikes)), *rows])
    best, best_label = _best(model, highest)
    likelihoods = [x for x in model.likelihood.values() if isinstance(x, IACorrelations)]
    parts = [
        (likelihood, part) for likelihood in likelihoods for part in likelihood.core.data.parts
    ]

    def predicted(point: Array) -> list[dict[str, Array]]:
        model.logposterior(point)
        return [part for likelihood in likelihoods for part in likelihood.predicted()]

    drawn = [predicted(point) for point in points]
    at_best = predicted(best)
    fitted = [fit for likelihood in likelihoods for fit in _fits(likelihood)]
    return [
        PosteriorPrediction(
            part.kept,
            {name: np.array([x[name] for x in each]) for name in part.statistics},
            mean,
            best_label,
            **fit,
        )
        for (_, part), each, mean, fit in zip(
            parts, zip(*drawn, strict=True), at_best, fitted, strict=True
        )
    ]


def _points(source: str | Path, samples: MCSamples, model: Model, rows: Sequence[int]) -> Array:
    """The sampled parameters of some rows, in the model's order, shape (n, n_parameters)."""
    names = [p.name for p in samples.getParamNames().names]
    points = np.empty((len(rows), model.prior.d()))
    for i, name in enumerate(model.parameterization.sampled_params()):
        if name in names:
            points[:, i] = samples.samples[rows, names.index(name)]
        elif (value := samples.ranges.fixedValue(name)) is not None:
            points[:, i] = value  # the same in all samples, which GetDist leaves out
        else:
            raise ValueError(
                f"The chains {source} have no parameter {name}, which their run samples."
            )
    return points


def _best(model: Model, highest: Array) -> tuple[Array, str]:
    """The maximum of the posterior near a chain's highest sample, or this sample; and which it is."""
    try:
        target = Posterior(model)
    except ValueError:  # it takes no likelihoods of others
        return highest, "best sample"
    found = climb(target, highest)
    return (found.x if -found.fun >= target(highest) else highest), "best fit"


def _fits(likelihood: IACorrelations) -> list[dict[str, Any]]:
    """For each part of a likelihood, what `PosteriorPrediction` says of the fit."""
    core = likelihood.core
    with unaffected(), torch.inference_mode():
        mean, covariance = core.model(likelihood.moments() or [])
        _, chi2 = likelihood.compare(mean, covariance)
    variance = np.diag(core.comparison.covariance).copy()
    if covariance is not None:
        variance += np.diag(as_array(covariance[0]))
    n = [len(part.values) for part in core.data.parts]
    each = np.split(np.sqrt(variance), np.cumsum(n)[:-1])
    common = {"chi2": chi2, "n_data": core.n_data, "n_parameters": likelihood.n_parameters()}
    return [
        {"sigma": _by_bin(part, sigma), **common}
        for part, sigma in zip(core.data.parts, each, strict=True)
    ]


def _by_bin(part: Part, sigma: Array) -> dict[str, Array]:
    """Standard deviations of the data points of a part, by statistic, in the bins of `part.kept`."""
    inside = np.flatnonzero(part.chosen.any(axis=0))
    used = part.chosen[:, inside[0] : inside[-1] + 1]
    each = np.full(used.shape, np.nan)
    each[used] = sigma
    return dict(zip(part.statistics, each, strict=True))


def prediction_plot(
    fits: Sequence[PosteriorPrediction], labels: Sequence[str] | None = None
) -> Figure:
    """Draw data, the best fit with the 68 and 95 % bands of the posterior, and residuals below.

    Each statistic is multiplied by a power of the separation, so that its errors can be seen. Bins
    that are not fitted have open symbols.

    Parameters
    ----------
    fits : sequence of PosteriorPrediction
        Side by side.
    labels : sequence of str, optional
        What each is of, in its heading; the names of the measurements when left out.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    headings = labels or [fit.measurement.name for fit in fits]
    names = list(dict.fromkeys(name for fit in fits for name in fit.draws))
    panels = [
        (heading, fit, name)
        for name in names
        for heading, fit in zip(headings, fits, strict=True)
        if name in fit.draws
    ]
    n_columns = min(len(fits) if len(fits) > 1 else len(panels), MAX_COLUMNS)
    n_rows = -(-len(panels) // n_columns)
    with styled():
        figure = Figure(
            figsize=(COLUMN if n_columns == 1 else PAGE, ROW_HEIGHT * n_rows),
            layout=ConstrainedLayoutEngine(hspace=0, h_pad=0.02),
        )
        grid = figure.add_gridspec(2 * n_rows, n_columns, height_ratios=(3, 1) * n_rows)
        for i, (heading, fit, name) in enumerate(panels):
            row, column = divmod(i, n_columns)
            above = figure.add_subplot(grid[2 * row, column])
            below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
            _draw_fit(above, below, fit, name)
            if len(fits) > 1 and name == next(iter(fit.draws)):  # chi^2 is of all statistics
                above.set_title(f"{_plain(heading)}\n{_verdict(fit)}")
        if len(fits) == 1:
            between = "\n" if n_columns == 1 else ": "
            figure.suptitle(f"{_plain(headings[0])}{between}{_verdict(fits[0])}")
        legend_below(figure)
    return figure


def _draw_fit(above: Axes, below: Axes, fit: PosteriorPrediction, name: str) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    measured, sigma, colour = fit.measurement, fit.sigma[name], colours()[0]
    edges = measured.r_edges
    # Between the edges are the bins, and gaps.
    between = centres(edges[:-1], edges[1:])
    factor = scale(name, between)
    for (low, high, alpha), label in zip(BANDS, ("95 %", "68 %"), strict=True):
        band = factor * np.percentile(fit.draws[name], [low, high], axis=0)
        above.stairs(
            band[1],
            edges,
            baseline=band[0],
            fill=True,
            alpha=alpha,
            lw=0,
            color=colour,
            label=label,
        )
    above.stairs(factor * fit.best[name], edges, baseline=None, color=colour, label=fit.best_label)
    bins = np.searchsorted(edges, measured.r_min)
    residuals = (measured.values[name] - fit.best[name][bins]) / sigma
    fitted = np.isfinite(sigma)
    values, errors = (factor[bins] * x[name] for x in (measured.values, measured.errors))
    for rows, face, label in ((fitted, "black", "data"), (~fitted, "white", "not fitted")):
        if rows.any():
            above.errorbar(
                between[bins][rows], values[rows], errors[rows], fmt="o", color="black", mfc=face,
                lw=0.8, label=label,
            )  # fmt: skip
    below.errorbar(between[bins][fitted], residuals[fitted], 1, fmt="o", color="black", lw=0.8)
    below.axhspan(-1, 1, color="0.9", lw=0, zorder=0)
    below.axhline(0, color="0.6", lw=0.6, zorder=1)
    reach = max(2.9, float(np.max(np.abs(residuals[fitted]))) + 1.4)
    below.set(ylim=(-reach, reach), xlabel=separation_label(name))
    below.set_ylabel("residual / σ", fontsize="small")
    below.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    below.yaxis.set_minor_locator(NullLocator())
    shown = [
        values - errors,
        values + errors,
        *(factor * np.percentile(fit.draws[name], (2.5, 97.5), 0)),
    ]
    above.set(xscale="log", ylabel=value_label(name), ylim=_with_margins(np.concatenate(shown)))
    above.tick_params(labelbottom=False)
    label_decades(below.xaxis)


def _with_margins(values: Array) -> tuple[float, float]:
    """Limits of an axis that shows all values, also beyond its frame's edge."""
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _verdict(fit: PosteriorPrediction) -> str:
    degrees = fit.n_data - fit.n_parameters
    probability = f", $p = {fit.p_value:.2g}$" if degrees > 0 else ""
    return rf"$\chi^2 / \mathrm{{dof}} = {fit.chi2:.1f} / {degrees}${probability}"


def _plain(text: str) -> str:
    """Text that matplotlib takes as it is."""
    return text.replace("\\", "").replace("$", r"\$")
