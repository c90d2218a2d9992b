"""Places where galaxies may be: hosts in ascending mass, and their subhalos by rank.

halotools-IA fills a host's *slots*, its subhalos, in descending mpeak; satellites beyond the last
slot take the offset of a random subhalo of a host in the same of the catalogue's mass bins, the
host's *pool*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import AXES, POSITION
from numpy.typing import NDArray
from scipy.special import erf

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog

Array = NDArray[np.float64]


def mean_centrals(logM: Array, hod: Array) -> Array:
    """Probability of a central, Zheng et al. 2007 (astro-ph/0703457).

    Parameters
    ----------
    logM : ndarray, shape (m,)
        log10 of host masses, Msun/h.
    hod : ndarray, shape (n, 5)

    Returns
    -------
    ndarray, shape (n, m)
    """
    return 0.5 * (1 + erf((logM - hod[:, :1]) / hod[:, 1:2]))


def mean_satellites(logM: Array, hod: Array) -> Array:
    """Mean number of satellites, Zheng et al. 2007 (astro-ph/0703457).

    As in halotools' `Zheng07Sats`, not multiplied by the probability of a central. Parameters and
    shapes as in `mean_centrals`.
    """
    M0, M1, alpha = 10 ** hod[:, 2:3], 10 ** hod[:, 3:4], hod[:, 4:5]
    return np.clip((10**logM - M0) / M1, 0, None) ** alpha


@dataclass(frozen=True)
class Slots:
    """Hosts in ascending mass, and their subhalos (slots) by host and rank.

    Attributes
    ----------
    logM : ndarray, shape (n_hosts,)
        log10 of host masses, Msun/h.
    position : ndarray, shape (n_hosts, 3)
        Mpc/h, in [0, box).
    axis : ndarray, shape (n_hosts, 3)
        Major axes, unit vectors.
    first_slot : ndarray, shape (n_hosts + 1,)
        The slots of host h are first_slot[h] .. first_slot[h + 1] - 1, in order of rank.
    offset : ndarray, shape (n_slots, 3)
        From the host's centre, Mpc/h.
    radial : ndarray, shape (n_slots, 3)
        Directions of the offsets, unit vectors; zero for a slot at the centre.
    pool_bin : ndarray, shape (n_hosts,)
        Mass bin from whose slots a host's overflow satellites are drawn.
    box : float
        Mpc/h.
    """

    logM: Array
    position: Array
    axis: Array
    first_slot: NDArray[np.int64]
    offset: Array
    radial: Array
    pool_bin: NDArray[np.int64]
    box: float

    @classmethod
    def of(cls, halos: UserSuppliedHaloCatalog) -> Slots:
        """Those of a catalogue from `load_halos`."""
        table = halos.halo_table
        column = {
            k: np.asarray(table[k])
            for k in (*POSITION, *AXES, "halo_id", "halo_upid", "halo_hostid", "halo_mpeak")
        }
        box = float(np.max(halos.Lbox))
        position = np.stack([column[k] for k in POSITION], axis=-1).astype(np.float64)
        hosts = np.flatnonzero(column["halo_upid"] == -1)
        host_mass = np.asarray(table["halo_mvir"], np.float64)[hosts]
        hosts = hosts[np.argsort(host_mass, kind="stable")]
        host_mass = np.asarray(table["halo_mvir"], np.float64)[hosts]

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
        edges = np.asarray(halos.subhalo_mass_bins)
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

    def mean_number(self, hod: Array) -> float:
        """Expected number of galaxies in the box at occupation parameters of shape (5,)."""
        row = np.asarray(hod, np.float64)[None]
        return float((mean_centrals(self.logM, row) + mean_satellites(self.logM, row)).sum())
