"""SOAP's halo catalogues of SWIFT simulations, such as FLAMINGO, by swiftsimio.

Masses and lengths are without h in these files, lengths and velocities comoving or physical by flags,
which swiftsimio reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.assembling import Halos
from iaemu_likelihood.emulator.halos.readers.stated import Stated
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


def read(path: Path, stated: Stated | None = None) -> HaloCatalogue:
    """Read such a file; see `load_halos`."""
    import swiftsimio

    stated = stated or Stated()
    data = swiftsimio.load(str(path))
    raw = data.metadata.cosmology_raw or {}
    known = {key: float(np.ravel(value)[0]) for key, value in raw.items() if np.size(value) == 1}
    h = known.get("h")
    if h is None:
        raise ValueError(
            f"{path} does not say h, which lengths and masses need: Cosmology lacks it."
        )
    sides = np.ravel(data.metadata.boxsize.to_comoving().to_value("Mpc")) * h
    if np.ptp(sides) > 1e-6 * sides.max():
        raise ValueError(f"{path}: the box is {sides} Mpc/h; only cubic boxes can be used.")
    spheres = next((part for part in OVERDENSITIES if hasattr(data, _of(part))), None)
    if spheres is None:
        raise ValueError(
            f"{path} has no halos of SO/BN98, SO/200_mean or SO/200_crit; its groups are "
            f"{', '.join(data.metadata.present_group_names)}."
        )
    sphere, bound = _of(spheres), "bound_subhalo"

    def values(part: str, name: str, unit: str | None = None) -> Array:
        found = getattr(getattr(data, part, None), name, None)
        if found is None:
            raise ValueError(f"{path} lacks {part}.{name}, by swiftsimio's names.")
        if unit is None:
            return np.asarray(found)
        if found.valid_transform:
            found = found.to_physical() if unit == "km/s" else found.to_comoving()
        return np.asarray(found.to_value(unit), np.float64)

    def has(part: str, name: str) -> bool:
        return name in getattr(
            getattr(data.metadata, f"{part}_properties", None), "field_names", []
        )

    number = values("input_halos", "halo_catalogue_index").astype(np.int64)
    central = values("input_halos", "is_central").astype(bool)
    parent = np.full(len(number), -1)
    if not central.all():
        # Rows of the file; centrals have -1, or in later versions themselves.
        host = values("soap", "host_halo_index").astype(np.int64)
        impossible = np.flatnonzero(~central & ((host < 0) | (host >= len(number))))
        # A subhalo whose group has no central is nobody's.
        parent[~central] = number[np.clip(host[~central], 0, len(number) - 1)]
        parent[impossible] = number.min() - 2
    which = next(
        ((sphere if of_sphere else bound, name) for of_sphere, name in TENSORS
         if has(sphere if of_sphere else bound, name)), None,
    )  # fmt: skip
    if which is None:
        raise ValueError(f"{path} has no inertia tensors in SO/{spheres} or BoundSubhalo.")
    mass = values(sphere, "total_mass", "Msun") * h
    bound_mass = values(bound, "total_mass", "Msun") * h
    peak_part = "input_halos_hbtplus"
    peaks = has(peak_part, "last_max_mass")
    peak = values(peak_part, "last_max_mass", "Msun") * h if peaks else bound_mass
    speed = (bound, "centre_of_mass_velocity")
    # Spheres are about hosts only, and about none that is too small.
    empty = central & (mass <= 0)
    kept = ~empty
    halos = Halos(
        id=number[kept],
        parent=parent[kept],
        position=values("input_halos", "halo_centre", "Mpc")[kept] * h,
        velocity=values(*speed, "km/s")[kept],
        axis=major_axes(values(*which))[kept],
        mass=np.where(central, mass, bound_mass)[kept],
        rvir=values(sphere, "soradius", "Mpc")[kept] * h,
        peak_mass=peak[kept],
        concentration=values(sphere, "concentration")[kept].astype(np.float64)
        if has(sphere, "concentration") else None,
        dropped={f"hosts without a mass in SO/{spheres}": int(empty.sum())} if empty.any() else {},
        notes=[
            f"Hosts' masses and radii are those of SO/{spheres}, axes of {'.'.join(which)}.",
            f"Subhalos are ranked by {'LastMaxMass of HBT' if peaks else 'their bound mass'}.",
        ],
    )  # fmt: skip
    cosmology = {"Om0": known.get("Omega_m"), "Ob0": known.get("Omega_b"), "h": h}
    of_particle = data.metadata.initial_mass_table.dark_matter
    particle_mass = 0.0 if of_particle is None else float(of_particle.to_value("Msun")) * h
    return halos.catalogue(
        path.name,
        stated.number("box", float(sides[0]), path),
        stated.number("redshift", float(np.ravel(data.metadata.redshift)[0]), path),
        stated.number("particle_mass", particle_mass or None, path),
        stated.words(cosmology, path),
        f"SOAP, {path.name}",
        stated,
    )


def _of(overdensity: str) -> str:
    return f"spherical_overdensity_{overdensity}"
