"""A halo catalogue, checked: what mocks are drawn on and expectations are tabulated for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.boxes import check_filled, check_side, inside
from iaemu_likelihood.emulator.halos.rows import (
    AXES,
    CONCENTRATION,
    POSITION,
    REQUIRED_COLUMNS,
    Columns,
    check_rows,
    concentrations_of,
    refuse,
    rows_of,
)
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.units import NUMBER, FileMetadata
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

# Of where satellites are: on subhalos, or on NFW profiles.
SATELLITES = ("subhalos", "nfw")


@dataclass(frozen=True, eq=False, repr=False)
class HaloCatalogue:
    """Host halos and subhalos in a periodic box, as rows of the same columns.

    Make one with `HaloCatalogue.from_columns`, which checks it.

    Attributes
    ----------
    name : str
    columns : mapping of str to ndarray, shape (n_rows,)
        Those of `REQUIRED_COLUMNS`, as halotools names them: comoving positions in Mpc/h, masses in
        Msun/h, velocities in km/s, major axes as unit vectors. Hosts have halo_upid -1. Without
        subhalos also ``halo_nfw_conc``, the concentrations of the profiles that satellites follow.
    box : float
        Side of the box, Mpc/h.
    redshift : float
    particle_mass : float
        Msun/h.
    subhalo_mass_bins : ndarray, shape (n_mass_bins + 1,), or None
        Edges in host mass, Msun/h. A satellite beyond its host's last subhalo is placed like a
        subhalo of another host in the same bin. None without subhalos.
    cosmology, provenance : str or None
        In words; None if the source of the catalogue does not say.
    dropped : mapping of str to int
        Numbers of rows that are left out, by the reason.
    notes : tuple of str
        What else was done to the rows, in sentences.
    """

    name: str
    columns: Columns
    box: float
    redshift: float
    particle_mass: float
    subhalo_mass_bins: NDArray[np.float64] | None
    cosmology: str | None = None
    provenance: str | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        metadata: FileMetadata | None = None,
        satellites: str | None = None,
        dropped: Mapping[str, int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> HaloCatalogue:
        """Check columns, drop hosts without an axis and their subhalos, and normalise the axes.

        Without subhalos, satellites follow NFW profiles. Their concentrations are those of the column
        ``halo_nfw_conc``, or else the mean at the host's mass (Diemer & Joyce 2019) in the catalogue's
        cosmology.

        Parameters
        ----------
        name : str
        columns : mapping of str to array_like, shape (n_rows,)
            At least those of `REQUIRED_COLUMNS`, in any order of the rows; axes of any length.
            Columns of astropy that have another unit are converted.
        box, redshift, particle_mass, cosmology, provenance
            As the attributes.
        subhalo_mass_bins : array_like, optional
            `default_mass_bins` when left out.
        metadata : FileMetadata, optional
            Of the file from which the columns come, with their units and h.
        satellites : str, optional
            ``"nfw"`` leaves subhalos out, so that satellites follow NFW profiles; ``"subhalos"``
            refuses a catalogue without them.
        dropped, notes
            What a reader did before, as the attributes.

        Raises
        ------
        ValueError
            If a column is missing or holds an impossible value, a row is there twice, there are no
            hosts, or there are neither subhalos nor concentrations. The message names the column and
            the first such row, from 0.
        """
        if satellites not in (None, *SATELLITES):
            raise ValueError(
                f"satellites is {satellites!r}; expected {' or '.join(map(repr, SATELLITES))}."
            )
        missing = [key for key in REQUIRED_COLUMNS if key not in columns]
        if missing:
            raise ValueError(
                f"{name} lacks the column(s) {', '.join(missing)}. "
                f"Needed: {', '.join(REQUIRED_COLUMNS)}."
            )
        check_side(box, name)
        if not -1 < redshift < 1000:
            raise ValueError(
                f"{name}: the redshift is {redshift}; expected a number above -1 and below 1000."
            )
        if not 0 < particle_mass < np.inf:
            raise ValueError(
                f"{name}: particle_mass is {particle_mass} Msun/h; expected a positive number."
            )
        metadata = metadata or FileMetadata(name)
        rows = rows_of(columns, metadata, name)
        if CONCENTRATION in columns:
            rows[CONCENTRATION] = metadata.column(columns, CONCENTRATION, NUMBER)
        is_host = rows["halo_upid"] == -1
        position = inside({key: rows[key] for key in POSITION}, box, name)
        check_filled(position, box, name)
        rows |= position
        check_rows(rows, is_host, name)
        axes = np.stack([rows[key] for key in AXES], axis=-1).astype(np.float64)
        with np.errstate(over="ignore"):
            length = np.linalg.norm(axes, axis=-1)
        refuse(is_host & np.isinf(length), axes, "the major axis", "finite numbers", name)
        # A host without an axis would turn every statistic of axes into NaN; its subhalos go too.
        bad_ids = rows["halo_id"][is_host & ~(length > 0)]
        keep = ~np.isin(rows["halo_hostid"], bad_ids) & ~np.isin(rows["halo_id"], bad_ids)
        rows = {key: values[keep] for key, values in rows.items()}
        axes, length, is_host = axes[keep], length[keep], is_host[keep]
        left_out = dict(dropped or {})
        if not keep.all():
            left_out["hosts without a major axis, and their subhalos"] = int((~keep).sum())
        if not is_host.any():
            raise ValueError(f"{name} has no hosts, rows with halo_upid == -1.")
        if satellites == "nfw" and not is_host.all():
            left_out["subhalos, as satellites follow NFW profiles"] = int((~is_host).sum())
            rows = {key: values[is_host] for key, values in rows.items()}
            axes, length, is_host = axes[is_host], length[is_host], is_host[is_host]
        for reason, number in left_out.items():
            log.warning("%s: dropped %d row%s: %s.", name, number, "s" * (number > 1), reason)
        # Subhalos' own axes are not used.
        length = np.where((length > 0) & (length < np.inf), length, 1.0)
        rows |= dict(zip(AXES, (axes / length[:, None]).T, strict=True))
        if is_host.all():
            if satellites == "subhalos":
                raise ValueError(f"{name} needs subhalos, rows with halo_upid != -1; it has none.")
            rows[CONCENTRATION], told = concentrations_of(rows, redshift, cosmology, name)
            bins, notes = None, (*notes, *told)
        else:
            rows.pop(CONCENTRATION, None)
            if subhalo_mass_bins is None:
                subhalo_mass_bins = default_mass_bins(
                    rows["halo_mvir"][is_host], rows["halo_mvir_host_halo"][~is_host]
                )
            bins = np.asarray(subhalo_mass_bins, np.float64)
            if bins.ndim != 1 or len(bins) < 2 or not bins[0] > 0 or not (np.diff(bins) > 0).all():
                raise ValueError(
                    f"{name}: subhalo_mass_bins is {bins}; expected increasing masses, Msun/h."
                )
        return cls(
            name, rows, box, redshift, particle_mass, bins, cosmology, provenance, left_out, notes
        )

    @property
    def n_dropped(self) -> int:
        """Number of rows that are left out, for any reason."""
        return sum(self.dropped.values())

    @property
    def satellites(self) -> str:
        """Where satellites are, one of `SATELLITES`."""
        return "nfw" if self.subhalo_mass_bins is None else "subhalos"

    @cached_property
    def sha256(self) -> str:
        """Hash of all that expectations depend on: the columns, the box, and mass bins if it has any."""
        digest = hashlib.sha256()
        for key in REQUIRED_COLUMNS:
            digest.update(np.ascontiguousarray(self.columns[key]).tobytes())
        if self.subhalo_mass_bins is None:
            digest.update(self.columns[CONCENTRATION].tobytes())
            digest.update(np.array([self.box], np.float64).tobytes())
        else:
            digest.update(np.array([self.box, *self.subhalo_mass_bins], np.float64).tobytes())
        return digest.hexdigest()

    @property
    def in_short(self) -> str:
        """Numbers of halos, box and redshift, in words."""
        hosts = self.columns["halo_upid"] == -1
        return (
            f"{hosts.sum()} hosts and {(~hosts).sum()} subhalos in a box of {self.box:g} Mpc/h, "
            f"z = {self.redshift:g}"
        )

    def __repr__(self) -> str:
        return f"<HaloCatalogue {self.name}: {self.in_short}>"

    @cached_property
    def abundance(self) -> HostAbundance:
        """Number densities of the hosts by mass."""
        hosts = self.columns["halo_upid"] == -1
        return HostAbundance.of(np.log10(self.columns["halo_mvir"][hosts]), self.box)

    def plot(self) -> Figure:
        """Draw mass functions, the distribution of axes, and subhalos; see `halo_catalogue_plot`."""
        from iaemu_likelihood.plots.halo_catalogue import halo_catalogue_plot

        return halo_catalogue_plot(self.columns, self.box, self.redshift, self.cosmology)

    @silent
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
