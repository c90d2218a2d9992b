"""A halo catalogue, checked: what mocks are drawn on and expectations are tabulated for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog

log = logging.getLogger(__name__)

AXES = ("halo_axisA_x", "halo_axisA_y", "halo_axisA_z")
POSITION = ("halo_x", "halo_y", "halo_z")
VELOCITY = ("halo_vx", "halo_vy", "halo_vz")
REQUIRED_COLUMNS = (
    "halo_id",
    "halo_upid",
    "halo_hostid",
    *POSITION,
    *VELOCITY,
    "halo_mvir",
    "halo_rvir",
    "halo_mpeak",
    "halo_mvir_host_halo",
    *AXES,
)

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class HaloCatalogue:
    """Host halos and subhalos in a periodic box, as rows of the same columns.

    Make one with `HaloCatalogue.from_columns`, which checks it.

    Attributes
    ----------
    name : str
    columns : mapping of str to ndarray, shape (n_rows,)
        Those of `REQUIRED_COLUMNS`, as halotools names them: positions in Mpc/h, masses in Msun/h,
        velocities in km/s, major axes as unit vectors. Hosts have halo_upid -1.
    box : float
        Side of the box, Mpc/h.
    redshift : float
    particle_mass : float
        Msun/h.
    subhalo_mass_bins : ndarray, shape (n_mass_bins + 1,)
        Edges in host mass, Msun/h. A satellite beyond its host's last subhalo is placed like a
        subhalo of another host in the same bin.
    cosmology, provenance : str or None
        In words; None if the source of the catalogue does not say.
    n_dropped : int
        Rows left out because their host has no major axis.
    """

    name: str
    columns: Columns
    box: float
    redshift: float
    particle_mass: float
    subhalo_mass_bins: NDArray[np.float64]
    cosmology: str | None = None
    provenance: str | None = None
    n_dropped: int = 0

    @classmethod
    def from_columns(
        cls,
        name: str,
        columns: Columns,
        box: float,
        redshift: float,
        particle_mass: float,
        subhalo_mass_bins: ArrayLike | None = None,
        cosmology: str | None = None,
        provenance: str | None = None,
    ) -> HaloCatalogue:
        """Check columns, drop hosts without an axis and their subhalos, and normalise the axes.

        Parameters
        ----------
        name : str
        columns : mapping of str to ndarray, shape (n_rows,)
            At least those of `REQUIRED_COLUMNS`, in any order of the rows; axes of any length.
        box, redshift, particle_mass, cosmology, provenance
            As the attributes.
        subhalo_mass_bins : array_like, optional
            `default_mass_bins` when left out.

        Raises
        ------
        ValueError
            If a column is missing or holds an impossible value, or there are no hosts or no
            subhalos.
        """
        missing = [key for key in REQUIRED_COLUMNS if key not in columns]
        if missing:
            raise ValueError(
                f"{name} lacks the column(s) {', '.join(missing)}. "
                f"Needed: {', '.join(REQUIRED_COLUMNS)}."
            )
        rows = {key: np.asarray(columns[key]) for key in REQUIRED_COLUMNS}
        axes = np.stack([rows[key] for key in AXES], axis=-1).astype(np.float64)
        length = np.linalg.norm(axes, axis=-1)
        is_host = rows["halo_upid"] == -1
        # A host without an axis would turn every statistic of axes into NaN; its subhalos go too.
        bad_ids = rows["halo_id"][is_host & ~(length > 0)]
        keep = ~np.isin(rows["halo_hostid"], bad_ids) & ~np.isin(rows["halo_id"], bad_ids)
        rows = {key: values[keep] for key, values in rows.items()}
        axes, length, is_host = axes[keep], length[keep], is_host[keep]
        n_dropped = int((~keep).sum())
        if n_dropped:
            log.warning("%s: dropped %d rows whose host has a zero major axis.", name, n_dropped)
        if not is_host.any() or is_host.all():
            raise ValueError(
                f"{name} needs hosts (halo_upid == -1) and subhalos; it has only one kind."
            )
        length = np.where(length > 0, length, 1.0)  # subhalos' own axes are not used
        rows |= dict(zip(AXES, (axes / length[:, None]).T, strict=True))
        for key in (*POSITION, "halo_mvir", "halo_rvir"):
            high = box if key in POSITION else np.inf
            bad = ~((rows[key] >= 0) & (rows[key] <= high))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise ValueError(f"{name}: {key}[{row}] = {rows[key][row]} is outside [0, {high}].")
        if subhalo_mass_bins is None:
            subhalo_mass_bins = default_mass_bins(
                rows["halo_mvir"][is_host], rows["halo_mvir_host_halo"][~is_host]
            )
        bins = np.asarray(subhalo_mass_bins, np.float64)
        return cls(name, rows, box, redshift, particle_mass, bins, cosmology, provenance, n_dropped)

    @cached_property
    def sha256(self) -> str:
        """Hash of all that expectations depend on: the columns, the box and the mass bins."""
        digest = hashlib.sha256()
        for key in REQUIRED_COLUMNS:
            digest.update(np.ascontiguousarray(self.columns[key]).tobytes())
        digest.update(np.array([self.box, *self.subhalo_mass_bins], np.float64).tobytes())
        return digest.hexdigest()

    def to_halotools(self) -> UserSuppliedHaloCatalog:
        """The same rows as a catalogue of halotools, which copies them."""
        from halotools.sim_manager import UserSuppliedHaloCatalog

        return UserSuppliedHaloCatalog(
            Lbox=self.box,
            redshift=self.redshift,
            particle_mass=self.particle_mass,
            **self.columns,
        )


def default_mass_bins(
    host_mass: NDArray[np.float64], subhalo_host_mass: NDArray[np.float64], n_bins: int = 14
) -> NDArray[np.float64]:
    """Logarithmic host-mass bins in which `SubhaloPhaseSpace` finds subhalos everywhere.

    Parameters
    ----------
    host_mass : ndarray, shape (n_hosts,)
        Msun/h.
    subhalo_host_mass : ndarray, shape (n_subhalos,)
        Mass of each subhalo's host, Msun/h.
    n_bins : int
        Number of bins aimed at; bins with fewer than two subhalos are joined to a neighbour.

    Returns
    -------
    ndarray
        Edges, Msun/h, that enclose every host.
    """
    low, high = host_mass.min() * 0.99, host_mass.max() * 1.01
    edges = np.geomspace(low, high, n_bins + 1)
    counts = np.cumsum(np.histogram(subhalo_host_mass, edges)[0])
    kept, taken = [edges[0]], 0
    for edge, count in zip(edges[1:-1], counts[:-1], strict=True):
        if count - taken >= 2 and counts[-1] - count >= 2:
            kept.append(edge)
            taken = count
    return np.array([*kept, edges[-1]])
