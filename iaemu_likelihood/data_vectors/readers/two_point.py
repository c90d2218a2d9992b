"""FITS files of projected correlations as in DES: tables wgg, wgp, wpp, and their covariance COVMAT.

A table has a row a data point: SEP, VALUE, and its sample and bin of redshift (BIN, or BIN1, BIN2,
SAMPLE1, SAMPLE2). COVMAT is the matrix of all of them. Its header says where the rows of table NAME_i
begin, STRT_i, in any order, and from how many realisations it comes, NREAL.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.readers.fits import header_value, length_unit, numbers, open_fits
from iaemu_likelihood.data_vectors.readers.found import Found, Reading
from iaemu_likelihood.data_vectors.readers.given import Given
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS, W_PLUSPLUS

Array = NDArray[np.float64]

ABOUT = "2pt FITS, as in DES"
TABLES = {W_GG.name: "WGG", W_GPLUS.name: "WGP", W_PLUSPLUS.name: "WPP"}
COVARIANCE = "COVMAT"
_LABELS = ("BIN", "BIN1", "BIN2", "SAMPLE1", "SAMPLE2")


def recognises(path: Path) -> bool:
    """Whether a FITS file has a table of this kind."""
    with open_fits(path) as hdus:
        return any(hdu.name.upper() in TABLES.values() for hdu in hdus)


def read(path: Path, given: Given) -> Reading:
    """Read a 2pt FITS file.

    Parameters
    ----------
    path : Path
    given : Given
        ``inside`` is ``BIN=0``, or ``BIN1=1,SAMPLE1=0`` and so on, if there are several.

    Raises
    ------
    ValueError
        If something is missing, ambiguous or inconsistent; the message says what.
    """
    with open_fits(path) as hdus:
        tables = {s: hdus[name] for s, name in TABLES.items() if name in hdus}
        wanted = given.statistics or tuple(tables)
        if not {*wanted} <= {*tables}:
            raise ValueError(f"{path} has {', '.join(tables)}; got {', '.join(wanted)}.")
        if COVARIANCE not in hdus:
            raise ValueError(f"{path} has no {COVARIANCE}, so that errors are not known.")
        keep = {s: _rows(path, tables[s], given.inside) for s in wanted}
        separations = [numbers(tables[s].data["SEP"])[keep[s]] for s in wanted]
        if not all(
            len(x) == len(separations[0]) and np.allclose(x, separations[0]) for x in separations
        ):
            raise ValueError(
                f"{path}: {', '.join(wanted)} are in different bins; convert one at a time, with "
                "--statistics."
            )
        matrix = numbers(hdus[COVARIANCE].data)
        header = hdus[COVARIANCE].header
        sizes = {s: len(table.data) for s, table in tables.items()}
        start = _starts(path, header, matrix, sizes)
        at = {s: start[s] + np.flatnonzero(keep[s]) for s in wanted}
        blocks = {
            (a, b): matrix[np.ix_(at[a], at[b])]
            for a, b in combinations_with_replacement(wanted, 2)
        }
        found = header_value(header, "NREAL")
        unit, notes = length_unit(path, tables[wanted[0]], "SEP", given.unit)
        said = {"n_jackknife": None if found is None else int(found), "unit": unit}
        return Found(
            path, ABOUT, separations[0],
            {s: numbers(tables[s].data["VALUE"])[keep[s]] for s in wanted},
            {s: np.sqrt(np.diag(blocks[s, s])) for s in wanted},
            blocks, said, notes=tuple(notes),
        ).measurement(given)  # fmt: skip


def _rows(path: Path, table: Any, inside: str | None) -> NDArray[np.bool_]:
    """Which rows of a table belong to the chosen samples and bins of redshift."""
    columns = {c.upper(): c for c in table.columns.names}
    lacks = [c for c in ("SEP", "VALUE") if c not in columns]
    if lacks:
        raise ValueError(f"{path}: the table {table.name} has no column {' and '.join(lacks)}.")
    # Numbers, or names of samples.
    labels = {
        name: np.array([str(x).strip() for x in table.data[columns[name]]])
        for name in _LABELS
        if name in columns
    }
    wanted = dict(_choice(part) for part in inside.split(",")) if inside else {}
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise ValueError(
            f"--inside {inside}: the table {table.name} has no {', '.join(unknown)}; it has "
            f"{', '.join(labels) or 'one measurement only'}."
        )
    keep = np.ones(len(table.data), bool)
    for name, value in wanted.items():
        keep &= labels[name] == value
    groups = sorted({tuple(str(x[i]) for x in labels.values()) for i in np.flatnonzero(keep)})
    if len(groups) != 1:
        named = [
            ",".join(f"{k}={v}" for k, v in zip(labels, group, strict=True)) for group in groups
        ]
        listed = [
            text if snapshot is None else f"{text} (snapshot {snapshot})"
            for text, group in zip(named, groups, strict=True)
            for snapshot in [table.header.get(f"SNAPSHOT_{group[0]}") if group else None]
        ]
        what = "; ".join(listed) if listed else f"no rows with {inside}"
        raise ValueError(
            f"{path}: {table.name} holds several measurements, or none: {what}. Say --inside."
        )
    return keep


def _choice(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise ValueError(f"--inside: expected COLUMN=VALUE, as BIN=0; got {part!r}.")
    return name.strip().upper(), value.strip()


def _starts(path: Path, header: Any, matrix: Array, sizes: dict[str, int]) -> dict[str, int]:
    """Row of the matrix where the rows of each table begin."""
    keys = [key for key in header if str(key).startswith("NAME_")]
    names = {str(header[key]).strip().upper(): key.removeprefix("NAME_") for key in keys}
    starts = {}
    for s in sizes:
        index = names.get(TABLES[s])
        begin = None if index is None else header.get(f"STRT_{index}")
        if begin is None:
            raise ValueError(
                f"{path}: the header of {COVARIANCE} does not say where the rows of {TABLES[s]} begin "
                "(NAME_i and STRT_i)."
            )
        starts[s] = int(begin)
    n = len(matrix)
    rows = [i for s, begin in starts.items() for i in range(begin, begin + sizes[s])]
    if (
        matrix.ndim != 2
        or matrix.shape != (n, n)
        or len({*rows}) < len(rows)
        or not {*rows} <= {*range(n)}
    ):
        listed = ", ".join(
            f"{TABLES[s]}: {begin} to {begin + sizes[s] - 1}" for s, begin in starts.items()
        )
        raise ValueError(
            f"{path}: the rows of the tables in {COVARIANCE} overlap or go beyond its shape "
            f"{matrix.shape}: {listed}."
        )
    return starts
