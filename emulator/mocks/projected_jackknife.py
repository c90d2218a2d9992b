"""Projected statistics of a galaxy catalogue, with the delete-one jackknife covariance of all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from iaemu_likelihood.emulator.boxes import check_filled, check_side, inside_array
from iaemu_likelihood.emulator.mocks.jackknife import (
    Jackknife,
    check_pairs,
    covariance_of,
    regions_of,
)
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS, W_PLUSPLUS
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STATISTICS = W_GG, W_GPLUS, W_PLUSPLUS
# Regions per side, and how many by default: of columns, and of cubes.
SIDES = 2, 10
COLUMNS, CUBES = 10, 5


def projected_jackknife(
    positions: ArrayLike,
    shapes: Mapping[int, ArrayLike],
    box: float,
    rp_edges: ArrayLike,
    pi_max: float,
    n_side: int | None = None,
) -> Jackknife:
    """Measure w_gg, w_g+ and w_++ in a periodic box, leaving out one region at a time.

    Along one line of sight the regions are `n_side`**2 equal columns along it. Along several, whose
    mean is measured, they are `n_side`**3 equal cubes, each left out of all lines of sight at once:
    these see the same galaxies, so that their means scatter together.

    Parameters
    ----------
    positions : array_like, shape (n_galaxies, 3)
        Mpc/h, in [0, box].
    shapes : mapping of int to array_like, shape (n_galaxies, 2)
        Ellipticities e_+ and e_x by the line of sight, 0, 1 or 2, with respect to the first of the two
        coordinates that follow it in cyclic order, as
        `iaemu_likelihood.emulator.physics.shapes.project` gives them.
    box : float
        Side of the box, Mpc/h.
    rp_edges : array_like, shape (n_bins + 1,)
        Mpc/h; bins are (low, high]. The last edge must be below a third of the box.
    pi_max : float
        Largest separation along the line of sight, to either side, Mpc/h; below half of the box.
    n_side : int, optional
        Regions per side, 2 to 10; by default 10 for columns and 5 for cubes.

    Returns
    -------
    Jackknife
        In Mpc/h. Radial alignment is positive. Ellipticities are taken as they are. `n_pairs` is the
        sum over the lines of sight.

    Raises
    ------
    ValueError
        If an argument is out of range, the galaxies do not fill the box, a region holds no galaxy, or
        a bin holds no pair with all galaxies or with one region left out; the message says what to do.

    Notes
    -----
    As in `iaemu_likelihood.emulator.mocks.jackknife`, each sample has, for every galaxy outside the
    region, all its neighbours, and the density is that of its own galaxies. For w_g+ the galaxy with
    the shape decides, so that each galaxy's shape noise, which all its pairs share, is left out as a
    whole. The products of two shapes are independent from pair to pair instead; a pair across the
    border of a region then has to lose 1 / sqrt(2) of its weight, not half of it, for the covariance
    to come out right (Mohammad and Percival 2022, arXiv:2109.07071). At separations r_p beyond the
    regions' width the errors of w_gg are too large, since the numbers of galaxies in the regions enter
    them.
    """
    from iaemu_likelihood.emulator.mocks.sky_pairs import sky_sums

    x, edges = np.asarray(positions, np.float64), np.asarray(rp_edges, np.float64)
    views = {side: np.asarray(shape, np.float64) for side, shape in shapes.items()}
    several = len(views) > 1
    n_side = (CUBES if several else COLUMNS) if n_side is None else n_side
    _check(x, views, box, edges, pi_max, n_side)
    x = inside_array(x, box, "Galaxies")
    check_filled(dict(zip("xyz", x.T, strict=True)), box, "Galaxies")
    x = np.where(x == box, 0.0, x)

    values, samples, n_pairs = [], [], 0
    for side, shape in views.items():
        seen = np.roll(x, 2 - side, axis=1)
        region, inside = regions_of(x if several else np.delete(seen, 2, axis=1), box, n_side)
        pairs, carried, both, within = sky_sums(
            seen, shape, region, len(inside), box, edges, pi_max
        ).swapaxes(0, 1)
        check_pairs(pairs, edges)
        volume = np.pi * np.diff(edges**2) * 2 * pi_max
        without = np.array([pairs, carried, within + np.sqrt(2) * (both - within)])
        total = np.array([pairs, carried, both]).sum(axis=1)
        values.append(_densities(total, len(x) ** 2 * volume / box**3, pi_max))
        # Of the volume, too, a share of 1 - 1 / n_regions is left.
        left = (len(x) - inside)[:, None] ** 2 * volume / box**3 / (1 - 1 / len(inside))
        samples.append(_densities(total[:, None] - without, left, pi_max))
        n_pairs = n_pairs + np.rint(pairs.sum(axis=0) / 2).astype(np.int64)
    by_region = np.mean(samples, axis=0).swapaxes(0, 1)
    return Jackknife(
        dict(zip((one.name for one in STATISTICS), np.mean(values, axis=0), strict=True)),
        covariance_of(by_region.reshape(len(by_region), -1)),
        len(x),
        len(by_region),
        np.asarray(n_pairs),
    )


def _densities(sums: Array, random: Array, pi_max: float) -> Array:
    """Sums over pairs, shape (3, ..., n_bins), in units of unclustered ones, integrated over Pi."""
    densities = sums / random
    densities[0] -= 1
    return np.asarray(2 * pi_max * densities)


def _check(
    x: Array, views: Mapping[int, Array], box: float, edges: Array, pi_max: float, n_side: int
) -> None:
    if not SIDES[0] <= n_side <= SIDES[1]:
        raise ValueError(f"{n_side} jackknife regions per side; choose {SIDES[0]} to {SIDES[1]}.")
    check_side(box, "Galaxies")
    if edges.ndim != 1 or len(edges) < 2 or not (edges[0] > 0 and (np.diff(edges) > 0).all()):
        raise ValueError(f"rp_edges must be two or more increasing, positive numbers; got {edges}.")
    if not edges[-1] < box / 3:
        raise ValueError(
            f"The bins of r_p reach to {edges[-1]:g} Mpc/h, but must end below a third of the box, "
            f"{box / 3:g} Mpc/h: lower r_max."
        )
    if not 0 < pi_max < box / 2:
        raise ValueError(
            f"pi_max is {pi_max:g} Mpc/h; it must be above 0 and below half of the box, {box / 2:g} "
            "Mpc/h."
        )
    if not views or not {*views} <= {0, 1, 2}:
        raise ValueError(
            f"Lines of sight are 0, 1 or 2; got {', '.join(map(str, views)) or 'none'}."
        )
    for shape in views.values():
        if x.ndim != 2 or x.shape[1] != 3 or shape.shape != (len(x), 2):
            raise ValueError(
                f"Expected positions of shape (n, 3) and ellipticities of shape (n, 2); got {x.shape} "
                f"and {shape.shape}."
            )
        if not np.isfinite(shape).all():
            raise ValueError("Ellipticities must be finite.")
