"""Halo catalogues, and the places in them where galaxies may be."""
