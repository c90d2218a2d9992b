"""Files of catalogues: what may happen to a table of halos or galaxies before it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.table import MaskedColumn, Table

from .cases import Refused
from .changes import NOT_FINITE, Rng, damaged, damaged_hdf5, odd, one

H = 0.7
# Lengths without h, in Mpc.
LENGTHS_WITH_H = {"Mpc": 1.0, "kpc": 1e-3}
Columns = dict[str, np.ndarray]


@dataclass
class Catalogue:
    """Columns as they are written, and what they are in the units of the package.

    Attributes
    ----------
    columns, meta, units
        To be written.
    meant : dict of str to ndarray
        The columns in the units of the package, in float64.
    senseless : str
        Why nothing may be read from it; empty if something may.
    rtol : float
        How well numbers are known.
    said : dict of str to float
        Numbers of the metadata that may be any.
    """

    columns: Columns
    meta: dict[str, Any]
    units: dict[str, str] = field(default_factory=dict)
    meant: Columns | None = None
    senseless: str = ""
    rtol: float = 1e-9
    said: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {name: values.copy() for name, values in self.columns.items()}
        self.meant = {name: values.astype(float) for name, values in self.columns.items()}

    def refuse(self, why: str) -> str:
        """Note that nothing may be read from it."""
        self.senseless = self.senseless or why
        return why

    def rows(self, which: Any) -> None:
        for columns in (self.columns, self.meant or {}):
            for name in columns:
                columns[name] = columns[name][which]

    def set(self, name: str, rows: Any, value: Any) -> None:
        for columns in (self.columns, self.meant or {}):
            columns[name][rows] = value

    def expected(self) -> Columns:
        """The columns in the units of the package.

        Raises
        ------
        Refused
            If it makes no sense.
        """
        if self.senseless or self.meant is None:
            raise Refused(self.senseless)
        return self.meant


def scaled(
    c: Catalogue,
    rng: Rng,
    worth: dict[str, dict[str, float]],
    with_h: dict[str, dict[str, float]],
    strange: tuple[str, ...],
) -> str:
    """Give a column a unit.

    Parameters
    ----------
    worth : dict
        By column, units that are converted and what they are in the package's.
    with_h : dict
        The same, to be multiplied by h, which the file must give.
    strange : tuple of str
        Units that mean nothing there.
    """
    name = one(rng, worth)
    unit = one(rng, [*worth[name], *with_h[name], *strange])
    c.units[name] = unit
    if unit in with_h[name] and rng.random() < 0.7:
        c.meta["h"] = H
        c.columns[name] = c.columns[name] / (H * with_h[name][unit])
        return f"{name} in {unit}, h = {H}"
    if unit not in worth[name]:
        return c.refuse(f"{name} in {unit}")
    c.columns[name] = c.columns[name] / worth[name][unit]
    return f"{name} in {unit}"


def retyped(c: Catalogue, rng: Rng, names: tuple[str, ...]) -> str:
    """Another type of number, or byte order."""
    name = one(rng, names)
    kind = one(rng, [">f8", "<f4", ">f4", "f2", "U", "c16", "bool", "O"])
    x = c.columns[name]
    if kind in ("U", "O"):
        c.columns[name] = np.array([f"{value!r}" for value in x.tolist()])
        return f"{name} as text"  # the same numbers, should anyone read them
    if kind == "bool":
        c.columns[name] = x > x.mean()
        return c.refuse(f"{name} of truth values")
    if kind == "c16":
        c.columns[name] = x + 1j
        return c.refuse(f"{name} complex")
    with np.errstate(over="ignore"):
        c.columns[name] = x.astype(kind)
    if c.meant is not None:
        c.meant[name] = c.columns[name].astype(float)
        if not np.isfinite(c.meant[name]).all():
            c.refuse(f"{name} overflows")
    return f"{name} as {kind}"


def not_finite(c: Catalogue, rng: Rng, names: tuple[str, ...]) -> str:
    """A cell that is no number."""
    name, value, row = (
        one(rng, names),
        one(rng, NOT_FINITE),
        int(rng.integers(len(c.columns[names[0]]))),
    )
    if c.columns[name].dtype.kind != "f":
        c.columns[name] = c.columns[name].astype(float)
    c.set(name, row, value)
    return c.refuse(f"{name} is {value} in row {row}")


def write(c: Catalogue, path: Path, rng: Rng) -> str:
    """Write a catalogue in the format of the file's ending; returns what is special about it."""
    ending = path.suffix
    kind = "table"
    if ending == ".hdf5":
        kind = one(rng, ["plain", "plain", "table", "links", "attribute per column"])
        if kind != "table":
            _write_hdf5(c, path, kind)
            return kind
    table = Table(
        {name: MaskedColumn(values) if np.ma.isMaskedArray(values) else values for name, values in c.columns.items()},
        meta=c.meta,
    )  # fmt: skip
    for name, unit in c.units.items():
        table[name].unit = unit
    options: dict[str, Any] = {".hdf5": {"path": "halos", "serialize_meta": True}}.get(ending, {})
    table.write(path, overwrite=True, **options)
    return kind


def _write_hdf5(c: Catalogue, path: Path, kind: str) -> None:
    outside = path.with_name("outside.hdf5")
    linked = list(c.columns)[-1] if kind == "links" else None
    with h5py.File(path, "w") as file:
        for name, values in c.columns.items():
            content = values.astype("S") if values.dtype.kind == "U" else np.asarray(values)
            if name == linked:
                with h5py.File(outside, "w") as other:
                    other[name] = content
                file[name] = h5py.ExternalLink(outside.name, name)
                continue
            file[name] = content
            if name in c.units:
                file[name].attrs["unit" if kind == "plain" else "units"] = c.units[name]
        file.attrs.update(c.meta)
    if linked:
        c.refuse("columns in another file")


def damage(path: Path, rng: Rng) -> tuple[str, bool]:
    """Damage a file; says what was done, and whether anything of it is another byte."""
    before = path.read_bytes()
    change = damaged_hdf5 if path.suffix == ".hdf5" else damaged
    about, after = change(rng, before)
    path.write_bytes(after)
    return about, after != before


def odd_metadata(c: Catalogue, rng: Rng, required: dict[str, str]) -> str:
    """Change one of the required numbers of the metadata.

    Parameters
    ----------
    required : dict of str to str
        Key, and another spelling of it.
    """
    key = one(rng, required)
    kind = one(rng, ["missing", "odd", "two", "same twice", "list", "text"])
    value = c.meta[key]
    if kind == "missing":
        del c.meta[key]
        return c.refuse(f"without {key}")
    if kind == "two":
        c.meta[required[key]] = value + 1
        return c.refuse(f"{key} and {required[key]} in conflict")
    if kind == "same twice":
        c.meta[required[key]] = value
        return f"{key} and {required[key]}"
    if kind == "list":
        c.meta[key] = [value, value, value]
        return f"{key} three times"
    if kind == "text":
        c.meta[key] = f"{value}"
        return f"{key} as text"
    c.meta[key] = new = odd(rng)
    number = isinstance(new, int | float) and not isinstance(new, bool) and np.isfinite(float(new))
    if number and key in c.said and new > (-1 if key == "redshift" else 0):
        c.said[key] = new
    elif not (number and new == value):
        c.refuse(f"{key} is {new!r}")
    return f"{key} is {new!r}"
