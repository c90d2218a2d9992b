r"""Moments of the Dimroth-Watson distribution of misalignment angles, in closed form.

A galaxy's axis makes an angle t with its reference axis, with density proportional to
:math:`\exp(\kappa \cos^2 t)`, uniform in azimuth, and :math:`\kappa = \tan(\pi\mu/2)`
(Van Alfen et al. 2024, arXiv:2311.07374).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import constant, kind, namespace, silent
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import dawsn, erf, erfinv

# Below this |kappa| the closed forms lose digits, and a power series converges in a few terms.
_SERIES_LIMIT = 1.0
_SERIES_TERMS = 24


@silent  # exponentials underflow to 0
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
    return legendre(mu, 2)


def mu_of_p2(value: ArrayLike) -> NDArray[np.float64]:
    """Inverse of `p2`, for priors on the strength itself, or its evolution.

    Parameters
    ----------
    value : array_like, shape (...)

    Returns
    -------
    ndarray, shape (...)
        NaN where no alignment has this value, which is from -1/2 to 1.
    """

    def one(x: float) -> float:
        if not -0.5 <= x <= 1:
            return np.nan
        return float(brentq(lambda mu: float(p2(mu)) - x, -1, 1, xtol=1e-14))

    return np.vectorize(one, otypes=[np.float64])(value)


def legendre(mu: ArrayLike, degree: int) -> NDArray[np.float64]:
    r"""Mean of a Legendre polynomial of the misalignment, :math:`\langle P_l(\cos t) \rangle`.

    Parameters
    ----------
    mu : array_like, shape (...)
        Alignment strength in [-1, 1].
    degree : int
        0, 2 or 4.

    Returns
    -------
    ndarray, shape (...)
    """
    m2, m4 = moments(mu)
    if degree == 0:
        return np.ones_like(m2)
    if degree == 2:
        return (3 * m2 - 1) / 2
    if degree == 4:
        return (35 * m4 - 30 * m2 + 3) / 8
    raise ValueError(f"Legendre moments are known of degree 0, 2 and 4; got {degree}.")


@cache
def _series(
    function: Callable[[ArrayLike], NDArray[np.float64]], n_derivative: int, *kind: Any
) -> tuple[Any, Any]:
    """Chebyshev series of the n-th and (n + 1)-th derivative of k functions of mu.

    Returns coefficients, shape (n, 2, k), and their orders, (n,), as arrays or tensors of the kind
    that `iaemu_likelihood.emulator.backend.kind` gives.
    """
    from numpy.polynomial import chebyshev
    from scipy.fft import dct

    # Interpolation at 161 nodes; a least-squares fit would depend on the threads of LAPACK.
    values = function(chebyshev.chebpts1(161)[::-1])
    coefficients: Any = dct(values, axis=0) / 161
    coefficients[0] /= 2
    coefficients[1:] *= np.ptp(values, axis=0) > 0  # a constant stays exactly one
    series = chebyshev.chebder(coefficients, n_derivative)
    slope = np.zeros_like(series)
    slope[:-1] = chebyshev.chebder(series)
    both = np.stack([series, slope], 1)
    # In single precision, half of the coefficients are below the rounding of the largest.
    precision = np.finfo(str(kind[0]).removeprefix("torch.")).eps / 10
    size = np.abs(both).reshape(len(both), -1)
    n = 1 + int(np.nonzero(size > precision * size.max(axis=0))[0].max(initial=0))
    return constant(both[:n], *kind), constant(np.arange(n), *kind)


def _values(function: Callable[[ArrayLike], NDArray[np.float64]], mu: Any, which: Any) -> Any:
    """The function, its slope, or both, as `which` selects, along one axis behind those of mu."""
    at = mu
    if isinstance(mu, np.ndarray) and mu.size >= 8:  # torch's cosines are faster, its calls slower
        import torch

        at = torch.from_numpy(mu)
    both, order = _series(function, 0, *kind(at))
    values = _waves(at, order) @ both[which].reshape(len(order), -1)
    return np.asarray(values) if isinstance(mu, np.ndarray) else values


def _waves(mu: Any, order: Any) -> Any:
    xp = namespace(mu)
    return xp.cos(xp.arccos(mu)[..., None] * order)


def _by_series(function: Callable[[ArrayLike], NDArray[np.float64]], mu: Any) -> Any:
    """The function at an array or a tensor; differentiable to any order at a tensor.

    Imaginary parts of arrays are steps of a complex-step derivative, far below rounding.
    """
    if isinstance(mu, np.ndarray) and np.iscomplexobj(mu):
        both = _values(function, mu.real, slice(None)).reshape(*mu.shape, 2, -1)
        return both[..., 0, :] + 1j * mu.imag[..., None] * both[..., 1, :]
    if not isinstance(mu, np.ndarray) and mu.requires_grad:
        return _differentiable(function).apply(mu, 0)
    return _values(function, mu, (slice(None), 0))


@cache
def _differentiable(function: Callable[[ArrayLike], NDArray[np.float64]]) -> Any:
    import torch

    class Series(torch.autograd.Function):
        """A function of mu and all its derivatives as Chebyshev series: finite at -1 and 1 too."""

        @staticmethod
        def forward(ctx: Any, mu: Any, n_derivative: int) -> Any:
            both, order = _series(function, n_derivative, *kind(mu))
            # The slope costs little on top, and usually the next derivative is needed, too.
            values = (_waves(mu, order) @ both.flatten(1)).unflatten(-1, both.shape[1:])
            value, slope = values.unbind(mu.ndim)
            ctx.save_for_backward(mu, slope)
            ctx.n_derivative = n_derivative
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            mu, slope = ctx.saved_tensors
            if torch.is_grad_enabled():  # a derivative of this one may be needed
                slope = Series.apply(mu, ctx.n_derivative + 1)
            return (gradient * slope).sum(-1), None

    return Series


def legendre_and_slope(
    mu: NDArray[np.float64], degrees: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`legendre_series` and its derivative, shape (...) to (..., n_degrees) each."""
    values = _values(_legendre(degrees), mu, slice(None))
    values = values.reshape(*mu.shape, 2, len(degrees))
    return values[..., 0, :], values[..., 1, :]


