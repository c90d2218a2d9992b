"""Catalogues from halotools' own cache, at any redshift that it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.halos.rows import CONCENTRATION, REQUIRED_COLUMNS

# The simulations, by halotools' names. Bolshoi: Klypin et al. 2011, arXiv:1002.3660; Bolshoi-Planck:
# Rodriguez-Puebla et al. 2016, arXiv:1602.04813; MultiDark (MDR1): Prada et al. 2012, arXiv:1104.5130;
# Consuelo: McBride et al. 2009 (LasDamas).
COSMOLOGIES = {
    "bolplanck": "flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96",
    "bolshoi": "flat LCDM Om0=0.27 Ob0=0.0469 h=0.7 sigma8=0.82 ns=0.95",
    "multidark": "flat LCDM Om0=0.27 Ob0=0.0469 h=0.7 sigma8=0.82 ns=0.95",
    "consuelo": "flat LCDM Om0=0.25 Ob0=0.04 h=0.7 sigma8=0.8 ns=1.0",
}
# In the paper, at redshift 0; the bins of other catalogues are as many, between their own hosts.
PAPER_BINS = {"bolplanck": np.logspace(10.5, 15.2, 15)}
# A cached catalogue this far from the redshift that is asked for is another one.
TOLERANCE = 0.02


def download_command(name: str, redshift: float) -> str:
    """What a user types to get a catalogue into the cache."""
    return (
        'python -c "from halotools.sim_manager import DownloadManager; DownloadManager()'
        f".download_processed_halo_table('{name}', 'rockstar', {redshift:.1f})\""
    )


@silent
def read(name: str, stated: Stated | None = None) -> HaloCatalogue:
    """A catalogue (Rockstar) that halotools offers, from its cache; see `load_halos`."""
    from halotools.custom_exceptions import HalotoolsError
    from halotools.sim_manager import CachedHaloCatalog

    stated = stated or Stated()
    redshift = stated.redshift or 0.0
    try:
        cached = CachedHaloCatalog(
            simname=name, halo_finder="rockstar", redshift=redshift, dz_tol=TOLERANCE
        )
        table = cached.halo_table
    except (HalotoolsError, OSError) as error:
        raise FileNotFoundError(
            f"{name} at redshift {redshift:g} cannot be had from halotools' cache. Download it with\n    "
            f"{download_command(name, redshift)}\nhalotools says: {' '.join(str(error).split())}"
        ) from error
    columns = {key: np.asarray(table[key]) for key in REQUIRED_COLUMNS}
    concentration = _concentrations(table)
    if concentration is not None:
        columns[CONCENTRATION] = concentration
    heavy = columns["halo_mvir_host_halo"] >= stated.min_mass
    at_redshift = float(cached.redshift)
    return HaloCatalogue.from_columns(
        name if at_redshift == 0 else f"{name}@{at_redshift:g}",
        {key: values[heavy] for key, values in columns.items()},
        stated.number("box", float(np.max(cached.Lbox)), name),
        at_redshift,
        stated.number("particle_mass", float(cached.particle_mass), name),
        PAPER_BINS.get(name) if at_redshift < TOLERANCE and heavy.all() else None,
        cosmology=stated.cosmology or COSMOLOGIES[name],
        provenance=f"{_text(cached.version_name)}: {_text(cached.processing_notes)}",
        satellites=stated.satellites,
        dropped=stated.lighter(int((~heavy).sum())),
    )


def _concentrations(table: Any) -> Any:
    """rvir over the scale radius, if the table has it."""
    if "halo_nfw_conc" in table.colnames:
        return np.asarray(table["halo_nfw_conc"], np.float64)
    if "halo_rs" in table.colnames:
        with np.errstate(divide="ignore"):
            return np.asarray(table["halo_rvir"], np.float64) / np.asarray(table["halo_rs"])
    return None


def _text(attribute: str | bytes) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else attribute
