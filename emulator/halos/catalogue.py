"""Halo catalogues ready for halotools: the bundled one, Bolshoi-Planck, or a user's file."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.data import bundled
from numpy.typing import NDArray

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog

log = logging.getLogger(__name__)

BUNDLED = "halos/pm250_z0.hdf5"
AXES = ("halo_axisA_x", "halo_axisA_y", "halo_axisA_z")
POSITION = ("halo_x", "halo_y", "halo_z")
VELOCITY = ("halo_vx", "halo_vy", "halo_vz")
REQUIRED_COLUMNS = (
    "halo_id",
    "halo_upid",
    "halo_hostid",
    *POSITION,
    *VELOCITY,
    "halo_mvir",
    "halo_rvir",
    "halo_mpeak",
    "halo_mvir_host_halo",
    *AXES,
)
REQUIRED_METADATA = ("Lbox", "redshift", "particle_mass")
DOWNLOAD_BOLPLANCK = (
    'python -c "from halotools.sim_manager import DownloadManager; DownloadManager()'
    ".download_processed_halo_table('bolplanck', 'rockstar', 0.0)\""
)


def load_halos(source: str | Path = "bundled") -> UserSuppliedHaloCatalog:
    """Load a halo catalogue that `HalotoolsIA` can populate and `Tabulation` can tabulate.

    Parameters
    ----------
    source : str or Path
        ``"bundled"`` for the catalogue that comes with the package; ``"bolplanck"`` for
        Bolshoi-Planck (Rockstar, z = 0) from halotools' own cache; otherwise a file that
        `astropy.table.Table.read` understands (HDF5, FITS, ECSV, ...) with the columns of
        `REQUIRED_COLUMNS` and ``Lbox`` (Mpc/h), ``redshift`` and ``particle_mass`` (Msun/h) in
        its metadata. Positions in Mpc/h, masses in Msun/h, velocities in km/s.

    Returns
    -------
    halotools.sim_manager.UserSuppliedHaloCatalog
        With extra attributes ``name``, ``sha256`` (of the columns used), ``subhalo_mass_bins``
        (edges for `SubhaloPhaseSpace`, Msun/h) and ``n_dropped`` (rows with a zero axis, dropped).

    Raises
    ------
    FileNotFoundError
        If the catalogue is not there; for Bolshoi-Planck with the command that downloads it.
    ValueError
        If a column is missing or holds an impossible value.
    """
    if source == "bundled":
        return _catalogue("bundled", *_read_bundled(bundled(BUNDLED)))
    if source == "bolplanck":
        return _catalogue("bolplanck", *_read_bolplanck())
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"No halo catalogue at {path}. Use 'bundled', 'bolplanck' or the path of a file."
        )
    return _catalogue(path.name, *_read_table(path))


def _read_bundled(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import h5py

    with h5py.File(path) as file:
        hosts = {name: file["hosts"][name][:] for name in file["hosts"]}
        offset = file["subhalos/offset"][:].astype(np.float64) / 30000.0
        metadata = {
            "Lbox": float(file.attrs["lbox"]),
            "redshift": float(file.attrs["redshift"]),
            "particle_mass": float(file.attrs["particle_mass"]),
            "subhalo_mass_bins": file.attrs["subhalo_mass_bins"][:],
        }
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
    rows = np.concatenate([position, position[host] + offset * rvir[host, None]]) % metadata["Lbox"]
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
    return columns, metadata


def _read_bolplanck() -> tuple[dict[str, Any], dict[str, Any]]:
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
    metadata = {
        "Lbox": float(np.max(cached.Lbox)),
        "redshift": float(cached.redshift),
        "particle_mass": float(cached.particle_mass),
        "subhalo_mass_bins": np.logspace(10.5, 15.2, 15),
    }
    return {name: np.asarray(table[name]) for name in REQUIRED_COLUMNS}, metadata


def _read_table(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from astropy.table import Table

    table = Table.read(path)
    missing = [name for name in REQUIRED_COLUMNS if name not in table.colnames]
    if missing:
        raise ValueError(
            f"{path} lacks the column(s) {', '.join(missing)}. Needed: {', '.join(REQUIRED_COLUMNS)}."
        )
    found = {str(key).lower(): value for key, value in table.meta.items()}
    absent = [name for name in REQUIRED_METADATA if name.lower() not in found]
    if absent:
        raise ValueError(f"{path} lacks {', '.join(absent)} in its metadata.")
    metadata: dict[str, Any] = {name: float(found[name.lower()]) for name in REQUIRED_METADATA}
    if "subhalo_mass_bins" in found:
        metadata["subhalo_mass_bins"] = np.asarray(found["subhalo_mass_bins"], float)
    return {name: np.asarray(table[name]) for name in REQUIRED_COLUMNS}, metadata


def default_mass_bins(
    host_mass: NDArray[np.float64], subhalo_host_mass: NDArray[np.float64], n_bins: int = 14
) -> NDArray[np.float64]:
    """Logarithmic host-mass bins in which `SubhaloPhaseSpace` finds subhalos everywhere.

    Parameters
    ----------
    host_mass : ndarray, shape (n_hosts,)
        Msun/h.
    subhalo_host_mass : ndarray, shape (n_subhalos,)
        Mass of each subhalo's host, Msun/h.
    n_bins : int
        Number of bins aimed at; bins with fewer than two subhalos are joined to a neighbour.

    Returns
    -------
    ndarray
        Edges, Msun/h, that enclose every host.
    """
    low, high = host_mass.min() * 0.99, host_mass.max() * 1.01
    edges = np.geomspace(low, high, n_bins + 1)
    counts = np.cumsum(np.histogram(subhalo_host_mass, edges)[0])
    kept, taken = [edges[0]], 0
    for edge, count in zip(edges[1:-1], counts[:-1], strict=True):
        if count - taken >= 2 and counts[-1] - count >= 2:
            kept.append(edge)
            taken = count
    return np.array([*kept, edges[-1]])


def _catalogue(
    name: str, columns: dict[str, Any], metadata: dict[str, Any]
) -> UserSuppliedHaloCatalog:
    from halotools.sim_manager import UserSuppliedHaloCatalog

    axes = np.stack([columns[axis] for axis in AXES], axis=-1).astype(np.float64)
    length = np.linalg.norm(axes, axis=-1)
    is_host = columns["halo_upid"] == -1
    # A host without an axis would turn every bin of omega and eta into NaN; its subhalos go too.
    bad_ids = columns["halo_id"][is_host & ~(length > 0)]
    keep = ~np.isin(columns["halo_hostid"], bad_ids) & ~np.isin(columns["halo_id"], bad_ids)
    columns = {key: values[keep] for key, values in columns.items()}
    axes, length, is_host = axes[keep], length[keep], is_host[keep]
    n_dropped = int((~keep).sum())
    if n_dropped:
        log.warning("%s: dropped %d rows whose host has a zero major axis.", name, n_dropped)
    if not is_host.any() or is_host.all():
        raise ValueError(
            f"{name} needs hosts (halo_upid == -1) and subhalos; it has only one kind."
        )
    length = np.where(length > 0, length, 1.0)  # subhalos' own axes are not used
    columns |= {axis: column for axis, column in zip(AXES, (axes / length[:, None]).T, strict=True)}
    for key in (*POSITION, "halo_mvir", "halo_rvir"):
        values = columns[key]
        high = metadata["Lbox"] if key in POSITION else np.inf
        bad = ~((values >= 0) & (values <= high))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(f"{name}: {key}[{row}] = {values[row]} is outside [0, {high}].")
    metadata.setdefault(
        "subhalo_mass_bins",
        default_mass_bins(columns["halo_mvir"][is_host], columns["halo_mvir_host_halo"][~is_host]),
    )
    digest = hashlib.sha256()
    for key in REQUIRED_COLUMNS:
        digest.update(np.ascontiguousarray(columns[key]).tobytes())
    digest.update(
        np.array([metadata["Lbox"], *metadata["subhalo_mass_bins"]], np.float64).tobytes()
    )
    catalogue = UserSuppliedHaloCatalog(**columns, **metadata)
    catalogue.name = name
    catalogue.sha256 = digest.hexdigest()
    catalogue.n_dropped = n_dropped
    return catalogue
