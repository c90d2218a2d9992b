"""How far predictions are from what they should be: the expectation, or means of catalogues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.validation import metrics
from iaemu_likelihood.emulator.validation.predicted import Array, Predicted, each

# Beyond this in any occupation parameter mapped to [-1, 1], a point is at the edge of the domain.
EDGE = 0.9
N_WORST = 10


def accuracy(statistics: Sequence[Statistic], guess: Array, truth: Array) -> dict[str, Any]:
    """Accuracy of each statistic, and the same after the paper's removal of outliers.

    Parameters
    ----------
    statistics : sequence of Statistic
    guess, truth : ndarray, shape (n, n_statistics, n_bins)
    """

    def screened(i: int) -> dict[str, Any]:
        kept = metrics.without_paper_outliers(statistics[i].name, guess[:, i], truth[:, i])
        removed = int((np.isnan(kept) & np.isfinite(truth[:, i])).sum())
        return {"n_removed": removed, **metrics.accuracy(guess[:, i], kept)}

    return {
        "all": each(statistics, lambda i: metrics.accuracy(guess[:, i], truth[:, i])),
        "without_paper_outliers": each(statistics, screened),
    }


def against_expectation(predicted: Predicted, truth: Array, unit: Array) -> dict[str, Any]:
    """Accuracy over the domain, in its interior and at its edge.

    Parameters
    ----------
    predicted : Predicted
    truth : ndarray, shape (n, n_statistics, n_bins)
    unit : ndarray, shape (n, n_occupation)
        Occupation parameters mapped to [-1, 1].
    """
    statistics = predicted.statistics
    edge = (np.abs(unit) > EDGE).any(axis=1)
    block: dict[str, Any] = {
        "n_points": len(truth),
        **accuracy(statistics, predicted.mean, truth),
    }
    for name, rows in (("interior", ~edge), ("edge", edge)):
        if rows.sum() > 1:
            block[name] = {
                "n_points": int(rows.sum()),
                **accuracy(statistics, predicted.mean[rows], truth[rows])["all"],
            }
    return block


def against_means(predicted: Predicted, truth: Array, draws: Array) -> dict[str, Any]:
    """Accuracy against means of a few catalogues, as in the paper, and that of the expectation.

    Parameters
    ----------
    predicted : Predicted
    truth : ndarray, shape (n, n_statistics, n_bins)
        The expectation.
    draws : ndarray, shape (n, n_catalogues, n_statistics, n_bins)
    """
    sigma, number = metrics.scatter(draws)
    mean = np.where(number > 0, np.nansum(draws, axis=1) / np.maximum(number, 1), np.nan)
    block: dict[str, Any] = {"n_points": len(draws), "n_catalogues": draws.shape[1]}
    for name, guess in (("emulator", predicted.mean), ("perfect", truth)):
        block[name] = accuracy(predicted.statistics, guess, mean)
        for i, entry in enumerate(block[name]["all"].values()):
            columns = guess[:, i], mean[:, i], sigma[:, i]
            entry["median_residual"] = float(metrics.median_residual(*columns))
            entry["per_bin"]["median_residual"] = metrics.median_residual(*columns, axis=0)
    return block


def in_sigma(
    predicted: Predicted, truth: Array, at_drawn: Predicted, truth_drawn: Array, sigma: Array
) -> dict[str, Any]:
    """Errors against the expectation in units of the scatter of one catalogue.

    Parameters
    ----------
    predicted : Predicted
        At all points, where the predicted scatter is the unit.
    truth : ndarray, shape (n, n_statistics, n_bins)
    at_drawn : Predicted
        At the points where catalogues were drawn, whose scatter is the unit.
    truth_drawn, sigma : ndarray, shape (n_drawn, n_statistics, n_bins)
    """
    statistics, aleatoric = predicted.statistics, predicted.aleatoric
    error = np.abs(at_drawn.mean - truth_drawn)
    block = {"measured": each(statistics, lambda i: _quantiles(error[:, i] / sigma[:, i]))}
    if aleatoric is not None:
        every = np.abs(predicted.mean - truth)
        block["predicted"] = each(statistics, lambda i: _quantiles(every[:, i] / aleatoric[:, i]))
    return block


def _quantiles(ratio: Array) -> dict[str, Any]:
    median, p95, p99 = np.nanpercentile(ratio, [50, 95, 99])
    per_bin = np.nanpercentile(ratio, [50, 95], axis=0)
    return {
        "median": median, "p95": p95, "p99": p99, "n_values": int(np.isfinite(ratio).sum()),
        "per_bin": {"median": per_bin[0], "p95": per_bin[1]},
    }  # fmt: skip


def score(predicted: Predicted, truth: Array) -> Array:
    """Median over bins of each statistic's error, in units of the predicted scatter.

    Returns
    -------
    ndarray, shape (n, n_statistics)
        In units of the rms of the truth in each bin if the scatter is not predicted.
    """
    unit = predicted.aleatoric
    if unit is None:
        unit = np.broadcast_to(np.sqrt(np.nanmean(truth**2, axis=0)), truth.shape)
    return np.nanmedian(np.abs(predicted.mean - truth) / unit, axis=-1)


def worst(
    theta: Array, scores: Array, predicted: Predicted, truth: Array, space: ParameterSpace
) -> dict[str, Any]:
    """The points of the highest `score` of each statistic.

    Parameters
    ----------
    theta : ndarray, shape (n, n_parameters)
        Points of `space`.
    scores : ndarray, shape (n, n_statistics)
    predicted : Predicted
    truth : ndarray, shape (n, n_statistics, n_bins)
    space : ParameterSpace
    """

    def of(i: int) -> list[dict[str, Any]]:
        error = np.abs(predicted.mean[:, i] - truth[:, i])
        relative = error / np.nanmax(np.abs(truth[:, i]), axis=-1, keepdims=True)
        return [
            {
                "row": int(row),
                "score": scores[row, i],
                "largest_error_over_largest_value": np.nanmax(relative[row]),
                "parameters": space.named_values(theta[row]),
            }
            for row in np.argsort(-np.nan_to_num(scores[:, i], nan=-1.0))[:N_WORST]
        ]

    unit = "sigma of one catalogue" if predicted.aleatoric is not None else "rms of the truth"
    return {"unit": f"median over bins of |error| / {unit}", **each(predicted.statistics, of)}
