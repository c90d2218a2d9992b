"""What galaxies of one sample or two expect of the pairs between them, differentiably."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.directed_pairs import (
    DirectedPairs,
    Part,
    Prepared,
    SatellitePairs,
)
from iaemu_likelihood.emulator.expectation.filled import Filled
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.expectation.occupied import occupied_sites
from iaemu_likelihood.emulator.expectation.samples import Sample
from iaemu_likelihood.emulator.physics.alignment import Alignment
from iaemu_likelihood.emulator.physics.statistics import CENTRAL, SATELLITE
from numpy.typing import ArrayLike
from torch import Tensor

# Points that are evaluated together.
BATCH = 32


@dataclass(frozen=True)
class Galaxies:
    """All galaxies of a population, on the layout of a tabulation.

    Attributes
    ----------
    centrals, satellites : torch.Tensor, shape (n_points, n_intervals), float64
        Mean numbers per host, on the CPU.
    in_cells, overflow_pairs : torch.Tensor
        As from `Layout.occupied`.
    """

    centrals: Tensor
    satellites: Tensor
    in_cells: Tensor
    overflow_pairs: Tensor

    @classmethod
    def of(cls, layout: Layout, centrals: Tensor, satellites: Tensor) -> Galaxies:
        """At mean numbers per host."""
        return cls(centrals, satellites, *occupied_sites(satellites, layout))

    def part(self, layout: Layout, weights: Tensor, filled: Filled) -> Part:
        """The galaxies, weighted by their kind and mass, (..., 2, n_intervals)."""
        of_satellites = _by_cell(weights[..., SATELLITE, :], layout, filled)
        in_cells = of_satellites * self.in_cells.index_select(-1, filled.cells)
        return Part(weights[..., CENTRAL, :] * self.centrals, in_cells)

    def numbers(self, layout: Layout, fractions: Tensor) -> Tensor:
        """Of centrals and of satellites in the box, (2, n_points), for fractions (2, n_intervals)."""
        means = torch.stack([self.centrals, self.satellites])
        return (means @ (fractions * torch.as_tensor(layout.n_hosts))[..., None])[..., 0]

    def pairs(self, layout: Layout, weights: Tensor, filled: Filled) -> SatellitePairs:
        """Two satellites of one host, pairs weighted by the host's mass, (..., n_intervals)."""
        return SatellitePairs(
            _by_cell(weights, layout, filled) * self.in_cells.index_select(-1, filled.cells),
            weights.index_select(-1, torch.as_tensor(layout.class_interval)) * self.overflow_pairs,
        )


def _by_cell(weights: Tensor, layout: Layout, filled: Filled) -> Tensor:
    """Of each filled cell, from (..., n_intervals)."""
    return weights.index_select(-1, torch.as_tensor(layout.cell_interval)[filled.cells])


class DirectedSums:
    """Sums over ordered pairs, in which a galaxy of both parts is no pair with itself.

    What does not depend on the weights of shapes is prepared once.

    Parameters
    ----------
    pairs : DirectedPairs
    shapes, positions : Galaxies
        One object, if both are of one population.
    taken : torch.Tensor, shape (2, n_intervals)
        Weights by which positions count, centrals and satellites.
    """

    def __init__(
        self, pairs: DirectedPairs, shapes: Galaxies, positions: Galaxies, taken: Tensor
    ) -> None:
        self._pairs, self._shapes, self._positions, self._taken = pairs, shapes, positions, taken
        self._filled = pairs.cells.filled(shapes.in_cells, positions.in_cells)
        self._prepared = self._part(positions, taken)

    def _part(self, galaxies: Galaxies, weights: Tensor) -> Prepared:
        part = galaxies.part(self._pairs.layout, weights, self._filled)
        return self._pairs.prepared(part, self._filled)

    def __call__(self, weights: Mapping[int, Tensor], kernels: Collection[str]) -> Tensor:
        """Of some kernels, differentiably.

        Parameters
        ----------
        weights : mapping of int to torch.Tensor, shape (..., 2, n_intervals)
            By which shapes count in kernels of each degree.
        kernels : collection of str
            Names of those that are summed; with two axes both galaxies are shapes.

        Returns
        -------
        torch.Tensor, shape (n_points, n_templates, n_bins)
            As from `DirectedPairs.sums`.

        Raises
        ------
        ValueError
            If two populations both put satellites on subhalos of the same hosts.
        """
        of_satellites = {
            k: self._satellite_pairs(weights[kernel.degree], kernel.n_axes)
            for k, kernel in enumerate(self._pairs.kernels.kernels)
            if kernel.name in kernels
        }
        of_shapes = {
            degree: self._prepared
            if of_degree is self._taken and self._shapes is self._positions
            else self._part(self._shapes, of_degree)
            for degree, of_degree in weights.items()
        }
        return self._pairs.sums(of_shapes, self._prepared, of_satellites, self._filled)

    def _satellite_pairs(self, weights: Tensor, n_axes: int) -> SatellitePairs:
        """Two satellites of one host, of which the second is a shape, too, or has a position only."""
        own, layout = weights[..., SATELLITE, :], self._pairs.layout
        if n_axes == 2:
            return self._shapes.pairs(layout, own**2, self._filled)
        product = own * self._taken[SATELLITE]
        if self._shapes is self._positions:
            return self._shapes.pairs(layout, product, self._filled)
        return _satellites_of_both(
            layout, self._shapes, self._positions, product, len(self._filled.cells)
        )


