"""What galaxies of one sample or two expect of the pairs between them, differentiably."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.directed_pairs import (
    DirectedPairs,
    Part,
    SatellitePairs,
)
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

    def part(self, layout: Layout, weights: Tensor) -> Part:
        """The galaxies, weighted by their kind and mass, (..., 2, n_intervals)."""
        of_centrals, of_satellites = weights[..., CENTRAL, :], weights[..., SATELLITE, :]
        in_cells = of_satellites[..., layout.cell_interval] * self.in_cells
        return Part(of_centrals * self.centrals, in_cells)

    def numbers(self, layout: Layout, fractions: Tensor) -> Tensor:
        """Of centrals and of satellites in the box, (2, n_points), for fractions (2, n_intervals)."""
        means = torch.stack([self.centrals, self.satellites])
        return (means @ (fractions * torch.as_tensor(layout.n_hosts))[..., None])[..., 0]

    def pairs(self, layout: Layout, weights: Tensor) -> SatellitePairs:
        """Two satellites of one host, pairs weighted by the host's mass, (..., n_intervals)."""
        return SatellitePairs(
            weights[..., layout.cell_interval] * self.in_cells,
            weights[..., layout.class_interval] * self.overflow_pairs,
        )


def directed_sums(
    pairs: DirectedPairs,
    shapes: Galaxies,
    positions: Galaxies,
    weights: Mapping[int, Tensor],
    taken: Tensor,
    kernels: Collection[str],
) -> Tensor:
    """Sums over ordered pairs, in which a galaxy of both parts is no pair with itself.

    Parameters
    ----------
    pairs : DirectedPairs
    shapes, positions : Galaxies
        One object, if both are of one population.
    weights : mapping of int to torch.Tensor, shape (..., 2, n_intervals)
        By which shapes count, centrals and satellites, in kernels of each degree.
    taken : torch.Tensor, shape (2, n_intervals)
        By which positions count.
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
    layout = pairs.layout
    of_satellites = {
        k: _satellite_pairs(layout, shapes, positions, weights[kernel.degree], taken, kernel.n_axes)
        for k, kernel in enumerate(pairs.kernels.kernels)
        if kernel.name in kernels
    }
    of_shapes = {degree: shapes.part(layout, of_degree) for degree, of_degree in weights.items()}
    return pairs.sums(of_shapes, positions.part(layout, taken), of_satellites)


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
        As of `directed_sums`.
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
        parts.append(directed_sums(pairs, *both, weights, taken[1], kernels).cpu())
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


def _satellite_pairs(
    layout: Layout,
    shapes: Galaxies,
    positions: Galaxies,
    weights: Tensor,
    taken: Tensor,
    n_axes: int,
) -> SatellitePairs:
    """Two satellites of one host, of which the second is a shape, too, or has a position only."""
    own = weights[..., SATELLITE, :]
    if n_axes == 2:
        return shapes.pairs(layout, own**2)
    product = own * taken[SATELLITE]
    if shapes is positions:
        return shapes.pairs(layout, product)
    return _satellites_of_both(layout, shapes, positions, product)


def _satellites_of_both(
    layout: Layout, shapes: Galaxies, positions: Galaxies, weights: Tensor
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
        per_host.new_zeros(len(per_host), layout.n_cells), per_host[:, layout.class_interval]
    )
