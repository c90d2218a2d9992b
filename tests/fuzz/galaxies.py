"""Galaxy catalogues: a file to correlation functions, against sums over all pairs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics import ETA, OMEGA, XI

from iaemu_likelihood.data_vectors.galaxy_catalogue import AXIS, POSITION, GalaxyCatalogue

from .cases import Case, Refused
from .catalogues import (
    LENGTHS_WITH_H,
    Catalogue,
    damage,
    not_finite,
    odd_metadata,
    retyped,
    scaled,
    write,
)
from .changes import Rng, one, same

BOX, N = 30.0, 150
EDGES = np.array([2.0, 5.0, 9.0])
LENGTHS = {"Mpc/h": 1.0, "kpc/h": 1e-3, "cMpc/h": 1.0, "": 1.0}


def small_catalogue(seed: int = 0) -> dict[str, np.ndarray]:
    """Galaxies at random, in pairs, whose axes point to each other somewhat."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(4, BOX - 4, (N // 2, 3))
    step = rng.normal(size=(N // 2, 3))
    position = np.concatenate(
        [centre, centre + 3 * step / np.linalg.norm(step, axis=1, keepdims=True)]
    )
    axes = np.concatenate([step, step]) + rng.normal(size=(N, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return dict(zip((*POSITION, *AXIS), np.concatenate([position, axes], axis=1).T, strict=True))


def by_hand(
    position: np.ndarray, axes: np.ndarray, box: float, edges: np.ndarray, periodic: bool = True
) -> dict[str, np.ndarray]:
    """xi, omega and eta from all ordered pairs, in a periodic box."""
    step = position[None] - position[:, None]
    if periodic:
        step -= box * np.round(step / box)
    r = np.linalg.norm(step, axis=-1)
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    np.fill_diagonal(r, np.inf)
    with np.errstate(invalid="ignore"):
        towards = np.einsum("ik,ijk->ij", axes, step) ** 2 / r**2 - 1 / 3
    each_other = (axes @ axes.T) ** 2 - 1 / 3
    found: dict[str, list[float]] = {s.name: [] for s in (XI, OMEGA, ETA)}
    for low, high in pairwise(edges):
        inside = (r > low) & (r <= high)
        random = len(position) ** 2 / box**3 * 4 / 3 * np.pi * (high**3 - low**3)
        found[XI.name].append(inside.sum() / random - 1)
        found[OMEGA.name].append(towards[inside].mean())
        found[ETA.name].append(each_other[inside].mean())
    return {name: np.array(values) for name, values in found.items()}


# ---------------------------------------------------------------- changes


def _drop_column(c: Catalogue, rng: Rng) -> str:
    name = one(rng, [*POSITION, *AXIS])
    del c.columns[name]
    return c.refuse(f"without {name}")


def _unit(c: Catalogue, rng: Rng) -> str:
    with_h = dict.fromkeys(POSITION, LENGTHS_WITH_H)
    return scaled(c, rng, dict.fromkeys(POSITION, LENGTHS), with_h, ("deg", "s", "??"))


def _type(c: Catalogue, rng: Rng) -> str:
    return retyped(c, rng, (*POSITION, *AXIS))


def _not_finite(c: Catalogue, rng: Rng) -> str:
    return not_finite(c, rng, (*POSITION, *AXIS))


def _rows(c: Catalogue, rng: Rng) -> str:
    kind = one(rng, ["shuffled", "all twice", "none", "few", "one"])
    which = {
        "shuffled": rng.permutation(N),
        "all twice": np.tile(np.arange(N), 2),
        "none": [],
        "few": range(5),
        "one": [3],
    }[kind]
    c.rows(np.asarray(which, int))
    if kind != "shuffled":
        c.refuse(f"rows: {kind}")
    return f"rows: {kind}"


def _outside(c: Catalogue, rng: Rng) -> str:
    name, row = one(rng, POSITION), int(rng.integers(N))
    value = one(rng, [-1.0, BOX + 1.0, -BOX, 1e9, BOX * (1 + 1e-3)])
    c.set(name, row, value)
    return c.refuse(f"{name} is {value} in row {row}")


def _on_the_face(c: Catalogue, rng: Rng) -> str:
    """One rounding beyond a face of the box is on it."""
    name, row = one(rng, POSITION), int(rng.integers(N))
    value = one(rng, [0.0, BOX, -0.0, float(np.nextafter(np.float32(BOX), np.float32(99)))])
    c.set(name, row, value)
    if c.meant is not None:
        c.meant[name][row] = value % BOX
        c.rtol = 1e-5
    return f"{name} is {value!r} in row {row}"


def _zero_axis(c: Catalogue, rng: Rng) -> str:
    row = int(rng.integers(N))
    for name in AXIS:
        c.set(name, row, 0.0)
    return c.refuse(f"no axis in row {row}")


def _longer_axes(c: Catalogue, rng: Rng) -> str:
    factor = one(rng, [7.0, 1e-200, 1e200])
    for name in AXIS:
        c.columns[name] = c.columns[name] * factor
    return f"axes times {factor}"


def _metadata(c: Catalogue, rng: Rng) -> str:
    return odd_metadata(c, rng, {"Lbox": "LBOX"})


def _kpc_positions(c: Catalogue, rng: Rng) -> str:
    factor = one(rng, [1e-3, 0.01])
    for name in POSITION:
        c.columns[name] = c.columns[name] * factor
    return c.refuse(f"positions {factor} of the box's unit")


def _nothing(c: Catalogue, rng: Rng) -> str:
    return "nothing"


CHANGES = (
    _drop_column, _unit, _unit, _type, _not_finite, _rows, _outside, _on_the_face, _zero_axis,
    _longer_axes, _metadata, _metadata, _kpc_positions, _nothing,
)  # fmt: skip


class Galaxies:
    """See the head of this module."""

    name = "galaxies"
    share = 8.0

    def __init__(self, folder: Path) -> None:
        self._columns = small_catalogue()

    def case(self, rng: Rng, folder: Path) -> Case:
        c = Catalogue(self._columns, {"Lbox": BOX})
        about = one(rng, CHANGES)(c, rng)
        # Keywords of FITS are the same in any case.
        endings = [".hdf5", ".hdf5", ".ecsv", ".csv"] + [".fits"] * ("conflict" not in about)
        path = folder / f"galaxies{one(rng, endings)}"
        box = None
        if path.suffix == ".csv":
            box, c.units = BOX, {}  # it holds no metadata and no units
            about += f" (the box is {BOX})"
            if "in conflict" in c.senseless or "Lbox" in c.senseless or " in " in c.senseless:
                c = Catalogue(self._columns, {})
        try:
            about += f" ({path.suffix} {write(c, path, rng)})"
        except Exception:  # a format that cannot hold it
            c = Catalogue(self._columns, {"Lbox": BOX})
            about = f"unwritable: {about}"
            path = folder / "galaxies.ecsv"
            write(c, path, rng)
        if path.suffix == ".csv" and rng.random() < 0.2:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
            about += " with a byte-order mark"
        run = lambda: GalaxyCatalogue.read(path, box)  # noqa: E731
        if rng.random() < 0.2:
            about += f"; {damage(path, rng)[0]}"
            return Case(about, run, self._senseless)
        return Case(
            about, lambda: run().measure(EDGES, n_side=2), lambda found: self._wrong(found, c)
        )

    def _senseless(self, galaxies: Any) -> str:
        x = galaxies.positions
        inside = ((x >= 0) & (x <= galaxies.box)).all()
        unit = np.allclose(np.linalg.norm(galaxies.axes, axis=1), 1)
        return (
            ""
            if inside and unit and np.isfinite(galaxies.box)
            else "positions or axes make no sense"
        )

    def _wrong(self, found: Any, c: Catalogue) -> str:
        try:
            meant = c.expected()
        except Refused as reason:
            return f"accepted, but {reason}"
        position, axes = (np.stack([meant[k] for k in names], axis=1) for names in (POSITION, AXIS))
        for name, values in by_hand(position, axes, BOX, EDGES).items():
            if not same(found.values[name], values, c.rtol):
                return f"{name} is {found.values[name]}, by hand {values}"
        return ""
