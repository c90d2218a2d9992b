"""Pairs of galaxies in bins of their separation across the line of sight: the loop over a catalogue."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from iaemu_likelihood.emulator.compiled import compiled
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# Partial sums per call: fixed, so that results do not depend on the number of threads.
N_CHUNKS = 16
# Cells per largest separation, and cells per dimension at most.
_REACH, _MANY_CELLS = 3, 256


@compiled(parallel=True)
def _neighbours(
    position: Any,
    shape: Any,
    region: Any,
    start: Any,
    n_cells: int,
    box: float,
    edges2: Any,
    pi_max: float,
    sums: Any,
) -> None:
    """Work of `sky_sums`, for points sorted by cell and then along the line of sight."""
    size, n_bins = box / n_cells, len(edges2) - 1
    for chunk in numba.prange(N_CHUNKS):
        for i in range(chunk, len(position), N_CHUNKS):
            x, y, z = position[i]
            to = sums[chunk, region[i]]
            cx, cy = min(int(x / size), n_cells - 1), min(int(y / size), n_cells - 1)
            for ox in range(cx - _REACH, cx + _REACH + 1):
                for oy in range(cy - _REACH, cy + _REACH + 1):
                    tx, ty = ox // n_cells, oy // n_cells
                    cell = (ox - tx * n_cells) * n_cells + oy - ty * n_cells
                    depth = position[start[cell] : start[cell + 1], 2]
                    for turn in range(-1, 2):
                        # Those in the cell and in reach along the line of sight follow each other.
                        low = np.searchsorted(depth, z - pi_max - turn * box)
                        high = np.searchsorted(depth, z + pi_max - turn * box, side="right")
                        for j in range(start[cell] + low, start[cell] + high):
                            dx = position[j, 0] + tx * box - x
                            dy = position[j, 1] + ty * box - y
                            d2 = dx * dx + dy * dy
                            if d2 <= edges2[0] or d2 > edges2[n_bins]:
                                continue
                            b = n_bins - 1  # where most pairs are
                            while d2 <= edges2[b]:
                                b -= 1
                            cos, sin = (dx * dx - dy * dy) / d2, 2.0 * dx * dy / d2
                            own_plus = shape[i, 0] * cos + shape[i, 1] * sin
                            both = own_plus * (shape[j, 0] * cos + shape[j, 1] * sin)
                            to[0, b] += 1.0
                            to[1, b] += own_plus
                            to[2, b] += both
                            if region[i] == region[j]:
                                to[3, b] += 1.0
                                to[4, b] += both


def sky_sums(
    position: Array,
    shape: Array,
    region: Indices,
    n_regions: int,
    box: float,
    rp_edges: Array,
    pi_max: float,
) -> Array:
    """Sums over ordered pairs of galaxies in a periodic box, seen along the third coordinate.

    Parameters
    ----------
    position : ndarray, shape (n, 3)
        Mpc/h, in [0, box].
    shape : ndarray, shape (n, 2)
        Ellipticities e_+ and e_x with respect to the first coordinate.
    region : ndarray of int, shape (n,)
        0 .. n_regions - 1.
    n_regions : int
    box : float
        Mpc/h.
    rp_edges : ndarray, shape (n_bins + 1,)
        Mpc/h, positive; bins are (low, high]. The last is below a third of the box.
    pi_max : float
        Mpc/h, below half of the box; pairs at this distance along the line of sight count.

    Returns
    -------
    ndarray, shape (n_regions, 5, n_bins)
        By the region of the first galaxy: the number of pairs, the sum of the first galaxy's e_+ with
        respect to the separation, and that of the product of both galaxies' e_+; then the first and
        the last of these once more, of pairs inside the region.
    """
    # With at least 2 _REACH + 1 cells none is met from both sides, and a third of the box is in reach.
    most = min(_MANY_CELLS, int(np.sqrt(len(position))))
    n_cells = max(2 * _REACH + 1, min(int(box / (rp_edges[-1] / _REACH)), most))
    place = np.minimum((position / (box / n_cells)).astype(np.int64), n_cells - 1)
    cell = place[:, 0] * n_cells + place[:, 1]
    order = np.lexsort((position[:, 2], cell))
    start = np.searchsorted(cell[order], np.arange(n_cells**2 + 1))
    sums = np.zeros((N_CHUNKS, n_regions, 5, len(rp_edges) - 1))
    _neighbours(position[order], shape[order], region[order], start, n_cells, box, rp_edges**2, pi_max,
                sums)  # fmt: skip
    return np.asarray(sums.sum(axis=0))
