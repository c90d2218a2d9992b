"""Sites where galaxies may be: hosts in ascending mass, and their subhalos by rank.

halotools-IA puts a host's satellites on its subhalos, in descending mpeak; satellites beyond the last
subhalo take the offset of a random subhalo of a host in the same of the catalogue's mass bins, the
host's *pool*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import AXES, POSITION, HaloCatalogue
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


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
        Mass bin from whose subhalos the places of a host's satellites beyond its last subhalo are
        drawn.
    box : float
        Mpc/h.
    """

    logM: Array
    position: Array
    axis: Array
    first_subhalo: NDArray[np.int64]
    offset: Array
    radial: Array
    pool_bin: NDArray[np.int64]
    box: float

    @classmethod
    def of(cls, halos: HaloCatalogue) -> GalaxySites:
        """Those of a halo catalogue.

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
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        radial = np.divide(offset, distance, out=np.zeros_like(offset), where=distance > 0)
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
        return cls(
            np.log10(host_mass),
            position[hosts] % box,
            np.stack([column[k] for k in AXES], axis=-1).astype(np.float64)[hosts],
            np.concatenate([[0], np.cumsum(np.bincount(host, minlength=len(hosts)))]),
            offset,
            radial,
            pool_bin,
            box,
        )

    def mean_number(self, hod: ArrayLike, occupation: Occupation = ZHENG07) -> float:
        """Expected number of galaxies in the box at one point of an occupation's parameters."""
        centrals, satellites = occupation.means(self.logM, hod)
        return float((centrals + satellites).sum())