@dataclass(frozen=True)
class ExpectedSums:
    """What two samples expect.

    Attributes
    ----------
    sums : ndarray, shape (n_points, n_templates, n_bins)
        Over ordered pairs of a shape and a position.
    of_shapes, of_positions : ndarray, shape (2, n_points)
        Mean numbers of centrals and of satellites in the box.
    """

    sums: Array
    of_shapes: Array
    of_positions: Array


def expected_sums(
    pairs: DirectedPairs,
    shapes: Sample,
    positions: Sample,
    kernels: Collection[str],
    alignment: Alignment,
    mu: ArrayLike | None = None,
) -> ExpectedSums:
    """Sums over the pairs of two samples, in which a galaxy of both is no pair with itself.

    Parameters
    ----------
    pairs : DirectedPairs
    shapes, positions : Sample
        If one population or the alignment has n points, the others have as many or one.
    kernels : collection of str
        As of `DirectedSums`.
    alignment : Alignment
    mu : array_like, shape (n_alignment,) or (n, n_alignment), optional
        Parameters of the alignment. Amplitudes are 1 if they are left out.

    Raises
    ------
    ValueError
        If numbers of points differ, a population, a fraction or a strength is impossible, or two
        populations both put satellites on subhalos of the same hosts.
    """
    layout = pairs.layout
    populations = [shapes.population]
    if positions.population is not shapes.population:
        populations.append(positions.population)
    points = [each.occupation.points(each.hod) for each in populations]
    strengths = np.empty((1, 0)) if mu is None else _strengths(mu, alignment)
    sizes = {len(x) for x in (*points, strengths)} - {1}
    if len(sizes) > 1:
        raise ValueError(
            f"Samples and alignment have {' and '.join(map(str, sorted(sizes)))} points; each must have "
            "as many as the others, or one."
        )
    n = max(sizes, default=1)
    *points, strengths = (np.broadcast_to(x, (n, x.shape[1])) for x in (*points, strengths))
    taken = [torch.as_tensor(each.fractions(layout.logM)) for each in (shapes, positions)]
    degrees = sorted({x.degree for x in pairs.kernels.kernels if x.name in kernels})

    parts, numbers = [], []
    for start in range(0, n, BATCH):
        rows = slice(start, start + BATCH)
        galaxies = [
            Galaxies.of(layout, *map(torch.as_tensor, each.occupation.means(layout.logM, x[rows])))
            for each, x in zip(populations, points, strict=True)
        ]
        both = galaxies[0], galaxies[-1]
        weights = {degree: taken[0][None] for degree in degrees}
        if mu is not None:
            amplitudes = alignment.amplitudes(strengths[rows], layout.logM, degrees)
            weights = {
                degree: taken[0] * torch.as_tensor(amplitudes[..., i])
                for i, degree in enumerate(degrees)
            }
        parts.append(DirectedSums(pairs, *both, taken[1])(weights, kernels).cpu())
        numbers.append(
            torch.stack(
                [each.numbers(layout, some) for each, some in zip(both, taken, strict=True)]
            )
        )
    of_shapes, of_positions = torch.cat(numbers, dim=-1).numpy()
    return ExpectedSums(torch.cat(parts).numpy(), of_shapes, of_positions)


def _strengths(mu: ArrayLike, alignment: Alignment) -> Array:
    """Parameters of an alignment as points, checked."""
    found = np.atleast_2d(np.asarray(mu, np.float64))
    if found.ndim != 2 or found.shape[1] != len(alignment.names):
        raise ValueError(
            f"The alignment {alignment.name} has the parameters {', '.join(alignment.names)}; got "
            f"shape {np.shape(mu)}."
        )
    alignment.check(found)
    return found


def _satellites_of_both(
    layout: Layout, shapes: Galaxies, positions: Galaxies, weights: Tensor, n_filled: int
) -> SatellitePairs:
    """Satellites of two populations in one host, pairs weighted by its mass, (..., n_intervals).

    Without subhalos, every satellite is at a place of its own, and pairs are as many as the product of
    their numbers. On subhalos, pairs of ranks i and j are P(N >= i) P(N' >= j), but sums over subhalos
    are kept by the larger of two ranks only.

    Raises
    ------
    ValueError
        If both populations put satellites on subhalos of the same hosts.
    """
    per_host = weights * shapes.satellites * positions.satellites
    refused = np.flatnonzero((per_host != 0).any(dim=0).numpy() & (layout.max_richness > 0))
    if len(refused):
        raise ValueError(
            "Two populations both put satellites on the subhalos of hosts of "
            f"10^{layout.logM[refused[0]]:.2f} to 10^{layout.logM[refused[-1]]:.2f} Msun/h. Their pairs "
            "are not tabulated by the ranks of both subhalos. Take both samples from one population, by "
            "fractions that depend on host mass; or leave out the satellites of one sample "
            "(fraction_satellites=0); or tabulate a catalogue without subhalos, whose satellites follow "
            "profiles."
        )
    return SatellitePairs(
        per_host.new_zeros(len(per_host), n_filled), per_host[:, layout.class_interval]
    )
