"""The folder of finished shards, and how they are joined into one file."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.datasets import sources
from iaemu_likelihood.emulator.datasets.origin import Origin
from iaemu_likelihood.emulator.datasets.recipe import KINDS, SPLITS, Array, Recipe
from iaemu_likelihood.emulator.datasets.schema import SCHEMA, SHA256, descriptions
from iaemu_likelihood.emulator.digest import digest

log = logging.getLogger(__name__)


def _digest(origin: Origin, content: bytes) -> str:
    """What ties a shard to its content and to its recipe."""
    return hashlib.sha256(json.dumps(origin).encode() + content).hexdigest()[:16]


def write_shard(folder: Path, origin: Origin, shard: int, content: bytes) -> Path:
    """Write a shard under a name that holds its hash."""
    path = folder / f"{shard:07d}-{_digest(origin, content)}.hdf5"
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)
    return path


def finished_shards(folder: Path, origin: Origin) -> dict[int, Path]:
    """Shards that earlier runs left, each checked against the hash in its name.

    Raises
    ------
    ValueError
        If a shard was altered, or is of another origin.
    """
    found = {}
    for path in sorted(folder.glob("[0-9]*-*.hdf5")):
        index, _, digest = path.stem.partition("-")
        if _digest(origin, path.read_bytes()) != digest:
            raise ValueError(
                f"{path} is not what was written there (its hash differs). Delete this shard and run "
                "again: it is made anew, the others are kept."
            )
        found[int(index)] = path
    return found


def merge(recipe: Recipe, origin: Origin, shards: dict[int, Path], path: Path) -> None:
    """Join the shards, in their order, into one file.

    In memory, which reading it takes as well: HDF5 itself crashes when a disk is full.
    """
    theta, space = recipe.parameters(), recipe.space
    parameters, names = theta, space.names
    if not KINDS[recipe.kind].draws_catalogues:  # no alignment enters
        parameters, names = space.split(theta)[1], space.occupation.names
    whole: dict[str, Array] = {
        "parameters": parameters,
        "split": recipe.splits(),
        "r_edges": np.asarray(recipe.r_edges),
    }
    halos = sources.snapshots(recipe.catalogues)
    if len(halos.catalogues) > 1:
        whole["redshift"] = recipe.point_redshifts()
    options: dict[str, Any] = {
        "compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True,
    }  # fmt: skip
    n_empty = n_points_empty = 0
    # This format has checksums also of what is not data.
    latest = ("v110", "v110")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=latest) as file:
        for name, values in whole.items():
            file.create_dataset(name, data=values, **options)
        for shard in range(recipe.n_shards):
            with h5py.File(shards[shard]) as part:
                rows = recipe.points_of(shard)
                for name in sorted(part):
                    values = part[name][()]
                    if shard == 0:
                        shape = values.shape[1:]
                        # Chunks of about a megabyte.
                        per_row = max(1, values[0].nbytes)
                        chunk = min(max(1, 2**20 // per_row), recipe.n_points)
                        file.create_dataset(
                            name, (recipe.n_points, *shape), values.dtype,
                            chunks=(chunk, *shape), **options,
                        )  # fmt: skip
                    file[name][rows.start : rows.stop] = values
                n_empty += int(part["n_empty_bins"][()].sum())
                n_points_empty += int((part["n_empty_bins"][()] > 0).sum())
        about = descriptions(recipe)
        for name in file:
            file[name].attrs["description"] = about[name]
        file["parameters"].attrs["names"] = list(names)
        file["split"].attrs["names"] = list(SPLITS)
        file.attrs.update(
            schema=SCHEMA, kind=recipe.kind, version=origin["version"], seed=recipe.seed,
            design=recipe.design, n_catalogues=recipe.n_catalogues, halos=recipe.halos_in_words,
            halos_sha256=origin["halos_sha256"], box=halos.box,
            redshift=halos.catalogues[0].redshift,
            domain=json.dumps(recipe.region.to_dict()), origin=json.dumps(origin),
            n_points_with_empty_bins=n_points_empty,
        )  # fmt: skip
        file.attrs[SHA256] = digest({name: file[name][()] for name in file}, file.attrs)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())
    if n_points_empty:
        log.info(
            "%d of %d points have bins without pairs, %d such bins in all: kept, and counted in "
            "n_empty_bins.", n_points_empty, recipe.n_points, n_empty,
        )  # fmt: skip
