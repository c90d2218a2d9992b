"""SOAP's halo catalogues of SWIFT simulations, such as FLAMINGO, by swiftsimio.

Masses and lengths are without h in these files, lengths and velocities comoving or physical by flags,
which swiftsimio reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.assembling import Halos
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.hdf5 import open_hdf5
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float64]

# Halos of this overdensity, the first that is there: Bryan & Norman's, then others.
OVERDENSITIES = ("bn98", "200_mean", "200_crit")
# Mass tensors, by the part of the file and their name; the first that is there. Those of a sphere come
# first: particles that are bound to a host leave its subhalos out.
TENSORS = tuple(
    (of_sphere, f"{kind}_inertia_tensor{how}")
    for of_sphere, how in (
        (True, "_noniterative"),
        (True, ""),
        (False, ""),
        (False, "_noniterative"),
    )
    for kind in ("total", "dark_matter")
)
# Of the Hubble constant in 100 km/s/Mpc, what a simulation may have.
_H = 0.2, 2.0


def recognises(file: h5py.File) -> bool:
    """Whether an HDF5 file is one of SOAP."""
    kind = file["Header"].attrs.get("OutputType", b"") if "Header" in file else b""
    kind = kind[0] if isinstance(kind, np.ndarray) and kind.size else kind
    return (kind.decode() if isinstance(kind, bytes) else str(kind)) in ("SOAP", "SOAPSubset")


def major_axes(tensor: NDArray[Any]) -> Array:
    """Major axes of mass tensors that are stored as xx, yy, zz, xy, xz, yz.

    Parameters
    ----------
    tensor : ndarray, shape (n, 6)

    Returns
    -------
    ndarray, shape (n, 3)
        Unit vectors; zero where the tensor is zero, as it is of halos of too few particles.
    """
    xx, yy, zz, xy, xz, yz = np.asarray(tensor, np.float64).T
    rows = [np.stack(row, axis=-1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))]
    _, vectors = np.linalg.eigh(np.stack(rows, axis=-2))
    known = np.any(np.asarray(tensor) != 0, axis=-1)
    return np.where(known[:, None], vectors[..., -1], 0.0)


@contextmanager
def _by_swiftsimio(path: Path, what: str) -> Iterator[None]:
    """Say in words what swiftsimio, which raises whatever it stumbles over, could not read."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: swiftsimio cannot read {what}. The file is damaged, or not as SOAP writes it."
        ) from error


class _Soap:
    """An open file of SOAP: its columns by swiftsimio's names, with h."""

    def __init__(self, path: Path) -> None:
        import swiftsimio

        with open_hdf5(path):
            pass  # all of its data are inside
        self.path = path
        with _by_swiftsimio(path, "its metadata"):
            self.data = swiftsimio.load(str(path))
            self.metadata = self.data.metadata
            raw = self.metadata.cosmology_raw or {}
            numbers = {key: float(np.ravel(x)[0]) for key, x in raw.items() if np.size(x) == 1}
        h = numbers.get("h")
        if h is None:
            raise ValueError(
                f"{path} does not say h, which lengths and masses need: Cosmology lacks it."
            )
        if not _H[0] < h < _H[1]:
            raise ValueError(f"{path}: h is {h:g}; expected a number from {_H[0]:g} to {_H[1]:g}.")
        self.h = h
        self.cosmology = {"Om0": numbers.get("Omega_m"), "Ob0": numbers.get("Omega_b"), "h": h}

    def has(self, part: str, name: str) -> bool:
        """Whether there is such a column."""
        properties = getattr(self.metadata, f"{part}_properties", None)
        return name in getattr(properties, "field_names", [])

    def plain(self, part: str, name: str) -> NDArray[Any]:
        """A column without a unit."""
        return np.asarray(self._column(part, name))

    def lengths(self, part: str, name: str) -> Array:
        """In comoving Mpc/h, whether the file holds them comoving or physical."""
        column = self._column(part, name)
        with _by_swiftsimio(self.path, f"{part}.{name} as lengths"):
            return np.asarray(column.to_comoving().to_value("Mpc"), np.float64) * self.h

    def masses(self, part: str, name: str) -> Array:
        """In Msun/h."""
        column = self._column(part, name)
        with _by_swiftsimio(self.path, f"{part}.{name} as masses"):
            return np.asarray(column.to_value("Msun"), np.float64) * self.h

    def speeds(self, part: str, name: str) -> Array:
        """Peculiar, in km/s."""
        column = self._column(part, name)
        with _by_swiftsimio(self.path, f"{part}.{name} as velocities"):
            return np.asarray(column.to_physical().to_value("km/s"), np.float64)

    def _column(self, part: str, name: str) -> Any:
        if not self.has(part, name):
            raise ValueError(f"{self.path} lacks {part}.{name}, by swiftsimio's names.")
        with _by_swiftsimio(self.path, f"{part}.{name}"):
            column, n = getattr(getattr(self.data, part), name), self.metadata.n_subhalos
        if len(column) != n:
            raise ValueError(f"{self.path}: {part}.{name} has {len(column)} rows; expected {n}.")
        return column

    @property
    def box(self) -> float:
        """Side of the box, Mpc/h."""
        with _by_swiftsimio(self.path, "the side of the box"):
            sides = np.ravel(self.metadata.boxsize.to_comoving().to_value("Mpc")) * self.h
        if np.ptp(sides) > 1e-6 * sides.max():
            raise ValueError(
                f"{self.path}: the box is {sides} Mpc/h; only cubic boxes can be used."
            )
        return float(sides[0])

    @property
    def particle_mass(self) -> float | None:
        """Of dark matter, Msun/h; None if the file does not say it."""
        with _by_swiftsimio(self.path, "the mass of particles"):
            mass = self.metadata.initial_mass_table.dark_matter
            return None if mass is None else (float(mass.to_value("Msun")) * self.h or None)

    @property
    def redshift(self) -> float:
        """Of the snapshot."""
        with _by_swiftsimio(self.path, "the redshift"):
            z, a = (
                float(np.ravel(x)[0]) for x in (self.metadata.redshift, self.metadata.scale_factor)
            )
        if not abs(a * (1 + z) - 1) < 1e-3:
            raise ValueError(
                f"{self.path}: the redshift is {z:g} but the scale factor {a:g}, which is not 1 / (1 + z)."
            )
        return z

    @property
    def sphere(self) -> str:
        """The part with the spherical overdensity that is there."""
        parts = [f"spherical_overdensity_{each}" for each in OVERDENSITIES]
        present = self.metadata.present_group_names
        found = next((part for part in parts if part in present), None)
        if found is None:
            raise ValueError(
                f"{self.path} has no halos of SO/BN98, SO/200_mean or SO/200_crit; its groups are "
                f"{', '.join(present)}."
            )
        return found


