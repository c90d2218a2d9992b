r"""From pair densities in shells to the statistics that surveys measure.

In real space, a pair density of shells in r fixes the correlation at any separation (r_p, Pi) across
and along the line of sight. A projected statistic is its integral,

.. math:: w(r_p) = \int d\Pi\, W(\Pi)\, D(r)\, f(\mu_r), \quad r^2 = r_p^2 + \Pi^2,\ \mu_r = \Pi / r,

with the functions f of `iaemu_likelihood.emulator.physics.statistics.projected`. W is 1 up to Pi_max,
or a weight of the pairs' distances along the line of sight. All of this is linear, so it is one matrix
from the densities in the model's bins.

The density inside a shell follows from a cubic spline in log r through the cumulative number of
pairs, which is exact at the edges.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from numpy.polynomial.legendre import leggauss
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
Weight = Callable[[Array], Array]

EVEN = Polynomial([1.0])
# Points of each integral between two edges, where the integrand is smooth.
_NODES, _WEIGHTS = leggauss(24)


def projection(
    r_edges: ArrayLike,
    rp_edges: ArrayLike,
    pi_max: float,
    angular: Polynomial = EVEN,
    weight: Weight | None = None,
) -> Array:
    """The linear map from a pair density in shells to its integral along the line of sight.

    Parameters
    ----------
    r_edges : array_like, shape (n + 1,)
        Edges of the shells, Mpc/h.
    rp_edges : array_like, shape (m + 1,)
        Edges of the bins of separation across the line of sight, Mpc/h.
    pi_max : float
        Largest separation along the line of sight, to either side, Mpc/h.
    angular : Polynomial
        f as a function of mu_r = Pi / r, which must be even.
    weight : callable, optional
        W of Pi >= 0, (...) to (...), dimensionless; 1 when left out. It is the same to both sides.

    Returns
    -------
    ndarray, shape (n, m)
        Mpc/h, to be multiplied from the right: averages over the area of each bin of r_p.

    Raises
    ------
    ValueError
        If edges do not increase, or the shells do not reach from the smallest to the largest
        separation that enters.
    """
    known, wanted = np.asarray(r_edges, np.float64), np.asarray(rp_edges, np.float64)
    if wanted.ndim != 1 or len(wanted) < 2 or not (np.diff(wanted) > 0).all() or wanted[0] <= 0:
        raise ValueError(
            f"rp_edges must be two or more increasing, positive numbers; got {wanted}."
        )
    if not 0 < pi_max < np.inf:
        raise ValueError(f"pi_max is {pi_max}; expected a positive number of Mpc/h.")
    farthest = np.hypot(wanted[-1], pi_max)
    if wanted[0] < known[0] * (1 - 1e-6) or farthest > known[-1] * (1 + 1e-6):
        raise ValueError(
            f"Bins of r_p from {wanted[0]:.4g} to {wanted[-1]:.4g} Mpc/h with pi_max = {pi_max:g} "
            f"need pairs from {wanted[0]:.4g} to {farthest:.4g} Mpc/h apart, but the model's go from "
            f"{known[0]:.4g} to {known[-1]:.4g} Mpc/h. Take smaller bins or a smaller pi_max."
        )
    pairs = np.vstack([np.zeros(len(known) - 1), np.tril(np.ones((len(known) - 1,) * 2))])
    spline = CubicSpline(np.log(known), pairs * shell_volumes(known))
    columns = []
    for inner, outer in pairwise(wanted):
        r, dr = _between(known, inner, outer, pi_max)
        # Pairs of a shell that lie in the bin, as a share of all, each weighted with f and W.
        share = _share(r, inner, outer, pi_max, angular, weight)
        number = spline(np.log(r), 1) / r[:, None]  # pairs per dr
        columns.append((share * dr) @ number / (np.pi * (outer**2 - inner**2)))
    return np.stack(columns, axis=1)


def _between(known: Array, inner: float, outer: float, pi_max: float) -> tuple[Array, Array]:
    """Points in r, and their weights, for integrals that bend at edges and begin as roots."""
    bends = [inner, outer, pi_max, np.hypot(inner, pi_max), np.hypot(outer, pi_max)]
    low, high = max(inner, known[0]), min(np.hypot(outer, pi_max), known[-1])
    edges = np.unique(np.clip([*known, *bends], low, high))
    a, b = edges[:-1, None], edges[1:, None]
    # With x = sin^2 both ends may be square roots, and the integral still converges fast.
    angle = (_NODES + 1) * np.pi / 4
    r = a + (b - a) * np.sin(angle) ** 2
    dr = (b - a) * np.sin(2 * angle) * _WEIGHTS * np.pi / 4
    return r.ravel(), dr.ravel()


def _share(
    r: Array, inner: float, outer: float, pi_max: float, angular: Polynomial, weight: Weight | None
) -> Array:
    """Mean over directions of f W, where r_p is in the bin and |Pi| below its maximum."""
    low = np.sqrt(np.clip(1 - (outer / r) ** 2, 0, 1))
    high = np.minimum(np.sqrt(np.clip(1 - (inner / r) ** 2, 0, 1)), np.minimum(pi_max / r, 1))
    high = np.maximum(high, low)
    if weight is None:
        integral = angular.integ()
        return integral(high) - integral(low)
    mu = low[:, None] + (high - low)[:, None] * (_NODES + 1) / 2
    values = angular(mu) * weight(mu * r[:, None])
    return np.asarray((values * _WEIGHTS).sum(-1) * (high - low) / 2)
