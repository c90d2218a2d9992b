"""Pairs of galaxies in bins of distance: the loops over one galaxy catalogue.

Bins are (r_low, r_high], as in halotools. `kernel_sums` sums kernels over all pairs: those of xi, omega
and eta in one loop that is tuned for them, `pair_sums`, others in a plain loop. `shape_sums` looks at
all neighbours of some galaxies. All hold sums by *kind* of galaxy, a small integer: central or
satellite, or the region of a jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from iaemu_likelihood.emulator.compiled import compiled
from iaemu_likelihood.emulator.physics.statistics import PAIRS, PairKernel
from iaemu_likelihood.emulator.physics.statistics.eta import ORIENTATION_ORIENTATION
from iaemu_likelihood.emulator.physics.statistics.omega import POSITION_ORIENTATION
from numpy.typing import ArrayLike, NDArray

# Partial sums per kernel call: fixed, so that results do not depend on the number of threads.
N_CHUNKS = 16
# Candidates are worked through in blocks of this size. It must be a constant: only then can the
# compiler see that the columns of a block do not overlap, and vectorise. Not a power of two: columns
# 4096 bytes apart would share the same lines of the cache.
_BLOCK = 520
# Cells per largest separation: small cells waste fewer distances, large ones fewer copies.
_REACH = 3
# Cells per dimension that are always allowed; more are only if there are as many points as cells.
_MANY_CELLS = 128
# What `_pair_terms` writes per pair, after the squared distance.
SUMS = ("pairs", "carried_first", "carried_second", "oriented", "drawn_carried", "drawn_oriented")

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CellGrid:
    """Points of a cubic box sorted into cells, and where to look for the neighbours of a cell.

    Attributes
    ----------
    n_cells, reach : int
        Cells per dimension, and cells within the largest separation on either side.
    order : ndarray, shape (n_points,)
        Indices that sort the points by cell, then by a given key.
    start : ndarray, shape (n_cells**3 + 1,)
        First of the sorted points in each cell.
    offsets : ndarray, shape (n, 3)
        To half of the cells within reach; the first row is the cell itself.
    """

    n_cells: int
    reach: int
    order: Indices
    start: Indices
    offsets: Indices

    @classmethod
    def of(cls, position: Array, box: float, r_max: float, key: Any = None) -> CellGrid:
        """Sort positions in [0, box], shape (n_points, 3), by cell and then by `key`."""
        reach = _REACH
        # With fewer than 2 reach + 1 cells a neighbour would be met from both sides.
        allowed = max(_MANY_CELLS, round(len(position) ** (1 / 3)))
        n_cells = max(2 * reach + 1, min(int(box / (r_max / reach)), allowed))
        size = box / n_cells
        while reach * size < r_max:  # few cells in a small box
            reach += 1
        cell = np.minimum((position / size).astype(np.int64), n_cells - 1)
        cell = (cell[:, 0] * n_cells + cell[:, 1]) * n_cells + cell[:, 2]
        order = np.argsort(cell, kind="stable") if key is None else np.lexsort((key, cell))
        start = np.searchsorted(cell[order], np.arange(n_cells**3 + 1))
        steps = np.arange(-reach, reach + 1)
        offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        offsets = offsets[len(offsets) // 2 :]  # the cell itself, and one of each opposite two
        nearest = size * np.linalg.norm(np.maximum(np.abs(offsets) - 1, 0), axis=1)
        return cls(n_cells, reach, order, start, offsets[nearest < r_max])

    def columns(self) -> Indices:
        """The same cells as runs along the third dimension: rows of (x, y, first z, last z)."""
        x, y, z = self.offsets.T
        xy, which = np.unique(np.stack([x, y], axis=1), axis=0, return_inverse=True)
        low, high = np.full(len(xy), self.reach), np.full(len(xy), -self.reach)
        np.minimum.at(low, which.reshape(-1), z)
        np.maximum.at(high, which.reshape(-1), z)
        runs = np.column_stack([xy, low, high])
        # The run that begins with the cell itself comes first.
        return runs[np.argsort(~((xy == 0).all(axis=1)), kind="stable")]


def _bin_table(edges2: Array) -> tuple[Indices, Array, int, int]:
    """Bins by the leading bits of a squared distance.

    Returns
    -------
    edges_below : ndarray, shape (n,)
        Number of edges below the smallest number with these leading bits.
    edge_inside : ndarray, shape (n,)
        The edge between that and the next; infinite if there is none.
    shift, first : int
        Entry of a number: its bits shifted right by `shift`, less `first`, clipped to 0 .. n - 1.

    A distance lies in bin number (edges below it) - 1.
    """
    closest = float(np.min(edges2[1:] / edges2[:-1]))
    # Entries so narrow that none holds two edges: 2**bits of them per factor of two.
    bits = max(6, int(np.ceil(-np.log2(closest - 1))) + 2)
    shift = 52 - bits
    leading = edges2.view(np.int64) >> shift
    first = int(leading[0]) - 1
    entry = np.arange(first, leading[-1] + 2)
    low, high = (entry << shift).view(np.float64), ((entry + 1) << shift).view(np.float64)
    edges_below = np.searchsorted(edges2, low, side="left")
    following = np.append(edges2, np.inf)[edges_below]
    return edges_below, np.where(following < high, following, np.inf), shift, first


@compiled(error_model="numpy")
def _pair_terms(n: int, x: float, y: float, z: float, ax: float, ay: float, az: float,
                ex: float, ey: float, ez: float, block: Any, terms: Any) -> None:  # fmt: skip
    """Squared distances and five terms for one point with the first n of a block."""
    for k in range(n):
        dx = block[k] - x
        dy = block[_BLOCK + k] - y
        dz = block[2 * _BLOCK + k] - z
        bx, by, bz = block[3 * _BLOCK + k], block[4 * _BLOCK + k], block[5 * _BLOCK + k]
        fx, fy, fz = block[6 * _BLOCK + k], block[7 * _BLOCK + k], block[8 * _BLOCK + k]
        d2 = dx * dx + dy * dy + dz * dz
        inverse = 1.0 / d2  # infinite for the point itself, which falls in no bin
        ar = ax * dx + ay * dy + az * dz
        br = bx * dx + by * dy + bz * dz
        ab = ax * bx + ay * by + az * bz
        er = ex * dx + ey * dy + ez * dz
        fr = fx * dx + fy * dy + fz * dz
        ef = ex * fx + ey * fy + ez * fz
        terms[k] = d2
        terms[_BLOCK + k] = ar * ar * inverse
        terms[2 * _BLOCK + k] = br * br * inverse
        terms[3 * _BLOCK + k] = ab * ab
        terms[4 * _BLOCK + k] = (er * er + fr * fr) * inverse
        terms[5 * _BLOCK + k] = ef * ef


@compiled()
def _rows(n: int, n_kinds: int, bits: Any, d2: Any, edges_below: Any, edge_inside: Any, shift: int,
          first: int, kind: Any, row: Any) -> None:  # fmt: skip
    """Row of the sums to which each of the first n pairs belongs."""
    last = len(edges_below) - 1
    for k in range(n):
        entry = min(max((bits[k] >> shift) - first, 0), last)
        row[k] = (edges_below[entry] + (d2[k] > edge_inside[entry])) * n_kinds + kind[k]


@compiled()
def _add(begin: int, end: int, row: Any, terms: Any, sums: Any) -> None:
    """Add terms to rows, neighbouring pairs to different copies: they often share a row."""
    for k in range(begin, end):
        to = sums[k & 1, row[k]]
        to[0] += 1.0
        to[1] += terms[_BLOCK + k]
        to[2] += terms[2 * _BLOCK + k]
        to[3] += terms[3 * _BLOCK + k]
        to[4] += terms[4 * _BLOCK + k]
        to[5] += terms[5 * _BLOCK + k]


@compiled(parallel=True)
def _all_pairs(
    n_cells: int,
    columns: Any,
    start: Any,
    points: Any,
    kind: Any,
    n_kinds: int,
    box: float,
    periodic: bool,
    edges_below: Any,
    edge_inside: Any,
    shift: int,
    first: int,
    sums: Any,
) -> None:
    """Add every pair to sums[chunk, kind of first, edges below * n_kinds + kind of second]."""
    for chunk in numba.prange(N_CHUNKS):
        n_blocks = points.shape[0] // _BLOCK + 1
        blocks = np.empty((n_blocks, 9 * _BLOCK))
        kinds = np.empty((n_blocks, _BLOCK), np.int64)
        terms = np.empty(6 * _BLOCK)
        bits = terms.view(np.int64)
        row = np.empty(_BLOCK, np.int64)
        partial = np.zeros((n_kinds, 2, sums.shape[2], sums.shape[3]))
        for column in range(chunk, n_cells * n_cells, N_CHUNKS):
            cx, cy = column // n_cells, column % n_cells
            for cz in range(n_cells):
                cell = column * n_cells + cz
                n_own = start[cell + 1] - start[cell]
                if n_own == 0:
                    continue
                # The points of this cell, then those of the cells ahead, side by side.
                n = 0
                for c in range(len(columns)):
                    ox, oy = cx + columns[c, 0], cy + columns[c, 1]
                    tx, ty = ox // n_cells, oy // n_cells
                    if not periodic and (tx != 0 or ty != 0):
                        continue
                    row_of_cells = ((ox - tx * n_cells) * n_cells + oy - ty * n_cells) * n_cells
                    # Inside the box first, as this holds the cell itself; then beyond either end.
                    for turn in range(3 if periodic else 1):
                        tz = 0 if turn == 0 else 2 * turn - 3
                        low = max(cz + columns[c, 2] - tz * n_cells, 0)
                        high = min(cz + columns[c, 3] - tz * n_cells, n_cells - 1)
                        if low > high:
                            continue
                        for j in range(start[row_of_cells + low], start[row_of_cells + high + 1]):
                            block, k = blocks[n // _BLOCK], n % _BLOCK
                            block[k] = points[j, 0] + tx * box
                            block[_BLOCK + k] = points[j, 1] + ty * box
                            block[2 * _BLOCK + k] = points[j, 2] + tz * box
                            for d in range(3, 9):
                                block[d * _BLOCK + k] = points[j, d]
                            kinds[n // _BLOCK, k] = kind[j]
                            n += 1
                for i in range(n_own):
                    own, k = blocks[i // _BLOCK], i % _BLOCK
                    to = partial[kinds[i // _BLOCK, k]]
                    for b in range((i + 1) // _BLOCK, (n + _BLOCK - 1) // _BLOCK):
                        begin, end = max(i + 1 - b * _BLOCK, 0), min(n - b * _BLOCK, _BLOCK)
                        _pair_terms(
                            end, own[k], own[_BLOCK + k], own[2 * _BLOCK + k],
                            own[3 * _BLOCK + k], own[4 * _BLOCK + k], own[5 * _BLOCK + k],
                            own[6 * _BLOCK + k], own[7 * _BLOCK + k], own[8 * _BLOCK + k],
                            blocks[b], terms,
                        )  # fmt: skip
                        _rows(end, n_kinds, bits, terms, edges_below, edge_inside, shift, first,
                              kinds[b], row)  # fmt: skip
                        _add(begin, end, row, terms, to)
        for t in range(n_kinds):
            sums[chunk, t] = partial[t, 0] + partial[t, 1]


def pair_sums(
    position: Array,
    axis: Array,
    kind: Indices,
    n_kinds: int,
    box: float,
    r_edges: Array,
    drawn: Array | None = None,
    periodic: bool = True,
) -> dict[str, Array]:
    r"""Sums over all pairs of points, each pair once, by bin and by the kinds of its members.

    Parameters
    ----------
    position : ndarray, shape (n, 3)
        Mpc/h, in [0, box].
    axis : ndarray, shape (n, 3)
        Unit vectors; zero for points without one.
    kind : ndarray of int, shape (n,)
        0 .. n_kinds - 1.
    n_kinds : int
    box : float
        Mpc/h.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    drawn : ndarray, shape (n, 3), optional
        Other axes of the same points; `axis` itself when left out.
    periodic : bool

    Returns
    -------
    dict of str to ndarray, shape (n_kinds, n_kinds, n_bins)
        Indexed by the kinds of the first and of the second member, which of the two is the first
        being arbitrary: ``pairs``, their number; ``carried_first`` and ``carried_second``, the sum
        of (a . rhat)^2 with a the axis of the first or the second; ``oriented``, that of
        (a . b)^2; ``drawn_carried``, that of (e . rhat)^2 for both members' drawn axes;
        ``drawn_oriented``, that of (e . f)^2 of the drawn axes.
    """
    edges2 = r_edges**2
    grid = CellGrid.of(position, box, float(r_edges[-1]), kind)
    coordinates = (position, axis, axis if drawn is None else drawn)
    points = np.concatenate(coordinates, axis=1)[grid.order]
    edges_below, edge_inside, shift, first = _bin_table(edges2)
    n_bins = len(r_edges) - 1
    sums = np.zeros((N_CHUNKS, n_kinds, (n_bins + 2) * n_kinds, len(SUMS)))
    _all_pairs(grid.n_cells, grid.columns(), grid.start, points, kind[grid.order], n_kinds, box,
               periodic, edges_below, edge_inside, shift, first, sums)  # fmt: skip
    total = sums.sum(axis=0).reshape(n_kinds, n_bins + 2, n_kinds, len(SUMS))[:, 1:-1]
    return dict(zip(SUMS, total.transpose(3, 0, 2, 1), strict=True))


# ------------------------------------------------------------------------------------ any kernels


def kernel_sums(
    kernels: Iterable[PairKernel],
    position: Array,
    axis: Array,
    kind: Indices,
    n_kinds: int,
    box: float,
    r_edges: Array,
    drawn: Array | None = None,
    periodic: bool = True,
) -> tuple[dict[PairKernel, Array], dict[PairKernel, Array]]:
    """Sums of kernels over ordered pairs of points: each pair twice, either point being the first.

    Parameters
    ----------
    kernels : iterable of PairKernel
        Those of xi, omega and eta are summed in any case.
    axis : ndarray, shape (n, 3)
        Unit vectors.
    position, kind, n_kinds, box, r_edges, drawn, periodic
        As in `pair_sums`.

    Returns
    -------
    by_kind : dict of PairKernel to ndarray, shape (n_kinds, n_kinds, n_bins)
        With `axis`; indexed by the kinds of the first and of the second point.
    of_drawn : dict of PairKernel to ndarray, shape (n_bins,)
        With the drawn axes, of all pairs.
    """
    tuned = pair_sums(position, axis, kind, n_kinds, box, r_edges, drawn, periodic)
    swapped = {name: values.swapaxes(0, 1) for name, values in tuned.items()}
    number = tuned["pairs"] + swapped["pairs"]
    # Both kernels have no trace, and the axes length 1.
    by_kind = {
        PAIRS: number,
        POSITION_ORIENTATION: tuned["carried_first"] + swapped["carried_second"] - number / 3,
        ORIENTATION_ORIENTATION: tuned["oriented"] + swapped["oriented"] - number / 3,
    }
    all_pairs = number.sum(axis=(0, 1))
    of_drawn = {
        PAIRS: all_pairs,
        POSITION_ORIENTATION: tuned["drawn_carried"].sum(axis=(0, 1)) - all_pairs / 3,
        ORIENTATION_ORIENTATION: 2 * tuned["drawn_oriented"].sum(axis=(0, 1)) - all_pairs / 3,
    }
    for kernel in kernels:
        if kernel not in by_kind:
            arguments = (kind, n_kinds, box, r_edges, periodic)
            by_kind[kernel] = plain_sums(kernel, position, axis, *arguments)
            with_drawn = by_kind[kernel]
            if drawn is not None:
                with_drawn = plain_sums(kernel, position, drawn, *arguments)
            of_drawn[kernel] = with_drawn.sum(axis=(0, 1))
    return by_kind, of_drawn


def plain_sums(
    kernel: PairKernel,
    position: Array,
    axis: Array,
    kind: Indices,
    n_kinds: int,
    box: float,
    r_edges: Array,
    periodic: bool = True,
) -> Array:
    """Sums of one kernel over ordered pairs, shape (n_kinds, n_kinds, n_bins); see `kernel_sums`.

    The first call for a kernel compiles its term.
    """
    grid = CellGrid.of(position, box, float(r_edges[-1]))
    sums = np.zeros((N_CHUNKS, n_kinds, n_kinds, len(r_edges) - 1))
    _plain_loop(kernel)(grid.n_cells, grid.offsets, grid.start, position[grid.order], axis[grid.order],
                        kind[grid.order], box, periodic, r_edges**2, sums)  # fmt: skip
    return sums.sum(axis=0)


@cache
def _plain_loop(kernel: PairKernel) -> Callable[..., None]:
    """The compiled loop over pairs that adds a kernel's term for each point being the first."""
    term = numba.njit(error_model="numpy")(kernel.term)

    @numba.njit(parallel=True, error_model="numpy")
    def loop(
        n_cells: int,
        offsets: Any,
        start: Any,
        position: Any,
        axis: Any,
        kind: Any,
        box: float,
        periodic: bool,
        edges2: Any,
        sums: Any,
    ) -> None:
        for chunk in numba.prange(N_CHUNKS):
            for cell in range(chunk, n_cells**3, N_CHUNKS):
                cx, cy = cell // (n_cells * n_cells), (cell // n_cells) % n_cells
                cz = cell % n_cells
                for neighbour in range(len(offsets)):
                    ox, oy = cx + offsets[neighbour, 0], cy + offsets[neighbour, 1]
                    oz = cz + offsets[neighbour, 2]
                    # By how many boxes the cell is shifted.
                    tx, ty, tz = ox // n_cells, oy // n_cells, oz // n_cells
                    if not periodic and (tx != 0 or ty != 0 or tz != 0):
                        continue
                    other = ((ox - tx * n_cells) * n_cells + oy - ty * n_cells) * n_cells
                    other += oz - tz * n_cells
                    for i in range(start[cell], start[cell + 1]):
                        # The first of the neighbours is the cell itself.
                        begin = i + 1 if neighbour == 0 else start[other]
                        for j in range(begin, start[other + 1]):
                            dx = position[j, 0] + tx * box - position[i, 0]
                            dy = position[j, 1] + ty * box - position[i, 1]
                            dz = position[j, 2] + tz * box - position[i, 2]
                            r2 = dx * dx + dy * dy + dz * dz
                            if r2 <= edges2[0] or r2 > edges2[-1]:
                                continue
                            b = np.searchsorted(edges2, r2) - 1
                            a_i, a_j = axis[i], axis[j]
                            sums[chunk, kind[i], kind[j], b] += term(dx, dy, dz, r2, a_i, a_j)
                            sums[chunk, kind[j], kind[i], b] += term(-dx, -dy, -dz, r2, a_j, a_i)

    return loop


