"""Text files of Rockstar and Consistent-Trees: ``hlist_*.list``, ``out_*.list``, ``halos_*.ascii``.

Columns are found by name, in any case, since the same quantity stands in other columns in other files. A
number in parentheses after a name, as in ``A[x](45)``, is the column's and is left out; ``(500c)`` is
part of the name.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.assembling import Halos
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from numpy.typing import NDArray

POSITION, VELOCITY, AXIS = ("x", "y", "z"), ("vx", "vy", "vz"), ("a[x]", "a[y]", "a[z]")
NEEDED = ("id", "mvir", "rvir", *POSITION, *VELOCITY, *AXIS)
# Names of each quantity, the first that is there counts.
PARENTS, PEAKS, SCALE_RADIUS, SCALE = ("upid", "pid"), ("mpeak", "mvir"), "rs", "scale"
WHOLE = ("id", *PARENTS)
# Numbers that comments before the rows hold.
_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"
_COMMENTS = {
    "box": rf"box size\s*[:=]\s*{_NUMBER}\s*(\S*)",
    "particle_mass": rf"particle mass\s*[:=]\s*{_NUMBER}\s*(\S*)",
    "scale": rf"^#\s*a\s*=\s*{_NUMBER}()",
    "Om0": rf"\b(?:omega_m|om)\s*=\s*{_NUMBER}()",
    "h": rf"\bh0?\s*=\s*{_NUMBER}()",
}
_EXPECTED_UNITS = {"box": ("mpc/h", "kpc/h"), "particle_mass": ("msun/h",)}
# rvir over the cube root of the mass, (1e12 Msun/h)^(1/3), of any overdensity and redshift, Mpc/h.
_RADII = (0.05, 0.8)
_CHUNK = 100_000


def recognises(path: Path) -> bool:
    """Whether a file begins as these do."""
    try:
        names = _names(_first_line(path))
    except (OSError, UnicodeDecodeError, EOFError, zlib.error):
        return False
    return {"id", "x", "y", "z"} <= set(names) and bool({"mvir", "num_p", "vmax"} & set(names))


def read(path: Path, stated: Stated | None = None) -> HaloCatalogue:
    """Read such a file; see `load_halos`."""
    stated = stated or Stated()
    names, comments = _header(path)
    parent, peak = (
        next((name for name in several if name in names), None) for several in (PARENTS, PEAKS)
    )
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise ValueError(
            f"{path} lacks the column(s) {', '.join(lacking)}. Needed: {', '.join(NEEDED)}, and upid or "
            "pid."
        )
    if parent is None or peak is None:
        raise ValueError(
            f"{path} has neither upid nor pid, so that subhalos cannot be told from hosts. Run "
            "Rockstar's find_parents on it, or take the hlist of Consistent-Trees."
        )
    wanted = [*NEEDED, parent, *(n for n in (peak, SCALE_RADIUS, SCALE) if n in names)]
    wanted = list(dict.fromkeys(wanted))
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} {names.count(twice[0])} times.")
    column = _columns(path, names, wanted)
    redshift = _redshift(path, column.get(SCALE), comments.get("scale"))
    per_length = _kpc(path, column["mvir"], column["rvir"])
    rvir = column["rvir"] / per_length
    notes = [f"rvir is in {'kpc/h' if per_length > 1 else 'Mpc/h'} in the file."]
    if peak != PEAKS[0]:
        notes.append(f"Subhalos are ranked by {peak}, as the file has no {PEAKS[0]}.")
    if parent != PARENTS[0]:
        notes.append(f"Hosts are found from {parent}, as the file has no {PARENTS[0]}.")
    concentration = None
    if SCALE_RADIUS in column:
        with np.errstate(divide="ignore"):
            concentration = column["rvir"] / column[SCALE_RADIUS]
    halos = Halos(
        id=column["id"],
        parent=column[parent],
        position=_vectors(column, POSITION),
        velocity=_vectors(column, VELOCITY),
        axis=_vectors(column, AXIS),
        mass=column["mvir"],
        rvir=rvir,
        peak_mass=column[peak],
        concentration=concentration,
        notes=notes,
    )
    box = stated.number("box", comments.get("box"), path)
    cosmology = {name: comments.get(name) for name in ("Om0", "h")}
    return halos.catalogue(
        path.name,
        box,
        stated.number("redshift", redshift, path),
        stated.number("particle_mass", comments.get("particle_mass"), path),
        stated.words(cosmology, path),
        f"Rockstar, {path.name}",
        stated,
    )


def _first_line(path: Path) -> str:
    with _opened(path) as file:
        return file.readline(100_000)


def _opened(path: Path) -> IO[str]:
    # A byte that is no text becomes a sign that no number has, and its row is named.
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    if path.suffix == ".gz":
        return gzip.open(path, "rt", **how)
    return path.open(**how)


def _names(line: str) -> list[str]:
    """Names of the columns, from the first line of a file; none if it is no such line."""
    if not line.startswith("#"):
        return []
    return [re.sub(r"\(\d+\)$", "", name).lower() for name in line[1:].split()]


def _header(path: Path) -> tuple[list[str], dict[str, float]]:
    """Names of the columns, and numbers of the comments in Mpc/h and Msun/h."""
    with _opened(path) as file:
        first = file.readline()
        lines = []
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line)
    found: dict[str, float] = {}
    for name, pattern in _COMMENTS.items():
        match = re.search(pattern, "".join(lines), re.IGNORECASE | re.MULTILINE)
        if not match:
            continue
        unit, expected = match[2].rstrip(".,;").lower(), _EXPECTED_UNITS.get(name, ("",))
        if unit not in expected and unit.replace("(comoving)", "") not in expected:
            raise ValueError(
                f"{path}: {match[0].strip()!r} in its comments is in {match[2] or 'no unit'!r}; expected "
                f"{' or '.join(expected)}."
            )
        found[name] = float(match[1]) * (1e-3 if unit.startswith("kpc") else 1.0)
    return _names(first), found


def _columns(path: Path, names: list[str], wanted: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of a file by their names, with a bar of progress."""
    from rich.console import Console
    from rich.progress import track

    kinds = np.dtype([(name, np.int64 if name in WHOLE else np.float64) for name in wanted])
    places = [names.index(name) for name in wanted]
    size = path.stat().st_size
    parts = []
    with _opened(path) as file:
        rows: Iterator[str] = (line for line in file if not line.startswith("#"))
        per_chunk = max(1, size // (_CHUNK * 400))  # a row takes some 400 characters
        shown = Console(stderr=True)
        steps = track(
            count(), f"reading {path.name}", per_chunk, console=shown, transient=True,
            disable=not shown.is_terminal,
        )  # fmt: skip
        for _ in steps:
            chunk = list(islice(rows, _CHUNK))
            if not chunk:
                break
            try:
                parts.append(np.loadtxt(chunk, kinds, usecols=places, ndmin=1))
            except (ValueError, IndexError) as error:
                before = sum(map(len, parts))
                raise ValueError(f"{path}, after {before} rows of numbers: {error}") from error
    if not parts:
        raise ValueError(f"{path} has no rows.")
    table = np.concatenate(parts)
    return {name: np.ascontiguousarray(table[name]) for name in wanted}


def _redshift(path: Path, scales: NDArray[Any] | None, comment: float | None) -> float | None:
    """Redshift by the column scale or a comment; None if the file does not say it."""
    if scales is None or not len(scales):
        scale = comment
    else:
        low, high = float(scales.min()), float(scales.max())
        if high - low > 1e-4 * high:
            raise ValueError(
                f"{path} holds scale factors from {low:g} to {high:g}. Give the halos of one snapshot, "
                "such as an hlist."
            )
        scale = high
    if scale is None:
        return None
    if not 0 < scale < 1.2:
        raise ValueError(f"{path}: the scale factor is {scale:g}; expected a number from 0 to 1.")
    # Snapshots are named by rounded scale factors, and 1.0003 is today.
    return max(1 / scale - 1, 0.0)


def _kpc(path: Path, mass: NDArray[Any], rvir: NDArray[Any]) -> float:
    """What radii of the file must be divided by: 1000 if they are in kpc/h.

    Both units occur, and comments name it in few files; but a mass leaves no doubt.
    """
    sound = (mass > 0) & (rvir > 0)
    if not sound.any():
        raise ValueError(f"{path}: no halo has a positive mvir and rvir.")
    typical = float(np.median(rvir[sound] / np.cbrt(mass[sound] / 1e12)))
    for factor in (1.0, 1e3):
        if _RADII[0] < typical / factor < _RADII[1]:
            return factor
    raise ValueError(
        f"{path}: a halo of 1e12 Msun/h would have an rvir of {typical:.4g}, which is neither in Mpc/h "
        "nor in kpc/h. Are masses in Msun/h?"
    )


def _vectors(column: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.stack([column[name] for name in names], axis=-1)
