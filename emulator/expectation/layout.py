"""How hosts and subhalos are gathered where their occupation hardly differs.

Occupation probabilities depend on the mass of a host and on the rank of a subhalo in it only, so
pair sums are tabulated for whole sets of hosts and subhalos:

- A *mass interval* is a narrow range of host mass, on which occupations are evaluated. Its centrals
  are occupied alike.
- A *richness class* holds the hosts of an interval that have equally many subhalos.
- A *cell* holds satellites of an interval that are occupied alike: subhalos whose ranks are nearly
  equal, or the overflow satellites (those beyond the last subhalo) of a richness class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import gammaln

INTERVAL_DEX = 0.003125
# Of host mass, for functions as smooth as amplitudes of alignment: they are interpolated to 1e-8.
_N_NODES = 64

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def _bin_of_rank(max_rank: int) -> Indices:
    """Bins in which a Poisson tail hardly varies: as wide as a quarter of the root of the rank."""
    first = [1]
    while first[-1] <= max_rank:
        first.append(first[-1] + max(1, int(np.sqrt(first[-1]) / 4)))
    return np.searchsorted(np.asarray(first), np.arange(max_rank + 1), side="right") - 1


def _label(*keys: Indices) -> tuple[Indices, Indices]:
    """Distinct combinations of keys in ascending order, (n_keys, n), and which of them each is."""
    distinct, which = np.unique(np.stack(keys), axis=1, return_inverse=True)
    return distinct, which.reshape(-1)


@dataclass(frozen=True)
class Layout:
    """Mass intervals, richness classes and cells; see the head of this module.

    Hosts ascend in mass, hence in their interval, and so do cells: first those of subhalos in
    ascending rank, then those of overflow satellites in ascending richness.

    Attributes
    ----------
    logM : ndarray, shape (n_intervals,)
        Mean log10 of the hosts' mass, Msun/h.
    n_hosts : ndarray, shape (n_intervals,)
    max_richness : ndarray, shape (n_intervals,)
        Largest number of subhalos of any host.
    first_rank : ndarray, shape (n_intervals + 1,)
        Where the ranks of each interval, up to its `max_richness`, begin in the next two.
    n_subhalos, cell_of_rank : ndarray, shape (n_ranks,)
        Number of subhalos of an interval with the same rank, and their cell.
    first_class : ndarray, shape (n_intervals + 1,)
        Where the classes of each interval begin in the next four, with ascending richness.
    richness, class_hosts, cell_of_class, pool : ndarray, shape (n_classes,)
        Number of subhalos of each host, number of hosts, the cell of their overflow satellites, and
        the bin of `GalaxySites.pool_bin`.
    """

    logM: Array
    n_hosts: Indices
    max_richness: Indices
    first_rank: Indices
    n_subhalos: Indices
    cell_of_rank: Indices
    first_class: Indices
    richness: Indices
    class_hosts: Indices
    cell_of_class: Indices
    pool: Indices

    @classmethod
    def of(cls, sites: GalaxySites, interval_dex: float = INTERVAL_DEX) -> Layout:
        """The layout of a catalogue; see `Tabulation.build`."""
        step = np.floor((sites.logM - sites.logM[0]) / interval_dex).astype(np.int64)
        # The pool changes inside a step only where one of its edges lies: split there.
        (_, pool), interval = _label(step, sites.pool_bin)
        n_intervals = len(pool)
        n_hosts = np.bincount(interval)

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
        (class_interval, richness), class_of_host = _label(interval, richness_of_host)
        # Overflow follows subhalos in each interval.
        of_ranks = _bin_of_rank(int(max_richness.max()))[rank]
        after_ranks = of_ranks.max(initial=-1) + 1 + richness
        _, cell = _label(
            np.concatenate([rank_interval, class_interval]),
            np.concatenate([of_ranks, after_ranks]),
        )
        return cls(
            logM=np.bincount(interval, sites.logM) / n_hosts,
            n_hosts=n_hosts,
            max_richness=max_richness,
            first_rank=first_rank,
            n_subhalos=n_subhalos,
            cell_of_rank=cell[: len(rank)],
            first_class=np.searchsorted(class_interval, np.arange(n_intervals + 1)),
            richness=richness,
            class_hosts=np.bincount(class_of_host),
            cell_of_class=cell[len(rank) :],
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
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.cell_of_class.max()) + 1

    # ------------------------------------------------------------ intervals

    @cached_property
    def class_interval(self) -> Indices:
        """Mass interval of each richness class."""
        return np.repeat(np.arange(self.n_intervals), np.diff(self.first_class))

    @cached_property
    def cell_interval(self) -> Indices:
        """Mass interval of each cell."""
        interval = np.zeros(self.n_cells, np.int64)
        interval[self.cell_of_rank] = np.repeat(np.arange(self.n_intervals), self.max_richness)
        interval[self.cell_of_class] = self.class_interval
        return interval

    @cached_property
    def cell_size(self) -> Array:
        """Number of subhalos of each cell, or of hosts with overflow satellites."""
        size = np.bincount(self.cell_of_rank, self.n_subhalos, self.n_cells)
        size[self.cell_of_class] += self.class_hosts
        return size.astype(np.float64)

    @cached_property
    def nodes(self) -> Array:
        """Masses at which a smooth function of mass is known, log10 Msun/h, (n_nodes,)."""
        low, high = self.logM[0], self.logM[-1]
        nodes = (low + high) / 2 + (high - low) / 2 * chebyshev.chebpts1(_N_NODES)
        return np.asarray(nodes, np.float64)

    @cached_property
    def from_nodes(self) -> Array:
        """What brings a smooth function from `nodes` to the intervals, (n_intervals, n_nodes)."""
        low, high = self.logM[0], self.logM[-1]
        places = (2 * self.logM - low - high) / (high - low)
        of_nodes = chebyshev.chebvander(chebyshev.chebpts1(_N_NODES), _N_NODES - 1)
        of_nodes[:, 0] /= 2
        found = chebyshev.chebvander(places, _N_NODES - 1) @ of_nodes.T * (2 / _N_NODES)
        return np.asarray(found, np.float64)

    # ------------------------------------------------------------ hosts and subhalos

    @cached_property
    def interval_of_host(self) -> Indices:
        """Mass interval of each host of the catalogue."""
        return np.repeat(np.arange(self.n_intervals), self.n_hosts)

    def class_of_host(self, sites: GalaxySites) -> Indices:
        """Richness class of each host of the catalogue."""
        return _label(self.interval_of_host, np.diff(sites.first_subhalo))[1]

    def cell_of_subhalo(self, sites: GalaxySites) -> Indices:
        """Cell of each subhalo of the catalogue."""
        richness = np.diff(sites.first_subhalo)
        rank = np.arange(richness.sum()) - np.repeat(sites.first_subhalo[:-1], richness)
        return self.cell_of_rank[np.repeat(self.first_rank[self.interval_of_host], richness) + rank]

    # ------------------------------------------------------------ occupations

    def occupied(self, mean: Array) -> tuple[Array, Array]:
        """How often subhalos are occupied by a Poisson number of satellites, and what is beyond them.

        Parameters
        ----------
        mean : ndarray, shape (n_points, n_intervals)
            Mean number of satellites per host.

        Returns
        -------
        in_cells : ndarray, shape (n_points, n_cells)
            Mean over the subhalos of a cell of the probability to be occupied, or mean number of
            overflow satellites of a host.
        pairs : ndarray, shape (n_points, n_classes)
            E[(N - K)+ (N - K - 1)+] of N satellites beyond K subhalos.
        """
        from iaemu_likelihood.emulator.compiled import threads_for
        from iaemu_likelihood.emulator.expectation.poisson import occupied_subhalos

        in_cells = np.zeros((len(mean), self.n_cells))
        pairs = np.zeros((len(mean), self.n_classes))
        with threads_for(len(mean)):
            occupied_subhalos(mean, *self._of_poisson, in_cells, pairs)
        return in_cells, pairs

    def slope_of_occupied(self, mean: Array, of_cells: Array, of_pairs: Array) -> Array:
        """The derivative by the mean of a function of what `occupied` gives.

        Parameters
        ----------
        mean : ndarray, shape (n_points, n_intervals)
        of_cells, of_pairs : ndarray, shape (n_points, n_cells) and (n_points, n_classes)
            Derivatives of the function by `in_cells` and by `pairs`.

        Returns
        -------
        ndarray, shape (n_points, n_intervals)
        """
        from iaemu_likelihood.emulator.compiled import threads_for
        from iaemu_likelihood.emulator.expectation.poisson import slope_of_occupied_subhalos

        slope = np.zeros_like(mean)
        with threads_for(len(mean)):
            slope_of_occupied_subhalos(mean, *self._of_poisson, of_cells, of_pairs, slope)
        return slope

    @cached_property
    def _of_poisson(
        self,
    ) -> tuple[Indices, Indices, Array, Indices, Indices, Indices, Indices, Array]:
        """What the functions of `iaemu_likelihood.emulator.expectation.poisson` take of the layout."""
        return (
            self.max_richness, self.first_rank, self._share, self.cell_of_rank, self.first_class,
            self.richness, self.cell_of_class, self._log_factorial,
        )  # fmt: skip

    @cached_property
    def _share(self) -> Array:
        """Of its cell's subhalos, how many have each rank."""
        return self.n_subhalos / self.cell_size[self.cell_of_rank]

    @cached_property
    def _log_factorial(self) -> Array:
        return gammaln(np.arange(self.max_richness.max() + 3) + 1.0)
