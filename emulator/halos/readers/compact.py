"""The package's own form of halo catalogues: small HDF5 files, as the bundled one is.

Hosts are in descending mass; subhalos follow host by host in descending mpeak, as offsets from their
host. docs/halos.md lists what is inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, POSITION, VELOCITY
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py

# Whole numbers stand for offsets of this many a virial radius of the host, and for axes.
OFFSET_SCALE, AXIS_SCALE = 30000.0, 32767.0
_LARGEST = np.iinfo(np.int16).max
# Of catalogues of the bundled one's simulation whose files do not say theirs: the same at every redshift.
DEFAULT_BINS = np.logspace(11.0, 15.3, 15)
_DATASETS = ("log10_mvir", "major_axis", "position", "rvir", "velocity")


def recognises(file: h5py.File) -> bool:
    """Whether an HDF5 file has this form."""
    return "lbox" in file.attrs and "hosts" in file and "position" in file["hosts"]


def read(path: str | Path, stated: Stated | None = None, name: str | None = None) -> HaloCatalogue:
    """Read a file of this form; see `load_halos`."""
    from iaemu_likelihood.emulator.hdf5 import open_hdf5

    stated = stated or Stated()
    source = name or Path(path).name
    with open_hdf5(path) as file:
        attributes = dict(file.attrs)
        lacking = [key for key in _DATASETS if key not in file["hosts"]]
        lacking += [key for key in ("lbox", "redshift", "particle_mass") if key not in attributes]
        if lacking:
            raise ValueError(f"{path} lacks {', '.join(lacking)}; is it complete?")
        hosts = {key: file["hosts"][key][:] for key in file["hosts"]}
        offset = np.zeros((0, 3))
        if "subhalos/offset" in file:
            values = file["subhalos/offset"][:]
            offset = values / (OFFSET_SCALE if values.dtype.kind == "i" else 1.0)
    n_hosts = len(hosts["rvir"])
    n_subhalos = hosts.get("n_subhalos", np.zeros(n_hosts, np.int64)).astype(np.int64)
    if n_subhalos.sum() != len(offset):
        raise ValueError(
            f"{path}: its hosts have {n_subhalos.sum()} subhalos, but there are {len(offset)}."
        )
    box = stated.number("box", float(attributes["lbox"]), path)
    position = hosts["position"].astype(np.float64)
    mass = 10.0 ** hosts["log10_mvir"].astype(np.float64)
    rvir = hosts["rvir"].astype(np.float64)
    n_rows = n_hosts + len(offset)
    heavy = mass >= stated.min_mass
    if not heavy.all():
        offset = offset[np.repeat(heavy, n_subhalos)]
        hosts = {key: values[heavy] for key, values in hosts.items()}
        position, mass, rvir, n_subhalos = (x[heavy] for x in (position, mass, rvir, n_subhalos))
        n_hosts = len(mass)
    host = np.repeat(np.arange(n_hosts), n_subhalos)
    rank = np.arange(len(host)) - np.repeat(np.cumsum(n_subhalos) - n_subhalos, n_subhalos)
    everything = np.concatenate([np.arange(n_hosts), host])  # each row's host
    # The file holds the subhalos in their order, not their masses: any falling numbers will do.
    mpeak = np.concatenate([mass, mass[host] / (rank + 2)])
    rows = np.concatenate([position, position[host] + offset * rvir[host, None]]) % box
    columns: dict[str, NDArray[Any]] = {
        "halo_id": np.arange(len(everything)),
        "halo_upid": np.concatenate([np.full(n_hosts, -1), host]),
        "halo_hostid": everything,
        "halo_mvir": np.concatenate([mass, mpeak[n_hosts:]]),
        "halo_mpeak": mpeak,
        "halo_mvir_host_halo": mass[everything],
        "halo_rvir": rvir[everything],
        **dict(zip(POSITION, rows.T, strict=True)),
        **dict(zip(VELOCITY, hosts["velocity"].astype(np.float64)[everything].T, strict=True)),
        **dict(zip(AXES, hosts["major_axis"].astype(np.float64)[everything].T, strict=True)),
    }
    if "concentration" in hosts:
        columns[CONCENTRATION] = hosts["concentration"].astype(np.float64)[everything]
    return HaloCatalogue.from_columns(
        source,
        columns,
        box,
        stated.number("redshift", float(attributes["redshift"]), path),
        stated.number("particle_mass", float(attributes["particle_mass"]), path),
        attributes.get("subhalo_mass_bins", _default_bins(mass, mass[host])),
        cosmology=stated.cosmology or _text(attributes.get("cosmology")),
        provenance=_text(attributes.get("provenance")),
        satellites=stated.satellites,
        dropped=stated.lighter(n_rows - len(everything)),
    )


def write(halos: HaloCatalogue, path: str | Path, overwrite: bool = False) -> None:
    """Write a catalogue in this form, from which the same tabulation follows.

    Parameters
    ----------
    halos : HaloCatalogue
        Positions of hosts are kept in single precision, offsets of subhalos to a 30000th of the host's
        virial radius, and axes to 1e-5. What subhalos have besides, such as their masses, is not kept.
    path : str or Path
        An HDF5 file.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If there is such a file, and it must not be replaced.
    """
    import h5py
    from iaemu_likelihood.emulator.atomic import atomic_write

    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True, or --overwrite, to replace it.")
    sites = GalaxySites.of(halos)
    order = np.arange(len(sites.logM))[::-1]  # descending in mass
    number = np.diff(sites.first_subhalo)
    first = np.repeat(sites.first_subhalo[:-1][order], number[order])
    within = np.arange(len(first)) - np.repeat(
        np.cumsum(number[order]) - number[order], number[order]
    )
    column = {key: np.asarray(values) for key, values in halos.columns.items()}
    hosts = np.flatnonzero(column["halo_upid"] == -1)
    hosts = hosts[np.argsort(column["halo_mvir"][hosts], kind="stable")][order]
    rvir = column["halo_rvir"][hosts].astype(np.float64)
    offset = sites.offset[first + within]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = offset / np.repeat(rvir, number[order])[:, None]
    scaled = np.where(offset == 0, 0.0, scaled)
    if not np.isfinite(scaled).all():
        raise ValueError(f"{halos.name}: a host with subhalos has no virial radius.")
    whole = np.abs(scaled).max(initial=0) * OFFSET_SCALE <= _LARGEST
    velocity = np.stack([column[key][hosts] for key in VELOCITY], axis=-1)
    axis = np.stack([column[key][hosts] for key in AXES], axis=-1)
    with atomic_write(path) as unfinished, h5py.File(unfinished, "w") as file:
        file.attrs.update(
            name=Path(path).stem, version="3", lbox=halos.box, redshift=halos.redshift,
            particle_mass=halos.particle_mass, n_hosts=len(hosts), n_subhalos=len(offset),
        )  # fmt: skip
        told = [halos.provenance, *halos.notes]
        told += [f"Dropped {n} rows: {reason}." for reason, n in halos.dropped.items()]
        words = {"cosmology": halos.cosmology, "provenance": " ".join(filter(None, told))}
        file.attrs.update({key: value for key, value in words.items() if value})
        if halos.subhalo_mass_bins is not None:
            file.attrs["subhalo_mass_bins"] = halos.subhalo_mass_bins

        def put(key: str, values: NDArray[Any], **about: str) -> None:
            compression = {"compression": "gzip", "shuffle": True} if len(values) else {}
            file.create_dataset(key, data=values, **compression).attrs.update(about)

        put("hosts/position", sites.position[order].astype(np.float32), unit="Mpc/h (comoving)")
        whole_speeds = np.abs(velocity).max() <= _LARGEST
        speeds = np.rint(velocity).astype(np.int16) if whole_speeds else velocity.astype(np.float32)
        put("hosts/velocity", speeds, unit="km/s (peculiar)")
        put("hosts/log10_mvir", sites.logM[order].astype(np.float32), unit="Msun/h")
        put("hosts/rvir", rvir.astype(np.float32), unit="Mpc/h (comoving)")
        scale = f"int16, divide by {AXIS_SCALE:g} and normalise"
        put("hosts/major_axis", np.rint(axis * AXIS_SCALE).astype(np.int16), scale=scale)
        if halos.subhalo_mass_bins is None:
            put("hosts/concentration", column[CONCENTRATION][hosts].astype(np.float32), unit="")
            return
        put("hosts/n_subhalos", number[order].astype(np.uint32), unit="")
        if whole:
            values = np.rint(scaled * OFFSET_SCALE).astype(np.int16)
            scale = f"int16; offset from the host centre in units of its rvir = value / {OFFSET_SCALE:g}"
        else:
            values = scaled.astype(np.float32)
            scale = "offset from the host centre in units of its rvir"
        put("subhalos/offset", values, scale=f"{scale}; host by host, in descending mpeak")


def _default_bins(
    host_mass: NDArray[np.float64], subhalo_host_mass: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """`DEFAULT_BINS` up to the first that exceeds all hosts, if there are subhalos in each."""
    edges = DEFAULT_BINS
    if not edges[0] <= host_mass.min() <= host_mass.max() < edges[-1]:
        return None
    edges = edges[: int(np.searchsorted(edges, host_mass.max(), side="right")) + 1]
    # halotools wants two in each, and cannot tell the last two bins apart.
    enough = np.histogram(subhalo_host_mass, edges)[0] >= 2
    return edges if enough.all() else None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)