def read(path: Path, stated: Stated | None = None) -> HaloCatalogue:
    """Read such a file; see `load_halos`."""
    stated, file = stated or Stated(), _Soap(path)
    sphere, bound, history = file.sphere, "bound_subhalo", "input_halos_hbtplus"
    tensors = [(sphere if of_sphere else bound, name) for of_sphere, name in TENSORS]
    tensor = next((each for each in tensors if file.has(*each)), None)
    if tensor is None:
        raise ValueError(f"{path} has no inertia tensors in {sphere} or {bound}.")
    central = file.plain("input_halos", "is_central").astype(bool)
    mass, bound_mass = file.masses(sphere, "total_mass"), file.masses(bound, "total_mass")
    peaks = file.has(history, "last_max_mass")
    has_concentration = file.has(sphere, "concentration")
    halos = Halos(
        id=file.plain("input_halos", "halo_catalogue_index").astype(np.int64),
        parent=_parents(file, central),
        position=file.lengths("input_halos", "halo_centre"),
        velocity=file.speeds(bound, "centre_of_mass_velocity"),
        axis=major_axes(file.plain(*tensor)),
        # Spheres are about hosts only.
        mass=np.where(central, mass, bound_mass),
        rvir=file.lengths(sphere, "soradius"),
        peak_mass=file.masses(history, "last_max_mass") if peaks else bound_mass,
        concentration=file.plain(sphere, "concentration").astype(float) if has_concentration else None,
        notes=[
            f"Hosts' masses and radii are those of {sphere}, axes of {'.'.join(tensor)}.",
            f"Subhalos are ranked by {'LastMaxMass of HBT' if peaks else 'their bound mass'}.",
        ],
    )  # fmt: skip
    return halos.without(central & (mass == 0), f"hosts without a mass in {sphere}").catalogue(
        path.name,
        stated.number("box", file.box, path),
        stated.number("redshift", file.redshift, path),
        stated.number("particle_mass", file.particle_mass, path),
        stated.words(file.cosmology, path),
        f"SOAP, {path.name}",
        stated,
    )


def _parents(file: _Soap, central: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of halos' parents, -1 for hosts, from the rows of the file that name them."""
    number = file.plain("input_halos", "halo_catalogue_index").astype(np.int64)
    parent = np.full(len(number), -1)
    if central.all():
        return parent
    # Centrals have -1, or in later versions themselves.
    row = file.plain("soap", "host_halo_index").astype(np.int64)[~central]
    known = (row >= 0) & (row < len(number))
    # A subhalo whose group has no central is nobody's: a number that no halo has.
    nobody = number.min() - 2
    parent[~central] = np.where(known, number[np.where(known, row, 0)], nobody)
    return parent
