"""Where halo catalogues come from: by name, or from files of many kinds.

A catalogue by name is a function that returns a `HaloCatalogue`, in `READERS`. A kind of file is a pair
of functions in `FORMATS`: one tells whether a file is of this kind, the other one reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers import (
    cache,
    compact,
    compaso,
    rockstar,
    soap,
    tables,
)
from iaemu_likelihood.emulator.halos.readers.compact import write as write_halos
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.reading import expanded

__all__ = ["BUNDLED", "FORMATS", "READERS", "Format", "Stated", "load_halos", "write_halos"]

log = logging.getLogger(__name__)

# By their redshift. Installed packages hold the first one only, the repository all.
BUNDLED = {
    0.0: "halos/pm250_z0.hdf5",
    0.3: "halos/pm250_z0300.hdf5",
    0.625: "halos/pm250_z0625.hdf5",
    1.0: "halos/pm250_z1000.hdf5",
}


class Format(NamedTuple):
    """A kind of files of halos.

    Attributes
    ----------
    about : str
        What it is called.
    recognises : callable
        Whether a file, or folder, is of this kind.
    read : callable
        Gives its `HaloCatalogue`, from the path and what the user states.
    """

    about: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Stated], HaloCatalogue]


def _in_hdf5(recognises: Callable[[Any], bool], path: Path) -> bool:
    """Whether a file is one of HDF5 that a function recognises."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path) as file:
            return recognises(file)
    except Exception:  # of a damaged file, about which the reader of tables says more
        return False


FORMATS = {
    "compaso": Format("CompaSO", compaso.recognises, compaso.read),
    "compact": Format("compact HDF5", partial(_in_hdf5, compact.recognises), compact.read),
    "soap": Format("SOAP", partial(_in_hdf5, soap.recognises), soap.read),
    "rockstar": Format("Rockstar", rockstar.recognises, rockstar.read),
    "table": Format("table", Path.is_file, tables.read),
}


def read_bundled(stated: Stated | None = None) -> HaloCatalogue:
    """The catalogue that comes with the package, or one of the same simulation in the repository."""
    redshift = stated.redshift if stated and stated.redshift is not None else 0.0
    if redshift not in BUNDLED:
        raise ValueError(
            f"There is no bundled catalogue at redshift {redshift:g}; there are those at "
            f"{', '.join(f'{z:g}' for z in BUNDLED)}."
        )
    name = f"bundled@{redshift:g}" if redshift else "bundled"
    try:
        path = bundled(BUNDLED[redshift])
    except FileNotFoundError:
        if not redshift:
            raise
        raise FileNotFoundError(
            f"The halo catalogue {name} is not in this installation: catalogues above redshift 0 come "
            "with the repository only. Install from a clone of it (pip install -e), or take bundled "
            "alone, the catalogue at redshift 0 (for weights: iaemu build --halos bundled)."
        ) from None
    return compact.read(path, stated, name)


READERS: dict[str, Callable[[], HaloCatalogue]] = {
    "bundled": read_bundled,
    **{name: partial(cache.read, name) for name in cache.COSMOLOGIES},
}


def load_halos(
    source: str | Path = "bundled",
    *,
    box: float | None = None,
    redshift: float | None = None,
    particle_mass: float | None = None,
    cosmology: str | None = None,
    satellites: str | None = None,
    min_mass: float = 0.0,
) -> HaloCatalogue:
    """Load a halo catalogue that `HalotoolsIA` can populate and `Tabulation` can tabulate.

    Parameters
    ----------
    source : str or Path
        ``"bundled"`` for the catalogue that comes with the package, ``"bundled@0.3"`` (0.625, 1) for
        those of the repository at other redshifts; ``"bolplanck"``, ``"bolshoi"``,
        ``"multidark"`` or ``"consuelo"`` for a catalogue (Rockstar) from halotools' own cache, at
        another redshift than 0 with ``@``, as in ``"bolplanck@0.5"``; another name in `READERS`;
        otherwise a file or a folder of one of `FORMATS`: the package's compact HDF5, text of Rockstar
        or Consistent-Trees, a folder of AbacusSummit's CompaSO, SOAP's HDF5, or a file that
        `astropy.table.Table.read` understands (HDF5, FITS, ECSV, ...) with the columns of
        `REQUIRED_COLUMNS` and ``Lbox`` (Mpc/h), ``redshift`` and ``particle_mass`` (Msun/h) in its
        metadata. Of such a table comoving positions are in Mpc/h, masses in Msun/h, velocities in km/s;
        other units that the file declares are converted, see `iaemu_likelihood.emulator.units`. The
        metadata may also hold ``subhalo_mass_bins`` (Msun/h), ``cosmology`` and ``provenance``.
    box, redshift, particle_mass, cosmology : optional
        What a file does not say, in Mpc/h, Msun/h, and as ``flat LCDM Om0=0.307 Ob0=0.048 h=0.678
        sigma8=0.823 ns=0.96``. The redshift also chooses among the catalogues in the cache.
    satellites : str, optional
        ``"nfw"`` leaves subhalos out, so that satellites follow NFW profiles, as they do in any case
        where there are no subhalos; ``"subhalos"`` refuses such a catalogue.
    min_mass : float
        Msun/h; hosts that are lighter are left out, with their subhalos.

    Returns
    -------
    HaloCatalogue

    Raises
    ------
    FileNotFoundError
        If the catalogue is not there; for one of halotools with the command that downloads it.
    ValueError
        If a column is missing, holds an impossible value, or is in a unit that cannot be converted; if
        the file does not say what is needed, or says something else than is stated; or if the name of a
        catalogue is also that of a file.
    """
    stated = Stated(box, redshift, particle_mass, cosmology, satellites, min_mass)
    name, at, of_name = str(source).partition("@")
    path = expanded(source)
    if name in READERS:
        if path.exists():
            raise ValueError(
                f"{str(source)!r} is both the name of a halo catalogue and the file {path.resolve()}. "
                "Give the file's whole path, or rename it."
            )
        return _by_name(name, of_name if at else None, stated)
    if not path.exists():
        raise FileNotFoundError(
            f"No halo catalogue at {path}. Use {', '.join(map(repr, READERS))} or the path of a "
            "file."
        )
    form = next((form for form in FORMATS.values() if form.recognises(path)), None)
    if form is None:
        raise ValueError(
            f"{path} is a folder, but not one of CompaSO halos of one redshift, which holds halo_info."
        )
    try:
        halos = form.read(path, stated)
    except (OSError, ValueError, ImportError, MemoryError):
        raise
    except Exception as error:  # libraries raise all kinds for a damaged file
        what = next(filter(None, str(error).splitlines()), "")
        raise ValueError(
            f"{path} is not a readable catalogue ({form.about}): its content is damaged "
            f"({type(error).__name__}: {what})."
        ) from error
    log.info("%s (%s): %s.", path, form.about, halos.in_short)
    for note in halos.notes:
        log.info("%s", note)
    return halos


def _by_name(name: str, at: str | None, stated: Stated) -> HaloCatalogue:
    """A catalogue of `READERS`; `at` is the redshift that stands behind its name."""
    if at is not None:
        try:
            stated = Stated(**{**vars(stated), "redshift": float(at)})
        except ValueError as error:
            raise ValueError(f"{name}@{at}: {at!r} is no redshift.") from error
    if not stated.given:
        return READERS[name]()
    if name in cache.COSMOLOGIES:
        return cache.read(name, stated)
    if name == "bundled":
        return read_bundled(stated)
    raise ValueError(f"{', '.join(stated.given)} cannot be stated of {name!r}, which has its own.")