# ------------------------------------------------------------------ neighbourhoods of some points


def tensor(axis: ArrayLike) -> Array:
    """Components of a a^T - |a|^2 / 3 in an orthonormal basis, shape (..., 3) to (..., 5).

    In this basis the scalar product of two such tensors is (a . b)^2 - |a|^2 |b|^2 / 3.
    """
    x, y, z = np.moveaxis(np.asarray(axis, np.float64), -1, 0)
    components = (
        np.sqrt(1.5) * (z * z - (x * x + y * y + z * z) / 3),
        np.sqrt(2) * x * z,
        np.sqrt(2) * y * z,
        (x * x - y * y) / np.sqrt(2),
        np.sqrt(2) * x * y,
    )
    return np.stack(components, axis=-1)


@compiled()
def _symmetric(a: Any, b: Any, factor: float, out: Any) -> None:
    """Components of factor (a b^T + b a^T) / 2, less its trace, in the basis of `tensor`."""
    trace = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / 3
    out[0] = factor * math.sqrt(1.5) * (a[2] * b[2] - trace)
    out[1] = factor * (a[0] * b[2] + a[2] * b[0]) / math.sqrt(2.0)
    out[2] = factor * (a[1] * b[2] + a[2] * b[1]) / math.sqrt(2.0)
    out[3] = factor * (a[0] * b[0] - a[1] * b[1]) / math.sqrt(2.0)
    out[4] = factor * (a[0] * b[1] + a[1] * b[0]) / math.sqrt(2.0)


