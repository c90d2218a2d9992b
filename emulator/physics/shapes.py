r"""Galaxies as spheroids: the ellipticity that one shows on the sky, and its response to alignments.

A spheroid with the unit vector n along its axis and axis ratio q < 1 (prolate), seen along z, shows
the ellipticity :math:`e_+ + i e_\times = k (n_x + i n_y)^2 / (2 + k (1 - n_z^2))` with
:math:`k = 1/q^2 - 1`, by the definition (1 - b^2/a^2) / (1 + b^2/a^2) of the image's axes a and b. As
a function of n it is a sum of spherical harmonics of even degree,
:math:`e_+ = \sum_l a_l(q) T_l(n)`, where :math:`T_l = P_l''(n_z) (n_x^2 - n_y^2)`, scaled so that
:math:`T_2 = n_x^2 - n_y^2`. The *responses* a_l are all that correlations of shapes take from q:
misalignment multiplies degree l by :math:`\langle P_l(\cos t) \rangle`.

Ellipticities are positive for galaxies that point along the first direction on the sky (in a
correlation, along the separation: radial alignment is positive).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial.legendre import Legendre, leggauss
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Definitions of the ellipticity of an image with axes b < a, as functions of the first.
DEFINITIONS: dict[str, Callable[[Array], Array]] = {
    "distortion": lambda e: e,  # (a^2 - b^2) / (a^2 + b^2)
    "epsilon": lambda e: e / (1 + np.sqrt(1 - e**2)),  # (a - b) / (a + b)
}
DEGREES = (2, 4, 6)
# Exact to 1e-10 for axis ratios down to 0.1.
_NODES, _WEIGHTS = leggauss(200)


def harmonic(degree: int) -> Polynomial:
    """The factor of T_l that depends on n_z: T_l(n) = harmonic(l)(n_z) (n_x^2 - n_y^2).

    Parameters
    ----------
    degree : int
        2, 4, ...
    """
    second = Legendre.basis(degree).deriv(2).convert(kind=Polynomial)
    lowest = second.coef[np.flatnonzero(second.coef)[0]]
    # Such that the constant term is 1 or -1, as in T_4 = (7 n_z^2 - 1) T_2.
    return second / abs(lowest)


def _definition(name: str) -> Callable[[Array], Array]:
    if name not in DEFINITIONS:
        raise ValueError(f"ellipticity must be one of {', '.join(DEFINITIONS)}; got {name!r}.")
    return DEFINITIONS[name]


def _checked(axis_ratio: ArrayLike) -> Array:
    q = np.asarray(axis_ratio, np.float64)
    bad = ~((q > 0) & (q <= 1))
    if bad.any():
        raise ValueError(f"axis_ratio is {q[bad].flat[0]}; expected 0 < axis_ratio <= 1.")
    return q


def _seen(axis_ratio: Array, n_z: Array, ellipticity: str) -> Array:
    """Modulus of the ellipticity of a spheroid whose axis has the component n_z."""
    k = axis_ratio**-2 - 1
    return _definition(ellipticity)(k * (1 - n_z**2) / (2 + k * (1 - n_z**2)))


def project(
    axes: ArrayLike,
    axis_ratio: ArrayLike,
    line_of_sight: int = 2,
    ellipticity: str = "distortion",
) -> Array:
    """Ellipticities that spheroids show along a side of the box.

    Parameters
    ----------
    axes : array_like, shape (n, 3)
        Unit vectors along the spheroids' axes.
    axis_ratio : array_like, shape (n,) or a number
        Shorter over longer axis, in (0, 1].
    line_of_sight : int
        0, 1 or 2; the next two coordinates, in cyclic order, span the sky.
    ellipticity : str
        One of `DEFINITIONS`.

    Returns
    -------
    ndarray, shape (n, 2)
        e_+ and e_x, with respect to the first of the sky's two coordinates.
    """
    e, q = np.asarray(axes, np.float64), _checked(axis_ratio)
    first, second = e[:, (line_of_sight + 1) % 3], e[:, (line_of_sight + 2) % 3]
    across = first**2 + second**2
    modulus = _seen(q, e[:, line_of_sight], ellipticity)
    # Seen along its axis, a spheroid is round.
    scale = np.divide(modulus, across, out=np.zeros_like(modulus), where=across > 0)
    return np.stack([first**2 - second**2, 2 * first * second], axis=-1) * scale[:, None]


def response(axis_ratio: ArrayLike, degree: int = 2, ellipticity: str = "distortion") -> Array:
    """Response a_l of the ellipticity to the alignment of degree l; see the head of this module.

    Parameters
    ----------
    axis_ratio : array_like, shape (...)
        Shorter over longer axis, in (0, 1].
    degree : int
        One of `DEGREES`.
    ellipticity : str
        One of `DEFINITIONS`.

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError
        If an axis ratio is outside (0, 1], or there is no such degree or definition.
    """
    if degree not in DEGREES:
        raise ValueError(f"degree must be one of {DEGREES}; got {degree!r}.")
    q = _checked(axis_ratio)[..., None]
    t, across = harmonic(degree)(_NODES), 1 - _NODES**2
    seen = _seen(q, _NODES, ellipticity)
    return np.asarray((seen * t * across * _WEIGHTS).sum(-1) / (t**2 * across**2 * _WEIGHTS).sum())


def next_response(response: Any, ellipticity: str = "distortion") -> Any:
    """Response of degree 4 of prolate galaxies whose response of degree 2 is given, differentiable.

    Parameters
    ----------
    response : ndarray or torch.Tensor, shape (...)
        a_2, from 0 to that of the axis ratio 0.1; see `largest_response`.
    ellipticity : str
        One of `DEFINITIONS`.

    Returns
    -------
    ndarray or torch.Tensor, shape (...)
        a_4, to 1e-4 of a_2.
    """
    value = 0.0
    for coefficient in _next_coefficients(ellipticity)[::-1]:
        value = value * response + coefficient
    return value * response * response


def square_of_response(response: Any) -> Any:
    """Mean of |e|^2, e the distortion, over prolate galaxies whose response of degree 2 is given.

    Parameters
    ----------
    response : ndarray or torch.Tensor, shape (...)
        a_2, from 0 to that of the axis ratio 0.1.

    Returns
    -------
    ndarray or torch.Tensor, shape (...)
        To 1e-3, differentiable; see `mean_square`.
    """
    value = 0.0
    for coefficient in _square_coefficients()[::-1]:
        value = value * response + coefficient
    return value * response * response


@cache
def _square_coefficients() -> tuple[float, ...]:
    """Of the polynomial <e^2> / a_2^2 in a_2."""
    q = np.linspace(0.1, 0.99, 90)
    second, square = response(q, 2), mean_square(q)
    return tuple(np.polynomial.polynomial.polyfit(second, square / second**2, 8).tolist())


@cache
def largest_response(ellipticity: str = "distortion") -> float:
    """Response of degree 2 of spheroids whose axis ratio is 0.1, flatter than galaxies are."""
    return float(response(0.1, 2, ellipticity))


@cache
def _next_coefficients(ellipticity: str) -> tuple[float, ...]:
    """Of the polynomial a_4 / a_2^2 in a_2."""
    q = np.linspace(0.1, 0.99, 90)
    second, fourth = (response(q, degree, ellipticity) for degree in (2, 4))
    return tuple(np.polynomial.polynomial.polyfit(second, fourth / second**2, 8).tolist())


def mean_square(axis_ratio: ArrayLike, ellipticity: str = "distortion") -> Array:
    """Mean of |e|^2 over randomly oriented spheroids, with arguments as in `response`.

    Inverted, it gives the axis ratio of galaxies whose measured ellipticities have this mean square,
    if all are prolate and alike; for triaxial galaxies or a spread of axis ratios the response that
    follows is too large.
    """
    q = _checked(axis_ratio)[..., None]
    return np.asarray((_seen(q, _NODES, ellipticity) ** 2 * _WEIGHTS).sum(-1) / 2)