@cache
def _legendre(degrees: tuple[int, ...]) -> Callable[[ArrayLike], NDArray[np.float64]]:
    def of(mu: ArrayLike) -> NDArray[np.float64]:
        return np.stack([legendre(mu, degree) for degree in degrees], axis=-1)

    return of


def legendre_series(mu: Any, degrees: tuple[int, ...]) -> Any:
    """`legendre` of some degrees as a series, which is faster.

    It takes tensors on any device and is differentiable to any order.

    Parameters
    ----------
    mu : ndarray or torch.Tensor, shape (...)
        Alignment strength in [-1, 1]. Values outside give NaN.
    degrees : tuple of int
        Any of 0, 2 and 4.

    Returns
    -------
    ndarray or torch.Tensor, shape (..., n_degrees)
        In float64 equal to `legendre` to 1e-12.
    """
    return _by_series(_legendre(degrees), mu)


def one_p2_and_axis_variances_series(mu: Any) -> Any:
    """1, `p2` and `axis_variances` by series, as `legendre_series`; shape (...) to (..., 5)."""
    return _by_series(_one_p2_and_axis_variances, mu)


def _one_p2_and_axis_variances(mu: ArrayLike) -> NDArray[np.float64]:
    return np.concatenate([_legendre((0, 2))(mu), axis_variances(mu)], axis=-1)


def axis_variances(mu: ArrayLike) -> NDArray[np.float64]:
    r"""Variances of the components of :math:`e e^T - 1/3` about the reference axis.

    Parameters
    ----------
    mu : array_like, shape (...)
        Alignment strength in [-1, 1].

    Returns
    -------
    ndarray, shape (..., 3)
        Variance of one component with :math:`|m|` = 0, 1 and 2 in an orthonormal basis, which has
        one, two and two such components. With :math:`t` the cosine to the reference axis, the
        components are :math:`\sqrt{3/2}(t^2 - 1/3)`, :math:`\sqrt 2 t \sqrt{1-t^2} \cos\phi` and
        :math:`(1-t^2)\cos 2\phi/\sqrt 2`.
    """
    m2, m4 = moments(mu)
    return np.stack([1.5 * (m4 - m2**2), m2 - m4, (1 - 2 * m2 + m4) / 4], axis=-1)


@silent
def draw_axes(
    reference: NDArray[np.float64], mu: ArrayLike, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw axes about reference axes.

    Parameters
    ----------
    reference : ndarray, shape (n, 3)
        Unit vectors.
    mu : float or array_like, shape (n,)
        Alignment strength in [-1, 1].
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, 3)
        Unit vectors; their sign has no meaning.

    Notes
    -----
    For kappa > 0, rejection from the density proportional to exp(kappa t), t in [0, 1], as
    proposed by Best & Fisher (1986); for kappa < 0 the cumulative distribution is inverted.
    """
    n = len(reference)
    # Functions of one number before it is repeated, so that it gives the same axes as ever.
    of_one = np.tan(0.5 * np.pi * np.asarray(mu, np.float64))
    kappa, least = (np.broadcast_to(x, (n,)) for x in (of_one, np.exp(-of_one)))
    t = np.empty(n)
    missing = np.flatnonzero(kappa > 0)
    while len(missing):
        u, accept = rng.random((2, len(missing)))
        k = kappa[missing]
        # The inverse of the cumulative distribution, in a form that does not overflow.
        s = 1 + np.log(u + (1 - u) * least[missing]) / k
        good = np.log(accept) <= k * s * (s - 1)
        t[missing[good]] = s[good]
        missing = missing[~good]
    down = np.flatnonzero(kappa < 0)
    if len(down):
        q = np.sqrt(-kappa[down])
        t[down] = erfinv(rng.random(len(down)) * erf(q)) / q
    random = np.flatnonzero(kappa == 0)
    if len(random):
        t[random] = rng.random(len(random))
    phi = 2 * np.pi * rng.random(n)
    # Two vectors perpendicular to the reference, from the coordinate axis farthest from it.
    u = np.cross(reference, np.eye(3)[np.argmin(np.abs(reference), axis=1)])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(reference, u)
    t = np.clip(t, 0, 1)[:, None]
    around = np.cos(phi)[:, None] * u + np.sin(phi)[:, None] * v
    return t * reference + np.sqrt(1 - t**2) * around
