"""The schema of the HDF5 files: what the columns mean, and how a file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.datasets.recipe import Recipe
from iaemu_likelihood.emulator.hdf5 import open_hdf5
from iaemu_likelihood.emulator.physics.templates import templates_of

SCHEMA = 1
# The attribute that holds the hash of all others and of the columns.
SHA256 = "sha256"


def descriptions(recipe: Recipe) -> dict[str, str]:
    """Columns by name, in words."""
    space, statistics = recipe.space, recipe.measured
    alignment, occupation = ", ".join(space.alignment.names), ", ".join(space.occupation.names)
    templates = ", ".join(template.name for template in templates_of(statistics))
    unit = ", ".join(f"{s.name} in {s.unit}" for s in statistics if s.unit) or "dimensionless"
    return {
        "parameters": f"{alignment} (none for expectation), {occupation}; "
        "masses are log10 of Msun/h",
        "split": "0 train, 1 validation, 2 test: of whole HOD points",
        "n_galaxies": "numbers of centrals and satellites in the box (their means for expectation)",
        "n_pairs": "ordered pairs of galaxies per bin (their mean for expectation)",
        "n_empty_bins": "bins without pairs, over all catalogues of the point",
        "templates": f"{templates}: {unit}; of single catalogues for realisations",
        "correlations": f"{', '.join(recipe.statistics)} of each catalogue: {unit}",
        "shape": "upper triangles of Noise.shape",
        "shape_pairs": "Noise.shape_pairs",
        "redshift": "redshift of the point",
        "r_edges": "edges of the bins of separation, Mpc/h",
    }


def open_file(path: Path) -> h5py.File:
    """Open a data set of this schema.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, incomplete, of another schema, or takes data from elsewhere.
    """
    try:
        file = open_hdf5(path)
        schema: Any = file.attrs.get("schema") if "origin" in file.attrs else None
    except FileNotFoundError:
        raise FileNotFoundError(f"No data set at {path}; make one with `iaemu dataset`.") from None
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); make it again.") from error
    if not np.array_equal(schema, SCHEMA):  # which may be an array
        file.close()
        raise ValueError(
            f"{path} is no data set of schema {SCHEMA} (it says {schema}); make it again."
        )
    return file
