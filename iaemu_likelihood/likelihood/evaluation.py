"""The model at given parameters: which points are allowed, what it predicts there, what is finite.

Cobaya's theory, CosmoSIS' module and the batched posterior are shells over `evaluate`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from iaemu_likelihood.emulator.backend import as_array, enter
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.likelihood.model import CorrelationModel, Moments, OccupiedModel

Array = NDArray[np.float64]

# What becomes of points outside the domain of the training.
OUT_OF_DOMAIN = ("reject", "error", "extrapolate")


@contextmanager
def one_thread() -> Iterator[None]:
    """Of torch: two stall each other at single points."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def allowed(domain: Domain, theta: Array, out_of_domain: str) -> NDArray[np.bool_]:
    """Which points are to be evaluated, shape (n, n_parameters) to (n,).

    Raises
    ------
    ValueError
        If some are not, for out_of_domain: error.
    """
    if out_of_domain == "extrapolate":
        # A strength beyond its limits means nothing, so it cannot be extrapolated to.
        mu, _ = domain.space.split(theta)
        low, high = domain.space.alignment.limits
        meant = ((mu >= low) & (mu <= high)).all(axis=1)
        return np.asarray(meant & np.isfinite(theta).all(axis=1))
    inside = domain.contains(theta)
    if out_of_domain == "error" and not inside.all():
        domain.check(theta)
    return inside


class Points(NamedTuple):
    """Where a model is evaluated.

    Attributes
    ----------
    model : CorrelationModel
    mu : ndarray or torch.Tensor, shape (n, n_alignment), float64
    hod : ndarray or torch.Tensor, shape (n, n_occupation) or (1, n_occupation), float64
    """

    model: CorrelationModel
    mu: Any
    hod: Any


# Of each model: itself at an occupation, and what it predicts there.
Predicted = Sequence[tuple[OccupiedModel, Moments]]


@dataclass(frozen=True)
class Evaluation:
    """What models predict at points.

    Attributes
    ----------
    accepted : ndarray of bool, shape (n,)
        Points that are allowed in every model, and where all predictions are finite.
    rows : ndarray of int, shape (m,)
        Points that were evaluated; those that are not accepted among them hold NaN or inf.
    predicted : sequence of (OccupiedModel, Moments)
        For each model, at these rows; empty if there are none.
    """

    accepted: NDArray[np.bool_]
    rows: NDArray[np.int64]
    predicted: Predicted


def accept(
    points: Sequence[Points], out_of_domain: str, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Which points are allowed in all models, shape (n,); parameters as in `evaluate`."""
    accepted = np.ones(len(points[0].mu), bool) if inside is None else inside.copy()
    for model, mu, hod in points:
        domain = model.emulator.domain
        theta = domain.space.join(as_array(mu), as_array(hod))
        accepted &= allowed(domain, theta, out_of_domain)
    return accepted


def evaluate(points: Sequence[Points], errors: Collection[str], out_of_domain: str) -> Evaluation:
    """Evaluate models, of one sample each, where all of them are allowed.

    Parameters
    ----------
    points : sequence of Points
        The same number n for each model.
    errors : collection of str
        Any of aleatoric and epistemic: the covariances to give beside the means.
    out_of_domain : str
        One of `OUT_OF_DOMAIN`.

    Raises
    ------
    ValueError
        If a point is outside the domain and `out_of_domain` is error.
    """
    accepted = accept(points, out_of_domain)
    rows = np.flatnonzero(accepted)
    if not len(rows):
        return Evaluation(accepted, rows, [])
    if len(rows) < len(accepted):
        # An occupation that all points share stays as it is.
        points = [
            Points(model, mu[rows], hod if len(hod) == 1 else hod[rows])
            for model, mu, hod in points
        ]
    finite, predicted = predict(points, errors)
    accepted[rows] = finite
    return Evaluation(accepted, rows, predicted)


def predict(
    points: Sequence[Points], errors: Collection[str]
) -> tuple[NDArray[np.bool_], Predicted]:
    """Predictions of models at points that are known to be allowed.

    Parameters
    ----------
    points, errors
        As in `evaluate`.

    Returns
    -------
    finite : ndarray of bool, shape (n,)
        Points where all predictions are.
    predicted : sequence of (OccupiedModel, Moments)
        For each model.
    """
    entered = enter(*(x for _, mu, hod in points for x in (mu, hod)))
    finite = np.ones(len(points[0].mu), bool)
    predicted = []
    for i, (model, _, _) in enumerate(points):
        mu, hod = entered[2 * i : 2 * i + 2]
        occupied = model.at(hod)
        mean, covariances = moments = occupied(mu, errors)
        for x in (mean, *covariances.values()):
            finite &= _is_finite(x)
        predicted.append((occupied, moments))
    return finite, predicted


def _is_finite(x: Any) -> NDArray[np.bool_]:
    """Whether everything is finite at each point, (n, ...) to (n,)."""
    # A sum is finite if all of its terms are.
    numbers = x if isinstance(x, np.ndarray) else x.detach()
    return np.isfinite(as_array(numbers.reshape(len(x), -1).sum(1)))
