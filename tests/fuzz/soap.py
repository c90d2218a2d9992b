"""Files of SOAP: halos of SWIFT, by swiftsimio, to the sites where galaxies may be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.rows import POSITION

from ..emulator.halos.files import BOX, PARTICLE_MASS, REDSHIFT, Simulated
from .cases import Case
from .changes import NOT_FINITE, Rng, damaged_hdf5, odd, one, same

# Data that are read, and whether a number of a host's row that is none must be refused.
DATA = {
    "InputHalos/HaloCatalogueIndex": False,
    "InputHalos/IsCentral": False,
    "InputHalos/HaloCentre": True,
    "SO/BN98/TotalMass": True,
    "SO/BN98/SORadius": True,
    "BoundSubhalo/TotalInertiaTensor": False,
    "BoundSubhalo/TotalMass": False,
    "BoundSubhalo/CentreOfMassVelocity": True,
}
# Attributes without which numbers have no meaning.
NUMBERS = (("Header", "BoxSize"), ("Header", "Redshift"), ("Cosmology", "h"))


class Soap:
    """See the head of this module."""

    name = "soap"
    share = 1.0

    def __init__(self, folder: Path) -> None:
        self._halos = Simulated.make(n_hosts=40, seed=2)
        self._examples = {}
        for physical in (False, True):
            self._examples[physical] = folder / f"soap_{physical}.hdf5"
            self._halos.write_soap(self._examples[physical], physical=physical)

    def case(self, rng: Rng, folder: Path) -> Case:
        path = folder / "soap.hdf5"
        shutil.copy(self._examples[bool(rng.integers(2))], path)
        if rng.random() < 0.3:
            about, content = damaged_hdf5(rng, path.read_bytes())
            path.write_bytes(content)
            return Case(about, lambda: self._read(path), self._senseless)
        change = one(
            rng, (self._lacking, self._rows, self._number, self._attribute, self._unit, self._none)
        )
        with h5py.File(path, "r+") as file:
            about, why = change(file, rng)
        return Case(about, lambda: self._read(path), lambda found: self._wrong(found, why))

    # Each says what it did, and why nothing may be read; empty if something may.

    def _lacking(self, file: Any, rng: Rng) -> tuple[str, str]:
        name = one(rng, DATA)
        del file[name]
        return f"without {name}", f"without {name}"

    def _rows(self, file: Any, rng: Rng) -> tuple[str, str]:
        name = one(rng, DATA)
        values, attributes = file[name][...], dict(file[name].attrs)
        del file[name]
        n = int(rng.integers(len(values)))
        file[name] = values[:n]
        file[name].attrs.update(attributes)
        return f"{name} has {n} rows", f"{name} is too short"

    def _number(self, file: Any, rng: Rng) -> tuple[str, str]:
        name, value = one(rng, [x for x, refused in DATA.items() if refused]), one(rng, NOT_FINITE)
        row = int(rng.integers(40))
        file[name][row] = value
        return f"{name} is {value} in row {row}", f"{name} is {value}"

    def _attribute(self, file: Any, rng: Rng) -> tuple[str, str]:
        group, key = one(rng, NUMBERS)
        if rng.random() < 0.4:
            del file[group].attrs[key]
            return f"without {group}/{key}", f"without {key}"
        # What an attribute of HDF5 can hold.
        odds = (odd(rng) for _ in range(50))
        value = one(
            rng,
            [
                x
                for x in odds
                if isinstance(x, (str, float)) or (isinstance(x, int) and abs(x) < 2**62)
            ],
        )
        before = np.ravel(file[group].attrs[key])[0]
        if key == "h" and isinstance(value, (int, float)) and 0.2 < value < 2:
            value = before  # another h is another file
        file[group].attrs[key] = value
        may = isinstance(value, (int, float)) and value == before
        return f"{group}/{key} is {value!r}", "" if may else f"{key} is {value!r}"

    def _unit(self, file: Any, rng: Rng) -> tuple[str, str]:
        # Of lengths, and of time, so that velocities stay: the same halos in other units.
        factor = one(rng, [2.0, 1e3])
        units = file["Units"].attrs
        key = "Unit length in cgs (U_L)"
        units[key] = units[key] * factor
        file["Header"].attrs["BoxSize"] = file["Header"].attrs["BoxSize"] / factor
        for name in ("InputHalos/HaloCentre", "SO/BN98/SORadius"):
            file[name][...] = file[name][...] / factor
        units["Unit time in cgs (U_t)"] = units["Unit time in cgs (U_t)"] * factor
        return f"unit of length times {factor:g}", ""

    def _none(self, file: Any, rng: Rng) -> tuple[str, str]:
        return "nothing", ""

    def _read(self, path: Path) -> Any:
        halos = load_halos(path)
        return halos, GalaxySites.of(halos)

    def _senseless(self, found: Any) -> str:
        halos, sites = found
        for name, values in halos.columns.items():
            if not np.isfinite(np.asarray(values, float)).all() and "axis" not in name:
                return f"{name} is not finite"
        inside = (sites.position >= 0) & (sites.position <= halos.box)
        return "" if inside.all() else "positions outside the box"

    def _wrong(self, found: Any, why: str) -> str:
        if why:
            return f"accepted, but {why}"
        halos, _ = found
        wanted = self._halos
        for key, value in (("box", BOX), ("redshift", REDSHIFT), ("particle_mass", PARTICLE_MASS)):
            if not same(getattr(halos, key), value, 1e-6):
                return f"{key} is {getattr(halos, key)}, not {value}"
        order, mine = np.argsort(wanted.id), np.argsort(halos.columns["halo_id"])
        if len(order) != len(mine):
            return f"{len(mine)} rows of {len(order)}"
        host = wanted.parent[order] == -1
        position = np.stack([halos.columns[x] for x in POSITION], axis=-1)[mine]
        if not same(position, wanted.position[order], 1e-6):
            return "positions are not those of the file"
        for name, values in (("halo_mvir", wanted.mass), ("halo_rvir", wanted.rvir)):
            if not same(halos.columns[name][mine][host], values[order][host], 1e-6):
                return f"{name} is not that of the file"
        return ""
