"""Sites where galaxies may be: hosts in ascending mass, and their subhalos by rank.

halotools-IA puts a host's satellites on its subhalos, in descending mpeak; satellites beyond the last
subhalo take the offset of a random subhalo of a host in the same of the catalogue's mass bins, the
host's *pool*.

In a catalogue without subhalos all satellites are beyond the last one, and are drawn from the host's NFW
profile. Its pool then holds points that represent the profiles of hosts in a narrow range of mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.nfw import POOL_DEX, Profiles, points_of
from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, POSITION
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Points that represent a host's satellites beyond its last subhalo in sums over pairs in different hosts,
# at most.
MAX_POINTS = 512


@dataclass(frozen=True)
class GalaxySites:
    """Hosts in ascending mass, and their subhalos by host and rank.

    Attributes
    ----------
    logM : ndarray, shape (n_hosts,)
        log10 of host masses, Msun/h.
    position : ndarray, shape (n_hosts, 3)
        Mpc/h, in [0, box).
    axis : ndarray, shape (n_hosts, 3)
        Major axes, unit vectors.
    first_subhalo : ndarray, shape (n_hosts + 1,)
        The subhalos of host h are first_subhalo[h] .. first_subhalo[h + 1] - 1, in order of rank.
    offset : ndarray, shape (n_subhalos, 3)
        From the host's centre, Mpc/h.
    radial : ndarray, shape (n_subhalos, 3)
        Directions of the offsets, unit vectors; zero for a subhalo at the centre.
    pool_bin : ndarray, shape (n_hosts,)
        Pool from which the places of a host's satellites beyond its last subhalo are drawn; it ascends
        with mass.
    pool_offset, pool_radial : ndarray, shape (n_points, 3)
        As `offset` and `radial`, of the points of all pools, pool by pool.
    first_of_pool : ndarray, shape (n_pools + 1,)
        Where the points of each pool begin.
    first_of_group : ndarray, shape (n_groups + 1,)
        Where the groups of points begin of which pools are made: satellites of one host come from one
        group. A pool of subhalos is one group, a pool of profiles has one for each profile.
    box : float
        Mpc/h.
    profiles : Profiles or None
        Of the hosts, if their satellites follow NFW profiles.
    """

    logM: Array
    position: Array
    axis: Array
    first_subhalo: NDArray[np.int64]
    offset: Array
    radial: Array
    pool_bin: NDArray[np.int64]
    pool_offset: Array
    pool_radial: Array
    first_of_pool: NDArray[np.int64]
    first_of_group: NDArray[np.int64]
    box: float
    profiles: Profiles | None = None

    @classmethod
    def of(cls, halos: HaloCatalogue, seed: int = 0) -> GalaxySites:
        """Those of a halo catalogue.

        Parameters
        ----------
        halos : HaloCatalogue
        seed : int
            Of the points that represent NFW profiles; without effect on a catalogue with subhalos.

        Raises
        ------
        ValueError
            If a host lies outside the mass bins of the catalogue, or in one without subhalos.
        """
        column, box = halos.columns, halos.box
        position = np.stack([column[k] for k in POSITION], axis=-1).astype(np.float64)
        hosts = np.flatnonzero(column["halo_upid"] == -1)
        host_mass = np.asarray(column["halo_mvir"], np.float64)[hosts]
        by_mass = np.argsort(host_mass, kind="stable")
        hosts, host_mass = hosts[by_mass], host_mass[by_mass]
        logM = np.log10(host_mass)
        axis = np.stack([column[k] for k in AXES], axis=-1).astype(np.float64)[hosts]
        if halos.subhalo_mass_bins is None:
            profiles = Profiles(
                np.asarray(column["halo_rvir"], np.float64)[hosts],
                np.asarray(column[CONCENTRATION], np.float64)[hosts],
            )
            step = np.floor((logM - logM[0]) / POOL_DEX).astype(np.int64)
            pool_bin = np.unique(step, return_inverse=True)[1]
            none, no_places = np.zeros(len(hosts) + 1, np.int64), np.zeros((0, 3))
            return cls(
                logM, position[hosts] % box, axis, none, no_places, no_places, pool_bin,
                *_pools_of(profiles, pool_bin, seed), box, profiles,
            )  # fmt: skip

        ids = column["halo_id"][hosts]
        by_id = np.argsort(ids)
        subs = np.flatnonzero(column["halo_upid"] != -1)
        where = np.searchsorted(ids, column["halo_hostid"][subs], sorter=by_id)
        found = where < len(ids)
        found[found] = ids[by_id[where[found]]] == column["halo_hostid"][subs][found]
        subs, host = subs[found], by_id[where[found]]  # halotools, too, drops the unmatched
        order = np.lexsort((-column["halo_mpeak"][subs], host))
        subs, host = subs[order], host[order]

        offset = position[subs] - position[hosts[host]]
        offset -= box * np.round(offset / box)
        radial = directions(offset)
        edges = halos.subhalo_mass_bins
        pool_bin = np.digitize(host_mass, edges) - 1
        if pool_bin.min() < 0 or pool_bin.max() > len(edges) - 2:
            raise ValueError(
                f"Host masses {host_mass.min():.4g} to {host_mass.max():.4g} Msun/h are not inside "
                f"subhalo_mass_bins, {edges[0]:.4g} to {edges[-1]:.4g} Msun/h."
            )
        empty = np.setdiff1d(pool_bin, pool_bin[host])
        if len(empty):
            raise ValueError(
                f"No subhalos in subhalo_mass_bins {empty[0]} ({edges[empty[0]]:.4g} to "
                f"{edges[empty[0] + 1]:.4g} Msun/h), but hosts; join it to a neighbour."
            )
        first_subhalo = np.concatenate([[0], np.cumsum(np.bincount(host, minlength=len(hosts)))])
        # Hosts ascend in mass, so the subhalos of a pool follow each other.
        first_of_pool = first_subhalo[np.searchsorted(pool_bin, np.arange(pool_bin[-1] + 2))]
        return cls(
            logM, position[hosts] % box, axis, first_subhalo, offset, radial, pool_bin,
            offset, radial, first_of_pool, np.unique(first_of_pool), box,
        )  # fmt: skip

    def representatives(self, seed: int) -> tuple[NDArray[np.int64], Array, Array]:
        """Points that stand for the satellites of each host beyond its last subhalo.

        As many as the host has subhalos, which keeps their noise below that of one realisation's own;
        of hosts with NFW profiles in proportion to their mass, spread evenly.

        Parameters
        ----------
        seed : int

        Returns
        -------
        host : ndarray, shape (n_points,)
            Ascending; each host has at least one point.
        offset, radial : ndarray, shape (n_points, 3)
            As the attributes.
        """
        hosts = np.arange(len(self.logM))
        if self.profiles is not None:
            host = np.repeat(hosts, points_of(10**self.logM))
            offset = self.profiles.even_offsets(host, seed)
            return host, offset, directions(offset)
        host = np.repeat(hosts, np.clip(np.diff(self.first_subhalo), 1, MAX_POINTS))
        drawn = _draw(self.first_of_pool, self.pool_bin[host], seed)
        return host, self.pool_offset[drawn], self.pool_radial[drawn]

    def mean_number(self, hod: ArrayLike, occupation: Occupation = ZHENG07) -> float:
        """Expected number of galaxies in the box at one point of an occupation's parameters."""
        centrals, satellites = occupation.means(self.logM, hod)
        return float((centrals + satellites).sum())


