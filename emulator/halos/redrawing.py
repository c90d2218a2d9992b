"""Another draw of a catalogue's subhalos: each host takes those of another host of nearly its mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Hosts that follow each other in mass and exchange their subhalos.
_GROUP = 64


def redrawn(halos: HaloCatalogue, seed: int) -> HaloCatalogue:
    """A catalogue with the same hosts, whose subhalos differ as those of another simulation would.

    Each host takes the subhalos of another one of nearly its mass: their offsets in units of the virial
    radius, turned with the major axis, and by a random angle about it. A subhalo whose rank the other
    host does not have stays where it is. Lost is what subhalos know of their host's surroundings beyond
    its major axis.

    Parameters
    ----------
    halos : HaloCatalogue
        With subhalos.
    seed : int

    Raises
    ------
    ValueError
        If the catalogue has no subhalos.
    """
    column, rng = halos.columns, np.random.default_rng(seed)
    is_host = column["halo_upid"] == -1
    if is_host.all():
        raise ValueError(f"{halos.name} has no subhalos to draw again.")
    hosts, subhalos = np.flatnonzero(is_host), np.flatnonzero(~is_host)
    hosts = hosts[np.argsort(column["halo_mvir"][hosts], kind="stable")]
    by_id = np.argsort(column["halo_id"][hosts])
    ids = column["halo_id"][hosts][by_id]
    place = np.minimum(np.searchsorted(ids, column["halo_hostid"][subhalos]), len(ids) - 1)
    known = ids[place] == column["halo_hostid"][subhalos]
    subhalos, host = subhalos[known], by_id[place[known]]
    order = np.lexsort((-column["halo_mpeak"][subhalos], host))
    subhalos, host = subhalos[order], host[order]
    number = np.bincount(host, minlength=len(hosts))
    first = np.cumsum(number) - number
    rank = np.arange(len(host)) - first[host]

    giver = _others(len(hosts), rng)[host]
    taken = np.where(rank < number[giver], first[giver] + rank, -1)
    moved = np.flatnonzero(taken >= 0)
    position = np.stack([column[key] for key in POSITION], axis=-1).astype(np.float64)
    offset = position[subhalos] - position[hosts[host]]
    offset -= halos.box * np.round(offset / halos.box)
    axes = np.stack([column[key] for key in AXES], axis=-1).astype(np.float64)[hosts]
    frame, rvir = _frames(axes, rng), np.asarray(column["halo_rvir"], np.float64)[hosts]
    i, j = host[moved], giver[moved]
    along = np.einsum("nab,nb->na", frame[j], offset[taken[moved]] / rvir[j, None])
    turned = np.einsum("nab,na->nb", frame[i], along * rvir[i, None])
    position[subhalos[moved]] = (position[hosts[i]] + turned) % halos.box
    columns = dict(column) | dict(zip(POSITION, position.T, strict=True))
    return replace(halos, name=f"{halos.name}, subhalos drawn again", columns=columns)


def _others(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of n hosts in order of mass another one of its group, which is no other's as well."""
    other = np.arange(n)
    for start in range(0, n, _GROUP):
        group = start + rng.permutation(min(_GROUP, n - start))
        other[group] = np.roll(group, 1)
    return other


def _frames(axes: Array, rng: np.random.Generator) -> Array:
    """Orthonormal right-handed vectors, (n, 3, 3), the first along an axis, the others at random."""
    across = np.cross(axes, rng.normal(size=axes.shape))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.stack([axes, across, np.cross(axes, across)], axis=1)