@compiled()
def _frame(axis: Any, frame: Any) -> None:
    """Orthonormal tensors with |m| = 0, 1, 1, 2, 2 about a unit axis, shape (5, 5)."""
    a, u, v = axis.copy(), np.zeros(3), np.zeros(3)
    if a[0] == 0.0 and a[1] == 0.0 and a[2] == 0.0:
        a[2] = 1.0  # a point without an axis: any frame will do
    # The cross product with the coordinate axis that is farthest from a.
    k = int(np.argmin(np.abs(a)))
    u[(k + 1) % 3], u[(k + 2) % 3] = -a[(k + 2) % 3], a[(k + 1) % 3]
    u /= math.sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2])
    for c in range(3):
        v[c] = a[(c + 1) % 3] * u[(c + 2) % 3] - a[(c + 2) % 3] * u[(c + 1) % 3]
    _symmetric(a, a, math.sqrt(1.5), frame[0])
    _symmetric(a, u, math.sqrt(2.0), frame[1])
    _symmetric(a, v, math.sqrt(2.0), frame[2])
    _symmetric(u, v, math.sqrt(2.0), frame[4])
    # u u^T - v v^T = ((u + v)(u - v)^T + (u - v)(u + v)^T) / 2
    _symmetric(u + v, u - v, math.sqrt(0.5), frame[3])


