"""Halo catalogues, and the sites in them where galaxies may be."""

from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers import load_halos, write_halos
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from iaemu_likelihood.emulator.halos.summary import summarise

__all__ = ["GalaxySites", "HaloCatalogue", "load_halos", "summarise", "write_halos"]
