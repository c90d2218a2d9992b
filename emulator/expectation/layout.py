"""How hosts and subhalos are gathered where their occupation hardly differs.

Occupation probabilities depend on the mass of a host and on the rank of a subhalo in it only, so
pair sums are tabulated for whole sets of hosts and subhalos:

- A *mass interval* is a narrow range of host mass, on which occupations are evaluated. Several of
  them make a *mass bin*.
- A *richness class* holds the hosts of an interval that have equally many subhalos.
- A *rank bin* holds the subhalos of an interval whose ranks are nearly equal. Sums over pairs in one
  host are linear in its mean occupation.
- A *population* holds the centrals of a mass bin, its subhalos of similar rank, or the overflow
  satellites (those beyond the last subhalo) of its hosts of similar richness. Sums over pairs in
  different hosts are bilinear in the occupation of populations, which is represented by its mean and
  its slope in logM: with the mean alone, the few pairs of massive hosts that dominate satellites'
  clustering at large r come out wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.typing import NDArray

INTERVAL_DEX = 0.0125
INTERVALS_PER_BIN = 8
# Mass bins with fewer hosts are halved: what few hosts do differently from a straight line does not
# average out.
FEW_HOSTS = 500

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def _bin_of_rank(first_ranks: Sequence[int], max_rank: int) -> Indices:
    """Bin of each rank 0 .. max_rank, from the first rank of each bin."""
    return np.searchsorted(np.asarray(first_ranks), np.arange(max_rank + 1), side="right") - 1


def narrow_rank_bins(max_rank: int) -> Indices:
    """Bins in which a Poisson tail hardly varies: as wide as a quarter of the root of the rank."""
    first = [1]
    while first[-1] <= max_rank:
        first.append(first[-1] + max(1, int(np.sqrt(first[-1]) / 4)))
    return _bin_of_rank(first, max_rank)


def _wide_rank_bins(max_rank: int) -> Indices:
    """Bins that double in width: 1, 2, 3-4, 5-8, ..."""
    first = [1, 2, 3]
    while first[-1] <= max_rank:
        first.append(2 * first[-1] - 1)
    return _bin_of_rank(first, max_rank)


def _richness_bins(richness: Indices) -> Indices:
    """Bins that double in width from 5 on: 0, 1, ..., 4, 5-8, 9-16, ..."""
    doubling = 3 + np.ceil(np.log2(np.maximum(richness, 1))).astype(np.int64)
    return np.where(richness <= 4, richness, doubling)


def _label(*keys: Indices) -> tuple[Indices, Indices]:
    """Distinct combinations of keys in ascending order, (n_keys, n), and which of them each is."""
    distinct, which = np.unique(np.stack(keys), axis=1, return_inverse=True)
    return distinct, which.reshape(-1)


def _total(values: NDArray[Any], index: Indices, n: int = 0) -> Array:
    """Sums of the values that share an index, at least n of them."""
    return np.bincount(index, values, n).astype(np.float64, copy=False)


@dataclass(frozen=True)
class Layout:
    """Mass intervals, richness classes, rank bins and populations; see the head of this module.

    Hosts ascend in mass, hence in their interval. Populations are numbered throughout: centrals,
    then subhalos, then overflow satellites.

    Attributes
    ----------
    logM : ndarray, shape (n_intervals,)
        Mean log10 of the hosts' mass, Msun/h.
    n_hosts : ndarray, shape (n_intervals,)
    central_population : ndarray, shape (n_intervals,)
        There is one for each mass bin.
    max_richness : ndarray, shape (n_intervals,)
        Largest number of subhalos of any host.
    first_rank : ndarray, shape (n_intervals + 1,)
        Where the ranks of each interval, up to its `max_richness`, begin in the next three.
    n_subhalos, rank_bin, subhalo_population : ndarray, shape (n_ranks,)
        Number of subhalos of an interval with the same rank, and where they belong.
    first_class : ndarray, shape (n_intervals + 1,)
        Where the classes of each interval begin in the next four, with ascending richness.
    richness, class_hosts, overflow_population, pool : ndarray, shape (n_classes,)
        Number of subhalos of each host, number of hosts, where their overflow satellites belong, and
        the bin of `GalaxySites.pool_bin`.
    """

    logM: Array
    n_hosts: Indices
    central_population: Indices
    max_richness: Indices
    first_rank: Indices
    n_subhalos: Indices
    rank_bin: Indices
    subhalo_population: Indices
    first_class: Indices
    richness: Indices
    class_hosts: Indices
    overflow_population: Indices
    pool: Indices

    @classmethod
    def of(
        cls,
        sites: GalaxySites,
        interval_dex: float = INTERVAL_DEX,
        intervals_per_bin: int = INTERVALS_PER_BIN,
    ) -> Layout:
        """The layout of a catalogue; see `Tabulation.build`."""
        step = np.floor((sites.logM - sites.logM[0]) / interval_dex).astype(np.int64)
        # The pool changes inside a step only where one of its edges lies: split there.
        occupied, interval = _label(step, sites.pool_bin)
        step, pool = occupied
        n_intervals = len(step)
        n_hosts = np.bincount(interval)
        _, mass_bin = _label(step // intervals_per_bin)
        few = np.bincount(mass_bin, n_hosts)[mass_bin] < FEW_HOSTS
        half = np.where(few, 2 * step // intervals_per_bin, 2 * (step // intervals_per_bin))
        _, mass_bin = _label(half)

        richness_of_host = np.diff(sites.first_subhalo)
        max_richness = np.zeros(n_intervals, np.int64)
        np.maximum.at(max_richness, interval, richness_of_host)
        first_rank = np.concatenate([[0], np.cumsum(max_richness)])
        rank_interval = np.repeat(np.arange(n_intervals), max_richness)
        rank = np.arange(first_rank[-1]) - first_rank[rank_interval] + 1
        subhalo_interval = np.repeat(interval, richness_of_host)
        subhalo_rank = np.arange(len(subhalo_interval)) - np.repeat(
            sites.first_subhalo[:-1], richness_of_host
        )
        n_subhalos = np.bincount(
            first_rank[subhalo_interval] + subhalo_rank, minlength=first_rank[-1]
        )
        max_rank = int(max_richness.max())
        _, rank_bin = _label(rank_interval, narrow_rank_bins(max_rank)[rank])
        _, subhalo_population = _label(mass_bin[rank_interval], _wide_rank_bins(max_rank)[rank])

        (class_interval, richness), class_of_host = _label(interval, richness_of_host)
        _, overflow_population = _label(mass_bin[class_interval], _richness_bins(richness))
        n_central = int(mass_bin.max()) + 1
        n_subhalo = int(subhalo_population.max(initial=-1)) + 1
        return cls(
            logM=np.bincount(interval, sites.logM) / n_hosts,
            n_hosts=n_hosts,
            central_population=mass_bin,
            max_richness=max_richness,
            first_rank=first_rank,
            n_subhalos=n_subhalos,
            rank_bin=rank_bin,
            subhalo_population=n_central + subhalo_population,
            first_class=np.searchsorted(class_interval, np.arange(n_intervals + 1)),
            richness=richness,
            class_hosts=np.bincount(class_of_host),
            overflow_population=n_central + n_subhalo + overflow_population,
            pool=pool[class_interval],
        )

    # ------------------------------------------------------------ numbers

    @property
    def n_intervals(self) -> int:
        """Number of mass intervals."""
        return len(self.logM)

    @property
    def n_classes(self) -> int:
        """Number of richness classes."""
        return len(self.richness)

    @property
    def n_pools(self) -> int:
        """Number of pools of subhalos."""
        return int(self.pool.max()) + 1

    @cached_property
    def n_rank_bins(self) -> int:
        """Number of rank bins."""
        return int(self.rank_bin.max(initial=-1)) + 1

    @cached_property
    def n_central_populations(self) -> int:
        """Number of populations of centrals, which come first."""
        return int(self.central_population.max()) + 1

    @cached_property
    def n_populations(self) -> int:
        """Number of all populations."""
        return int(self.overflow_population.max()) + 1

    # ------------------------------------------------------------ intervals

    @cached_property
    def rank_bin_interval(self) -> Indices:
        """Mass interval of each rank bin."""
        interval = np.zeros(self.n_rank_bins, np.int64)
        interval[self.rank_bin] = self._rank_interval
        return interval

    @cached_property
    def class_interval(self) -> Indices:
        """Mass interval of each richness class."""
        return np.repeat(np.arange(self.n_intervals), np.diff(self.first_class))

    @cached_property
    def _rank_interval(self) -> Indices:
        return np.repeat(np.arange(self.n_intervals), self.max_richness)

    # ------------------------------------------------------------ hosts

    @cached_property
    def interval_of_host(self) -> Indices:
        """Mass interval of each host of the catalogue."""
        return np.repeat(np.arange(self.n_intervals), self.n_hosts)

    def class_of_host(self, sites: GalaxySites) -> Indices:
        """Richness class of each host of the catalogue."""
        return _label(self.interval_of_host, np.diff(sites.first_subhalo))[1]

    # ------------------------------------------------------------ members of sets

    @cached_property
    def rank_bin_size(self) -> Array:
        """Number of subhalos in each rank bin."""
        return _total(self.n_subhalos, self.rank_bin, self.n_rank_bins)

    @cached_property
    def _members(self) -> tuple[Indices, Indices, Indices]:
        """Parts of populations inside a mass interval: population, interval and number."""
        population = (self.central_population, self.subhalo_population, self.overflow_population)
        interval = (np.arange(self.n_intervals), self._rank_interval, self.class_interval)
        number = (self.n_hosts, self.n_subhalos, self.class_hosts)
        return np.concatenate(population), np.concatenate(interval), np.concatenate(number)

    @cached_property
    def population_size(self) -> Array:
        """Number of hosts or subhalos of each population."""
        population, _, number = self._members
        return _total(number, population)

    @cached_property
    def population_logM(self) -> Array:
        """Mean logM of each population."""
        population, interval, number = self._members
        return _total(number * self.logM[interval], population) / self.population_size

    @cached_property
    def population_inverse_spread(self) -> Array:
        """Inverse of the sum of squared deviations from `population_logM`; 0 for a single interval.

        Populations of a single interval have no slope.
        """
        population, interval, number = self._members
        deviation = self.logM[interval] - self.population_logM[population]
        spread = _total(number * deviation**2, population)
        return np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-12)