@compiled(parallel=True)
def _neighbourhoods(
    n_cells: int,
    offsets: Any,
    start: Any,
    position: Any,
    axis: Any,
    tensors: Any,
    kind: Any,
    n_kinds: int,
    primary: Any,
    cell_of_primary: Any,
    weight: Any,
    box: float,
    edges2: Any,
    edges_below: Any,
    edge_inside: Any,
    shift: int,
    first: int,
    shape: Any,
    fourth: Any,
) -> None:
    """Work of `shape_sums` for the points listed in `primary`."""
    n_bins, last = len(edges2) - 1, len(edges_below) - 1
    width = (1 + n_kinds) * n_bins
    for chunk in numba.prange(N_CHUNKS):
        d2 = np.empty(1)
        bits = d2.view(np.int64)
        # Per bin: the tensor of directions, then per kind the tensor of axes, their number and
        # the fourth power of the cosine between the axes.
        by_bin = np.zeros((n_bins, 8 * (1 + n_kinds)))
        frame = np.empty((5, 5))
        turned = np.empty((5, width))
        for p in range(chunk, len(primary), N_CHUNKS):
            i, cell, w = primary[p], cell_of_primary[p], weight[p]
            cx, cy, cz = cell // (n_cells * n_cells), (cell // n_cells) % n_cells, cell % n_cells
            by_bin[:] = 0.0
            for neighbour in range(len(offsets)):
                ox, oy = cx + offsets[neighbour, 0], cy + offsets[neighbour, 1]
                oz = cz + offsets[neighbour, 2]
                tx, ty, tz = ox // n_cells, oy // n_cells, oz // n_cells
                other = (
                    ((ox - tx * n_cells) * n_cells + oy - ty * n_cells) * n_cells
                    + oz
                    - tz * n_cells
                )
                x = position[i, 0] - tx * box
                y = position[i, 1] - ty * box
                z = position[i, 2] - tz * box
                for j in range(start[other], start[other + 1]):
                    dx, dy, dz = position[j, 0] - x, position[j, 1] - y, position[j, 2] - z
                    r2 = dx * dx + dy * dy + dz * dz
                    if r2 <= edges2[0] or r2 > edges2[-1]:
                        continue
                    d2[0] = r2
                    entry = min(max((bits[0] >> shift) - first, 0), last)
                    row = by_bin[edges_below[entry] + (r2 > edge_inside[entry]) - 1]
                    inverse = 1.0 / r2
                    row[0] += dz * dz * inverse
                    row[1] += dx * dz * inverse
                    row[2] += dy * dz * inverse
                    row[3] += (dx * dx - dy * dy) * inverse
                    row[4] += dx * dy * inverse
                    to = 8 * (1 + kind[j])
                    for m in range(5):
                        row[to + m] += tensors[j, m]
                    row[to + 5] += 1.0
                    c = axis[i, 0] * axis[j, 0] + axis[i, 1] * axis[j, 1] + axis[i, 2] * axis[j, 2]
                    row[to + 6] += c * c * c * c
            _frame(axis[i], frame)
            t = kind[i]
            for b in range(n_bins):
                row = by_bin[b]
                number = 0.0
                for u in range(n_kinds):
                    number += row[8 * (1 + u) + 5]
                    fourth[chunk, t, u, b] += w * row[8 * (1 + u) + 6]
                row[0] = math.sqrt(1.5) * (row[0] - number / 3)
                row[1] *= math.sqrt(2.0)
                row[2] *= math.sqrt(2.0)
                row[3] /= math.sqrt(2.0)
                row[4] *= math.sqrt(2.0)
                for u in range(1 + n_kinds):
                    for k in range(5):
                        component = 0.0
                        for m in range(5):
                            component += frame[k, m] * row[8 * u + m]
                        turned[k, u * n_bins + b] = component
            for u in range(width):
                for v in range(u, width):
                    shape[chunk, t, 0, u, v] += w * turned[0, u] * turned[0, v]
                    shape[chunk, t, 1, u, v] += w * (
                        turned[1, u] * turned[1, v] + turned[2, u] * turned[2, v]
                    )
                    shape[chunk, t, 2, u, v] += w * (
                        turned[3, u] * turned[3, v] + turned[4, u] * turned[4, v]
                    )


