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

from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis, clustering
from iaemu_likelihood.emulator.expectation.filled import Cells
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Indices, Layout
from iaemu_likelihood.emulator.expectation.occupied import occupied_sites
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import CENTRAL, SATELLITE
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor

# Of an occupation of the domain that combinations leave out, the root mean square in units of the scatter
# of Poisson numbers: a fraction of what the functions leave out.
TOLERANCE = 1e-3
# Points of the domain whose occupations the combinations are found for, and how many at a time.
N_POINTS, _BATCH = 2048, 128
# A tenth of their parameters are at a limit of the domain.
_BEYOND = 1.1


class Combinations(NamedTuple):
    """Combinations of a tabulation's functions, of which the occupations of a domain are sums.

    Where strengths of alignment depend on host mass, so are occupations times amplitudes.

    Attributes
    ----------
    centrals, satellites : ndarray, shape (n_functions, n_combinations)
        Orthonormal columns.
    sizes : tuple of two ndarray, shape (n_combinations,)
        Root mean square over the domain of each coefficient, of centrals and of satellites, in units of
        the scatter of Poisson numbers.
    """

    centrals: Array
    satellites: Array
    sizes: tuple[Array, Array]

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
        alignment = domain.space.alignment
        strengths = rng.uniform(*alignment.limits, (n_points, domain.space.n_alignment))
        masses = (layout.logM, layout.logM[layout.cell_interval])
        for start in range(0, n_points, _BATCH):
            some = slice(start, start + _BATCH)
            of_centrals, mean = occupation.means(layout.logM, points[some])
            in_cells, _ = layout.occupied(mean)
            weights = np.ones((1, 2, layout.n_intervals))
            if alignment.depends_on_mass:
                amplitudes = alignment.amplitudes(strengths[some], layout.nodes, (0, 2, 4))
                each = np.arange(len(amplitudes))
                weights = amplitudes[each, :, :, each % 3] @ layout.from_nodes.T
                largest = np.abs(weights).max(axis=-1, keepdims=True)
                weights /= np.maximum(largest, 1e-300)  # weak ones count as much
            for basis, occupied, of_kind, parts in zip(
                (centrals, satellites),
                (of_centrals, in_cells),
                (weights[:, CENTRAL], weights[:, SATELLITE, layout.cell_interval]),
                found,
                strict=True,
            ):
                scatter = np.sqrt(np.maximum(occupied @ basis.metric, 1e-300))
                parts.append(basis.coefficients(occupied * of_kind) / scatter[:, None])
        coefficients = [np.concatenate(parts) for parts in found]
        of_centrals, of_satellites = (
            _leading(each, _kept(basis, logM), tolerance)
            for basis, logM, each in zip((centrals, satellites), masses, coefficients, strict=True)
        )
        of_both = zip(coefficients, (of_centrals, of_satellites), strict=True)
        size_of_centrals, size_of_satellites = (
            np.sqrt(np.mean((each @ combined) ** 2, axis=0)) for each, combined in of_both
        )
        return cls(of_centrals, of_satellites, (size_of_centrals, size_of_satellites))

    def products(
        self, second: int, first: int, ordered: bool = False, tolerance: float = TOLERANCE
    ) -> tuple[Indices, Indices]:
        """Pairs of combinations whose products matter: all but those with the smallest sizes.

        Parameters
        ----------
        second, first : int
            Kinds of the galaxies, 0 for centrals.
        ordered : bool
            Whether both orders of a pair of one kind are wanted.
        tolerance : float
            Root of the sum of squares of the products that are left out.
        """
        is_triangle = second == first and not ordered
        i, j = _pairs(len(self.sizes[second]), len(self.sizes[first]), is_triangle)
        squares = (self.sizes[second][i] * self.sizes[first][j]) ** 2
        ascending = np.argsort(squares)
        left_out = ascending[np.cumsum(squares[ascending]) <= tolerance**2]
        kept = np.ones(len(i), bool)
        kept[left_out] = False
        return i[kept], j[kept]


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


