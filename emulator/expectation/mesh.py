r"""Sums over pairs at large separations, from Fourier modes on a mesh.

Beyond some 15 Mpc/h there are too many pairs to count. The number of pairs between two sets of points
in a shell of the periodic box follows from their Fourier modes as

.. math:: N = \frac{V_\mathrm{shell}}{V} \sum_k \mathrm{Re}(F_k^* G_k)\, \bar j_0(k),

with :math:`\bar j_0` the spherical Bessel function averaged over the shell. A kernel of degree l in
one galaxy's axis has the modes of that galaxy weighted by the kernel of its axis and the direction of
k, and :math:`i^l \bar j_l`. The kernel of two axes that depends on them alone (eta's) sums over the
components of their tensors with :math:`\bar j_0`.

The sum ends smoothly where the mesh does: what is left out are structures smaller than the mesh's
cells, among them galaxies' pairs with themselves and pairs inside a host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.one_halo import Progress
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.statistics.eta import ORIENTATION_ORIENTATION
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.special import erfc, spherical_jn

Array = NDArray[np.float64]

# Shells that begin here or farther out (Mpc/h) are summed on the mesh.
MESH_FROM = 15.0
# Side of the mesh's cells, at most, Mpc/h.
CELL = 2.0
# Where the sum over modes ends, in units of the mesh's largest k: the middle and width of its slope.
_END, _WIDTH = 0.45, 0.18
# Width of the shells of k whose modes are multiplied together, in units of the smallest k.
_SHELL = 0.1
_NODES, _WEIGHTS = leggauss(16)
COMPONENTS = tuple(combinations_with_replacement(range(3), 2))


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
    window: Array

    @classmethod
    def of(cls, box: float) -> Modes:
        """Modes that a mesh of cells of `CELL` resolves."""
        n_mesh = 2 * math.ceil(box / CELL / 2)
        whole = np.fft.fftfreq(n_mesh, 1 / n_mesh)
        numbers = np.stack(
            np.meshgrid(whole, whole, np.arange(n_mesh // 2 + 1.0), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        length = np.linalg.norm(numbers, axis=1)
        slope = erfc((length * 2 / n_mesh - _END) / _WIDTH) / erfc(-_END / _WIDTH)
        (index,) = np.nonzero(slope > 1e-4)
        index = index[np.argsort(length[index], kind="stable")]
        chosen, n = numbers[index], length[index]
        copies = np.where((chosen[:, 2] == 0) | (chosen[:, 2] == n_mesh // 2), 1.0, 2.0)
        window = np.prod(np.sinc(chosen / n_mesh) ** 2, axis=1)
        return cls(
            box,
            n_mesh,
            index,
            2 * np.pi / box * n,
            chosen / np.maximum(n, 1)[:, None],
            copies * slope[index],
            window,
        )

    def field(self, position: Array, values: Array) -> NDArray[np.complex64]:
        """Modes of points, (n_points, 3), with the values (n_points,)."""
        from scipy.fft import rfftn

        n = self.n_mesh
        cell = position / self.box * n
        low = np.floor(cell).astype(np.int64)
        high_share = cell - low
        flat, amount = [], []
        for corner in np.ndindex(2, 2, 2):
            where = (low + corner) % n
            share = np.where(corner, high_share, 1 - high_share).prod(axis=1)
            flat.append((where[:, 0] * n + where[:, 1]) * n + where[:, 2])
            amount.append(share * values)
        mesh = np.bincount(np.concatenate(flat), np.concatenate(amount), n**3)
        modes = rfftn(mesh.astype(np.float32).reshape(n, n, n)).ravel()[self.index]
        return modes / self.window.astype(np.float32)

    def shells(self) -> list[slice]:
        """Modes of nearly the same k."""
        number = np.floor(self.k * self.box / (2 * np.pi) / _SHELL).astype(np.int64)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(number)], strict=True)]

    def bessel(self, r_edges: Array, degree: int) -> list[Array]:
        """For each of `shells`, the mean of i^l j_l(k r) over shells of r, times its share of the box."""
        low, high = r_edges[:-1, None], r_edges[1:, None]
        r = low + (high - low) * (_NODES + 1) / 2
        volume = r**2 * _WEIGHTS
        volume /= volume.sum(axis=1, keepdims=True)
        share = shell_volumes(r_edges) / self.box**3 * (-1) ** (degree // 2)
        means = []
        for shell in self.shells():
            distinct, count = np.unique(self.k[shell].round(9), return_counts=True)
            values = spherical_jn(degree, distinct[:, None, None] * r)
            means.append((values * volume).sum(-1).T @ (count / count.sum()) * share)
        return means


def check_on_mesh(statistics: Iterable[Statistic]) -> None:
    """Raise a ValueError if the kernel of a statistic has no form in Fourier space here."""
    counted = [
        statistic.name
        for statistic in statistics
        if statistic.kernel.n_axes + statistic.kernel.degree not in (0, 3)
        and statistic.kernel is not ORIENTATION_ORIENTATION
    ]
    if counted:
        raise ValueError(
            f"The pairs of {', '.join(counted)} can only be counted, not summed on a mesh; take bins "
            f"that begin below {MESH_FROM:g} Mpc/h."
        )


def mesh_sums(
    position: Array,
    axis: Array,
    values: Array,
    population: NDArray[np.int64],
    n_populations: int,
    box: float,
    kernels: Kernels,
    r_edges: Array,
    progress: Progress,
) -> NDArray[np.float32]:
    """Sums over pairs at large separations, for every pair of populations.

    Parameters
    ----------
    position, axis : ndarray, shape (n_points, 3)
        Mpc/h, and unit vectors.
    values : ndarray, shape (2, n_points)
        Weight of each point, and the same times its slope.
    population : ndarray, shape (n_points,)
    n_populations : int
    box : float
        Mpc/h.
    kernels : Kernels
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h, from `MESH_FROM` to half of the box.
    progress : callable
        Shows the progress of steps under a label.

    Returns
    -------
    ndarray, shape (n_populations (n_populations + 1) / 2, n_bins, 2, 2, n_sums)
        As `iaemu_likelihood.emulator.expectation.pair_sums.between_hosts` sums them.
    """
    modes = Modes.of(box)
    order = np.argsort(population, kind="stable")
    start = np.searchsorted(population[order], np.arange(n_populations + 1))
    tensor = axis[:, :, None] * axis[:, None, :]
    tensor -= np.trace(tensor, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3

    def fields(of_points: Array, label: str) -> NDArray[np.complex64]:
        """Modes of each function of each population, (2 n_populations, n_modes)."""
        found = np.empty((2 * n_populations, len(modes.k)), np.complex64)
        for p in progress(range(n_populations), label):
            rows = order[start[p] : start[p + 1]]
            for f in range(2):
                found[2 * p + f] = modes.field(position[rows], values[f, rows] * of_points[rows])
        return found

    at_0, at_2 = modes.bessel(r_edges, 0), modes.bessel(r_edges, 2)
    shape = (len(kernels.kernels), len(r_edges) - 1, 2 * n_populations, 2 * n_populations)
    totals = np.zeros(shape, np.float32)

    def add(total: Any, a: Any, b: Any, bessel: list[Array], factor: float = 1.0) -> None:
        """Products of the modes of two sets of fields, by the first and the second field."""
        for shell, of_bins in zip(modes.shells(), bessel, strict=True):
            first, second = a[:, shell], b[:, shell] * modes.weight[shell].astype(np.float32)
            spectrum = first.real @ second.real.T + first.imag @ second.imag.T
            for of_bin, value in zip(total, factor * of_bins, strict=True):
                of_bin += np.float32(value) * spectrum

    oriented = [k for k, kernel in enumerate(kernels.kernels) if kernel.n_axes == 1]
    tensors = [k for k, kernel in enumerate(kernels.kernels) if kernel.n_axes == 2]
    # Of the tensors, along k. One component after the other, as each is as large as all the rest.
    aligned = np.zeros((2 * n_populations, len(modes.k)), np.complex64)
    for i, j in COMPONENTS if oriented or tensors else ():
        component = fields(tensor[:, i, j], f"axes on the mesh, {'xyz'[i]}{'xyz'[j]}")
        copies = 1 if i == j else 2
        for k in tensors:
            add(totals[k], component, component, at_0, copies)
        component *= (modes.direction[:, i] * modes.direction[:, j] * copies).astype(np.float32)
        aligned += component
        del component
    density = fields(np.ones(len(position)), "density on the mesh")
    add(totals[0], density, density, at_0)
    z = np.array([0.0, 0.0, 1.0])
    for k in oriented:
        # Of one axis and the separation, each is a multiple of P_2, which is 3/2 of the tensor's.
        at_z = kernels.kernels[k].term(0.0, 0.0, 1.0, 1.0, z, z)
        add(totals[k], aligned, density, at_2, 1.5 * at_z)
    return _packed(totals, kernels)


def _packed(totals: NDArray[np.float32], kernels: Kernels) -> NDArray[np.float32]:
    """Sums over unordered pairs, from those over ordered ones, of each pair of populations."""
    n_kernels, n_bins, size, _ = totals.shape
    n = size // 2
    j, i = np.tril_indices(n)
    sums = np.empty((len(i), n_bins, 2, 2, kernels.n_sums), np.float32)
    for k in range(n_kernels):
        # Rows are the galaxy that carries the axis; the other kernels have a single sum.
        by_sum = {kernels.last[k]: totals[k].swapaxes(1, 2), kernels.first[k]: totals[k]}
        for s, of_kernel in by_sum.items():
            blocks = of_kernel.reshape(n_bins, n, 2, n, 2).transpose(1, 3, 0, 2, 4)
            sums[..., s] = blocks[i, j]
    sums[i == j] /= 2
    return sums
