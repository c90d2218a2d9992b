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

    Along one line of sight the regions are ``n_side**2`` equal columns along it. Along several, whose
    mean is measured, they are ``n_side**3`` equal cubes, each left out of all lines of sight at once:
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
    Pairs inside the region are left out, and those across its border in part, such that the covariance
    comes out right. For w_g+ the galaxy with the shape decides: its shape noise, which all its pairs
    share, is left out as a whole. Numbers of pairs, and products of two shapes, are independent from
    pair to pair instead; then a pair across the border has to lose 1 / sqrt(2) of its weight, not half
    of it (Mohammad and Percival 2022, arXiv:2109.07071).

    The number of galaxies in the region left out changes, at first order, the number of pairs in a
    sample, but not what w_gg measures. As Landy and Szalay 1993 do with random points, each sample's
    w_gg therefore is of DD - 2 DR + RR, with exact volumes for DR and RR; for all galaxies, of which a
    periodic box has the same mean number everywhere, this is DD / RR - 1.

    The errors are too small where structures are larger than the regions.
    """
    from iaemu_likelihood.emulator.mocks.sky_pairs import sky_sums
    from iaemu_likelihood.emulator.mocks.sky_regions import neighbouring_volumes

    several = len(shapes) > 1
    n_side = (CUBES if several else COLUMNS) if n_side is None else n_side
    x, views, edges = prepared(positions, shapes, box, rp_edges, n_side, SIDES)
    if not 0 < pi_max < box / 2:
        raise ValueError(
            f"pi_max is {pi_max:g} Mpc/h; it must be above 0 and below half of the box, {box / 2:g} "
            "Mpc/h."
        )

    # By how much a region's number grows with its place along each coordinate.
    strides = n_side ** np.arange(3)[::-1] if several else np.array([n_side, 1, 0])
    values, samples, n_pairs = [], [], 0
    for side, shape in views.items():
        seen = np.roll(x, 2 - side, axis=1)
        region, inside = regions_of(x if several else np.delete(seen, 2, axis=1), box, n_side)
        sums = sky_sums(seen, shape, region, len(inside), box, edges, pi_max).swapaxes(0, 1)
        check_pairs(sums[0], edges)
        turned = np.roll(strides, 2 - side) if several else strides
        volumes = neighbouring_volumes(seen, region, n_side, turned, box, edges, pi_max)
        value, sample = _left_out(sums, volumes, inside, box, edges, pi_max)
        values.append(value)
        samples.append(sample)
        n_pairs = n_pairs + np.rint(sums[0].sum(axis=0) / 2).astype(np.int64)
    by_region = np.mean(samples, axis=0).swapaxes(0, 1)
    return Jackknife(
        dict(zip((one.name for one in STATISTICS), np.mean(values, axis=0), strict=True)),
        covariance_of(by_region.reshape(len(by_region), -1)),
        len(x),
        len(by_region),
        np.asarray(n_pairs),
    )


def _left_out(
    sums: Array,
    volumes: tuple[Array, Array],
    inside: NDArray[np.int64],
    box: float,
    edges: Array,
    pi_max: float,
) -> tuple[Array, Array]:
    """The statistics of all galaxies, (3, n_bins), and of each sample, (3, n_regions, n_bins)."""
    pairs, carried, both, own_pairs, own_both = sums
    n, n_regions, volume = inside.sum(), len(inside), box**3
    bin_volume = np.pi * np.diff(edges**2) * 2 * pi_max

    def lost(in_it: Array, *across: Array) -> Array:
        """What a sample loses of sums over pairs in its region, and across its border."""
        return np.asarray(in_it + sum(across) / np.sqrt(2))

    # Ordered pairs that are left: of galaxies, of a galaxy and a place, and of two places. In volumes of
    # places, the density of galaxies being that of the sample.
    about_all, about_own = volumes
    of_own = inside[:, None] * bin_volume
    all_places = volume * bin_volume
    own_places = about_own.sum(axis=0) * volume / n / n_regions
    density = ((n - inside) / (volume * (1 - 1 / n_regions)))[:, None]
    dd = pairs.sum(axis=0) - lost(own_pairs, *[pairs - own_pairs] * 2)
    dr = n * bin_volume - lost(about_own, of_own - about_own, about_all - about_own)
    rr = all_places - lost(own_places, *[all_places / n_regions - own_places] * 2)
    w_gg = (dd / density**2 - 2 * dr / density) / rr + 1
    random = density**2 * all_places * (1 - 1 / n_regions)
    w_gplus = (carried.sum(axis=0) - carried) / random
    w_plusplus = (both.sum(axis=0) - lost(own_both, *[both - own_both] * 2)) / random
    value = np.array([pairs, carried, both]).sum(axis=1) / (n**2 / volume * bin_volume)
    value[0] -= 1
    return 2 * pi_max * value, 2 * pi_max * np.array([w_gg, w_gplus, w_plusplus])


def prepared(
    positions: ArrayLike,
    shapes: Mapping[int, ArrayLike],
    box: float,
    edges: ArrayLike,
    n_side: int,
    sides: tuple[int, int],
) -> tuple[Array, dict[int, Array], Array]:
    """Positions in [0, box), shapes by the line of sight, and edges of bins, as arrays that were checked.

    Parameters
    ----------
    positions, shapes, box, n_side
        As in `projected_jackknife`.
    edges : array_like, shape (n_bins + 1,)
        Mpc/h.
    sides : tuple of (int, int)
        Least and greatest number of regions per side.

    Raises
    ------
    ValueError
        As `projected_jackknife`.
    """
    x, bins = np.asarray(positions, np.float64), np.asarray(edges, np.float64)
    views = {side: np.asarray(shape, np.float64) for side, shape in shapes.items()}
    if not sides[0] <= n_side <= sides[1]:
        raise ValueError(f"{n_side} jackknife regions per side; choose {sides[0]} to {sides[1]}.")
    check_side(box, "Galaxies")
    if bins.ndim != 1 or len(bins) < 2 or not (bins[0] > 0 and (np.diff(bins) > 0).all()):
        raise ValueError(f"Bin edges must be two or more increasing, positive numbers; got {bins}.")
    if not bins[-1] < box / 3:
        raise ValueError(
            f"The bins reach to {bins[-1]:g} Mpc/h, but must end below a third of the box, "
            f"{box / 3:g} Mpc/h: lower r_max."
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
    x = inside_array(x, box, "Galaxies")
    check_filled(dict(zip("xyz", x.T, strict=True)), box, "Galaxies")
    return np.where(x == box, 0.0, x), views, bins