class _Bilinear(NamedTuple):
    """Sums that are linear in products of two coefficients.

    Attributes
    ----------
    second, first : int
        Kinds of the galaxies, 0 for centrals.
    i, j : torch.Tensor, shape (n_products,)
        Which coefficients of each kind are multiplied.
    matrix : torch.Tensor, shape (n_products, n_templates n_bins)
    templates : torch.Tensor, shape (n_templates,)
        To which the sums are added.
    """

    second: int
    first: int
    i: Tensor
    j: Tensor
    matrix: Tensor
    templates: Tensor


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
        self._cells = Cells(layout, satellites)
        self._layout, self.kernels, self._n_bins = self._cells.layout, kernels, two_halo.shape[1]
        self._device, self._dtype = device, dtype
        # A sum that is symmetric is that of both orders; with one axis, both are added up already.
        orders = np.repeat(np.where(kernels.n_axes == 1, 1, 2), kernels.n_axes + 1)
        self._orders = self._here(orders[:, None])
        self._combinations = combinations
        self._of_centrals = self._here(block_diag(*centrals.projections()))
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
        kernels, layout, cells = self.kernels, self._layout, self._cells
        # Farther than hosts are wide there is nothing.
        each = (one_halo.mixed, one_halo.satellites, one_halo.overflow_overflow)
        inside = [np.flatnonzero(x.any(axis=(0, 2))) for x in each]
        n = int(np.concatenate(inside).max(initial=-1)) + 1
        mixed, of_subhalos, overflow = (x[:, :n] for x in each)
        self._mixed_in_hosts = [self._here(_flat(x)) for x in cells.by_group(mixed)]
        among = [_flat(x) for x in cells.by_group(kernels.of_both(of_subhalos))]
        self._of_cells = [
            self._here(np.concatenate(parts, axis=1))
            for parts in zip(among, cells.functions(satellites), strict=True)
        ]
        self._of_functions = None
        if self._combinations is not None:
            self._of_functions = self._here(self._combinations.satellites)
        self._of_pools = self._here(_flat(kernels.of_both(overflow)))
        self._of_mixed = self._index(kernels.of_mixed)
        self._of_satellites = self._index(kernels.of_satellites)
        self._cell_interval = torch.as_tensor(layout.cell_interval)
        self._pool = self._index(layout.pool)
        self._pairs_of_class = self._here(layout.class_hosts / 2)

    def _prepare_two_halo(self, two_halo: NDArray[np.float32], c: int, n: int) -> None:
        """Sums of pairs in different hosts; `c` and `n` are the numbers of functions of centrals and of
        all."""
        kernels, self._n_functions = self.kernels, (c, n - c)
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

    def _matrix(
        self, sums: NDArray[np.float32], second: int, first: int, templates: Indices
    ) -> _Bilinear:
        """`second` and `first` are the kinds of galaxies, 0 for centrals."""
        values, n_functions = torch.as_tensor(sums), self._n_functions
        i, j = _pairs(n_functions[second], n_functions[first], second == first)
        if self._combinations is not None:
            left, right = (torch.as_tensor(self._combinations[x]).float() for x in (second, first))
            alike = second == first
            i, j = self._combinations.products(second, first)
            orders = torch.as_tensor(np.where(alike & (i != j), 2, 1))
            parts = [
                (left.mT @ _unpacked(some, left, right, alike) @ right)[:, i, j] * orders
                for some in values.flatten(1).T.split(self._n_bins)
            ]
            values = torch.cat(parts).T.reshape(-1, *sums.shape[1:])
        matrix = values.swapaxes(1, 2).flatten(1).contiguous().to(self._device, self._dtype)
        return _Bilinear(
            second, first, self._index(i), self._index(j), matrix, self._index(templates)
        )

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
        filled = self._cells.filled(in_cells)
        in_cells = in_cells.index_select(1, filled.cells)
        centrals, in_cells, pairs = (
            x.to(self._device, self._dtype) for x in (centrals, in_cells, pairs)
        )
        n = len(centrals)
        interval = self._cell_interval[filled.cells].to(self._device)
        with_centrals = in_cells * centrals.index_select(1, interval)
        n_mixed, n_among = self._mixed_in_hosts[0].shape[1], self._of_pools.shape[1]
        mixed, _ = filled.sums(with_centrals, self._mixed_in_hosts, n_mixed)
        among, y = filled.sums(in_cells, self._of_cells, n_among)
        if self._of_functions is not None:
            y = y @ self._of_functions
        pool_pairs = in_cells.new_zeros(n, self._layout.n_pools)
        pool_pairs = pool_pairs.index_add(1, self._pool, pairs * self._pairs_of_class)
        sums = centrals.new_zeros(n, self.kernels.n_templates, self._n_bins)
        for found, templates in (
            (mixed, self._of_mixed),
            (among + pool_pairs @ self._of_pools, self._of_satellites),
        ):
            inside = found.reshape(n, len(templates), -1)
            padded = torch.nn.functional.pad(inside, (0, self._n_bins - inside.shape[-1]))
            sums = sums.index_add(1, templates, padded)
        of_kinds = (centrals @ self._of_centrals, y)
        for second, first, i, j, matrix, templates in self._two_halo:
            products = of_kinds[second].index_select(1, i) * of_kinds[first].index_select(1, j)
            found = (products @ matrix).reshape(n, len(templates), -1)
            sums = sums.index_add(1, templates, found)
        return sums * self._orders


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


def _pairs(n_second: int, n_first: int, is_triangle: bool) -> tuple[Indices, Indices]:
    """All pairs of an item with one of the first kind, or, of one kind, those of a triangle."""
    i, j = (
        np.tril_indices(n_second) if is_triangle else np.indices((n_second, n_first)).reshape(2, -1)
    )
    return i, j
