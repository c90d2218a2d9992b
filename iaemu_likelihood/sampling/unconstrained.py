"""The map from unbounded numbers, in which NUTS moves, to the sampled parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.sampling.posterior import Posterior

Array = NDArray[np.float64]
# Takes an array, (d,), and returns a value and its gradient, (d,).
Function = Callable[[Array], tuple[float, Array]]


class Unconstrained:
    """Map from unbounded numbers to the sampled parameters.

    A trajectory that leaves the region where the posterior is not zero diverges, and the samples
    are then biased. So every parameter has the limits of its prior and those of the emulator's
    domain, where points outside are rejected. Those of an occupation parameter depend on the first
    one, which the domain's bands follow; the first one's are such that its bands reach the priors,
    or the fixed values, of the others. Between two limits a parameter is a logistic function of its
    number; beyond a single one, an exponential function; and without any, the number itself.

    Parameters that are functions of others are not limited in this way.

    Parameters
    ----------
    posterior : Posterior

    Attributes
    ----------
    stays_inside : bool
        Whether all points of the map are inside the emulator's domain and all priors are flat.
    left_out : float
        Log-density of the priors if `stays_inside`, else 0.

    Raises
    ------
    ValueError
        If no point of the priors is inside the domain.
    """

    def __init__(self, posterior: Posterior) -> None:
        self._names, self._fixed = posterior.names, posterior.fixed
        # Of each parameter, whatever the others are.
        self._bounds = posterior.bounds.copy()
        # For each sample in a band: its domain, columns of the first and of the other occupation
        # parameters, and which of the others these are, if they are not all.
        self._bands: list[tuple[Domain, int, Tensor, Tensor | None]] = []
        for label, names in posterior.parameters.items():
            domain = posterior.models[label].emulator.domain
            strengths, hod = domain.space.split(names)
            for name in strengths:
                self._narrow(name, *domain.space.alignment.limits)
            if posterior.rejects:
                self._narrow_occupation(domain, hod)
        low, high = torch.as_tensor(self._bounds).unbind(-1)
        self._limited = low.isfinite() & high.isfinite()
        self._all_limited = bool(self._limited.all())
        # Of a half-line: 1 above a limit, -1 below it, 0 if there is none, or two.
        self._sign = (low.isfinite().double() - high.isfinite().double()) * ~self._limited
        end = torch.where(low.isfinite(), low, torch.where(high.isfinite(), high, 0.0))
        self._low = end
        self._width = torch.where(self._limited, high - low, 1.0)
        known = {*posterior.names, *posterior.fixed}
        self.stays_inside = posterior.bounded and all(
            known.issuperset(names) for names in posterior.parameters.values()
        )
        self.left_out = float(posterior.log_prior_inside) if self.stays_inside else 0.0

    def _narrow(self, name: str, low: float, high: float) -> None:
        """Narrow the limits of a parameter, if it is sampled."""
        if name not in self._names:
            return
        bounds = self._bounds[self._names.index(name)]
        new = max(bounds[0], low), min(bounds[1], high)
        if not new[0] < new[1]:
            raise ValueError(
                f"The prior of {name}, {bounds[0]:g} to {bounds[1]:g}, has nothing inside the "
                f"emulator's domain, {low:g} to {high:g}, at the priors and values of the other "
                "parameters. Change the prior, or the values."
            )
        bounds[:] = new

    def _narrow_occupation(self, domain: Domain, names: list[str]) -> None:
        """Narrow the limits of a sample's occupation parameters to the bands of its domain."""
        first, *others = names
        bands = domain.bands
        if first in self._fixed:
            at = domain.occupation_limits(self._fixed[first])
            lower, upper = (x[0].tolist() for x in at)
        else:
            _, lower = domain.space.split(domain.outer_limits()[0].tolist())
            _, upper = domain.space.split(domain.outer_limits()[1].tolist())
            lower, upper = lower[1:], upper[1:]
            self._narrow(first, *bands.first)
        for name, low, high in zip(others, lower, upper, strict=True):
            self._narrow(name, low, high)
        if first not in self._names:
            return
        lines = zip(others, bands.slope, bands.intercept, bands.half_width, strict=True)
        for name, slope, intercept, half_width in lines:
            if name in self._names:
                low, high = self._bounds[self._names.index(name)]
            elif name in self._fixed:
                low = high = float(self._fixed[name])
            else:
                continue
            if slope:
                ends = (
                    (low - half_width - intercept) / slope,
                    (high + half_width - intercept) / slope,
                )
                self._narrow(first, min(ends), max(ends))
        free = [i for i, name in enumerate(others) if name in self._names]
        if free:
            columns = torch.tensor([self._names.index(others[i]) for i in free])
            which = None if len(free) == len(others) else torch.tensor(free)
            self._bands.append((domain, self._names.index(first), columns, which))

    def _limits(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Lower limits and widths, from the shares of the widths."""
        low, width = self._low, self._width
        for domain, first, columns, free in self._bands:
            ends = domain.occupation_limits(low[first] + width[first] * share[first])
            lower, upper = ends if free is None else (x[free] for x in ends)
            bottom = torch.maximum(lower, low[columns])
            top = torch.minimum(upper, low[columns] + width[columns])
            # Where a band just reaches a prior, rounding may put one end beyond the other.
            span = (top - bottom).clamp(min=1e-300)
            low, width = low.index_put((columns,), bottom), width.index_put((columns,), span)
        return low, width

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters at z, shape (d,), and the logarithm of the Jacobian determinant."""
        share = torch.sigmoid(z)
        low, width = self._limits(share)
        # The last two terms are logsigmoid(z) + logsigmoid(-z), the log of the logistic slope.
        point, slopes = low + width * share, width.log() + 2 * logsigmoid(z) - z
        if not self._all_limited:
            half = self._sign != 0
            beyond = torch.where(half, self._low + self._sign * (z * half).exp(), z)
            point = torch.where(self._limited, point, beyond)
            slopes = torch.where(self._limited, slopes, z * half)
        return point, slopes.sum()

    def composed(self, function: Function) -> Function | None:
        """The sum of a function of the point and the log-Jacobian, as a function of z, in numpy.

        None if the limits depend on z, because their derivatives would be needed, too.
        """
        if self._bands or not self._all_limited:
            return None
        low, width = self._low.numpy(), self._width.numpy()
        log_width = np.log(width).sum()

        def of_z(z: Array) -> tuple[float, Array]:
            share = expit(z)
            value, gradient = function(low + width * share)
            jacobian = log_width + (log_expit(z) + log_expit(-z)).sum()
            return value + jacobian, gradient * width * share * (1 - share) + 1 - 2 * share

        return of_z

    def inverse(self, point: Array) -> Tensor:
        """The numbers z that give a point, shape (d,)."""
        x = torch.as_tensor(point)
        share = (x - self._low) / self._width
        low, width = self._limits(share)
        inner = ((x - low) / width).clamp(1e-9, 1 - 1e-9)
        half = self._sign != 0
        distance = torch.where(half, (x - self._low) * self._sign, 1.0).clamp(min=1e-300)
        return torch.where(self._limited, torch.logit(inner), torch.where(half, distance.log(), x))
