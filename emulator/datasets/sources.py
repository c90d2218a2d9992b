"""Halo catalogues and tabulations of the rows of data sets.

A process makes many shards: what they share is loaded once, and again when its file changed.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.snapshots import Catalogued, Snapshots
from iaemu_likelihood.emulator.mocks import HalotoolsIA
from iaemu_likelihood.emulator.physics.space import ParameterSpace


def halos(source: str) -> HaloCatalogue:
    """As `load_halos`; a file that cannot be read is a ValueError, whatever its reader raises."""
    return _halos(source, _changed(source))


def snapshots(catalogues: tuple[str, ...]) -> Snapshots:
    """What is known of the halo catalogues of one simulation, which are loaded one by one."""
    return Snapshots.of([_catalogued(source, _changed(source)) for source in catalogues])


def sites(source: str) -> GalaxySites:
    """Where galaxies may be in a halo catalogue."""
    return _sites(source, _changed(source))


def halotools_model(source: str, space: ParameterSpace) -> HalotoolsIA:
    """halotools-IA on a halo catalogue."""
    return _halotools_model(source, _changed(source), space)


def tabulation_files(catalogues: tuple[str, ...], path: str | Path) -> dict[str, Path]:
    """The file of the tabulation of each halo catalogue, by the catalogue.

    With several catalogues, TABLE.hdf5 is TABLE.NAME.hdf5 of the catalogue NAME.hdf5.
    """
    file, several = Path(path), len(catalogues) > 1
    return {
        source: file.with_name(f"{file.stem}.{_stem(source)}{file.suffix}") if several else file
        for source in catalogues
    }


def _stem(source: str) -> str:
    """Name of a halo catalogue without the suffix of a file; that of bundled@0.3 is a redshift's."""
    return re.sub(r"\.[A-Za-z]\w*$", "", Path(source).name)


def tabulations(
    catalogues: tuple[str, ...],
    path: str | Path,
    r_edges: tuple[float, ...],
    statistics: tuple[str, ...],
) -> list[list[Tabulation]]:
    """Tabulations of halo catalogues, in wider bins where these are asked for, by redshift and by box."""
    files = tabulation_files(catalogues, path)
    options = r_edges, statistics
    return [
        [_tabulation(file := str(files[x.source]), _changed(file), *options) for x in boxes]
        for boxes in snapshots(catalogues).by_redshift
    ]


def _changed(path: str) -> float:
    return os.stat(path).st_mtime if os.path.isfile(path) else 0.0


@lru_cache(maxsize=1)
def _halos(source: str, _: float) -> HaloCatalogue:
    try:
        return load_halos(source)
    except (OSError, ValueError):
        raise
    except Exception as error:  # readers of users' own raise all kinds
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise ValueError(f"The halo catalogue {source} cannot be read: {reason}") from error


@lru_cache(maxsize=32)
def _catalogued(source: str, changed: float) -> Catalogued:
    return Catalogued.of(source, _halos(source, changed))


@lru_cache(maxsize=1)
def _sites(source: str, changed: float) -> GalaxySites:
    return GalaxySites.of(_halos(source, changed))


@lru_cache(maxsize=1)
def _halotools_model(source: str, changed: float, space: ParameterSpace) -> HalotoolsIA:
    return HalotoolsIA(_halos(source, changed), space)


@lru_cache(maxsize=32)
def _tabulation(
    path: str, _: float, r_edges: tuple[float, ...], statistics: tuple[str, ...]
) -> Tabulation:
    return Tabulation.read(path).coarser(r_edges, statistics)
