"""Projected statistics of a galaxy catalogue in a periodic box, with halotools' estimators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.boxes import inside_array
from iaemu_likelihood.emulator.physics.shapes import project
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Projected:
    """Projected correlation functions along one line of sight.

    Attributes
    ----------
    rp_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    w_gg, w_gplus, w_plusplus : ndarray, shape (n_bins,)
        Mpc/h. Radial alignment is positive, and ellipticities are not divided by twice the
        responsivity.
    """

    rp_edges: Array
    w_gg: Array
    w_gplus: Array
    w_plusplus: Array


def projected_correlations(
    positions: ArrayLike,
    ellipticities: ArrayLike,
    box: float,
    rp_edges: ArrayLike,
    pi_max: float,
    line_of_sight: int = 2,
) -> Projected:
    """Measure all galaxies against all galaxies in a periodic box, along a side of it.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Mpc/h, in [0, box].
    ellipticities : array_like, shape (n, 2)
        e_+ and e_x with respect to the first of the two coordinates that span the sky, as
        `iaemu_likelihood.emulator.physics.shapes.project` gives them.
    box : float
        Side of the box, Mpc/h.
    rp_edges : array_like, shape (n_bins + 1,)
        Mpc/h.
    pi_max : float
        Largest separation along the line of sight, Mpc/h; it and the last of `rp_edges` are below a
        third of the box.
    line_of_sight : int
        0, 1 or 2; the next two coordinates, in cyclic order, span the sky.

    Returns
    -------
    Projected

    Raises
    ------
    ValueError
        If the separations do not fit into the box, or positions are outside it.
    """
    with np.errstate():  # importing halotools changes numpy's error state for good
        from halotools.mock_observables import gi_plus_projected, ii_plus_projected, rp_pi_tpcf

    edges, e = np.asarray(rp_edges, np.float64), np.asarray(ellipticities, np.float64)
    if not edges[0] > 0 or not (np.diff(edges) > 0).all() or max(edges[-1], pi_max) >= box / 3:
        raise ValueError(
            f"rp_edges must be positive and increase, and end, like pi_max, below a third of the box "
            f"({box / 3:.4g} Mpc/h); got {edges} and pi_max = {pi_max:g}."
        )
    # halotools' line of sight is the third coordinate.
    x = inside_array(np.asarray(positions, np.float64), box, "Galaxies")
    x = np.roll(x, 2 - line_of_sight, axis=1)
    if e.shape != (len(x), 2) or not np.isfinite(e).all():
        raise ValueError(f"ellipticities must be finite, of shape ({len(x)}, 2); got {e.shape}.")
    angle = np.arctan2(e[:, 1], e[:, 0]) / 2
    shapes = np.stack([np.cos(angle), np.sin(angle)], axis=-1), np.hypot(e[:, 0], e[:, 1])
    binning = edges, pi_max
    with np.errstate(all="ignore"):
        return Projected(
            edges,
            # wp is the same, but fails for a single bin.
            2 * pi_max * rp_pi_tpcf(x, edges, [0, pi_max], period=box).reshape(-1),
            gi_plus_projected(x, *shapes, x, *binning, period=box),
            ii_plus_projected(x, *shapes, x, *shapes, *binning, period=box),
        )


def along_all_sides(
    positions: ArrayLike,
    axes: ArrayLike,
    axis_ratio: ArrayLike,
    box: float,
    rp_edges: ArrayLike,
    pi_max: float,
    ellipticity: str = "distortion",
) -> list[Projected]:
    """As `projected_correlations`, of spheroids seen along each side of the box.

    Parameters
    ----------
    positions, box, rp_edges, pi_max
        As in `projected_correlations`.
    axes : array_like, shape (n, 3)
        Unit vectors along the spheroids' axes.
    axis_ratio : array_like, shape (n,) or a number
        Shorter over longer axis, in (0, 1].
    ellipticity : str
        One of `iaemu_likelihood.emulator.physics.shapes.DEFINITIONS`.
    """
    return [
        projected_correlations(
            positions, project(axes, axis_ratio, side, ellipticity), box, rp_edges, pi_max, side
        )
        for side in range(3)
    ]
