"""Models at given points: which points are allowed, the predictions, and whether they are finite.

`evaluate` does all of this; Cobaya's theory and CosmoSIS' module are shells over it. The batched
posterior calls its two halves, `accept` and `predict`, because it goes on when some points are not
allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from iaemu_likelihood.emulator.backend import as_array, enter
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.likelihood.model import CorrelationModel, Predicted

Array = NDArray[np.float64]

# How points outside the domain of the training are treated.
OUT_OF_DOMAIN = ("reject", "error", "extrapolate")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread; at single points several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def allowed(domain: Domain, theta: Array, out_of_domain: str) -> NDArray[np.bool_]:
    """Which points may be evaluated, shape (n, n_parameters) to (n,).

    Raises
    ------
    ValueError
        If a point is outside the domain and `out_of_domain` is error.
    """
    if out_of_domain == "extrapolate":
        # A strength beyond its limits is meaningless, so there is no extrapolation to it.
        mu, _ = domain.space.split(theta)
        low, high = domain.space.alignment.limits
        meant = ((mu >= low) & (mu <= high)).all(axis=1)
        return np.asarray(meant & np.isfinite(theta).all(axis=1))
    inside = domain.contains(theta)
    if out_of_domain == "error" and not inside.all():
        domain.check(theta)
    return inside


class Points(NamedTuple):
    """A model, and points at which it is evaluated.

    Attributes
    ----------
    model : CorrelationModel
    mu : ndarray or torch.Tensor, shape (n, n_alignment), float64
    hod : ndarray or torch.Tensor, shape (n, n_occupation) or (1, n_occupation), float64
    responses : ndarray or torch.Tensor, shape (n, 2) or (1, 2), float64, or None
        a_2 of centrals and of satellites, if shapes enter.
    errors : collection of str
        Covariances that are wanted: any of aleatoric, epistemic and box.
    """

    model: CorrelationModel
    mu: Any
    hod: Any
    responses: Any = None
    errors: Collection[str] = ()


class Evaluation(NamedTuple):
    """Predictions of models at points.

    Attributes
    ----------
    accepted : bool
        Whether all points are allowed in their models, and all predictions there are finite.
    predicted : sequence of Predicted
        For each model, at all points; empty if one of them is not allowed.
    """

    accepted: bool
    predicted: Sequence[Predicted]


def accept(
    points: Sequence[Points], out_of_domain: str, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Which points are allowed in all models, shape (n,).

    Parameters
    ----------
    points : sequence of Points
        The same number n for each model.
    out_of_domain : str
        One of `OUT_OF_DOMAIN`.
    inside : ndarray of bool, shape (n,), optional
        Points that are not known not to be allowed.

    Raises
    ------
    ValueError
        If a point is outside the domain and `out_of_domain` is error.
    """
    masks = [] if inside is None else [inside]
    for model, mu, hod, *_ in points:
        domain = model.emulator.domain
        theta = domain.space.join(as_array(mu), as_array(hod))
        masks.append(allowed(domain, theta, out_of_domain))
    return reduce(and_, masks)


def evaluate(points: Sequence[Points], out_of_domain: str) -> Evaluation:
    """Evaluate models, each at points of its own, if all points are allowed in their models.

    Parameters
    ----------
    points : sequence of Points
    out_of_domain : str
        One of `OUT_OF_DOMAIN`.

    Raises
    ------
    ValueError
        If a point is outside the domain and `out_of_domain` is error.
    """
    if not all(accept([each], out_of_domain).all() for each in points):
        return Evaluation(False, [])
    found = [predict([each]) for each in points]
    finite = all(bool(mask.all()) for mask, _ in found)
    return Evaluation(finite, [predicted for _, (predicted,) in found])


def predict(points: Sequence[Points]) -> tuple[NDArray[np.bool_], Sequence[Predicted]]:
    """Evaluate models at points that are known to be allowed.

    Parameters
    ----------
    points : sequence of Points
        The same number n for each model.

    Returns
    -------
    finite : ndarray of bool, shape (n,)
        Points where all predictions are finite.
    predicted : sequence of Predicted
        For each model.
    """
    given = [(mu, hod, responses) for _, mu, hod, responses, _ in points]
    entered = iter(enter(*(x for each in given for x in each if x is not None)))
    finite: list[NDArray[np.bool_]] = []
    predicted = []
    for (model, *_, errors), each in zip(points, given, strict=True):
        at: list[Any] = [x if x is None else next(entered) for x in each]
        mu, hod, responses = at
        occupied = model.at(hod)
        moments = None
        if model.statistics:
            mean, of_errors = moments = occupied(mu, errors)
            finite += [_is_finite(x) for x in (mean, of_errors.get("aleatoric")) if x is not None]
        if model.sources:
            finite.append(_is_finite(occupied.excess_of_projected))
        predicted.append(Predicted(occupied, mu, moments, responses))
    start: Any = np.True_  # without statistics there is nothing that could not be finite
    return reduce(and_, finite, start), predicted


def _is_finite(x: Any) -> NDArray[np.bool_]:
    """Whether all numbers of each point are finite, (n, ...) to (n,)."""
    # A sum is finite if all of its terms are.
    numbers = x if isinstance(x, np.ndarray) else x.detach()
    return np.isfinite(as_array(numbers.reshape(x.shape[0], -1).sum(1)))
