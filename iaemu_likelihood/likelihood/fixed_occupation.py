"""Log-likelihood and gradient at single points, for runs in which only the alignment varies.

Expectations and covariances are analytic functions of the alignment parameters. So at a parameter
with an imaginary part of i h, the imaginary part of the result over h is the derivative, and since h
may be far below all rounding, no digit is lost (complex-step differentiation: Squire & Trapp 1998,
SIAM Review 40, 110). The code that predicts runs as it is, on complex arrays with a row for each
parameter, in a fraction of the time of torch's way back through all operations.

Where no covariance depends on the alignment, `iaemu_likelihood.likelihood.quadratic_form` is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iaemu_likelihood.likelihood.core import CorrelationLikelihood
from iaemu_likelihood.likelihood.model import CorrelationModel, Moments, Predicted

Array = NDArray[np.float64]

STEP = 1e-30


class FixedOccupation:
    """The log-likelihood as a function of the alignment parameters of some samples.

    Parameters
    ----------
    likelihoods : sequence of CorrelationLikelihood
        Of statistics in three dimensions.
    models : mapping
        By sample: the model, and occupation parameters, ndarray (1, n_occupation).
    strengths : mapping
        By sample, for each alignment parameter: its column in the points (int) or its value
        (float).
    """

    def __init__(
        self,
        likelihoods: Sequence[CorrelationLikelihood],
        models: Mapping[str | None, tuple[CorrelationModel, Array]],
        strengths: Mapping[str | None, Sequence[int | float]],
    ) -> None:
        self._models = models
        self._parts = [_PartOf(core, strengths) for core in likelihoods]

    def at(self, point: Array) -> tuple[float, Array]:
        """Log-likelihood and its gradient at one point (d,)."""
        value, gradient = 0.0, np.zeros(len(point))
        with torch.inference_mode():
            for part in self._parts:
                each, slopes = self._compared(part, point[part.columns])
                value += each
                gradient[part.columns] += slopes[: len(part.columns)]
        return value, gradient

    def _compared(self, of: _PartOf, point: Array) -> tuple[float, Array]:
        core = of.core
        moments: list[Moments] = []
        densities: dict[str | None, Any] = {}
        for part, bins in zip(core.data.parts, core.bins, strict=True):
            model, hod = self._models[part.sample]
            occupied, mu = model.at(hod), of.rows(part.sample, point)
            predicted = Predicted(occupied, mu, occupied(mu, core.errors))
            moments.append(predicted.in_bins(bins, core.errors))
            if part.sample in core.dense_samples:
                densities[part.sample] = occupied.number_density[0]
        mean, covariance = core.model(moments)
        real = None if covariance is None else covariance.real[0]
        value, _ = core.compare(mean.real[0], real, densities)
        slopes = core.comparison.slopes(
            mean.real[0].numpy(),
            None if real is None else real.numpy(),
            mean.imag.numpy() / STEP,
            None if covariance is None else covariance.imag.numpy() / STEP,
        )
        return float(value), slopes


class _PartOf:
    """One likelihood, and how the alignment parameters of its samples follow from points.

    Attributes
    ----------
    core : CorrelationLikelihood
    columns : list of int
        Columns of the points on which it depends, k of them.
    """

    def __init__(
        self,
        core: CorrelationLikelihood,
        strengths: Mapping[str | None, Sequence[int | float]],
    ) -> None:
        places = {part.sample: strengths[part.sample] for part in core.data.parts}
        self.core = core
        self.columns = sorted({x for each in places.values() for x in each if isinstance(x, int)})
        # mu = point @ to_mu + offset
        self._maps: dict[str | None, tuple[Array, Array]] = {}
        for sample, each in places.items():
            to_mu, offset = np.zeros((len(self.columns), len(each))), np.zeros(len(each))
            for i, x in enumerate(each):
                if isinstance(x, int):
                    to_mu[self.columns.index(x), i] = 1
                else:
                    offset[i] = x
            self._maps[sample] = to_mu, offset

    def rows(self, sample: str | None, point: Array) -> NDArray[np.complex128]:
        """Alignment parameters with a step in each column, (k, n_alignment); one row if k is 0."""
        to_mu, offset = self._maps[sample]
        steps = to_mu if self.columns else np.zeros((1, len(offset)))
        found: Any = point @ to_mu + offset + 1j * STEP * steps
        return found
