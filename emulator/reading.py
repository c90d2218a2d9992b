"""Tables from files of others, by astropy: columns, and metadata in one form."""

from __future__ import annotations

import codecs
import csv
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

from iaemu_likelihood.emulator.units import FileMetadata, knowing_littleh

FORMATS = {
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".fits": "fits",
    ".fit": "fits",
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
}
# What spreadsheets put at the beginning of text, which would else be part of a column's name.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HDF5, _FITS = b"\x89HDF\r\n\x1a\n", b"SIMPLE  ="
# What readers stumble over in a damaged file says nothing about it.
_SLIPS = (TypeError, AttributeError, LookupError, AssertionError, RecursionError)


def expanded(path: str | Path) -> Path:
    """A path in which a ``~`` at the beginning is the user's home."""
    return Path(os.path.expanduser(path))


def read_table(
    path: Path, inside: str | None = None, kind: str | None = None
) -> tuple[Mapping[str, Any], FileMetadata]:
    """Read a table in any format that astropy knows.

    Parameters
    ----------
    path : Path
        The file; its ending names the format.
    inside : str, optional
        Path of the table, or of a group of columns, inside an HDF5 file; by default the only table,
        or the root.
    kind : str, optional
        Format, as astropy calls it, instead of the one that the ending names.

    Returns
    -------
    columns : mapping of str to array_like
        With their units, if the file declares some.
    metadata : FileMetadata

    Raises
    ------
    ValueError
        If the file cannot be read, takes data from another file, or has a column or a key of its
        metadata twice.
    """
    from astropy.io.fits.card import Undefined
    from astropy.table import Table
    from astropy.units import UnitsWarning

    kind = kind or FORMATS.get(path.suffix.lower())
    if kind is None and is_hdf5(path):
        kind = "hdf5"  # which astropy would read without a look at its links
    try:
        with warnings.catch_warnings(), knowing_littleh():
            # Units that astropy does not know are refused where they are needed, by `FileMetadata`.
            warnings.simplefilter("ignore", UnitsWarning)
            if kind == "hdf5":
                return _read_hdf5(path, inside)
            options = {} if kind is None else {"format": kind}
            if kind in ("ascii.csv", "ascii.ecsv"):
                options |= _encoding(path)
                _check_names(path, kind, options.get("encoding", "utf-8"))
            table = Table.read(path, **options)
            # A key without a value; in FITS astropy has an object for it.
            metadata = {
                key: None if isinstance(value, Undefined) else value
                for key, value in table.meta.items()
            }
    except Exception as error:  # astropy raises many kinds for a damaged file
        name = "" if kind is None else f" {kind.removeprefix('ascii.').upper()}"
        text = str(error).removeprefix(f"{path} is not a readable HDF5 file: ")
        if isinstance(error, _SLIPS) or not text.strip():
            text = f"its content is damaged ({type(error).__name__})"
        what = next(filter(None, text.splitlines()))  # the rest lists formats, or the file
        raise ValueError(f"{path} is not a readable{name} table: {what}") from error
    return dict(table.items()), FileMetadata(path, metadata)


def _read_hdf5(path: Path, inside: str | None) -> tuple[Mapping[str, Any], FileMetadata]:
    import h5py
    from astropy.table import Column, Table
    from iaemu_likelihood.emulator.hdf5 import open_hdf5

    with open_hdf5(path) as file:
        attributes = dict(file.attrs)
        if inside is None:
            found = {name: data for name, data in file.items() if isinstance(data, h5py.Dataset)}
            tables = [name for name, data in found.items() if data.dtype.names]
            inside = tables[0] if len(tables) == 1 else "/"
        if inside not in file:
            raise ValueError(f"no {inside!r} inside; there are {', '.join(file)}.")
        node = file[inside]
        if not isinstance(node, h5py.Group):
            table = Table.read(file, format="hdf5", path=inside)
            return dict(table.items()), FileMetadata(path, table.meta, attributes)
        columns = {
            name: Column(data[()], unit=FileMetadata(path, data.attrs).get("unit", "units") or None)
            for name, data in node.items()
            if isinstance(data, h5py.Dataset) and data.ndim in (1, 2) and not data.dtype.names
        }
        own = {} if node == file else dict(node.attrs)
        return columns, FileMetadata(path, own, attributes)


def _encoding(path: Path) -> dict[str, str]:
    """The encoding of a text, if it is not the usual one: astropy reads that faster."""
    start = _start(path, 4)
    return next(({"encoding": name} for mark, name in _MARKS.items() if start.startswith(mark)), {})


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    return _start(path, len(_HDF5)) == _HDF5


def is_fits(path: Path) -> bool:
    """Whether a file begins as FITS does."""
    return _start(path, len(_FITS)) == _FITS


def _start(path: Path, n: int) -> bytes:
    with path.open("rb") as file:
        return file.read(n)


def _check_names(path: Path, kind: str, encoding: str) -> None:
    """Raise a ValueError if a text has a column or a key of its header twice.

    astropy takes the last value of a key, and renames columns.
    """
    with path.open(encoding=encoding, newline="") as file:
        if kind == "ascii.csv":
            groups = [("column", next(csv.reader(filter(str.strip, file)), []))]
        else:
            comments = takewhile(lambda line: line.lstrip()[:1] == "#", file)
            lines = [line.lstrip()[1:] for line in comments]
            groups = _names_in_header(dedent("".join(lines[1:])))
    for what, names in groups:
        for name, times in Counter(name.strip() for name in names).items():
            if times > 1 and name:
                raise ValueError(f"the {what} {name!r} is there {times} times; remove all but one.")


def _names_in_header(text: str) -> list[tuple[str, list[str]]]:
    """Names of the columns of ECSV, and the keys of each mapping of its header."""
    import yaml

    groups, seen = [], set()
    nodes = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        parts = node.value if node.tag == "tag:yaml.org,2002:omap" else [node]
        pairs = [
            pair for part in parts if isinstance(part, yaml.MappingNode) for pair in part.value
        ]
        groups.append(("key", [str(key.value) for key, _ in pairs]))
        for key, value in pairs:
            if key.value == "datatype" and isinstance(value, yaml.SequenceNode):
                columns = [one.value for one in value.value if isinstance(one, yaml.MappingNode)]
                names = [str(v.value) for one in columns for k, v in one if k.value == "name"]
                groups.append(("column", names))
        nodes += [value for _, value in pairs] or node.value
    return groups