def directions(offset: Array) -> Array:
    """Unit vectors along offsets, shape (n, 3); zero for an offset that is zero."""
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    return np.divide(offset, distance, out=np.zeros_like(offset), where=distance > 0)


def _pools_of(
    profiles: Profiles, pool_bin: NDArray[np.int64], seed: int
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
    """`pool_offset`, `pool_radial`, `first_of_pool` and `first_of_group` of hosts with profiles."""
    edges = np.searchsorted(pool_bin, np.arange(pool_bin[-1] + 2))
    pools = [
        profiles.pool(np.arange(low, high), seed + pool)
        for pool, (low, high) in enumerate(pairwise(edges))
    ]
    offset = np.concatenate([points for points, _ in pools])
    first = np.concatenate([[0], np.cumsum([len(points) for points, _ in pools])])
    groups = [start + of_pool[:-1] for start, (_, of_pool) in zip(first, pools, strict=False)]
    return offset, directions(offset), first, np.concatenate([*groups, first[-1:]])


def _draw(
    first_of_pool: NDArray[np.int64], pool_wanted: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Points drawn from given pools.

    Every member of a pool once before any member twice: less noise than independent draws.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty(len(pool_wanted), np.int64)
    for pool in np.unique(pool_wanted):
        members = np.arange(first_of_pool[pool], first_of_pool[pool + 1])
        wanted = np.flatnonzero(pool_wanted == pool)
        turns = int(np.ceil(len(wanted) / len(members)))
        draws = np.concatenate([rng.permutation(members) for _ in range(turns)])
        drawn[wanted] = draws[: len(wanted)]
    return drawn
