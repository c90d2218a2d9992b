"""xi, omega and eta of a galaxy catalogue, with halotools' estimators."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Bins of the paper (IAEmu, arXiv:2504.05235): Mpc/h.
R_EDGES = np.logspace(-1, 1.2, 21)
STATISTICS = ("xi", "omega", "eta")


def shell_volumes(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volumes of the spherical shells between `r_edges` (Mpc/h), in (Mpc/h)^3."""
    return 4 / 3 * np.pi * np.diff(r_edges**3)


def bin_centres(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Arithmetic means of neighbouring edges, Mpc/h, as in the paper."""
    return (r_edges[1:] + r_edges[:-1]) / 2


@dataclass(frozen=True)
class Correlations:
    """The three correlation functions of one galaxy catalogue.

    Attributes
    ----------
    xi, omega, eta : ndarray, shape (n_bins,)
        Dimensionless. In a bin without pairs xi is -1, omega and eta are NaN.
    n_galaxies : int
    """

    xi: NDArray[np.float64]
    omega: NDArray[np.float64]
    eta: NDArray[np.float64]
    n_galaxies: int


def correlations(
    positions: ArrayLike, axes: ArrayLike, box: float, r_edges: ArrayLike = R_EDGES
) -> Correlations:
    """Measure all galaxies against all galaxies in a periodic box.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Mpc/h, inside the box.
    axes : array_like, shape (n, 3)
        Major axes, of any length but zero.
    box : float
        Side of the box, Mpc/h.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h; the last must be below a third of the box.

    Returns
    -------
    Correlations

    Raises
    ------
    ValueError
        If an axis is zero or not finite: halotools would turn every bin into NaN.
    """
    with np.errstate(all="ignore"):  # importing these changes numpy's error state for good
        from halotools.mock_observables import ed_3d, ee_3d, tpcf

        x, e = np.asarray(positions, np.float64), np.asarray(axes, np.float64)
        bad = ~(np.linalg.norm(e, axis=1) > 0)
        if bad.any():
            raise ValueError(
                f"Galaxy {np.flatnonzero(bad)[0]} has no axis ({e[bad][0]}); {bad.sum()} in all."
            )
        edges = np.asarray(r_edges, np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            xi = tpcf(x, edges, period=box)
        omega = ed_3d(x, e, x, edges, period=box)
        eta = ee_3d(x, e, x, e, edges, period=box)
    return Correlations(xi, omega, eta, len(x))


def positions_and_axes(galaxies: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (Mpc/h) and major axes, each (n, 3), of a halotools galaxy table."""
    position = np.stack([np.asarray(galaxies[k], np.float64) for k in "xyz"], axis=-1)
    axes = np.stack([np.asarray(galaxies[f"galaxy_axisA_{k}"], np.float64) for k in "xyz"], axis=-1)
    return position, axes
