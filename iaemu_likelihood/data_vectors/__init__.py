"""Measurements, galaxy catalogues, cuts and bins."""
