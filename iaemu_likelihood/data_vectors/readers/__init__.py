"""Files of measurements from other codes: found by what they hold, read to a `Measurement`, and written.

To add a format, put a `Format` into `FORMATS` under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iaemu_likelihood.data_vectors.measurement import Measurement, measurement_path
from iaemu_likelihood.data_vectors.readers import measureia, sacc, treecorr, two_point
from iaemu_likelihood.data_vectors.readers.found import Reading, selected
from iaemu_likelihood.data_vectors.readers.given import Given
from iaemu_likelihood.emulator.reading import is_fits, is_hdf5

__all__ = ["FORMATS", "Format", "Given", "Reading", "format_of", "read_file", "write_file"]


@dataclass(frozen=True)
class Format:
    """A kind of files of measurements.

    Attributes
    ----------
    about : str
    container : callable
        Whether a file is of the kind of files in which it comes, from its first bytes.
    recognises : callable
        Whether such a file holds measurements of this format.
    read : callable
        To a `Reading`.
    """

    about: str
    container: Callable[[Path], bool]
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Given], Reading]


def _either(path: Path) -> bool:
    return is_hdf5(path) or is_fits(path)


def _is_ecsv(path: Path) -> bool:
    with path.open("rb") as file:
        return b"%ECSV" in file.read(64)


def _read_ecsv(path: Path, given: Given) -> Reading:
    stray = replace(given, name=None, statistics=()).options
    if stray:
        raise ValueError(
            f"{path} is an ECSV table, whose metadata say how it was measured: correct it there, and "
            f"leave out {', '.join(stray)}."
        )
    measured = selected(Measurement.read(path), given.statistics)
    return Reading(measured if given.name is None else replace(measured, name=given.name), [])


FORMATS: dict[str, Format] = {
    "ecsv": Format("this package's own tables", _is_ecsv, lambda path: True, _read_ecsv),
    "sacc": Format(sacc.ABOUT, _either, sacc.recognises, sacc.read),
    "measureia": Format(measureia.ABOUT, is_hdf5, measureia.recognises, measureia.read),
    "2pt": Format(two_point.ABOUT, is_fits, two_point.recognises, two_point.read),
    "treecorr": Format(treecorr.ABOUT, is_fits, treecorr.recognises, treecorr.read),
}


@contextmanager
def _in_words(path: Path, form: Format) -> Iterator[None]:
    """What libraries stumble over in a damaged file, as an error that says so."""
    try:
        yield
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not readable as {form.about}: its content is damaged ({type(error).__name__})."
        ) from error


def format_of(path: Path) -> str:
    """The name of a file's format, in `FORMATS`, by its content.

    Raises
    ------
    ValueError
        If it has none of them.
    """
    for name, one in FORMATS.items():
        with _in_words(path, one):
            if one.container(path) and one.recognises(path):
                return name
    known = "; ".join(f"{name} ({one.about})" for name, one in FORMATS.items())
    raise ValueError(f"{path} is not recognised as one of {known}.")


def read_file(source: str | Path, given: Given | None = None, form: str | None = None) -> Reading:
    """Read a measurement from a file of any known format.

    Parameters
    ----------
    source : str or Path
        The file, or the name of a bundled measurement.
    given : Given, optional
        What the file does not say.
    form : str, optional
        Name of the format; by default it is found by the content.

    Returns
    -------
    Reading
        The measurement, and sentences on how it was read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is of no known format, damaged, inconsistent, or something is missing that is not given;
        the message says what.
    ModuleNotFoundError
        If its library is missing, which the extra ``survey`` installs.
    """
    path, given = measurement_path(source), given or Given()
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    name = form or format_of(path)
    if name not in FORMATS:
        raise ValueError(f"No format {name!r}; there are {', '.join(FORMATS)}.")
    if not FORMATS[name].container(path):
        raise ValueError(
            f"{path} cannot be {FORMATS[name].about}: its first bytes are those of another kind."
        )
    with _in_words(path, FORMATS[name]):
        return FORMATS[name].read(path, given)


def write_file(measured: Measurement, path: Path, overwrite: bool = False) -> None:
    """Write a measurement as ``.ecsv``, or as ``.sacc``.

    Raises
    ------
    FileExistsError
        If the file exists and is not to be replaced.
    ValueError
        If its ending is another one; also as `iaemu_likelihood.data_vectors.readers.sacc.write`.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")
    if path.suffix == ".ecsv":
        measured.write(path, overwrite)
    elif path.suffix == ".sacc":
        sacc.write(measured, path)
    else:
        raise ValueError(f"{path}: the ending says the format to write; expected .ecsv or .sacc.")
