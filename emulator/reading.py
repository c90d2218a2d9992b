"""Tables from files of others, by astropy: columns, and metadata in one form."""

from __future__ import annotations

import codecs
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

from iaemu_likelihood.emulator.units import FileMetadata

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
        If the file cannot be read, takes data from another file, or has a key of its metadata
        twice.
    """
    from astropy.table import Table
    from astropy.units import UnitsWarning

    kind = kind or FORMATS.get(path.suffix.lower())
    try:
        with warnings.catch_warnings():
            # astropy does not know littleh, but `FileMetadata` does.
            warnings.simplefilter("ignore", UnitsWarning)
            if kind == "hdf5":
                return _read_hdf5(path, inside)
            options = {} if kind is None else {"format": kind}
            if kind is not None and kind.startswith("ascii"):
                options |= _encoding(path)
            if kind == "ascii.ecsv":
                _check_header(path, options.get("encoding", "utf-8"))
            table = Table.read(path, **options)
    except Exception as error:  # astropy raises many kinds for a damaged file
        name = "" if kind is None else f" {kind.removeprefix('ascii.').upper()}"
        text = str(error).removeprefix(f"{path} is not a readable HDF5 file: ")
        what = next(
            filter(None, text.splitlines()), repr(error)
        )  # the rest lists formats, or the file
        raise ValueError(f"{path} is not a readable{name} table: {what}") from error
    return dict(table.items()), FileMetadata(path, table.meta)


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
            name: Column(data[()], unit=FileMetadata(path, data.attrs).get("unit", "units"))
            for name, data in node.items()
            if isinstance(data, h5py.Dataset) and data.ndim in (1, 2) and not data.dtype.names
        }
        own = {} if node == file else dict(node.attrs)
        return columns, FileMetadata(path, own, attributes)


def _encoding(path: Path) -> dict[str, str]:
    """The encoding of a text, if it is not the usual one: astropy reads that faster."""
    with path.open("rb") as file:
        start = file.read(4)
    return next(({"encoding": name} for mark, name in _MARKS.items() if start.startswith(mark)), {})


def _check_header(path: Path, encoding: str) -> None:
    """Raise a ValueError if the header of an ECSV file gives a key twice: astropy takes the last."""
    import yaml

    with path.open(encoding=encoding) as file:
        lines = [line.lstrip()[1:] for line in takewhile(lambda x: x.lstrip()[:1] == "#", file)]
    header = yaml.compose(dedent("".join(lines[1:])), Loader=yaml.SafeLoader)
    nodes, seen = [header], set()
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        if node.tag == "tag:yaml.org,2002:omap":
            pairs = [pair for one in node.value for pair in one.value]
        [(key, times)] = Counter(str(key.value) for key, _ in pairs).most_common(1) or [("", 0)]
        if times > 1:
            raise ValueError(f"its header has {key!r} {times} times; remove all but one.")
        nodes += [value for _, value in pairs] or node.value
