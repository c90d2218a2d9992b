"""Samples of galaxies, and what two of them expect of the pairs between them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.expectation.directed_pairs import (
    DirectedPairs,
    Part,
    SatellitePairs,
)
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.physics.alignment import Alignment
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.statistics import CENTRAL, SATELLITE
from numpy.typing import ArrayLike

# Points that are evaluated together.
_BATCH = 32

# A number in [0, 1], or a function of log10 of host masses (Msun/h), shape (m,), to as many.
Fraction = float | Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Population:
    """All galaxies that an occupation draws together.

    Two objects are two populations, which are drawn independently, even with the same parameters.

    Attributes
    ----------
    hod : array_like, shape (n_parameters,) or (n, n_parameters)
        Occupation parameters (masses: log10 of Msun/h).
    occupation : Occupation
    """

    hod: ArrayLike
    occupation: Occupation = ZHENG07


@dataclass(frozen=True, eq=False)
class Sample:
    """Galaxies of a population, taken or not by their kind and by the mass of their host.

    Given its host's mass, a galaxy is taken or left independently of all other galaxies.

    Attributes
    ----------
    population : Population
    fraction_centrals, fraction_satellites : float or callable
        Probability that one is taken: a number in [0, 1], or a function of log10 of host masses
        (Msun/h), shape (m,), to as many.
    """

    population: Population
    fraction_centrals: Fraction = 1.0
    fraction_satellites: Fraction = 1.0

    def fractions(self, logM: Array) -> Array:
        """Of centrals and of satellites in hosts of given mass.

        Parameters
        ----------
        logM : ndarray, shape (m,)
            log10 of host masses, Msun/h.

        Returns
        -------
        ndarray, shape (2, m)

        Raises
        ------
        ValueError
            If a function gives another shape, or a fraction is not in [0, 1].
        """
        found = np.empty((2, len(logM)))
        for i, name in enumerate(("fraction_centrals", "fraction_satellites")):
            fraction = getattr(self, name)
            values = np.asarray(fraction(logM) if callable(fraction) else fraction, np.float64)
            if values.shape not in ((), logM.shape):
                raise ValueError(
                    f"{name} gives an array of shape {values.shape} at {len(logM)} masses; expected "
                    f"{logM.shape}."
                )
            bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
            if len(bad):
                where = f" at 10^{logM[bad[0]]:.2f} Msun/h" if values.ndim else ""
                raise ValueError(
                    f"{name} is {values.flat[bad[0]]:.6g}{where}; it must be in [0, 1]."
                )
            found[i] = values
        return found


@dataclass(frozen=True)
class Occupied:
    """A population on the layout of a tabulation.

    Attributes
    ----------
    centrals, satellites : ndarray, shape (n_points, n_intervals)
        Mean numbers per host.
    in_cells, overflow_pairs : ndarray
        As from `Layout.occupied`.
    """

    centrals: Array
    satellites: Array
    in_cells: Array
    overflow_pairs: Array

    @classmethod
    def of(cls, layout: Layout, occupation: Occupation, hod: Array) -> Occupied:
        """At points of an occupation, shape (n_points, n_parameters)."""
        centrals, satellites = occupation.means(layout.logM, hod)
        return cls(centrals, satellites, *layout.occupied(satellites))

    def part(self, layout: Layout, weights: Array) -> Part:
        """The galaxies, weighted by their kind and mass, (..., 2, n_intervals)."""
        of_centrals, of_satellites = weights[..., CENTRAL, :], weights[..., SATELLITE, :]
        in_cells = of_satellites[..., layout.cell_interval] * self.in_cells
        return Part(of_centrals * self.centrals, in_cells)

    def numbers(self, layout: Layout, fractions: Array) -> Array:
        """Of centrals and of satellites in the box, (2, n_points), for fractions (2, n_intervals)."""
        means = np.stack([self.centrals, self.satellites])
        found: Array = np.einsum("kni,ki->kn", means, fractions * layout.n_hosts)
        return found

    def pairs(self, layout: Layout, weights: Array) -> SatellitePairs:
        """Two satellites of one host, pairs weighted by the host's mass, (..., n_intervals)."""
        return SatellitePairs(
            weights[..., layout.cell_interval] * self.in_cells,
            weights[..., layout.class_interval] * self.overflow_pairs,
        )


@dataclass(frozen=True)
class ExpectedSums:
    """What two samples expect.

    Attributes
    ----------
    sums : ndarray, shape (n_points, n_bins, n_templates)
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
        Names of those that are summed; with two axes both galaxies are shapes.
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
    taken = [each.fractions(layout.logM) for each in (shapes, positions)]
    chosen = {k: kernel for k, kernel in enumerate(pairs.kernels.kernels) if kernel.name in kernels}
    degrees = sorted({kernel.degree for kernel in chosen.values()})

    parts, numbers = [], []
    for start in range(0, n, _BATCH):
        rows = slice(start, start + _BATCH)
        occupied = [
            Occupied.of(layout, each.occupation, x[rows])
            for each, x in zip(populations, points, strict=True)
        ]
        both = occupied[0], occupied[-1]
        weights = {degree: np.broadcast_to(taken[0], (1, *taken[0].shape)) for degree in degrees}
        if mu is not None:
            amplitudes = alignment.amplitudes(strengths[rows], layout.logM, degrees)
            weights = {d: taken[0] * amplitudes[..., i] for i, d in enumerate(degrees)}
        of_pairs = {
            k: _satellite_pairs(layout, both, weights[kernel.degree], taken[1], kernel.n_axes)
            for k, kernel in chosen.items()
        }
        of_shapes = {degree: both[0].part(layout, w) for degree, w in weights.items()}
        parts.append(pairs.sums(of_shapes, both[1].part(layout, taken[1]), of_pairs))
        numbers.append(
            [each.numbers(layout, fractions) for each, fractions in zip(both, taken, strict=True)]
        )
    of_shapes, of_positions = np.concatenate(numbers, axis=-1)
    return ExpectedSums(np.concatenate(parts), of_shapes, of_positions)


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
    layout: Layout, both: tuple[Occupied, Occupied], weights: Array, taken: Array, n_axes: int
) -> SatellitePairs:
    """Two satellites of one host, of which the second is a shape, too, or has a position only."""
    shapes, positions = both
    own = weights[..., SATELLITE, :]
    if n_axes == 2:
        return shapes.pairs(layout, own**2)
    product = own * taken[SATELLITE]
    if shapes is positions:
        return shapes.pairs(layout, product)
    return satellites_of_both(layout, shapes, positions, product)


def satellites_of_both(
    layout: Layout, shapes: Occupied, positions: Occupied, weights: Array
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
    both = np.abs(weights) * shapes.satellites * positions.satellites
    refused = np.flatnonzero((both > 0).any(axis=0) & (layout.max_richness > 0))
    if len(refused):
        raise ValueError(
            "Two populations both put satellites on the subhalos of hosts of "
            f"10^{layout.logM[refused[0]]:.2f} to 10^{layout.logM[refused[-1]]:.2f} Msun/h. Their pairs "
            "are not tabulated by the ranks of both subhalos. Take both samples from one population, by "
            "fractions that depend on host mass; or leave out the satellites of one sample "
            "(fraction_satellites=0); or tabulate a catalogue without subhalos, whose satellites follow "
            "profiles."
        )
    n_points = len(both)
    return SatellitePairs(
        np.zeros((n_points, layout.n_cells)),
        (weights * shapes.satellites * positions.satellites)[:, layout.class_interval],
    )
