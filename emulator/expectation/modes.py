"""Fourier modes of points in a periodic box, and what their products add to shells of separation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from iaemu_likelihood.emulator.compiled import compiled
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.special import erfc, spherical_jn

Array = NDArray[np.float64]

# Side of the mesh's cells, at most, Mpc/h.
CELL = 1.6
# Where the sum over modes ends, in units of the mesh's largest k: the middle and width of its slope.
_END, _WIDTH = 0.7, 0.18
# Weight below which they are left out.
_NEGLECTED = 3e-3
# Width of the shells of k whose modes are multiplied together, in units of the smallest k.
_SHELL = 0.1
_NODES, _WEIGHTS = leggauss(16)
# Of a symmetric tensor.
COMPONENTS = tuple(combinations_with_replacement(range(3), 2))


@compiled(nogil=True)
def _painted(
    cells: NDArray[np.int32], shares: NDArray[np.float32], amount: Array, n_cells: int
) -> NDArray[np.float32]:
    """What points leave in the cells that they are divided among."""
    mesh = np.zeros(n_cells, np.float32)
    for point in range(len(amount)):
        for corner in range(8):
            mesh[cells[point, corner]] += shares[point, corner] * amount[point]
    return mesh


@dataclass(frozen=True)
class Modes:
    """Fourier modes of a periodic box, those of a half space, sorted by the modulus of k.

    Attributes
    ----------
    box : float
        Mpc/h.
    n_mesh : int
        Cells per side.
    index : ndarray, shape (n_modes,)
        Places in a real field's transform.
    k : ndarray, shape (n_modes,)
        h/Mpc.
    direction : ndarray, shape (n_modes, 3)
        Of k; any for k = 0.
    weight : ndarray, shape (n_modes,)
        How many modes each stands for, times the end of the sum.
    window : ndarray, shape (n_modes,)
        By which a field on the mesh is smaller than one of points.
    """

    box: float
    n_mesh: int
    index: NDArray[np.int64]
    k: Array
    direction: Array
    weight: Array
    window: NDArray[np.float32]

    @classmethod
    def of(cls, box: float) -> Modes:
        """Modes that a mesh of cells of `CELL` resolves."""
        n_mesh = 2 * next_fast_len(math.ceil(box / CELL / 2), real=True)
        whole = np.fft.fftfreq(n_mesh, 1 / n_mesh)
        numbers = np.stack(
            np.meshgrid(whole, whole, np.arange(n_mesh // 2 + 1.0), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        length = np.linalg.norm(numbers, axis=1)
        slope = erfc((length * 2 / n_mesh - _END) / _WIDTH) / erfc(-_END / _WIDTH)
        (index,) = np.nonzero(slope > _NEGLECTED)
        index = index[np.argsort(length[index], kind="stable")]
        chosen, n = numbers[index], length[index]
        copies = np.where((chosen[:, 2] == 0) | (chosen[:, 2] == n_mesh // 2), 1.0, 2.0)
        window = np.prod(np.sinc(chosen / n_mesh) ** 2, axis=1)
        return cls(
            box,
            n_mesh,
            index,
            2 * np.pi / box * n,
            np.where(n[:, None] > 0, chosen / np.maximum(n, 1)[:, None], [0.0, 0.0, 1.0]),
            copies * slope[index],
            window.astype(np.float32),
        )

    def cells(self, position: Array) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Cells of the mesh that points, (n_points, 3), are divided among, and their shares.

        Returns
        -------
        cells, shares : ndarray, shape (n_points, 8)
        """
        n = self.n_mesh
        cell = position / self.box * n
        low = np.floor(cell).astype(np.int64)
        high_share = cell - low
        cells = np.empty((len(position), 8), np.int32)
        shares = np.empty((len(position), 8), np.float32)
        for i, corner in enumerate(np.ndindex(2, 2, 2)):
            x, y, z = ((low + corner) % n).T
            cells[:, i] = (x * n + y) * n + z
            shares[:, i] = np.where(corner, high_share, 1 - high_share).prod(axis=1)
        return cells, shares

    def fields(
        self,
        cells: NDArray[np.int32],
        shares: NDArray[np.float32],
        values: Array,
        some: slice = slice(None),
    ) -> NDArray[np.complex64]:
        """Some modes of points with several values, (n_fields, n_points), from their `cells`."""
        from scipy.fft import rfftn

        n, index = self.n_mesh, self.index[some]
        found = np.empty((len(values), len(index)), np.complex64)
        for field, amount in zip(found, values, strict=True):
            mesh = _painted(cells, shares, amount, n**3)
            np.take(rfftn(mesh.reshape(n, n, n)).ravel(), index, out=field)
        found /= self.window[some]
        return found

    @cached_property
    def bases(self) -> tuple[NDArray[np.float32], ...]:
        """For each helicity, its components of a tensor from `COMPONENTS`, (1 or 2, 6, n_modes).

        The five of them are orthonormal: the sum of their products is that of all tensor components.
        """
        along = self.direction
        helper = np.eye(3)[np.argmin(np.abs(along), axis=1)]
        first = np.cross(along, helper)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        second = np.cross(along, first)

        def of(pairs: Sequence[tuple[Array, Array, float]]) -> NDArray[np.float32]:
            """Coefficients of the sum of u T v times a factor, for (u, v, factor)."""
            rows = [
                sum(
                    factor * (u[:, i] * v[:, j] + (i != j) * u[:, j] * v[:, i])
                    for u, v, factor in pairs
                )
                for i, j in COMPONENTS
            ]
            return np.array(rows, np.float32)

        root = math.sqrt(0.5)
        return (
            of([(along, along, math.sqrt(1.5))])[None],
            np.stack([of([(along, across, 2 * root)]) for across in (first, second)]),
            np.stack(
                [
                    of([(first, first, root), (second, second, -root)]),
                    of([(first, second, 2 * root)]),
                ]
            ),
        )

    def shells(self) -> list[slice]:
        """Modes of nearly the same k."""
        number = np.floor(self.k * self.box / (2 * np.pi) / _SHELL).astype(np.int64)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(number)], strict=True)]

    def bessel(self, r_edges: Array, degree: int) -> Array:
        """Means of j_l(k r) over shells of k and of r, times the latter's share of the box.

        Parameters
        ----------
        r_edges : ndarray, shape (n_bins + 1,)
            Mpc/h.
        degree : int

        Returns
        -------
        ndarray, shape (n_bins, n_shells)
            For each of `shells`.
        """
        low, high = r_edges[:-1, None], r_edges[1:, None]
        r = low + (high - low) * (_NODES + 1) / 2
        volume = r**2 * _WEIGHTS
        volume /= volume.sum(axis=1, keepdims=True)
        means = []
        for shell in self.shells():
            distinct, count = np.unique(self.k[shell].round(9), return_counts=True)
            values = spherical_jn(degree, distinct[:, None, None] * r)
            means.append((values * volume).sum(-1).T @ (count / count.sum()))
        return np.stack(means, axis=1) * (shell_volumes(r_edges) / self.box**3)[:, None]
