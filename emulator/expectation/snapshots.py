"""Expectations between the redshifts of tabulated snapshots, and means over boxes of one redshift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.occupations import Occupation
from iaemu_likelihood.emulator.physics.statistics import XI
from iaemu_likelihood.emulator.physics.templates import Templates
from numpy.typing import NDArray

Array = NDArray[np.float64]


def templates_between(
    tabulations: Sequence[Sequence[Tabulation]],
    hosts: Sequence[HostAbundance],
    weights: Array,
    hod: Array,
    occupation: Occupation,
) -> Templates:
    """Templates at redshifts between those of tabulated halo catalogues.

    In every snapshot, halos are occupied by the mass that they have at the wanted redshift: the mass of
    the halo of the same rank, as many being heavier, which is linear between the snapshots. So galaxies
    of all snapshots live in the same halos, whose clustering evolves little. Linear are then the logarithms of numbers of galaxies, of 1 + xi, and of whatever else networks learn as
    logarithms, and other templates themselves. A logarithm cannot be interpolated from a snapshot
    where no pairs are expected, and such a bin has none.

    Parameters
    ----------
    tabulations : sequence of sequence of Tabulation
        By redshift, and by box; of the same statistics and bins.
    hosts : sequence of HostAbundance
        At each redshift.
    weights : ndarray, shape (n, n_redshifts)
        Of each redshift in the interpolation to a point; see `Redshifts.weights`.
    hod : ndarray, shape (n, n_occupation)
        Masses are log10 of Msun/h.
    occupation : Occupation

    Returns
    -------
    Templates
    """
    first = tabulations[0][0]
    logarithmic = np.array(
        [s.learned_as_logarithm for s in first.statistics for _ in s.templates], bool
    )
    numbers = np.zeros((2, len(hod)))
    values: Array | None = None
    with np.errstate(divide="ignore"):
        for boxes, own, weight in zip(tabulations, hosts, weights.T, strict=True):
            rows = np.flatnonzero(weight)
            if not len(rows):
                continue
            found = mean_of_boxes(
                [
                    x.templates(
                        hod[rows], occupation=occupation,
                        log_mass=_matched(x, own, hosts, weights[rows]),
                    )
                    for x in boxes
                ]
            )  # fmt: skip
            if values is None:
                values = np.zeros((len(hod), *found.values.shape[1:]))
            share = weight[rows]
            numbers[:, rows] += share * np.log([found.n_centrals, found.n_satellites])
            each = found.values.copy()
            # Without pairs xi is -1, but for rounding.
            each[:, logarithmic] = np.log1p(np.maximum(each[:, logarithmic], -1))
            values[rows] += share[:, None, None] * each
    assert values is not None
    values[:, logarithmic] = np.expm1(values[:, logarithmic])
    return Templates(first.statistics, values, *np.exp(numbers))


def _matched(
    tabulation: Tabulation, own: HostAbundance, hosts: Sequence[HostAbundance], weights: Array
) -> Array:
    """log10 of the masses of a tabulation's hosts at the wanted redshifts, (n, n_intervals)."""
    rank = tabulation.log_numbers
    at_redshifts = weights @ np.stack([each.mass_above(rank) for each in hosts])
    # So that at its own redshift they are its own to the last digit.
    return tabulation.log_masses + (at_redshifts - own.mass_above(rank))


def mean_of_boxes(several: Sequence[Templates]) -> Templates:
    """Templates of several boxes of one size and redshift, as of one that holds all their pairs."""
    if len(several) == 1:
        return several[0]
    of_pairs = np.stack([x.n_galaxies**2 for x in several])[..., None]
    pairs = of_pairs * (1 + np.stack([x.xi for x in several]))
    statistics, parts, at = several[0].statistics, [], 0
    assert XI in statistics
    with np.errstate(invalid="ignore"):
        for statistic in statistics:
            rows = slice(at, at := at + len(statistic.templates))
            weights = np.broadcast_to(pairs if statistic.is_ratio else of_pairs, pairs.shape)
            each = np.stack([x.values[:, rows] for x in several])
            # Where a box has no pairs, its means do not exist, and have no weight.
            total = np.where(weights[:, :, None] > 0, weights[:, :, None] * each, 0).sum(axis=0)
            parts.append(total / weights.sum(axis=0)[:, None])
    return Templates(
        statistics,
        np.concatenate(parts, axis=1),
        np.mean([x.n_centrals for x in several], axis=0),
        np.mean([x.n_satellites for x in several], axis=0),
    )
