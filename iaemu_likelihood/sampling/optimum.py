"""The point where a posterior is largest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, minimize

from iaemu_likelihood.sampling.posterior import Posterior
from iaemu_likelihood.sampling.unconstrained import Unconstrained

Array = NDArray[np.float64]

# Draws from the reference densities, and how many of them, the highest, are climbed from.
N_DRAWS, N_CLIMBS = 128, 3


def best_fit(
    posterior: Posterior, start: ArrayLike | None = None, seed: int = 0, **options: Any
) -> OptimizeResult:
    """Find the maximum of a posterior with `scipy.optimize.minimize`.

    Where the occupation is free, a posterior has several maxima, some of them at edges of the
    emulator's domain. So it is climbed from several points, the highest of some draws, and the highest
    end is kept.

    Limits of priors and of the emulator's domain are a matter of the map `Unconstrained`, because an
    optimiser that meets the infinite values beyond them stops, often at the start.

    Parameters
    ----------
    posterior : Posterior
    start : array_like, shape (n_parameters,), optional
        One more point to climb from, with a finite log-posterior.
    seed : int
        Of the draws.
    **options
        Of `scipy.optimize.minimize`, such as ``method``, which is BFGS when left out.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x` is the point, shape (n_parameters,); `fun` is minus the log-posterior there.

    Raises
    ------
    ValueError
        If the log-posterior is -inf at the start; also as `Posterior.start`.
    """
    starts = list(high_points(posterior, seed))
    if start is not None:
        first = np.asarray(start, np.float64)
        if not np.isfinite(posterior(first)):
            raise ValueError(
                f"The log-posterior is -inf at the start, {first}; leave it out, or take one of "
                "posterior.start(n, seed)."
            )
        starts.append(first)
    found = [climb(posterior, point, **options) for point in starts]
    return min(found, key=lambda fit: fit.fun)


def high_points(posterior: Posterior, seed: int) -> Array:
    """The highest of some draws from the reference densities, (N_CLIMBS, n_parameters)."""
    draws = posterior.start(N_DRAWS, seed)
    return draws[np.argsort(-posterior(draws))[:N_CLIMBS]]


def climb(posterior: Posterior, start: Array, **options: Any) -> OptimizeResult:
    """The maximum that is reached from one point inside; see `best_fit`."""
    to_point = Unconstrained(posterior)

    def function(z: Array) -> tuple[float, Array]:
        with torch.enable_grad():
            leaf = torch.tensor(z, requires_grad=True)
            point, _ = to_point(leaf)
        value, slope = posterior.value_and_gradient(point.detach().numpy())
        (gradient,) = torch.autograd.grad(point, leaf, torch.as_tensor(slope))
        return -value, -gradient.numpy()

    found = minimize(function, to_point.inverse(start).numpy(), jac=True, **options)
    with torch.no_grad():
        found.x = to_point(torch.as_tensor(found.x))[0].numpy()
    return found
