"""Tabulated sums over pairs for the occupations of one domain, differentiable.

Functions of a tabulation (`iaemu_likelihood.emulator.expectation.basis`) stand for any occupation. Those
of one domain, a few parameters within limits, are sums of far fewer combinations of these functions: the
leading singular vectors of what many points of the domain need. Pair sums are brought to pairs of
combinations once, and a point then takes a few products of small matrices.

Everything is computed by torch, so that it is differentiable, and on a GPU if that is asked for. Only two
steps are functions of arrays, on the CPU: the mean numbers of galaxies, whose slopes are central
differences, and the occupation of subhalos by a Poisson number of satellites, whose slopes are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import PairKernel
from numpy.typing import NDArray
from torch import Tensor

# Of an occupation of the domain that combinations leave out, the root mean square in units of the scatter
# of Poisson numbers: a fraction of what the functions leave out.
TOLERANCE = 2e-3
# Points of the domain whose occupations the combinations are found for, and how many at a time.
N_POINTS, _BATCH = 2048, 128
# A tenth of their parameters are at a limit of the domain.
_BEYOND = 1.1


@dataclass(frozen=True)
class Combinations:
    """Combinations of a tabulation's functions, of which the occupations of a domain are sums.

    Attributes
    ----------
    centrals, satellites : ndarray, shape (n_functions, n_combinations)
        Orthonormal columns.
    """

    centrals: Array
    satellites: Array

    @classmethod
    def of(
        cls, layout: Layout, centrals: Basis, satellites: Basis, domain: Domain,
        tolerance: float = TOLERANCE, n_points: int = N_POINTS, seed: int = 0,
    ) -> Combinations:  # fmt: skip
        """Those of a domain.

        Parameters
        ----------
        layout : Layout
        centrals, satellites : Basis
        domain : Domain
        tolerance : float
            Root mean square of what they leave out.
        n_points, seed : int
            Of the points of the domain.
        """
        from scipy.stats import qmc

        occupation, rng = domain.space.occupation, np.random.default_rng(seed)
        share = qmc.Sobol(domain.space.n_occupation, rng=rng).random(n_points)
        points = domain.from_unit(np.clip(_BEYOND * (2 * share - 1), -1, 1))
        found: tuple[list[Array], list[Array]] = ([], [])
        for start in range(0, n_points, _BATCH):
            of_centrals, mean = occupation.means(layout.logM, points[start : start + _BATCH])
            in_cells, _ = layout.occupied(mean)
            for basis, occupied, parts in zip(
                (centrals, satellites), (of_centrals, in_cells), found, strict=True
            ):
                scatter = np.sqrt(np.maximum(occupied @ basis.metric, 1e-300))
                parts.append(basis.coefficients(occupied) / scatter[:, None])
        return cls(*(_leading(np.concatenate(parts), tolerance) for parts in found))


def _leading(coefficients: Array, tolerance: float) -> Array:
    """Directions of which points, (n, f), are sums but for a root mean square; (f, k)."""
    power, vectors = np.linalg.eigh(coefficients.T @ coefficients / len(coefficients))
    left_out = int((np.cumsum(np.clip(power, 0, None)) <= tolerance**2).sum())
    return vectors[:, ::-1][:, : len(power) - left_out]


class _Occupied(torch.autograd.Function):
    """`Layout.occupied` of tensors, by ``_Occupied.apply(mean, layout)``."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        ctx.layout = layout
        ctx.save_for_backward(mean)
        in_cells, pairs = layout.occupied(mean.detach().numpy())
        return torch.from_numpy(in_cells), torch.from_numpy(pairs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_cells: Tensor, of_pairs: Tensor) -> tuple[Tensor, None]:
        (mean,) = ctx.saved_tensors
        each = (x.contiguous().numpy() for x in (mean.detach(), of_cells, of_pairs))
        return torch.from_numpy(ctx.layout.slope_of_occupied(*each)), None


