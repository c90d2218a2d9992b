"""How much of a galaxy's neighbourhood, in bins across the line of sight, lies in each region of a box."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from iaemu_likelihood.emulator.compiled import compiled
from iaemu_likelihood.emulator.mocks.sky_pairs import N_CHUNKS
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@compiled()
def _corner(a: float, b: float, r: float) -> float:
    """Area of a disc about the origin inside the rectangle between it and (a, b), with its sign."""
    x, y = min(abs(a), r), min(abs(b), r)
    sign = 1.0 if a * b >= 0 else -1.0
    if x * x + y * y <= r * r:
        return sign * x * y
    low = math.sqrt(max(r * r - y * y, 0.0))  # where the circle leaves the rectangle's upper side
    below = x * math.sqrt(max(r * r - x * x, 0.0)) + r * r * math.asin(x / r)
    below -= low * y + r * r * math.asin(low / r)
    return sign * (low * y + below / 2)


@compiled(parallel=True)
def _overlaps(
    position: Any,
    region: Any,
    n_side: int,
    strides: Any,
    box: float,
    edges: Any,
    pi_max: float,
    volumes: Any,
) -> None:
    size, n_bins = box / n_side, len(edges) - 1
    for chunk in numba.prange(N_CHUNKS):
        inner = np.empty(n_bins + 1)
        for i in range(chunk, len(position), N_CHUNKS):
            x, y, z = position[i]
            reach = edges[n_bins]
            for ix in range(math.floor((x - reach) / size), math.floor((x + reach) / size) + 1):
                for iy in range(math.floor((y - reach) / size), math.floor((y + reach) / size) + 1):
                    x0, x1, y0, y1 = (
                        ix * size - x,
                        (ix + 1) * size - x,
                        iy * size - y,
                        (iy + 1) * size - y,
                    )
                    for b in range(n_bins + 1):
                        r = edges[b]
                        inner[b] = (_corner(x1, y1, r) - _corner(x0, y1, r)
                                    - _corner(x1, y0, r) + _corner(x0, y0, r))  # fmt: skip
                    on_sky = ix % n_side * strides[0] + iy % n_side * strides[1]
                    for iz in range(
                        math.floor((z - pi_max) / size), math.floor((z + pi_max) / size) + 1
                    ):
                        depth = min(z + pi_max, (iz + 1) * size) - max(z - pi_max, iz * size)
                        where = on_sky + iz % n_side * strides[2]
                        for b in range(n_bins):
                            volume = (inner[b + 1] - inner[b]) * depth
                            volumes[chunk, 0, where, b] += volume
                            if where == region[i]:
                                volumes[chunk, 1, where, b] += volume


def neighbouring_volumes(
    position: Array,
    region: Indices,
    n_side: int,
    strides: Indices,
    box: float,
    rp_edges: Array,
    pi_max: float,
) -> tuple[Array, Array]:
    """Volume of each region that lies in a bin about a galaxy, summed over galaxies.

    Parameters
    ----------
    position, region, box, rp_edges, pi_max
        As in `iaemu_likelihood.emulator.mocks.sky_pairs.sky_sums`.
    n_side : int
        Regions per side of the box.
    strides : ndarray of int, shape (3,)
        By how much a region's number grows with its place along each coordinate; 0 if regions are not
        divided along it.

    Returns
    -------
    all, own : ndarray, shape (n_regions, n_bins)
        (Mpc/h)^3: about all galaxies, and about those in the region itself.
    """
    n_regions = n_side ** int(np.count_nonzero(strides))
    volumes = np.zeros((N_CHUNKS, 2, n_regions, len(rp_edges) - 1))
    _overlaps(position, region, n_side, strides, box, rp_edges, pi_max, volumes)
    every, own = volumes.sum(axis=0)
    return every, own
