"""Where halo catalogues come from: the bundled one, Bolshoi-Planck, or a user's file.

Another source is a function that returns a `HaloCatalogue`, put into `READERS` under its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION, REQUIRED_COLUMNS, VELOCITY
from iaemu_likelihood.emulator.reading import expanded, read_table
from iaemu_likelihood.emulator.units import LENGTH, MASS, NUMBER

BUNDLED = "halos/pm250_z0.hdf5"
# Offsets of subhalos are whole numbers in the bundled file: this many a virial radius of the host.
OFFSET_SCALE = 30000.0
REQUIRED_METADATA = {"Lbox": LENGTH, "redshift": NUMBER, "particle_mass": MASS}
DOWNLOAD_BOLPLANCK = (
    'python -c "from halotools.sim_manager import DownloadManager; DownloadManager()'
    ".download_processed_halo_table('bolplanck', 'rockstar', 0.0)\""
)


def load_halos(source: str | Path = "bundled") -> HaloCatalogue:
    """Load a halo catalogue that `HalotoolsIA` can populate and `Tabulation` can tabulate.

    Parameters
    ----------
    source : str or Path
        ``"bundled"`` for the catalogue that comes with the package; ``"bolplanck"`` for
        Bolshoi-Planck (Rockstar, z = 0) from halotools' own cache; another name in `READERS`;
        otherwise a file that `astropy.table.Table.read` understands (HDF5, FITS, ECSV, ...) with
        the columns of `REQUIRED_COLUMNS` and ``Lbox`` (Mpc/h), ``redshift`` and ``particle_mass``
        (Msun/h) in its metadata. Comoving positions in Mpc/h, masses in Msun/h, velocities in km/s;
        other units that the file declares are converted, see `iaemu_likelihood.emulator.units`. The
        metadata may also hold ``subhalo_mass_bins`` (Msun/h), ``cosmology`` and ``provenance``.

    Returns
    -------
    HaloCatalogue

    Raises
    ------
    FileNotFoundError
        If the catalogue is not there; for Bolshoi-Planck with the command that downloads it.
    ValueError
        If a column is missing, holds an impossible value, or is in a unit that cannot be converted;
        or if the name of a catalogue is also that of a file.
    """
    path = expanded(source)
    if source in READERS:
        if path.is_file():
            raise ValueError(
                f"{str(source)!r} is both the name of a halo catalogue and the file {path.resolve()}. "
                "Give the file's whole path, or rename it."
            )
        return READERS[str(source)]()
    if not path.is_file():
        raise FileNotFoundError(
            f"No halo catalogue at {path}. Use {', '.join(map(repr, READERS))} or the path of a "
            "file."
        )
    return read_file(path)


def read_bundled() -> HaloCatalogue:
    """The catalogue that comes with the package, whose file holds hosts and offsets of subhalos."""
    import h5py

    with h5py.File(bundled(BUNDLED)) as file:
        hosts = {name: file["hosts"][name][:] for name in file["hosts"]}
        offset = file["subhalos/offset"][:].astype(np.float64) / OFFSET_SCALE
        attributes = dict(file.attrs)
    box = float(attributes["lbox"])
    n_hosts, n_subhalos = len(hosts["rvir"]), hosts["n_subhalos"].astype(np.int64)
    host = np.repeat(np.arange(n_hosts), n_subhalos)
    rank = np.arange(len(host)) - np.repeat(np.cumsum(n_subhalos) - n_subhalos, n_subhalos)

    position = hosts["position"].astype(np.float64)
    mass = 10.0 ** hosts["log10_mvir"].astype(np.float64)
    rvir = hosts["rvir"].astype(np.float64)
    velocity = hosts["velocity"].astype(np.float64)
    axis = hosts["major_axis"].astype(np.float64)
    everything = np.concatenate([np.arange(n_hosts), host])  # each row's host
    # The file holds the subhalos in their order, not their masses: any falling numbers will do.
    mpeak = np.concatenate([mass, mass[host] / (rank + 2)])
    rows = np.concatenate([position, position[host] + offset * rvir[host, None]]) % box
    columns = {
        "halo_id": np.arange(len(everything)),
        "halo_upid": np.concatenate([np.full(n_hosts, -1), host]),
        "halo_hostid": everything,
        "halo_mvir": np.concatenate([mass, mpeak[n_hosts:]]),
        "halo_mpeak": mpeak,
        "halo_mvir_host_halo": mass[everything],
        "halo_rvir": rvir[everything],
        **dict(zip(POSITION, rows.T, strict=True)),
        **dict(zip(VELOCITY, velocity[everything].T, strict=True)),
        **dict(zip(AXES, axis[everything].T, strict=True)),
    }
    return HaloCatalogue.from_columns(
        "bundled",
        columns,
        box,
        float(attributes["redshift"]),
        float(attributes["particle_mass"]),
        attributes["subhalo_mass_bins"],
        cosmology=str(attributes["cosmology"]),
        provenance=str(attributes["provenance"]),
    )


@silent
def read_bolplanck() -> HaloCatalogue:
    """Bolshoi-Planck (Rockstar, z = 0) from halotools' cache."""
    from halotools.custom_exceptions import HalotoolsError
    from halotools.sim_manager import CachedHaloCatalog

    try:
        cached = CachedHaloCatalog(simname="bolplanck", halo_finder="rockstar", redshift=0.0)
        table = cached.halo_table
    except (HalotoolsError, OSError) as error:
        raise FileNotFoundError(
            "Bolshoi-Planck cannot be had from halotools' cache. Download it with\n    "
            f"{DOWNLOAD_BOLPLANCK}\nhalotools says: {' '.join(str(error).split())}"
        ) from error
    return HaloCatalogue.from_columns(
        "bolplanck",
        {key: np.asarray(table[key]) for key in REQUIRED_COLUMNS},
        float(np.max(cached.Lbox)),
        float(cached.redshift),
        float(cached.particle_mass),
        np.logspace(10.5, 15.2, 15),
        provenance=f"{_text(cached.version_name)}: {_text(cached.processing_notes)}",
    )


def _text(attribute: str | bytes) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else attribute


def read_file(path: Path) -> HaloCatalogue:
    """A file of one row a halo, in any format that astropy knows; see `load_halos`."""
    columns, metadata = read_table(path)
    box, redshift, particle_mass = (
        metadata.number(name, unit=unit) for name, unit in REQUIRED_METADATA.items()
    )
    if box is None or redshift is None or particle_mass is None:
        absent = [name for name in REQUIRED_METADATA if metadata.get(name) is None]
        raise ValueError(f"{path} lacks {', '.join(absent)} in its metadata.")
    bins, cosmology, provenance = map(
        metadata.get, ("subhalo_mass_bins", "cosmology", "provenance")
    )
    return HaloCatalogue.from_columns(
        path.name,
        columns,
        box,
        redshift,
        particle_mass,
        None
        if bins is None
        else metadata.column({"subhalo_mass_bins": bins}, "subhalo_mass_bins", MASS),
        cosmology=None if cosmology is None else str(cosmology),
        provenance=None if provenance is None else str(provenance),
        metadata=metadata,
    )


READERS: dict[str, Callable[[], HaloCatalogue]] = {
    "bundled": read_bundled,
    "bolplanck": read_bolplanck,
}
