"""From the halos that a file holds to a catalogue: who is whose subhalo, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, POSITION, VELOCITY
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# By so much of its side a position may lie beyond the box: centres are computed from particles on both
# sides of its faces.
BEYOND = 0.01
# A chain of subhalos of subhalos is no longer.
MAX_DEPTH = 64


@dataclass
class Halos:
    """Halos of a file, in the units of the package.

    Attributes
    ----------
    id : ndarray of int, shape (n,)
    parent : ndarray of int, shape (n,)
        id of the halo whose subhalo each is; -1 for hosts.
    position, velocity, axis : ndarray, shape (n, 3)
        Mpc/h, comoving; km/s; major axes of any length.
    mass, rvir, peak_mass : ndarray, shape (n,)
        Msun/h; Mpc/h, comoving; what ranks the subhalos of a host, in descending order.
    concentration : ndarray, shape (n,), or None
        rvir over the scale radius.
    dropped : dict of str to int
        Numbers of rows of the file that are not among these, by the reason.
    notes : list of str
        What else was done, in sentences.
    """

    id: NDArray[np.int64]
    parent: NDArray[np.int64]
    position: Array
    velocity: Array
    axis: Array
    mass: Array
    rvir: Array
    peak_mass: Array
    concentration: Array | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def without(self, bad: NDArray[np.bool_], reason: str) -> Halos:
        """These halos but some, shape (n,), which are counted as dropped for a reason."""
        if not bad.any():
            return self
        rows: dict[str, Any] = {
            name: values[~bad] if isinstance(values, np.ndarray) else values
            for name, values in vars(self).items()
        }
        return Halos(**{**rows, "dropped": {**self.dropped, reason: int(bad.sum())}})

    def catalogue(
        self,
        name: str,
        box: float,
        redshift: float,
        particle_mass: float,
        cosmology: str | None,
        provenance: str,
        stated: Stated,
        subhalo_mass_bins: ArrayLike | None = None,
    ) -> HaloCatalogue:
        """A catalogue of them, wrapped into the box; see `HaloCatalogue`."""
        bad = np.flatnonzero(~(np.isfinite(self.mass) & (self.mass >= 0)))
        if len(bad):
            raise ValueError(
                f"{name}: the mass of halo {self.id[bad[0]]}, in row {bad[0]}, is {self.mass[bad[0]]:g}; "
                "expected a number of Msun/h that is not negative."
            )
        host = top_hosts(self.id, self.parent, name)
        position = wrapped(self.position, box)
        moved = int((np.abs(position - self.position) > box / 2).any(axis=1).sum())
        if moved:
            self.notes.append(f"{moved} halos just beyond a face of the box were wrapped into it.")
        is_host = self.parent == -1
        kept = (host >= 0) & (self.mass[host] >= stated.min_mass)
        if not kept.all():
            lost = host < 0
            if lost.any():
                self.dropped["subhalos whose host is not in the file"] = int(lost.sum())
            self.dropped |= stated.lighter(int((~kept & ~lost).sum()))
        if not kept.any():
            raise ValueError(
                f"{name}: no host is left, of {is_host.sum()} in the file, the heaviest of "
                f"{self.mass[is_host].max(initial=0):.4g} Msun/h."
            )
        # Rows of hosts first, which keep their order.
        rows = np.concatenate([np.flatnonzero(kept & is_host), np.flatnonzero(kept & ~is_host)])
        of_host = self.id[host[rows]]
        columns = {
            "halo_id": self.id[rows],
            "halo_upid": np.where(is_host[rows], -1, of_host),
            "halo_hostid": of_host,
            "halo_mvir": self.mass[rows],
            "halo_mpeak": self.peak_mass[rows],
            "halo_mvir_host_halo": self.mass[host[rows]],
            "halo_rvir": self.rvir[rows],
            **dict(zip(POSITION, position[rows].T, strict=True)),
            **dict(zip(VELOCITY, self.velocity[rows].T, strict=True)),
            **dict(zip(AXES, self.axis[rows].T, strict=True)),
        }
        if self.concentration is not None:
            columns[CONCENTRATION] = self.concentration[rows]
        return HaloCatalogue.from_columns(
            name, columns, box, redshift, particle_mass, subhalo_mass_bins, cosmology, provenance,
            satellites=stated.satellites, dropped=self.dropped, notes=tuple(self.notes),
        )  # fmt: skip


def top_hosts(ids: NDArray[np.int64], parent: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Row of the host of each halo: its own for a host, -1 if the host is not there.

    Raises
    ------
    ValueError
        If a halo is its own parent, directly or through others.
    """
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, parent, sorter=order)
    place[place == len(ids)] = 0
    above = order[place]
    above = np.where(parent == -1, np.arange(len(ids)), np.where(ids[above] == parent, above, -1))
    top = above
    for _ in range(MAX_DEPTH):
        higher = np.where(top >= 0, above[top], -1)
        if np.array_equal(higher, top):
            break
        top = higher
    else:
        row = int(np.flatnonzero((top >= 0) & (above[top] != top))[0])
        raise ValueError(
            f"{name}: the parents of halo {ids[row]}, in row {row}, do not lead to a host; a host has "
            "the parent -1."
        )
    own = np.flatnonzero((parent != -1) & (top == np.arange(len(ids))))
    if len(own):
        raise ValueError(
            f"{name}: halo {ids[own[0]]}, in row {own[0]}, is its own parent; a host has the parent -1."
        )
    return top


def wrapped(position: Array, box: float) -> Array:
    """Positions in [0, box), those up to `BEYOND` of its side beyond it wrapped; others as they are."""
    near = (position >= -BEYOND * box) & (position <= (1 + BEYOND) * box)
    inside = np.asarray(position, np.float64) % box
    # A rounding below 0 gives the box itself.
    return np.where(near, np.where(inside >= box, 0.0, inside), position)