def shape_sums(
    position: Array,
    axis: Array,
    kind: Indices,
    n_kinds: int,
    box: float,
    r_edges: Array,
    richness: Array,
    n_primaries: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    r"""Second moments of what surrounds the points, seen from their own axes.

    Every point i has, per bin, the tensor :math:`Q_i = \sum_j (\hat r \hat r^T - 1/3)` of the
    directions to its neighbours, and per kind of neighbour the tensor
    :math:`R_i = \sum_j (a_j a_j^T - 1/3)` of their axes. In a frame along the point's own axis
    their components have m = 0, +-1, +-2.

    Parameters
    ----------
    position, axis, kind, n_kinds, box, r_edges
        As in `pair_sums`, in a periodic box.
    richness : ndarray, shape (n,)
        Some measure of how many neighbours a point has close by.
    n_primaries : int
        Points per kind to look at, drawn half at random and half in proportion to the square of
        their richness, as the sums go with the square of the number of neighbours; each enters
        with the inverse of its expected number of draws, so the sums are those over all points in
        the mean. All points, where there are no more than that.
    rng : numpy.random.Generator

    Returns
    -------
    shape : ndarray, shape (n_kinds, 3, width, width)
        By the kind of the point and by |m|: sum over points and over the components of that |m| of
        the outer product of (Q, R of kind 0, R of kind 1, ...), each n_bins long.
    fourth : ndarray, shape (n_kinds, n_kinds, n_bins)
        Sum of (a_i . a_j)^4 over ordered pairs, by the kinds of i and j.
    """
    grid = CellGrid.of(position, box, float(r_edges[-1]), kind)
    offsets = np.concatenate([grid.offsets, -grid.offsets[1:]])
    sorted_kind = kind[grid.order]
    weight = np.zeros(len(kind))
    for t in range(n_kinds):
        members = np.flatnonzero(sorted_kind == t)
        if len(members) <= n_primaries:
            weight[members] = 1
            continue
        square = richness[grid.order[members]] ** 2
        expected = n_primaries * (0.5 / len(members) + 0.5 * square / square.sum())
        draws = rng.choice(members, n_primaries, p=expected / n_primaries)
        weight[members] = np.bincount(draws, minlength=len(weight))[members] / expected
    primary = np.flatnonzero(weight)
    cell_of_primary = np.searchsorted(grid.start, primary, side="right") - 1
    n_bins = len(r_edges) - 1
    width = (1 + n_kinds) * n_bins
    shape = np.zeros((N_CHUNKS, n_kinds, 3, width, width))
    fourth = np.zeros((N_CHUNKS, n_kinds, n_kinds, n_bins))
    _neighbourhoods(grid.n_cells, offsets, grid.start, position[grid.order], axis[grid.order],
                    tensor(axis[grid.order]), sorted_kind, n_kinds, primary, cell_of_primary,
                    weight[primary], box, r_edges**2, *_bin_table(r_edges**2), shape, fourth)  # fmt: skip
    upper = shape.sum(axis=0)
    return upper + np.triu(upper, 1).transpose(0, 1, 3, 2), fourth.sum(axis=0)
