"""Rows of halo catalogues: which columns there are, in which units, and what their numbers may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.boxes import first_repeat
from iaemu_likelihood.emulator.halos.nfw import CONCENTRATIONS, on_nodes
from iaemu_likelihood.emulator.halos.theory import concentration
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology
from iaemu_likelihood.emulator.units import LENGTH, MASS, NUMBER, SPEED, FileMetadata
from numpy.typing import NDArray

CONCENTRATION = "halo_nfw_conc"
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


def rows_of(columns: Any, metadata: FileMetadata, name: str) -> dict[str, NDArray[Any]]:
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


def concentrations_of(
    rows: Columns, redshift: float, cosmology: str | None, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Concentrations of hosts, those of `CONCENTRATIONS`, and where they come from."""
    rvir, given = rows["halo_rvir"], rows.get(CONCENTRATION)
    refuse(rvir == 0, rvir, "halo_rvir", "a positive number, where subhalos are not known", name)
    if given is not None:
        refuse(~(given > 0) | np.isinf(given), given, CONCENTRATION, "a positive number", name)
        notes = []
    else:
        try:
            universe = Cosmology.from_words(cosmology)
        except ValueError as error:
            raise ValueError(
                f"{name} has neither subhalos (halo_upid != -1) nor {CONCENTRATION}, the concentrations "
                f"of its hosts, which else follow from its cosmology. {error}"
            ) from error
        given = concentration(rows["halo_mvir"], redshift, universe)
        notes = ["Concentrations are the means at the hosts' masses (Diemer & Joyce 2019)."]
    low, high = CONCENTRATIONS[[0, -1]]
    beyond = int(((given < low) | (given > high)).sum())
    if beyond:
        notes.append(
            f"{beyond} concentrations were moved to the ends of the range from {low:g} to {high:g}, as "
            "halotools does."
        )
    return on_nodes(given), tuple(notes)


def richness(columns: Columns) -> NDArray[np.int64]:
    """Number of subhalos of each host, in the order of the hosts' rows, shape (n_hosts,)."""
    is_host = columns["halo_upid"] == -1
    ids = columns["halo_id"][is_host]
    order = np.argsort(ids)
    wanted = columns["halo_hostid"][~is_host]
    place = np.searchsorted(ids, wanted, sorter=order)
    place = order[np.where(place == len(ids), 0, place)]
    return np.bincount(place[ids[place] == wanted], minlength=len(ids))


def _ids(columns: Any, key: str, name: str) -> NDArray[Any]:
    ids: Any = np.ma.asarray(columns[key])
    whole = ids.dtype.kind in "iu" or (
        ids.dtype.kind == "f" and bool((np.isfinite(ids) & (ids == np.round(ids))).all())
    )
    if not whole or np.ma.is_masked(ids):
        raise ValueError(f"{name}: {key} has a cell without a whole number.")
    plain = np.asarray(ids)
    return plain.astype(plain.dtype.newbyteorder("="), copy=False)


def check_rows(rows: Columns, is_host: NDArray[np.bool_], name: str) -> None:
    """Raise a ValueError for numbers that make no sense, and for a halo that is there twice."""
    for key in ("halo_rvir", *MASSES):
        refuse(
            ~(rows[key] >= 0) | np.isinf(rows[key]),
            rows[key],
            key,
            "a finite number, 0 or more",
            name,
        )
    for key in VELOCITY:
        refuse(~np.isfinite(rows[key]), rows[key], key, "a finite number", name)
    host_mass = rows["halo_mvir_host_halo"]
    refuse(host_mass == 0, host_mass, "halo_mvir_host_halo", "a positive number", name)
    mass = rows["halo_mvir"]
    refuse(is_host & (mass == 0), mass, "halo_mvir", "a positive number for a host", name)
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


def refuse(
    bad: NDArray[np.bool_], values: NDArray[Any], what: str, expected: str, name: str
) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name}: {what} is {values[row]} in row {row}; expected {expected}; {bad.sum()} such "
            "row(s)."
        )
