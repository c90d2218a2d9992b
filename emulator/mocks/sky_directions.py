r"""Projected statistics of a galaxy catalogue, seen along many lines of sight.

What one box shows along its three sides differs from the mean over all directions by several per cent:
its largest structures, and the richest of its hosts, are few. The mean over directions is an integral
over the sphere. With Lebedev's weights of 26 points, the mean over 13 lines is exact for all that varies
with the direction up to degree 7 (Lebedev 1976, USSR Comput. Math. Math. Phys. 16, 10); that over three
sides is, up to degree 3. Lines that are turned at random give the integral without bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from iaemu_likelihood.emulator.boxes import inside_array
from iaemu_likelihood.emulator.compiled import compiled
from iaemu_likelihood.emulator.mocks.pair_counts import N_CHUNKS, CellGrid
from iaemu_likelihood.emulator.physics.shapes import project
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Sides of a cube, diagonals of its faces, and its own diagonals.
_LINES = np.array(
    [
        [1, 0, 0], [0, 1, 0], [0, 0, 1],
        [0, 1, 1], [0, 1, -1], [1, 0, 1], [1, 0, -1], [1, 1, 0], [1, -1, 0],
        [1, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1],
    ],
    np.float64,
)  # fmt: skip
LINES = _LINES / np.linalg.norm(_LINES, axis=1, keepdims=True)
WEIGHTS = np.repeat([2 / 21, 8 / 105, 9 / 140], [3, 6, 4])


def turned_lines(seed: int) -> Array:
    """`LINES`, all turned by the same random rotation, (13, 3)."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.random(random_state=np.random.RandomState(seed))
    return np.ascontiguousarray(turn.apply(LINES))


@compiled(parallel=True)
def _add_pairs(
    n_cells: int,
    start: Any,
    offsets: Any,
    position: Any,
    axis: Any,
    along: Any,
    scale: Any,
    box: float,
    directions: Any,
    edges2: Any,
    pi_max: float,
    sums: Any,
) -> None:
    """Work of `along_directions`, for points sorted by cell."""
    n_bins, n_ratios = len(edges2) - 1, len(scale)
    farthest2 = edges2[n_bins] + pi_max * pi_max
    for chunk in numba.prange(N_CHUNKS):
        for cell in range(chunk, n_cells**3, N_CHUNKS):
            cx, cy, cz = cell // n_cells**2, cell // n_cells % n_cells, cell % n_cells
            for o in range(len(offsets)):
                ox, oy, oz = cx + offsets[o, 0], cy + offsets[o, 1], cz + offsets[o, 2]
                tx, ty, tz = ox // n_cells, oy // n_cells, oz // n_cells
                other = (ox - tx * n_cells) * n_cells + oy - ty * n_cells
                other = other * n_cells + oz - tz * n_cells
                for i in range(start[cell], start[cell + 1]):
                    first = i + 1 if o == 0 else start[other]
                    for j in range(first, start[other + 1]):
                        dx = position[j, 0] + tx * box - position[i, 0]
                        dy = position[j, 1] + ty * box - position[i, 1]
                        dz = position[j, 2] + tz * box - position[i, 2]
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 > farthest2:
                            continue
                        of_i = axis[i, 0] * dx + axis[i, 1] * dy + axis[i, 2] * dz
                        of_j = axis[j, 0] * dx + axis[j, 1] * dy + axis[j, 2] * dz
                        for d in range(len(directions)):
                            line = directions[d]
                            pi = line[0] * dx + line[1] * dy + line[2] * dz
                            rp2 = r2 - pi * pi
                            if abs(pi) > pi_max or rp2 <= edges2[0] or rp2 > edges2[n_bins]:
                                continue
                            b = n_bins - 1  # where most pairs are
                            while rp2 <= edges2[b]:
                                b -= 1
                            # |axis across|^2 times the cosine of twice its angle to the separation.
                            of_i_across = of_i - along[i, d] * pi
                            of_j_across = of_j - along[j, d] * pi
                            plus_i = 2 * of_i_across**2 / rp2 - 1 + along[i, d] ** 2
                            plus_j = 2 * of_j_across**2 / rp2 - 1 + along[j, d] ** 2
                            for q in range(n_ratios):
                                e_i, e_j = scale[q, i, d] * plus_i, scale[q, j, d] * plus_j
                                to = sums[chunk, d, q]
                                to[0, b] += 2.0
                                to[1, b] += e_i + e_j
                                to[2, b] += 2.0 * e_i * e_j


def along_directions(
    positions: Array,
    axes: Array,
    axis_ratios: Sequence[float],
    box: float,
    rp_edges: Array,
    pi_max: float,
    directions: Array = LINES,
) -> Array:
    """w_gg, w_g+ and w_++ of spheroids in a periodic box, along each of some directions.

    With the directions `LINES`, the sides of the box come first, and the mean with `WEIGHTS` is that
    over all directions.

    Parameters
    ----------
    positions : ndarray, shape (n, 3)
        Mpc/h, in [0, box].
    axes : ndarray, shape (n, 3)
        Unit vectors along the spheroids' axes.
    axis_ratios : sequence of float
        Shorter over longer axis, in (0, 1]; all galaxies have the first, then all the next.
    box : float
        Side of the box, Mpc/h.
    rp_edges : ndarray, shape (n_bins + 1,)
        Mpc/h; bins are (low, high].
    pi_max : float
        Largest separation along the line of sight, to either side, Mpc/h. With the last of `rp_edges`,
        pairs are below a third of the box apart.
    directions : ndarray, shape (n_directions, 3)
        Unit vectors along the lines of sight.

    Returns
    -------
    ndarray, shape (n_directions, n_axis_ratios, 3, n_bins)
        Mpc/h. Ellipticities are distortions, and radial alignment is positive.

    Raises
    ------
    ValueError
        If the bins are impossible, the separations do not fit into the box, or positions are outside it.
    """
    farthest = float(np.hypot(rp_edges[-1], pi_max))
    if not rp_edges[0] > 0 or not (np.diff(rp_edges) > 0).all() or not farthest < box / 3:
        raise ValueError(
            f"rp_edges must be positive and increase, and pairs must be less than a third of the box "
            f"apart ({box / 3:.4g} Mpc/h); got {rp_edges} and pi_max = {pi_max:g}."
        )
    x = inside_array(positions, box, "Galaxies")
    grid = CellGrid.of(x, box, farthest)
    x, axis = x[grid.order], axes[grid.order]
    along = np.clip(axis @ directions.T, -1, 1)
    across = np.sqrt(1 - along**2)
    # Each as if its axis lay above the first direction on the sky.
    turned = np.stack([across, 0 * across, along], axis=-1).reshape(-1, 3)
    modulus = np.array([project(turned, q)[:, 0].reshape(along.shape) for q in axis_ratios])
    scale = np.divide(modulus, across**2, out=np.zeros_like(modulus), where=across > 0)
    sums = np.zeros((N_CHUNKS, len(directions), len(axis_ratios), 3, len(rp_edges) - 1))
    _add_pairs(grid.n_cells, grid.start, grid.offsets, x, axis, along, scale, box, directions,
               rp_edges**2, pi_max, sums)  # fmt: skip
    random = len(x) ** 2 / box**3 * np.pi * np.diff(rp_edges**2) * 2 * pi_max
    found = sums.sum(axis=0) / random
    found[:, :, 0] -= 1
    return np.asarray(2 * pi_max * found)
