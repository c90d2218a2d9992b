r"""Moments of the Dimroth-Watson distribution of misalignment angles, in closed form.

A galaxy's axis makes an angle t with its reference axis, with density proportional to
:math:`\exp(\kappa \cos^2 t)`, uniform in azimuth, and :math:`\kappa = \tan(\pi\mu/2)`
(Van Alfen et al. 2024, arXiv:2311.07374).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import dawsn, erf

# Below this |kappa| the closed forms cancel, and a power series converges in a few terms.
_SERIES_LIMIT = 1.0
_SERIES_TERMS = 24


def moments(mu: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Second and fourth moment of cos t.

    Parameters
    ----------
    mu : array_like, shape (...)
        Alignment strength in [-1, 1].

    Returns
    -------
    m2, m4 : ndarray, shape (...)
        :math:`\langle \cos^2 t \rangle` and :math:`\langle \cos^4 t \rangle`.

    Raises
    ------
    ValueError
        If any mu is outside [-1, 1] or NaN.

    Notes
    -----
    With D Dawson's function: for kappa > 0, m2 = 1 / (2 s D(s)) - 1 / (2 kappa), s = sqrt(kappa);
    for kappa = -q < 0, m2 = 1 / (2 q) - exp(-q) / (sqrt(pi q) erf(sqrt q)); integrating by parts,
    m4 = (1 + (2 kappa - 3) m2) / (2 kappa). Within |kappa| < 1 the ratio of the power series
    sum kappa^n / (n! (2n + 1 + 2j)) is used.
    """
    strength = np.asarray(mu, dtype=np.float64)
    if not (np.abs(strength) <= 1).all():
        raise ValueError(
            f"mu must lie in [-1, 1]; got {strength[~(np.abs(strength) <= 1)].flat[0]}."
        )
    kappa = np.atleast_1d(np.tan(0.5 * np.pi * strength))
    m2, m4 = np.empty_like(kappa), np.empty_like(kappa)

    small, up, down = np.abs(kappa) < _SERIES_LIMIT, kappa >= _SERIES_LIMIT, kappa <= -_SERIES_LIMIT
    if small.any():
        powers = np.ones_like(kappa[small])
        z0, z2, z4 = (np.zeros_like(powers) for _ in range(3))
        for n in range(_SERIES_TERMS):
            z0 += powers / (2 * n + 1)
            z2 += powers / (2 * n + 3)
            z4 += powers / (2 * n + 5)
            powers = powers * kappa[small] / (n + 1)
        m2[small], m4[small] = z2 / z0, z4 / z0
    if up.any():
        s = np.sqrt(kappa[up])
        m2[up] = 1 / (2 * s * dawsn(s)) - 1 / (2 * kappa[up])
    if down.any():
        k, s = kappa[down], np.sqrt(-kappa[down])
        m2[down] = -1 / (2 * k) - np.exp(k) / (np.sqrt(np.pi) * s * erf(s))
    k, x = kappa[~small], m2[~small]
    m4[~small] = (1 + (2 * k - 3) * x) / (2 * k)
    return m2.reshape(strength.shape), m4.reshape(strength.shape)


def p2(mu: ArrayLike) -> NDArray[np.float64]:
    r"""Mean of the second Legendre polynomial, :math:`\langle (3\cos^2 t - 1)/2 \rangle`.

    Parameters
    ----------
    mu : array_like, shape (...)
        Alignment strength in [-1, 1].

    Returns
    -------
    ndarray, shape (...)
        From -1/2 (mu = -1, perpendicular) through 0 (random) to 1 (mu = 1, parallel).
    """
    return (3 * moments(mu)[0] - 1) / 2


@cache
def _p2_series(n_derivative: int) -> Any:
    """Chebyshev coefficients of P2 or its n-th derivative on [-1, 1], as a float64 tensor."""
    import torch
    from numpy.polynomial import chebyshev

    coefficients: Any = chebyshev.chebinterpolate(p2, 160)
    return torch.as_tensor(chebyshev.chebder(coefficients, n_derivative))


@cache
def _p2_function() -> Any:
    import torch

    class P2(torch.autograd.Function):
        """P2 and all its derivatives as Chebyshev series: finite at mu = -1 and 1 as well."""

        @staticmethod
        def forward(ctx: Any, mu: Any, n_derivative: int) -> Any:
            ctx.save_for_backward(mu)
            ctx.n_derivative = n_derivative
            series = _p2_series(n_derivative).to(mu)
            order = torch.arange(len(series), dtype=mu.dtype, device=mu.device)
            return torch.cos(torch.acos(mu)[..., None] * order) @ series

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (mu,) = ctx.saved_tensors
            return gradient * P2.apply(mu, ctx.n_derivative + 1), None

    return P2


def p2_torch(mu: Any) -> Any:
    """`p2` for torch tensors, differentiable to any order, on any device.

    Parameters
    ----------
    mu : torch.Tensor, shape (...)
        Alignment strength in [-1, 1]; NaN outside.

    Returns
    -------
    torch.Tensor, shape (...)
        Equal to `p2` to 1e-12 in float64.
    """
    return _p2_function().apply(mu, 0)
