"""Halo catalogues: a file to the sites where galaxies may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.rows import (
    AXES,
    POSITION,
    REQUIRED_COLUMNS,
    VELOCITY,
)

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

BOX, N_HOSTS, N_SUBHALOS = 60.0, 40, 60
MASSES = ("halo_mvir", "halo_mpeak", "halo_mvir_host_halo")
NUMBERS = (*POSITION, *MASSES, "halo_rvir", *AXES)
OF_MASSES = {"Msun/h": 1.0, "solMass/h": 1.0, "": 1.0}
WITH_H = {"solMass": 1.0}
LENGTHS = {"Mpc/h": 1.0, "kpc/h": 1e-3, "": 1.0}


def small_catalogue(seed: int = 0, box: float = BOX) -> dict[str, np.ndarray]:
    """Hosts and subhalos at random places, as the columns of a file."""
    rng = np.random.default_rng(seed)
    n = N_HOSTS + N_SUBHALOS
    mass = 10 ** rng.uniform(12, 14.5, N_HOSTS)
    mass[:4] = 10 ** np.array([12.0, 13.0, 14.0, 14.5])
    host = np.concatenate([np.arange(N_HOSTS), np.arange(N_SUBHALOS) % N_HOSTS])
    position = rng.uniform(1, box - 1, (N_HOSTS, 3))[host]
    position[N_HOSTS:] += rng.uniform(-0.5, 0.5, (N_SUBHALOS, 3))
    own = np.concatenate([mass, mass[host[N_HOSTS:]] / rng.uniform(5, 50, N_SUBHALOS)])
    axes = rng.normal(size=(n, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return {
        "halo_id": 1000 + np.arange(n),
        "halo_upid": np.where(np.arange(n) < N_HOSTS, -1, 1000 + host),
        "halo_hostid": 1000 + host,
        **dict(zip(POSITION, position.T, strict=True)),
        **dict(zip(VELOCITY, rng.normal(0, 300, (3, n)), strict=True)),
        "halo_mvir": own,
        "halo_rvir": 0.3 * (own / 1e13) ** (1 / 3),
        "halo_mpeak": own * rng.uniform(1.0, 1.2, n),
        "halo_mvir_host_halo": mass[host],
        **dict(zip(AXES, axes.T, strict=True)),
    }


def metadata(box: float = BOX) -> dict[str, Any]:
    """What a file must say besides."""
    return {
        "Lbox": box,
        "redshift": 0.0,
        "particle_mass": 3.8e9,
        "subhalo_mass_bins": [5e11, 3e12, 1e15],
    }


# ---------------------------------------------------------------- changes


def _drop_column(c: Catalogue, rng: Rng) -> str:
    name = one(rng, REQUIRED_COLUMNS)
    del c.columns[name]
    return c.refuse(f"without {name}")


def _unit(c: Catalogue, rng: Rng) -> str:
    lengths, masses = (*POSITION, "halo_rvir"), MASSES
    worth = {**dict.fromkeys(lengths, LENGTHS), **dict.fromkeys(masses, OF_MASSES)}
    with_h = {
        **dict.fromkeys(lengths, LENGTHS_WITH_H),
        **dict.fromkeys(masses, WITH_H),
    }
    return scaled(c, rng, worth, with_h, ("deg", "s", "??"))


def _type(c: Catalogue, rng: Rng) -> str:
    return retyped(c, rng, NUMBERS)


def _not_finite(c: Catalogue, rng: Rng) -> str:
    about = not_finite(c, rng, NUMBERS)
    name, _, value, *_, row = about.split()
    if name in AXES and int(row) >= N_HOSTS:
        c.senseless = ""  # subhalos' own axes are not used
    elif name in AXES and value == "nan":
        c.senseless = ""
        without(c, int(row))
    return about


def _log_masses(c: Catalogue, rng: Rng) -> str:
    names = one(rng, [MASSES, (one(rng, MASSES),)])
    for name in names:
        c.columns[name] = np.log10(c.columns[name])
    return c.refuse(f"log10 of {', '.join(names)}")


def _rows(c: Catalogue, rng: Rng) -> str:
    n = N_HOSTS + N_SUBHALOS
    kind = one(
        rng, ["shuffled", "shuffled", "all twice", "one twice", "hosts only", "none", "one host"]
    )
    which = {
        "shuffled": rng.permutation(n),
        "all twice": np.tile(np.arange(n), 2),
        "one twice": np.append(np.arange(n), rng.integers(n)),
        "hosts only": np.arange(N_HOSTS),
        "none": np.arange(0),
        "one host": np.arange(1),
    }[kind]
    c.rows(which)
    if kind != "shuffled":
        c.refuse(f"rows: {kind}")
    return f"rows: {kind}"


def _impossible(c: Catalogue, rng: Rng) -> str:
    row = int(rng.integers(N_HOSTS))
    name, value = one(
        rng,
        [
            *((name, value) for name in POSITION for value in (-1.0, 1e9)),
            *((name, -1.0) for name in (*MASSES, "halo_rvir")),
            *((name, 0.0) for name in ("halo_mvir", "halo_mvir_host_halo")),
        ],
    )
    c.set(name, row, value)
    return c.refuse(f"{name} is {value} in row {row}")


def _zero_axis(c: Catalogue, rng: Rng) -> str:
    """A host without an axis is left out, with its subhalos."""
    host = int(rng.integers(4, N_HOSTS))
    for name in AXES:
        c.set(name, host, 0.0)
    without(c, host)
    return f"no axis of host {host}"


def without(c: Catalogue, host: int) -> None:
    """What is left when a host, by its row, is left out with its subhalos."""
    if c.meant is not None:
        keep = c.meant["halo_hostid"] != 1000 + host
        c.meant = {name: values[keep] for name, values in c.meant.items()}


def _longer_axes(c: Catalogue, rng: Rng) -> str:
    for name in AXES:
        c.columns[name] = c.columns[name] * 7.0
    return "axes of length 7"


def _metadata(c: Catalogue, rng: Rng) -> str:
    return odd_metadata(
        c, rng, {"Lbox": "LBOX", "redshift": "Redshift", "particle_mass": "PARTICLE_MASS"}
    )


def _mass_bins(c: Catalogue, rng: Rng) -> str:
    bins = one(
        rng,
        [[5e11, 3e12], [3e12, 1e15], [1e15, 5e11], [np.nan, 1e15], [11.7, 15.0], "all", 3.0],
    )
    c.meta["subhalo_mass_bins"] = bins
    return c.refuse(f"mass bins {bins}")


def _nothing(c: Catalogue, rng: Rng) -> str:
    return "nothing"


CHANGES = (
    _drop_column, _unit, _unit, _type, _not_finite, _not_finite, _log_masses, _rows, _rows, _impossible,
    _zero_axis, _longer_axes, _metadata, _metadata, _mass_bins, _nothing,
)  # fmt: skip


class Halos:
    """See the head of this module."""

    name = "halos"
    share = 9.0

    def __init__(self, folder: Path) -> None:
        self._columns = small_catalogue()

    def case(self, rng: Rng, folder: Path) -> Case:
        c = Catalogue(self._columns, metadata())
        said = {"redshift": 0.0, "particle_mass": 3.8e9}
        c.said |= said
        about = one(rng, CHANGES)(c, rng)
        # Keywords of FITS are the same in any case.
        endings = [".hdf5", ".hdf5", ".ecsv"] + [".fits"] * ("conflict" not in about)
        path = folder / f"halos{one(rng, endings)}"
        try:
            about += f" ({path.suffix} {write(c, path, rng)})"
        except Exception:  # a format that cannot hold it
            c = Catalogue(self._columns, metadata(), said=said)
            about = f"unwritable: {about}"
            path = folder / "halos.ecsv"
            write(c, path, rng)
        if rng.random() < 0.2:
            about += f"; {damage(path, rng)[0]}"
            # What the bytes mean now is another question: without checksums, any number may be.
            return Case(about, lambda: self._read(path), lambda found: self._senseless(found))
        return Case(about, lambda: self._read(path), lambda found: self._wrong(found, c))

    def _read(self, path: Path) -> Any:
        halos = load_halos(path)
        return halos, GalaxySites.of(halos)

    def _senseless(self, found: Any) -> str:
        """Of a damaged file: whether anything is no number or outside the box."""
        halos, sites = found
        for name in {*NUMBERS} - {*AXES}:
            x = np.asarray(halos.columns[name], float)
            if not np.isfinite(x).all() or (name in MASSES and (x <= 0).any()):
                return f"{name} is not finite or positive"
        x = sites.position
        if (
            not ((x >= 0) & (x <= halos.box)).all()
            or not np.isfinite([halos.box, halos.redshift]).all()
        ):
            return "positions outside the box"
        return ""

    def _wrong(self, found: Any, c: Catalogue) -> str:
        halos, _ = found
        try:
            expected = c.expected()
        except Refused as reason:
            return f"accepted, but {reason}"
        order, mine = (np.argsort(x["halo_id"], kind="stable") for x in (expected, halos.columns))
        if len(order) != len(mine):
            return f"{len(mine)} rows of {len(order)}"
        axes = np.stack([expected[name] for name in AXES])
        with np.errstate(invalid="ignore"):
            axes = axes / np.linalg.norm(axes, axis=0)
        expected = expected | dict(zip(AXES, axes, strict=True))
        host = expected["halo_upid"][order] == -1
        for name in REQUIRED_COLUMNS:
            x, y = np.asarray(halos.columns[name], float)[mine], expected[name][order]
            used = host if name in AXES else slice(None)
            if not same(x[used], y[used], 1e-12):
                return f"{name} is not that of the file"
        for key, value in {"box": BOX, **c.said}.items():
            if getattr(halos, key) != value:
                return f"{key} is {getattr(halos, key)}, not {value}"
        return ""
