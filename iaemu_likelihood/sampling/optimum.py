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


def best_fit(posterior: Posterior, start: ArrayLike, **options: Any) -> OptimizeResult:
    """Find a maximum of a posterior with `scipy.optimize.minimize`.

    Limits of priors and of the emulator's domain are a matter of the map `Unconstrained`, because an
    optimiser that meets the infinite values beyond them stops, often at the start.

    Parameters
    ----------
    posterior : Posterior
    start : array_like, shape (n_parameters,)
        A point with a finite log-posterior; see `Posterior.start`.
    **options
        Of `scipy.optimize.minimize`, such as ``method``, which is BFGS when left out.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x` is the point, shape (n_parameters,); `fun` is minus the log-posterior there.

    Raises
    ------
    ValueError
        If the log-posterior is -inf at the start.
    """
    first = np.asarray(start, np.float64)
    if not np.isfinite(posterior(first)):
        raise ValueError(
            f"The log-posterior is -inf at the start, {first}; take one of posterior.start(n, seed)."
        )
    to_point = Unconstrained(posterior)

    def function(z: Array) -> tuple[float, Array]:
        with torch.enable_grad():
            leaf = torch.tensor(z, requires_grad=True)
            point, _ = to_point(leaf)
        value, slope = posterior.value_and_gradient(point.detach().numpy())
        (gradient,) = torch.autograd.grad(point, leaf, torch.as_tensor(slope))
        return -value, -gradient.numpy()

    found = minimize(function, to_point.inverse(first).numpy(), jac=True, **options)
    with torch.no_grad():
        found.x = to_point(torch.as_tensor(found.x))[0].numpy()
    return found
