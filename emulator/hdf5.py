"""HDF5 files: opened only if all that they hold is inside them, and read only as they were written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.digest import digest
from numpy.typing import NDArray


def open_hdf5(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading, whose data are all in this file.

    HDF5 can take data from other files without a word: by external links, by datasets with external
    storage, and by virtual datasets. No hash of the file would cover these.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    h5py.File
        Also a context manager, which closes it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is not a readable HDF5 file.
    ValueError
        If it takes data from elsewhere; the message names the first such place.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No HDF5 file at {path}.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(f"{path} is not a readable HDF5 file: {error}") from error
    try:
        foreign = file.visititems_links(_foreign_link) or file.visititems(_foreign_data)
    except Exception as error:  # h5py raises many kinds, a SystemError among them
        file.close()
        raise OSError(f"{path} is a damaged HDF5 file: {error.__cause__ or error}") from error
    if foreign is not None:
        file.close()
        raise ValueError(
            f"{path}: {foreign}, so that its data are not all in this file. Copy them into one file, "
            "for example with h5repack or `h5py.Group.copy(..., expand_external=True)`."
        )
    return file


def read_hashed(
    path: str | Path,
    arrays: Iterable[str],
    attributes: Iterable[str],
    schema: int,
    what: str,
    again: str,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and attributes of a file that holds a hash of them, by their names.

    Parameters
    ----------
    path : str or Path
    arrays, attributes : iterable of str
        All that the hash is of.
    schema : int
        That the file must have.
    what : str
        What the file must be, for messages.
    again : str
        How it is made anew, for messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another schema, lacks something, cannot be read, takes data from elsewhere, or
        was changed since it was written.
    """
    try:
        with open_hdf5(path) as file:
            if not np.array_equal(file.attrs.get("schema"), schema):  # which may be an array
                raise ValueError(
                    f"{path} has schema {file.attrs.get('schema')}, this version reads {schema}; {again}."
                )
            of_file = {name: file.attrs[name] for name in attributes}
            found = {name: file[name][()] for name in arrays}
            intact = str(file.attrs["sha256"]) == digest(found, of_file)
    except FileNotFoundError:
        raise
    # h5py raises all kinds.
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not {what} ({error}); {again}.") from error
    if not intact:
        raise ValueError(f"{path} was changed since it was written; {again}.")
    return found, of_file


def _foreign_link(name: str, link: Any) -> str | None:
    if isinstance(link, h5py.ExternalLink):
        return f"/{name} is a link to {link.path!r} in the file {link.filename!r}"
    return None


def _foreign_data(name: str, node: Any) -> str | None:
    if not isinstance(node, h5py.Dataset):
        return None
    if node.external:
        return f"/{name} is stored in the file {node.external[0][0]!r}"
    if node.is_virtual:
        files = sorted({source.file_name for source in node.virtual_sources()})
        return f"/{name} is a virtual dataset of {', '.join(map(repr, files))}"
    return None
