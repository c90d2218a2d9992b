"""HDF5 files of tabulations: arrays and attributes under one hash."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.digest import digest
from iaemu_likelihood.emulator.hdf5 import read_hashed
from numpy.typing import NDArray

SCHEMA = 4


def write_tabulation(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> None:
    """Write a file, whole or not at all."""
    import h5py

    buffer = io.BytesIO()  # HDF5 itself crashes when a disk is full
    with h5py.File(buffer, "w") as file:
        file.attrs.update(attributes)
        file.attrs["schema"] = SCHEMA
        file.attrs["sha256"] = digest(arrays, attributes)
        file.attrs["units"] = "r_edges and box in Mpc/h; logM in log10(Msun/h)"
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def read_tabulation(
    path: str | Path, arrays: Iterable[str], attributes: Iterable[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and attributes of a file, by their names; raises as `read_hashed`."""
    what, again = "a complete tabulation", "tabulate again"
    return read_hashed(path, arrays, attributes, SCHEMA, what, again)
