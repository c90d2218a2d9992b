"""Halo catalogues and tabulations of the rows of data sets.

A process makes many shards: what they share is loaded once, and again when its file changed.
"""

from __future__ import annotations

import os
from functools import lru_cache

from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.mocks import HalotoolsIA
from iaemu_likelihood.emulator.physics.space import ParameterSpace


def halos(source: str) -> HaloCatalogue:
    """As `load_halos`; a file that cannot be read is a ValueError, whatever its reader raises."""
    return _halos(source, _changed(source))


def sites(source: str) -> GalaxySites:
    """Where galaxies may be in a halo catalogue."""
    return _sites(source, _changed(source))


def halotools_model(source: str, space: ParameterSpace) -> HalotoolsIA:
    """halotools-IA on a halo catalogue."""
    return _halotools_model(source, _changed(source), space)


def tabulation(path: str, r_edges: tuple[float, ...], statistics: tuple[str, ...]) -> Tabulation:
    """The tabulation in a file, in wider bins or of fewer statistics where these are asked for."""
    return _tabulation(path, _changed(path), r_edges, statistics)


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


@lru_cache(maxsize=1)
def _sites(source: str, changed: float) -> GalaxySites:
    return GalaxySites.of(_halos(source, changed))


@lru_cache(maxsize=1)
def _halotools_model(source: str, changed: float, space: ParameterSpace) -> HalotoolsIA:
    return HalotoolsIA(_halos(source, changed), space)


@lru_cache(maxsize=1)
def _tabulation(
    path: str, _: float, r_edges: tuple[float, ...], statistics: tuple[str, ...]
) -> Tabulation:
    return Tabulation.read(path).coarser(r_edges, statistics)
