"""Making a data set: the shards that are missing, here or on a cluster, then the file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from socket import gethostname

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write, check_writable, writable_folder
from iaemu_likelihood.emulator.datasets import cluster, sources
from iaemu_likelihood.emulator.datasets.makers import make_shard
from iaemu_likelihood.emulator.datasets.origin import (
    Origin,
    check_origin,
    differences,
    origin_of,
    read_origin,
)
from iaemu_likelihood.emulator.datasets.progress import progress_bar
from iaemu_likelihood.emulator.datasets.recipe import KINDS, Recipe
from iaemu_likelihood.emulator.datasets.schema import open_file
from iaemu_likelihood.emulator.datasets.shards import finished_shards, merge, write_shard
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.locking import exclusive

log = logging.getLogger(__name__)


def make_dataset(
    recipe: Recipe,
    out: str | Path,
    tabulation: str | Path | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Path:
    """Make a data set, or finish one that was begun.

    Shards are kept in the folder ``OUT.shards`` until the file is complete. A file that is complete
    is left as it is.

    Parameters
    ----------
    recipe : Recipe
    out : str or Path
        HDF5 file to write.
    tabulation : str or Path, optional
        For expectation: tabulation of the halo catalogue; built there if there is no such file,
        inside the folder of shards when left out. Workers on other machines must see it, and the
        halo catalogue, under the same path.
    scheduler : str, optional
        Address of a Dask scheduler, or ``local`` for one worker per core of this machine; without
        it, shards are made one after the other in this process.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the file or its shards are of another recipe, if a shard was altered, or if the domain
        has points where no galaxies are expected.
    OSError
        If something cannot be written, if no scheduler answers, or if another process makes this
        file at the same time; finished shards are kept.
    """
    path, folder = Path(out), Path(f"{out}.shards")
    origin = origin_of(recipe)
    if not path.is_file():
        check_recipe(recipe)
        writable_folder(path.absolute().parent)
        check_writable(path)
        folder.mkdir(exist_ok=True)
    if folder.exists():
        with exclusive(folder):
            kept = folder / "origin.json"
            if kept.exists():
                check_origin(folder, read_origin(kept, kept.read_bytes()), origin)
            if not path.exists():  # looked at again: another process may have made it
                _finish(recipe, origin, path, folder, tabulation, scheduler, progress)
                log.info("%s is complete.", path)
                shutil.rmtree(folder)
                return path
    with open_file(path) as file:
        check_origin(path, read_origin(path, file.attrs["origin"]), origin)
    log.info("%s is complete already.", path)
    # Left by a run that was killed just before its end.
    shutil.rmtree(folder, ignore_errors=True)
    return path


def _finish(
    recipe: Recipe,
    origin: Origin,
    path: Path,
    folder: Path,
    tabulation: str | Path | None,
    scheduler: str | None,
    progress: bool,
) -> None:
    """Make the shards that are missing, and of all of them the file."""
    for leftover in folder.glob("*.part"):
        leftover.unlink()
    shards = finished_shards(folder, origin)
    missing = [i for i in range(recipe.n_shards) if i not in shards]
    n_done = sum(len(recipe.points_of(shard)) for shard in shards)
    here = scheduler is None or not missing
    with nullcontext() if here else cluster.connected(str(scheduler)) as client:
        kept, table, of_shards = folder / "origin.json", "", origin
        if not KINDS[recipe.kind].draws_catalogues:
            where = Path(tabulation or folder / "tabulation.hdf5").absolute()
            of_shards = origin | {"tabulation_sha256": _tabulate(recipe, where, progress)}
            table = str(where)
        if kept.exists():
            check_origin(folder, read_origin(kept, kept.read_bytes()), of_shards)
        else:
            with atomic_write(kept) as unfinished:
                unfinished.write_text(json.dumps(of_shards, indent=1))
        make = partial(_make, recipe, origin, table)
        steps = (
            cluster.run(client, make, missing) if client is not None else (make(i) for i in missing)
        )
        with (
            closing(steps),
            progress_bar(recipe.kind, recipe.n_points, n_done, progress) as advance,
        ):
            for shard, content in steps:
                shards[shard] = write_shard(folder, origin, shard, content)
                advance(len(recipe.points_of(shard)))
    merge(recipe, origin, shards, path)


def _make(recipe: Recipe, origin: Origin, tabulation: str, shard: int) -> tuple[int, bytes]:
    """A shard, if package and halo catalogue are still, and on every machine, those of the run."""
    differing = differences(origin_of(recipe), origin)
    if differing:
        raise ValueError(
            f"A process on {gethostname()} has {differing}. Package and halo catalogue must be the "
            "same in all workers, and stay the same while a data set is made."
        )
    return shard, make_shard(recipe, shard, tabulation)


def _tabulate(recipe: Recipe, path: Path, progress: bool) -> str:
    """See that there are the tabulations of this recipe; returns a hash of them."""
    # With seed 0, so that the recipe alone decides what a data set holds.
    found = hashlib.sha256()
    for source, file in sources.tabulation_files(recipe.catalogues, path).items():
        Tabulation.cached(
            file, sources.halos(source), np.asarray(recipe.r_edges), progress=progress,
            statistics=recipe.statistics,
        )  # fmt: skip
        found.update(file.read_bytes())
    return found.hexdigest()


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that this machine cannot hold, or a domain where nothing could be measured.

    Raises
    ------
    ValueError
        If more points are asked for than fit into this machine's memory, or if the domain has
        points where no galaxies are expected.
    OSError
        If there is no halo catalogue.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = recipe.n_points * recipe.bytes_per_point
    if needed > memory:
        raise ValueError(
            f"{recipe.n_points} points of {recipe.kind} take more than {needed / 2**30:.3g} GiB of "
            f"memory, and this machine has {memory / 2**30:.3g} GiB: make at most "
            f"{memory // recipe.bytes_per_point} points."
        )
    snapshots, occupation = sources.snapshots(recipe.catalogues), recipe.space.occupation
    _, hod = recipe.space.split(recipe.parameters())
    weights = recipe.redshifts.weights(recipe.point_redshifts())
    number = np.empty(len(hod))
    for rows in np.array_split(np.arange(len(hod)), len(hod) // 4096 + 1):
        of_snapshots = [
            np.add(*occupation.means(hosts.log_mass, hod[rows])) @ hosts.density * snapshots.box**3
            for hosts in snapshots.abundances
        ]
        counts = weights[rows].T > 0
        number[rows] = np.where(counts, of_snapshots, np.inf).min(axis=0)
    bad = np.flatnonzero(~(number >= 2))
    if len(bad):
        heaviest = max(hosts.log_mass[-1] for hosts in snapshots.abundances)
        where = ", ".join(
            f"{k} = {v:.4g}" for k, v in zip(occupation.names, hod[bad[0]], strict=True)
        )
        raise ValueError(
            f"{len(bad)} of {len(hod)} points expect fewer than 2 galaxies in the box, the first "
            f"({where}) {number[bad[0]]:.3g}: the heaviest host has 10^{heaviest:.2f} Msun/h. Narrow "
            "the domain."
        )
