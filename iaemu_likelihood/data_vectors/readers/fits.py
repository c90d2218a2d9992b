"""FITS files, and what their headers say, for several formats."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.units import LENGTH, FileMetadata

Array = NDArray[np.float64]
# Keys under which headers say the unit of separations.
_UNIT_KEYS = ("SEP_UNITS", "SEPUNITS", "SEP_UNIT")


@contextmanager
def open_fits(path: Path) -> Iterator[Any]:
    """A list of HDUs, open for reading.

    Raises
    ------
    ValueError
        If it is not a readable FITS file.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # of headers that break rules
        try:
            hdus = fits.open(path, memmap=False)
        except Exception as error:  # astropy raises many kinds for a damaged file
            raise ValueError(f"{path} is not a readable FITS file: {error}") from error
        with hdus:
            yield hdus


def columns_of(hdu: Any) -> list[str]:
    """Names of the columns of a table; none of an image."""
    return list(getattr(getattr(hdu, "columns", None), "names", ()))


def numbers(values: Any) -> Array:
    """Numbers of a column or image in the machine's byte order."""
    return np.array(values, dtype=np.float64)


def header_value(header: Any, name: str) -> Any:
    """The value of a key; None if it is not there or empty."""
    value = header.get(name)
    return None if value is None or str(value).strip() == "" else value


def length_unit(
    path: Path, table: Any, column: str, given: str | None
) -> tuple[str | None, list[str]]:
    """The unit of separations that a table says, None if it says none; and what to tell the user.

    Raises
    ------
    ValueError
        If it is no unit of lengths, and none is given.
    """
    said = [header_value(table.header, key) for key in _UNIT_KEYS]
    said.append(table.columns[column].unit)
    # Mpc_h: a header's way to write a fraction.
    units = [str(unit).strip().replace("_h", "/h") for unit in said if unit]
    if not units:
        return None, []
    try:
        metadata = FileMetadata(path, {"units": {column: units[0]}, "h": 1.0})
        metadata.column({column: np.ones(1)}, column, LENGTH)
    except ValueError:
        if given is None:
            raise ValueError(
                f"{path}: {table.name} says that {column} is in {units[0]!r}, which is no length. If that "
                "is a wrong label, say its unit: --unit Mpc/h, or another one."
            ) from None
        return None, [f"{column} is labelled {units[0]!r}, and taken as {given}, as given."]
    return units[0], []