class CompactPairs:
    """Expected sums over pairs at the occupations of a domain.

    Parameters
    ----------
    layout : Layout
    centrals, satellites : Basis
    one_halo : OneHaloSums
    two_halo : ndarray, shape (n_functions (n_functions + 1) / 2, n_bins, n_sums)
        See `iaemu_likelihood.emulator.expectation.two_halo.two_halo_sums`.
    kernels : Kernels
    combinations : Combinations or None
        Of a domain. None keeps all functions, for any occupation, which takes far longer.
    device : torch.device
    dtype : torch.dtype
        Precision of the sums.
    """

    def __init__(
        self, layout: Layout, centrals: Basis, satellites: Basis, one_halo: OneHaloSums,
        two_halo: NDArray[np.float32], kernels: Kernels, combinations: Combinations | None,
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self._layout, self._kernels, self._n_bins = layout, kernels, two_halo.shape[1]
        self._device, self._dtype = device, dtype
        self._centrals, self._satellites = map(self._groups, (centrals, satellites))
        self._combinations = None
        if combinations is not None:
            each = (combinations.centrals, combinations.satellites)
            self._combinations = [self._here(values) for values in each]
        self._prepare_one_halo(one_halo)
        c = centrals.n_functions
        self._prepare_two_halo(two_halo, c, c + satellites.n_functions)

    def _here(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values)).to(self._device, self._dtype)

    def _groups(self, basis: Basis) -> list[tuple[int, int, Tensor]]:
        """Of each group its sets, and what multiplies their occupations to give coefficients."""
        return [
            (low, high, self._here(basis.metric[low:high, None] * basis.of_group(group)))
            for group, (low, high) in enumerate(pairwise(basis.first_set.tolist()))
        ]

    def _index(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self._device)

    def _prepare_one_halo(self, one_halo: OneHaloSums) -> None:
        """Sums of pairs in one host, as two matrices."""
        kernels, layout = self._kernels, self._layout
        satellites = np.concatenate([one_halo.satellites, one_halo.overflow_overflow])
        # Farther than hosts are wide there is nothing.
        inside = [np.flatnonzero(x.any(axis=(0, 2))) for x in (one_halo.mixed, satellites)]
        n = int(np.concatenate(inside).max(initial=-1)) + 1
        self._mixed_in_hosts = self._here(_flat(one_halo.mixed[:, :n]))
        self._satellites_in_hosts = self._here(_flat(kernels.of_both(satellites[:, :n])))
        self._of_mixed = self._index(kernels.of_mixed)
        self._of_satellites = self._index(kernels.of_satellites)
        self._cell_interval = self._index(layout.cell_interval)
        self._pool = self._index(layout.pool)
        self._pairs_of_class = self._here(layout.class_hosts / 2)

    def _prepare_two_halo(self, two_halo: NDArray[np.float32], c: int, n: int) -> None:
        """Sums of pairs in different hosts: a matrix for each pair of kinds, and its templates.

        `c` and `n` are the numbers of functions of centrals and of all.
        """
        kernels = self._kernels
        # Centrals come first, so in a pair of both kinds the first function is the centrals'.
        second, first = np.tril_indices(n)
        is_first, is_second = first < c, second < c
        # What the central carries, where one axis enters, and what the second galaxy carries.
        one_axis = kernels.first[kernels.one_axis]
        carried = np.concatenate([one_axis, kernels.last])
        of_carried = np.concatenate([kernels.of_centrals[kernels.one_axis], kernels.of_mixed[kernels.last]])  # fmt: skip
        self._two_halo = [
            self._matrix(kernels.of_both(two_halo[is_second]), 0, 0, kernels.of_centrals),
            self._matrix(two_halo[is_first & ~is_second][..., carried], 1, 0, of_carried),
            self._matrix(kernels.of_both(two_halo[~is_first]), 1, 1, kernels.of_satellites),
        ]

    def _matrix(self, sums: NDArray[np.float32], *of: Any) -> Any:
        """Rows for products of combinations, columns for templates and bins."""
        second, first, templates = of
        if self._combinations is not None:
            left, right = (self._combinations[i].cpu().float() for i in (second, first))
            columns = torch.as_tensor(sums).flatten(1).T
            parts = [
                _packed(
                    left.mT @ _unpacked(some, left, right, second == first) @ right, second == first
                )
                for some in columns.split(self._n_bins)
            ]
            values = torch.cat(parts).T.reshape(-1, *sums.shape[1:])
        else:
            values = torch.as_tensor(sums)
        matrix = values.swapaxes(1, 2).flatten(1)
        return matrix.contiguous().to(self._device, self._dtype), self._index(templates)

    # ---------------------------------------------------------------- evaluating

    def __call__(self, centrals: Tensor, satellites: Tensor) -> Tensor:
        """Expected sums over unordered pairs, differentiably.

        Parameters
        ----------
        centrals, satellites : torch.Tensor, shape (n_points, n_intervals), float64
            Mean number per host, on the CPU.

        Returns
        -------
        torch.Tensor, shape (n_points, n_templates, n_bins)
        """
        in_cells, pairs = _Occupied.apply(satellites, self._layout)
        centrals, in_cells, pairs = (
            x.to(self._device, self._dtype) for x in (centrals, in_cells, pairs)
        )
        n = len(centrals)
        sums = centrals.new_zeros(n, self._kernels.n_templates, self._n_bins)
        sums = self._add_one_halo(sums, centrals, in_cells, pairs)
        x, y = (
            torch.cat([of[:, low:high] @ matrix for low, high, matrix in groups], dim=1)
            for of, groups in ((centrals, self._centrals), (in_cells, self._satellites))
        )
        if self._combinations is not None:
            x, y = x @ self._combinations[0], y @ self._combinations[1]
        products = (
            (_triangle(x), self._two_halo[0]),
            ((y[:, :, None] * x[:, None]).flatten(1), self._two_halo[1]),
            (_triangle(y), self._two_halo[2]),
        )
        for product, (matrix, templates) in products:
            found = (product @ matrix).reshape(n, len(templates), -1)
            sums = sums.index_add(1, templates, found)
        return sums

    def _add_one_halo(
        self, sums: Tensor, centrals: Tensor, in_cells: Tensor, pairs: Tensor
    ) -> Tensor:
        """Add pairs in one host."""
        n = len(sums)
        mixed = centrals[:, self._cell_interval] * in_cells
        pool_pairs = in_cells.new_zeros(n, self._layout.n_pools)
        pool_pairs = pool_pairs.index_add(1, self._pool, pairs * self._pairs_of_class)
        among = torch.cat([in_cells, pool_pairs], dim=1)
        for weights, matrix, templates in (
            (mixed, self._mixed_in_hosts, self._of_mixed),
            (among, self._satellites_in_hosts, self._of_satellites),
        ):
            found = (weights @ matrix).reshape(n, len(templates), -1)
            found = torch.nn.functional.pad(found, (0, self._n_bins - found.shape[-1]))
            sums = sums.index_add(1, templates, found)
        return sums

    def templates_of(self, kernel: PairKernel) -> range:
        """Which of the templates are those of a kernel."""
        return self._kernels.templates_of(kernel)


def _flat(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, n_bins, n_sums) to (n, n_sums n_bins)."""
    return sums.swapaxes(1, 2).reshape(len(sums), -1)


def _triangle(x: Tensor) -> Tensor:
    """Products of pairs of columns, the second one not after the first; (n, k) to (n, k (k + 1) / 2)."""
    first, second = torch.tril_indices(x.shape[1], x.shape[1], device=x.device)
    return x[:, first] * x[:, second]


def _unpacked(rows: Tensor, left: Tensor, right: Tensor, is_triangle: bool) -> Tensor:
    """Matrices (n, f, g) from their elements, (n, f g), or symmetric ones from those of a triangle."""
    n, f, g = len(rows), len(left), len(right)
    if not is_triangle:
        return rows.reshape(n, f, g)
    full = rows.new_zeros(n, f, f)
    first, second = torch.tril_indices(f, f)
    full[:, first, second] = rows / 2
    return full + full.mT


def _packed(matrices: Tensor, is_triangle: bool) -> Tensor:
    """The inverse of `_unpacked`."""
    if not is_triangle:
        return matrices.flatten(1)
    k = matrices.shape[-1]
    first, second = torch.tril_indices(k, k)
    return matrices[:, first, second] * torch.where(first == second, 1.0, 2.0)
