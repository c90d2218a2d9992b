"""Data sets of statistics over the domain: from a recipe, in shards, into one HDF5 file.

Three kinds share one schema, a row being one point of parameter space:

- ``expectation``: the templates, without noise, from `Tabulation`;
- ``realisations``: catalogues drawn by `iaemu_likelihood.emulator.mocks.fast`, with their noise;
- ``halotools``: catalogues of halotools-IA itself.

A row depends on the recipe and on its own index alone, so rows can be made in any order, on any
number of machines, and a run that was killed is continued from the shards that it left.
"""

from iaemu_likelihood.emulator.datasets.dataset import DataSet
from iaemu_likelihood.emulator.datasets.making import make_dataset
from iaemu_likelihood.emulator.datasets.recipe import Recipe

__all__ = ["DataSet", "Recipe", "make_dataset"]
