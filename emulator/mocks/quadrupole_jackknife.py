"""The quadrupole of galaxies' positions and shapes on the sky, with its jackknife covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.mocks.jackknife import (
    SIDES,
    Jackknife,
    check_pairs,
    covariance_of,
    regions_of,
)
from iaemu_likelihood.emulator.mocks.projected_jackknife import prepared
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import PAIRS, XI_GPLUS_2, PairKernel
from numpy.typing import ArrayLike


def _quadrupole(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    """5/8 (1 - mu_r^2) e_+, which averages to the quadrupole, of a shape (e_+, e_x, 0)."""
    return 0.625 * (a[0] * (dx * dx - dy * dy) + 2.0 * a[1] * dx * dy) / r2


QUADRUPOLE = PairKernel("quadrupole", n_axes=1, degree=2, term=_quadrupole)


def quadrupole_jackknife(
    positions: ArrayLike,
    shapes: Mapping[int, ArrayLike],
    box: float,
    r_edges: ArrayLike,
    n_side: int = 3,
) -> Jackknife:
    r"""Measure the quadrupole of Singh et al. 2024 in a periodic box, leaving out one cube at a time.

    With the separation's cosine :math:`\mu_r` to the line of sight, it is :math:`\frac{5}{48} \int
    d\mu_r\, 3 (1 - \mu_r^2)\, \xi_{g+}(r, \mu_r)`, from -1 to 1 (arXiv:2307.02545).

    Parameters
    ----------
    positions, shapes, box
        As in `iaemu_likelihood.emulator.mocks.projected_jackknife.projected_jackknife`; of several
        lines of sight the mean is measured.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h; bins are (low, high]. The last edge must be below a third of the box.
    n_side : int
        Cubes per side, 2 to 5, each left out of all lines of sight at once.

    Returns
    -------
    Jackknife
        Radial alignment is positive. Ellipticities are taken as they are.

    Raises
    ------
    ValueError
        As `iaemu_likelihood.emulator.mocks.jackknife.jackknife`.

    Notes
    -----
    A galaxy's shape noise, which all its pairs share, is left out with the region that it is in; its
    neighbours may be anywhere.
    """
    from iaemu_likelihood.emulator.mocks.pair_counts import plain_sums

    x, views, edges = prepared(positions, shapes, box, r_edges, n_side, SIDES)
    region, inside = regions_of(x, box, n_side)
    n_regions = len(inside)
    of_shapes = {side: np.column_stack([shape, np.zeros(len(x))]) for side, shape in views.items()}

    def by_region(kernel: PairKernel, side: int) -> Any:
        seen = np.roll(x, 2 - side, axis=1)
        arguments = seen, of_shapes[side], region, n_regions, box, edges
        return plain_sums(kernel, *arguments).sum(axis=1)

    pairs = by_region(PAIRS, next(iter(views)))
    check_pairs(pairs, edges)
    # The number of random pairs is the same along all lines of sight.
    total = np.mean([by_region(QUADRUPOLE, side) for side in views], axis=0)
    random = shell_volumes(edges) / box**3
    density = (len(x) - inside)[:, None] ** 2 / (1 - 1 / n_regions)
    return Jackknife(
        {XI_GPLUS_2.name: total.sum(axis=0) / (len(x) ** 2 * random)},
        covariance_of((total.sum(axis=0) - total) / (density * random)),
        len(x),
        n_regions,
        np.rint(pairs.sum(axis=0) / 2).astype(np.int64),
    )
