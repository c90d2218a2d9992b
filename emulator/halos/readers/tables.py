"""Tables of one row a halo, whose columns have halotools' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.reading import read_table
from iaemu_likelihood.emulator.units import LENGTH, MASS, NUMBER

IN_METADATA = {"box": ("Lbox", LENGTH), "redshift": ("redshift", NUMBER),
               "particle_mass": ("particle_mass", MASS)}  # fmt: skip
_OF_HOST = "halo_mvir_host_halo"


def read(path: Path, stated: Stated | None = None) -> HaloCatalogue:
    """A file of one row a halo, in any format that astropy knows; see `load_halos`."""
    stated = stated or Stated()
    columns, metadata = read_table(path)
    found = {name: metadata.number(key, unit=unit) for name, (key, unit) in IN_METADATA.items()}
    absent = [
        key for name, (key, _) in IN_METADATA.items()
        if found[name] is None and getattr(stated, name) is None
    ]  # fmt: skip
    if absent:
        raise ValueError(
            f"{path} lacks {', '.join(absent)} in its metadata. Add what is missing, or state it: "
            "load_halos and iaemu halos take box, redshift and particle_mass."
        )
    bins, cosmology, provenance = map(
        metadata.get, ("subhalo_mass_bins", "cosmology", "provenance")
    )
    rows: dict[str, Any] = dict(columns)
    dropped = {}
    if stated.min_mass and _OF_HOST in rows:
        heavy = metadata.column(rows, _OF_HOST, MASS) >= stated.min_mass
        rows = {name: values[heavy] for name, values in rows.items() if len(values) == len(heavy)}
        dropped = stated.lighter(int((~heavy).sum()))
    if bins is not None:
        bins = metadata.column({"subhalo_mass_bins": np.asarray(bins)}, "subhalo_mass_bins", MASS)
    return HaloCatalogue.from_columns(
        path.name,
        rows,
        stated.number("box", found["box"], path),
        stated.number("redshift", found["redshift"], path),
        stated.number("particle_mass", found["particle_mass"], path),
        bins,
        cosmology=stated.cosmology or (None if cosmology is None else str(cosmology)),
        provenance=None if provenance is None else str(provenance),
        metadata=metadata,
        satellites=stated.satellites,
        dropped=dropped,
    )
