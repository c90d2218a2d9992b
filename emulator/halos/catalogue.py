"""A halo catalogue, checked: what mocks are drawn on and expectations are tabulated for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.boxes import check_filled, check_side, first_repeat, inside
from iaemu_likelihood.emulator.units import LENGTH, MASS, NUMBER, SPEED, FileMetadata
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

AXES = ("halo_axisA_x", "halo_axisA_y", "halo_axisA_z")
POSITION = ("halo_x", "halo_y", "halo_z")
VELOCITY = ("halo_vx", "halo_vy", "halo_vz")
IDS = ("halo_id", "halo_upid", "halo_hostid")
MASSES = ("halo_mvir", "halo_mpeak", "halo_mvir_host_halo")
UNITS = {
    **dict.fromkeys((*POSITION, "halo_rvir"), LENGTH),
    **dict.fromkeys(VELOCITY, SPEED),
    **dict.fromkeys(MASSES, MASS),
}
# In the order of the hash.
REQUIRED_COLUMNS = (
    *IDS,
    *POSITION,
    *VELOCITY,
    "halo_mvir",
    "halo_rvir",
    "halo_mpeak",
    "halo_mvir_host_halo",
    *AXES,
)
# The heaviest halo of a box is heavier than this, Msun/h.
_LIGHTEST = 1e6

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class HaloCatalogue:
    """Host halos and subhalos in a periodic box, as rows of the same columns.

    Make one with `HaloCatalogue.from_columns`, which checks it.

    Attributes
    ----------
    name : str
    columns : mapping of str to ndarray, shape (n_rows,)
        Those of `REQUIRED_COLUMNS`, as halotools names them: comoving positions in Mpc/h, masses in
        Msun/h, velocities in km/s, major axes as unit vectors. Hosts have halo_upid -1.
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
        metadata: FileMetadata | None = None,
    ) -> HaloCatalogue:
        """Check columns, drop hosts without an axis and their subhalos, and normalise the axes.

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

        Raises
        ------
        ValueError
            If a column is missing or holds an impossible value, a row is there twice, or there are no
            hosts or no subhalos. The message names the column and the first such row, from 0.
        """
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
        rows = _rows(columns, metadata or FileMetadata(name), name)
        is_host = rows["halo_upid"] == -1
        position = inside({key: rows[key] for key in POSITION}, box, name)
        check_filled(position, box, name)
        rows |= position
        _check(rows, is_host, name)
        axes = np.stack([rows[key] for key in AXES], axis=-1).astype(np.float64)
        with np.errstate(over="ignore"):
            length = np.linalg.norm(axes, axis=-1)
        _refuse(is_host & np.isinf(length), axes, "the major axis", "finite numbers", name)
        # A host without an axis would turn every statistic of axes into NaN; its subhalos go too.
        bad_ids = rows["halo_id"][is_host & ~(length > 0)]
        keep = ~np.isin(rows["halo_hostid"], bad_ids) & ~np.isin(rows["halo_id"], bad_ids)
        rows = {key: values[keep] for key, values in rows.items()}
        axes, length, is_host = axes[keep], length[keep], is_host[keep]
        n_dropped = int((~keep).sum())
        if n_dropped:
            log.warning("%s: dropped %d rows whose host has no major axis.", name, n_dropped)
        if not is_host.any() or is_host.all():
            raise ValueError(
                f"{name} needs hosts (halo_upid == -1) and subhalos; it has only one kind."
            )
        # Subhalos' own axes are not used.
        length = np.where((length > 0) & (length < np.inf), length, 1.0)
        rows |= dict(zip(AXES, (axes / length[:, None]).T, strict=True))
        if subhalo_mass_bins is None:
            subhalo_mass_bins = default_mass_bins(
                rows["halo_mvir"][is_host], rows["halo_mvir_host_halo"][~is_host]
            )
        bins = np.asarray(subhalo_mass_bins, np.float64)
        if bins.ndim != 1 or len(bins) < 2 or not bins[0] > 0 or not (np.diff(bins) > 0).all():
            raise ValueError(
                f"{name}: subhalo_mass_bins is {bins}; expected increasing masses, Msun/h."
            )
        return cls(name, rows, box, redshift, particle_mass, bins, cosmology, provenance, n_dropped)

    @cached_property
    def sha256(self) -> str:
        """Hash of all that expectations depend on: the columns, the box and the mass bins."""
        digest = hashlib.sha256()
        for key in REQUIRED_COLUMNS:
            digest.update(np.ascontiguousarray(self.columns[key]).tobytes())
        digest.update(np.array([self.box, *self.subhalo_mass_bins], np.float64).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        hosts = self.columns["halo_upid"] == -1
        return (
            f"<HaloCatalogue {self.name}: {hosts.sum()} hosts and {(~hosts).sum()} subhalos in a box of "
            f"{self.box:g} Mpc/h, z = {self.redshift:g}>"
        )

    def plot(self) -> Figure:
        """Draw the mass functions of hosts and of subhalos."""
        from iaemu_likelihood.plots.mass_function import mass_function_plot

        hosts, mass = self.columns["halo_upid"] == -1, self.columns["halo_mvir"]
        masses = {"hosts": mass[hosts], "subhalos": mass[~hosts & (mass > 0)]}
        return mass_function_plot(masses, self.box**3)

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


def _rows(columns: Any, metadata: FileMetadata, name: str) -> dict[str, NDArray[Any]]:
    """The required columns in their units and the machine's byte order, all of one length."""
    # Axes of any length may have any unit, but only one.
    of_axes = metadata.unit_of(AXES[0], columns[AXES[0]]) or NUMBER
    units = {**UNITS, **dict.fromkeys(AXES, of_axes)}
    rows = {
        key: metadata.column(columns, key, units[key]) if key in units else _ids(columns, key, name)
        for key in REQUIRED_COLUMNS
    }
    shapes = {key: values.shape for key, values in rows.items()}
    if len({*shapes.values()}) > 1 or len(shapes[IDS[0]]) != 1:
        raise ValueError(f"{name}: expected one number per halo in each column; got {shapes}.")
    return rows


def _ids(columns: Any, key: str, name: str) -> NDArray[Any]:
    ids: Any = np.ma.asarray(columns[key])
    whole = ids.dtype.kind in "iu" or (
        ids.dtype.kind == "f" and bool((np.isfinite(ids) & (ids == np.round(ids))).all())
    )
    if not whole or np.ma.is_masked(ids):
        raise ValueError(f"{name}: {key} has a cell without a whole number.")
    plain = np.asarray(ids)
    return plain.astype(plain.dtype.newbyteorder("="), copy=False)


def _check(rows: Columns, is_host: NDArray[np.bool_], name: str) -> None:
    """Raise a ValueError for numbers that make no sense, and for a halo that is there twice."""
    for key in ("halo_rvir", *MASSES):
        _refuse(
            ~(rows[key] >= 0) | np.isinf(rows[key]),
            rows[key],
            key,
            "a finite number, 0 or more",
            name,
        )
    for key in VELOCITY:
        _refuse(~np.isfinite(rows[key]), rows[key], key, "a finite number", name)
    host_mass = rows["halo_mvir_host_halo"]
    _refuse(host_mass == 0, host_mass, "halo_mvir_host_halo", "a positive number", name)
    mass = rows["halo_mvir"]
    _refuse(is_host & (mass == 0), mass, "halo_mvir", "a positive number for a host", name)
    for key in MASSES:
        if len(rows[key]) and rows[key].max() < _LIGHTEST:
            raise ValueError(
                f"{name}: {key} is {rows[key].max():g} Msun/h at most. Are these logarithms, or in "
                "1e10 Msun/h? Convert them, or declare their unit."
            )
    repeat = first_repeat(rows["halo_id"])
    if repeat is not None:
        raise ValueError(
            f"{name}: rows {repeat[0]} and {repeat[1]} have the same halo_id, "
            f"{rows['halo_id'][repeat[0]]}. Leave the repeated rows out."
        )
    hosts = np.flatnonzero(is_host)
    repeat = first_repeat(*(rows[key][hosts] for key in (*POSITION, "halo_mvir")))
    if repeat is not None:
        raise ValueError(
            f"{name}: rows {hosts[repeat[0]]} and {hosts[repeat[1]]} are the same host, with equal "
            "positions and masses. Leave the repeated rows out."
        )


def _refuse(
    bad: NDArray[np.bool_], values: NDArray[Any], what: str, expected: str, name: str
) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name}: {what} is {values[row]} in row {row}; expected {expected}; {bad.sum()} such "
            "row(s)."
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
