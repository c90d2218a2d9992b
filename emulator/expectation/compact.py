"""Tabulated sums over pairs for the occupations of one domain, differentiable.

Functions of a tabulation (`iaemu_likelihood.emulator.expectation.basis`) stand for any occupation. Those
of one domain, a few parameters within limits, are sums of fewer combinations of these functions: some that
keep what correlation functions depend on most, the number of galaxies and their bias, and the leading
singular vectors of what else many points of the domain need. Pair sums are brought to pairs of
combinations once, and a point then takes a few products of small matrices.

Everything is computed by torch, so that it is differentiable, and on a GPU if that is asked for. Only two
steps are functions of arrays, on the CPU: the mean numbers of galaxies, whose slopes are central
differences, and the occupation of subhalos by a Poisson number of satellites, whose slopes are known
(`iaemu_likelihood.emulator.expectation.occupied`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis, clustering
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Indices, Layout
from iaemu_likelihood.emulator.expectation.occupied import occupied_sites
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from iaemu_likelihood.emulator.physics.domain import Domain
from numpy.typing import NDArray
from torch import Tensor

# Of an occupation of the domain that combinations leave out, the root mean square in units of the scatter
# of Poisson numbers: a fraction of what the functions leave out.
TOLERANCE = 1e-3
# Points of the domain whose occupations the combinations are found for, and how many at a time.
N_POINTS, _BATCH = 2048, 128
# A tenth of their parameters are at a limit of the domain.
_BEYOND = 1.1
# Mean number of galaxies at a site of a cell below which the cell is left out.
_EMPTY = 1e-9


class Combinations(NamedTuple):
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
        masses = (layout.logM, layout.logM[layout.cell_interval])
        return cls(
            *(
                _leading(np.concatenate(parts), _kept(basis, logM), tolerance)
                for basis, logM, parts in zip((centrals, satellites), masses, found, strict=True)
            )
        )


def _kept(basis: Basis, logM: Array) -> Array:
    """Directions that give the number of galaxies, plain and weighted with the clustering of their
    hosts, and its first moment in log mass; orthonormal, (n_functions, k)."""
    bias = clustering(logM)
    functions = np.stack([1 / bias, logM / bias, np.ones_like(logM), logM])
    return np.linalg.qr(basis.coefficients(functions).T.astype(np.float64))[0]


def _leading(coefficients: Array, kept: Array, tolerance: float) -> Array:
    """Directions of which points, (n, f), are sums but for a root mean square, some of them given."""
    rest = coefficients - (coefficients @ kept) @ kept.T
    power, vectors = np.linalg.eigh(rest.T @ rest / len(rest))
    left_out = int((np.cumsum(np.clip(power, 0, None)) <= tolerance**2).sum())
    return np.linalg.qr(np.concatenate([kept, vectors[:, left_out:]], axis=1))[0]


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
        self._layout, self.kernels, self._n_bins = layout, kernels, two_halo.shape[1]
        self._device, self._dtype = device, dtype
        # A sum that is symmetric is that of both orders; with one axis, both are added up already.
        orders = np.repeat(np.where(kernels.n_axes == 1, 1, 2), kernels.n_axes + 1)
        self._orders = self._here(orders[:, None])
        self._combinations = combinations
        weights, column = _by_group(centrals)
        rows, columns = (_repeated(x) for x in (centrals.first_set, centrals.first_function))
        own = rows[:, None] == columns
        self._of_centrals = self._here(np.where(own, weights[:, column], 0))
        self._prepare_one_halo(one_halo, satellites)
        if combinations is not None:
            self._of_centrals = self._of_centrals @ self._here(combinations.centrals)
        c = centrals.n_functions
        self._prepare_two_halo(two_halo, c, c + satellites.n_functions)

    def _here(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values)).to(self._device, self._dtype)

    def _index(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self._device)

    def _prepare_one_halo(self, one_halo: OneHaloSums, satellites: Basis) -> None:
        """Tables by cell: sums of pairs in one host, and coefficients of satellites."""
        kernels, layout = self.kernels, self._layout
        # Farther than hosts are wide there is nothing.
        each = (one_halo.mixed, one_halo.satellites, one_halo.overflow_overflow)
        inside = [np.flatnonzero(x.any(axis=(0, 2))) for x in each]
        n = int(np.concatenate(inside).max(initial=-1)) + 1
        mixed, of_subhalos, overflow = (x[:, :n] for x in each)
        self._mixed_in_hosts = self._here(_flat(mixed))
        among = _flat(kernels.of_both(of_subhalos))
        self._n_among = among.shape[1]
        weights, column = _by_group(satellites)
        self._of_cells = self._here(np.concatenate([among, weights], axis=1))
        self._n_groups = satellites.n_groups
        self._cell_group = self._index(_repeated(satellites.first_set))
        self._function_group = self._index(_repeated(satellites.first_function))
        self._function_column = self._index(among.shape[1] + column)
        self._of_functions = None
        if self._combinations is not None:
            self._of_functions = self._here(self._combinations.satellites)
        self._of_pools = self._here(_flat(kernels.of_both(overflow)))
        self._of_mixed = self._index(kernels.of_mixed)
        self._of_satellites = self._index(kernels.of_satellites)
        self._cell_interval = self._index(layout.cell_interval)
        self._pool = self._index(layout.pool)
        self._pairs_of_class = self._here(layout.class_hosts / 2)

    def _prepare_two_halo(self, two_halo: NDArray[np.float32], c: int, n: int) -> None:
        """Sums of pairs in different hosts: a matrix for each pair of kinds, and its templates.

        `c` and `n` are the numbers of functions of centrals and of all.
        """
        kernels = self.kernels
        # Centrals come first, so in a pair of both kinds the first function is the centrals'.
        second, first = np.tril_indices(n)
        is_first, is_second = first < c, second < c
        # What the central carries, where one axis enters, and what the second galaxy carries.
        one_axis = kernels.first[kernels.one_axis]
        carried = np.concatenate([one_axis, kernels.last])
        of_carried = np.concatenate(
            [kernels.of_centrals[kernels.one_axis], kernels.of_mixed[kernels.last]]
        )
        self._two_halo = [
            self._matrix(kernels.of_both(two_halo[is_second]), 0, 0, kernels.of_centrals),
            self._matrix(two_halo[is_first & ~is_second][..., carried], 1, 0, of_carried),
            self._matrix(kernels.of_both(two_halo[~is_first]), 1, 1, kernels.of_satellites),
        ]
        of_satellites = (
            self._function_column if self._of_functions is None else self._of_functions.T
        )
        sizes = (self._of_centrals.shape[1], len(of_satellites))
        self._pairs = [torch.tril_indices(k, k, device=self._device) for k in sizes]

    def _matrix(
        self, sums: NDArray[np.float32], second: int, first: int, templates: Indices
    ) -> tuple[Tensor, Tensor]:
        """Rows for products of combinations, columns for templates and bins; and which templates.

        `second` and `first` are the kinds of galaxies, 0 for centrals.
        """
        values = torch.as_tensor(sums)
        if self._combinations is not None:
            left, right = (torch.as_tensor(self._combinations[i]).float() for i in (second, first))
            alike = second == first
            parts = [
                _packed(left.mT @ _unpacked(some, left, right, alike) @ right, alike)
                for some in values.flatten(1).T.split(self._n_bins)
            ]
            values = torch.cat(parts).T.reshape(-1, *sums.shape[1:])
        matrix = values.swapaxes(1, 2).flatten(1)
        return matrix.contiguous().to(self._device, self._dtype), self._index(templates)

    # ---------------------------------------------------------------- evaluating

    def __call__(self, centrals: Tensor, satellites: Tensor) -> Tensor:
        """Expected sums over ordered pairs, differentiably.

        Parameters
        ----------
        centrals, satellites : torch.Tensor, shape (n_points, n_intervals), float64
            Mean number per host, on the CPU.

        Returns
        -------
        torch.Tensor, shape (n_points, n_templates, n_bins)
        """
        in_cells, pairs = occupied_sites(satellites, self._layout)
        centrals, in_cells, pairs = (
            x.to(self._device, self._dtype) for x in (centrals, in_cells, pairs)
        )
        n = len(centrals)
        # Most cells are all but empty.
        points, cells = (in_cells.detach() > _EMPTY).nonzero(as_tuple=True)
        occupied = in_cells[points, cells]
        # Functions of satellites are those of a group of cells each.
        groups = points * self._n_groups + self._cell_group[cells]
        n_groups = n * self._n_groups
        by_group = _sums_over_cells(self._of_cells, cells, occupied, groups, n_groups)
        by_group = by_group.reshape(n, self._n_groups, -1)
        among = by_group[:, :, : self._n_among].sum(dim=1)
        y = by_group[:, self._function_group, self._function_column]
        if self._of_functions is not None:
            y = y @ self._of_functions
        pool_pairs = in_cells.new_zeros(n, self._layout.n_pools)
        pool_pairs = pool_pairs.index_add(1, self._pool, pairs * self._pairs_of_class)
        with_centrals = occupied * centrals[points, self._cell_interval[cells]]
        sums = centrals.new_zeros(n, self.kernels.n_templates, self._n_bins)
        for found, templates in (
            (
                _sums_over_cells(self._mixed_in_hosts, cells, with_centrals, points, n),
                self._of_mixed,
            ),
            (among + pool_pairs @ self._of_pools, self._of_satellites),
        ):
            inside = found.reshape(n, len(templates), -1)
            padded = torch.nn.functional.pad(inside, (0, self._n_bins - inside.shape[-1]))
            sums = sums.index_add(1, templates, padded)
        x = centrals @ self._of_centrals
        products = (
            (x[:, self._pairs[0][0]] * x[:, self._pairs[0][1]], self._two_halo[0]),
            ((y[:, :, None] * x[:, None]).flatten(1), self._two_halo[1]),
            (y[:, self._pairs[1][0]] * y[:, self._pairs[1][1]], self._two_halo[2]),
        )
        for product, (matrix, templates) in products:
            found = (product @ matrix).reshape(n, len(templates), -1)
            sums = sums.index_add(1, templates, found)
        return sums * self._orders


def _repeated(first: Indices) -> Indices:
    """Group of each item, where groups begin at `first`."""
    return np.repeat(np.arange(len(first) - 1), np.diff(first))


def _by_group(basis: Basis) -> tuple[NDArray[Any], Indices]:
    """What multiplies occupations of sets to give coefficients of the functions of their group.

    Returns
    -------
    weights : ndarray, shape (n_sets, largest number of functions of a group)
    column : ndarray, shape (n_functions,)
        Of each function.
    """
    column = np.arange(basis.n_functions) - basis.first_function[_repeated(basis.first_function)]
    weights = np.zeros((len(basis.metric), column.max() + 1), np.float32)
    for group, (low, high) in enumerate(pairwise(basis.first_set)):
        values = basis.of_group(group)
        weights[low:high, : values.shape[1]] = basis.metric[low:high, None] * values
    return weights, column


def _sums_over_cells(table: Tensor, cells: Tensor, weights: Tensor, sums: Tensor, n: int) -> Tensor:
    """Weighted sums of rows of a table, n of them; `sums`, ascending, says to which each row belongs."""
    offsets = torch.searchsorted(sums, torch.arange(n, device=sums.device))
    return torch.nn.functional.embedding_bag(
        cells, table, offsets, mode="sum", per_sample_weights=weights
    )


def _flat(sums: NDArray[Any]) -> NDArray[Any]:
    """(n, n_bins, n_sums) to (n, n_sums n_bins)."""
    return sums.swapaxes(1, 2).reshape(len(sums), -1)


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
