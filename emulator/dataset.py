"""Data sets of correlation functions over the domain: from a recipe, in shards, into one file.

Three kinds share one HDF5 schema, a row being one point of parameter space:

- ``expectation``: the six templates, without noise, from `Tabulation`;
- ``realisations``: catalogues drawn by `iaemu_likelihood.emulator.realiser`, with their noise;
- ``halotools``: catalogues of halotools-IA itself, measured by halotools.

A row depends on the recipe and on its own index alone, so rows can be made in any order, on any
number of machines, and a run that was killed is continued from the shards that it left.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.estimators import (
    R_EDGES,
    STATISTICS,
    correlations,
    positions_and_axes,
    shell_volumes,
)
from iaemu_likelihood.emulator.galaxies import HalotoolsIA, drawable
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.noise import N_PRIMARIES, Noise, mean_moments, shape_moments
from iaemu_likelihood.emulator.parameters import HOD_PARAMETERS, PARAMETERS, Domain
from iaemu_likelihood.emulator.realiser import measure, populate
from iaemu_likelihood.emulator.slots import Slots, mean_centrals, mean_satellites
from iaemu_likelihood.emulator.tabulation import Tabulation
from iaemu_likelihood.emulator.templates import TEMPLATES, Templates
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Array = NDArray[Any]

SCHEMA = 1
# Points per shard: what a kill may cost at most.
SHARD_POINTS = {"expectation": 1024, "realisations": 4, "halotools": 1}
KINDS = tuple(SHARD_POINTS)
SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)  # as in the paper, arXiv:2504.05235

_CONTENTS = {
    "parameters": "mu_cen, mu_sat (none for expectation), logMmin, sigma_logM, logM0, logM1, alpha; "
    "masses are log10 of Msun/h",
    "split": "0 train, 1 validation, 2 test: of whole HOD points",
    "n_galaxies": "numbers of centrals and satellites in the box (their means for expectation)",
    "n_pairs": "ordered pairs of galaxies per bin (their mean for expectation)",
    "n_empty_bins": "bins without pairs, over all catalogues of the point",
    "templates": f"{', '.join(TEMPLATES)}: dimensionless; of single catalogues for realisations",
    "correlations": f"{', '.join(STATISTICS)} of each catalogue: dimensionless",
    "shape": "upper triangles of Noise.shape",
    "shape_pairs": "Noise.shape_pairs",
    "r_edges": "edges of the bins of separation, Mpc/h",
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of a data set.

    Attributes
    ----------
    kind : str
        ``expectation``, ``realisations`` or ``halotools``.
    n_points : int
        HOD points.
    seed : int
    n_catalogues : int
        Per HOD point; 0 for expectation.
    halos : str
        Halo catalogue, see `load_halos`.
    design : str
        See `Domain.sample`.
    domain : dict
        Arguments of `Domain.zheng07`.
    noise : bool
        For realisations: keep the moments from which `Noise` gives the shape noise.
    r_edges : tuple of float
        Mpc/h.
    """

    kind: str
    n_points: int
    seed: int
    n_catalogues: int = 0
    halos: str = "bundled"
    design: str = "sobol"
    domain: dict[str, Any] = field(default_factory=dict)
    noise: bool = True
    r_edges: tuple[float, ...] = tuple(R_EDGES.tolist())

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        if self.n_points < 1:
            raise ValueError(f"n_points is {self.n_points}; a data set has at least one.")
        if (self.kind == "expectation") != (self.n_catalogues == 0) or self.n_catalogues < 0:
            raise ValueError(
                f"n_catalogues is {self.n_catalogues}; {self.kind} takes "
                + ("0: it has no noise." if self.kind == "expectation" else "1 or more.")
            )

    @property
    def n_shards(self) -> int:
        """Number of shards that the points are worked through in."""
        return -(-self.n_points // SHARD_POINTS[self.kind])

    def points_of(self, shard: int) -> range:
        """Indices of the points of a shard."""
        size = SHARD_POINTS[self.kind]
        return range(shard * size, min((shard + 1) * size, self.n_points))

    def parameters(self) -> Array:
        """The design, shape (n_points, 7)."""
        return _design(json.dumps(asdict(self)))

    def splits(self) -> Array:
        """Split of each point, shape (n_points,): indices into `SPLITS`."""
        edges = np.round(np.cumsum(FRACTIONS) * self.n_points)[:-1]
        order = np.random.default_rng([self.seed, 1]).permutation(self.n_points)
        return np.searchsorted(edges, order, side="right").astype(np.uint8)

    def rng(self, point: int, catalogue: int) -> np.random.Generator:
        """Random numbers of one catalogue."""
        return np.random.default_rng([self.seed, 2, point, catalogue])


@lru_cache(maxsize=1)
def _design(recipe: str) -> Array:
    """`Recipe.parameters`, made once and not again for every shard."""
    fields = json.loads(recipe)
    domain = Domain.zheng07(**fields["domain"])
    theta = domain.sample(fields["n_points"], fields["seed"], fields["design"])
    return drawable(theta) if fields["kind"] == "halotools" else theta


# ---------------------------------------------------------------- the three kinds


@lru_cache(maxsize=1)
def _halos(source: str) -> Any:
    return load_halos(source)


@lru_cache(maxsize=1)
def _slots(source: str) -> Slots:
    return Slots.of(_halos(source))


@lru_cache(maxsize=1)
def _model(source: str) -> HalotoolsIA:
    return HalotoolsIA(_halos(source))


@lru_cache(maxsize=1)
def _tabulation(path: str) -> Tabulation:
    return Tabulation.read(path)


def _expectation(recipe: Recipe, theta: Array, points: range, tabulation: str) -> dict[str, Array]:
    from threadpoolctl import threadpool_limits

    # Sums of a threaded matrix product depend on the number of threads in the last digits.
    with threadpool_limits(1, "blas"):
        found: Templates = _tabulation(tabulation).templates(theta[points, 2:])
    table = _tabulation(tabulation)
    edges = np.asarray(recipe.r_edges)
    random = found.n_galaxies[:, None] ** 2 * shell_volumes(edges) / table.box**3
    n_pairs = (1 + found.xi) * random
    return {
        "n_galaxies": np.stack([found.n_centrals, found.n_satellites], axis=1).astype(np.float32),
        "n_pairs": n_pairs.astype(np.float32),
        "n_empty_bins": (n_pairs <= 0).sum(axis=1).astype(np.int32),
        "templates": found.stack().astype(np.float32),
    }


def _realisations(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    slots, edges = _slots(recipe.halos), np.asarray(recipe.r_edges)
    rows: list[dict[str, Any]] = []
    for point in points:
        columns: dict[str, list[Any]] = {
            name: [] for name in ("n_galaxies", "n_pairs", "templates", "correlations")
        }
        moments = []
        for catalogue in range(recipe.n_catalogues):
            rng = recipe.rng(point, catalogue)
            galaxies = populate(slots, theta[point, 2:], rng)
            found = measure(galaxies, *theta[point, :2], slots.box, edges, rng)
            columns["n_galaxies"].append(galaxies.numbers)
            columns["n_pairs"].append(found.n_pairs)
            columns["templates"].append(found.templates)
            columns["correlations"].append([getattr(found.correlations, s) for s in STATISTICS])
            if recipe.noise:
                moments.append(shape_moments(galaxies, found, slots.box, edges, N_PRIMARIES, rng))
        row = {name: np.array(values) for name, values in columns.items()}
        if recipe.noise:
            shape, row["shape_pairs"] = mean_moments(moments, row["n_pairs"])
            row["shape"] = shape[..., *np.triu_indices(shape.shape[-1])]
        rows.append(row)
    return _stack(rows)


def _halotools(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    model, edges = _model(recipe.halos), np.asarray(recipe.r_edges)
    rows: list[dict[str, Any]] = []
    for point in points:
        row: dict[str, list[Any]] = {"n_galaxies": [], "n_pairs": [], "correlations": []}
        for catalogue in range(recipe.n_catalogues):
            seed = int(recipe.rng(point, catalogue).integers(2**32))
            galaxies = model.populate(theta[point], seed)
            found = correlations(*positions_and_axes(galaxies), model.box, edges)
            n_centrals = int(np.sum(np.asarray(galaxies["gal_type"]) == "centrals"))
            random = found.n_galaxies**2 * shell_volumes(edges) / model.box**3
            row["n_galaxies"].append([n_centrals, found.n_galaxies - n_centrals])
            row["n_pairs"].append(np.rint((1 + found.xi) * random))
            row["correlations"].append([getattr(found, s) for s in STATISTICS])
        rows.append({name: np.array(values) for name, values in row.items()})
    return _stack(rows)


def _stack(rows: list[dict[str, Any]]) -> dict[str, Array]:
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    columns["n_empty_bins"] = (columns["n_pairs"] <= 0).sum(axis=(1, 2))
    whole = ("n_galaxies", "n_empty_bins")
    return {
        name: values.astype(
            np.int64 if name == "n_pairs" else np.int32 if name in whole else np.float32
        )
        for name, values in columns.items()
    }


_MAKERS: dict[str, Callable[[Recipe, Array, range, str], dict[str, Array]]] = {
    "expectation": _expectation,
    "realisations": _realisations,
    "halotools": _halotools,
}


def make_shard(recipe: Recipe, shard: int, tabulation: str = "") -> bytes:
    """One shard of a data set as the bytes of an HDF5 file.

    Parameters
    ----------
    recipe : Recipe
    shard : int
        Below `recipe.n_shards`.
    tabulation : str
        Path of the tabulation, for expectation.

    Returns
    -------
    bytes
        The same for the same arguments, whatever was made before and on however many threads.
    """
    points = recipe.points_of(shard)
    columns = _MAKERS[recipe.kind](recipe, recipe.parameters(), points, tabulation)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
    return buffer.getvalue()


# ---------------------------------------------------------------- shards and the file


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
        inside the folder of shards when left out. Workers on other machines must see it under the
        same path.
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
        If something cannot be written; finished shards are kept.
    """
    path, folder = Path(out), Path(f"{out}.shards")
    halos = _halos(recipe.halos)
    origin = {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "halos_sha256": halos.sha256,
        "schema": SCHEMA,
        "version": version("iaemu_likelihood"),
    }
    if path.exists():
        with _open(path) as file:
            _check_origin(path, json.loads(file.attrs["origin"]), origin)
        log.info("%s is complete.", path)
        return path
    _check_galaxies(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "origin.json"
    if kept.exists():
        _check_origin(folder, json.loads(kept.read_text()), origin)
    _write_atomically(kept, json.dumps(origin, indent=1).encode())
    if recipe.kind == "expectation":
        tabulation = Path(tabulation or folder / "tabulation.hdf5")
        edges = np.asarray(recipe.r_edges)
        Tabulation.cached(tabulation, halos, edges, progress=progress)

    shards = _finished_shards(folder)
    missing = [i for i in range(recipe.n_shards) if i not in shards]
    steps = _run(recipe, missing, str(tabulation or ""), scheduler)
    for shard, content in _with_progress(recipe, missing, steps, progress):
        digest = hashlib.sha256(content).hexdigest()[:16]
        shards[shard] = folder / f"{shard:07d}-{digest}.hdf5"
        _write_atomically(shards[shard], content)
    _merge(recipe, origin, float(halos.redshift), float(np.max(halos.Lbox)), shards, path)
    shutil.rmtree(folder)
    return path


def _run(
    recipe: Recipe, missing: list[int], tabulation: str, scheduler: str | None
) -> Iterator[tuple[int, bytes]]:
    """Make shards here or on a Dask cluster, in any order."""
    if scheduler is None or not missing:
        for shard in missing:
            yield shard, make_shard(recipe, shard, tabulation)
        return
    from dask.distributed import Client, LocalCluster, as_completed

    if scheduler == "local":
        cluster: Any = LocalCluster(threads_per_worker=1, dashboard_address=None)
    else:
        cluster = scheduler
    with Client(cluster) as client:
        futures = {
            client.submit(_make_shard_on_one_thread, recipe, shard, tabulation, pure=False): shard
            for shard in missing
        }
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
            future.release()
    if scheduler == "local":
        cluster.close()


def _make_shard_on_one_thread(recipe: Recipe, shard: int, tabulation: str) -> bytes:
    """A Dask worker is one of many on its machine."""
    import numba

    numba.set_num_threads(1)
    return make_shard(recipe, shard, tabulation)


def _with_progress(
    recipe: Recipe, missing: list[int], steps: Iterator[tuple[int, bytes]], show: bool
) -> Iterator[tuple[int, bytes]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.3g} points/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(),
               TimeRemainingColumn())  # fmt: skip
    left = sum(len(recipe.points_of(shard)) for shard in missing)
    with Progress(*columns, disable=not show, speed_estimate_period=300) as bar:
        task = bar.add_task(recipe.kind, total=recipe.n_points)
        bar.advance(task, recipe.n_points - left)
        for shard, content in steps:
            yield shard, content
            bar.advance(task, len(recipe.points_of(shard)))


def _check_origin(where: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse what was made in another way, saying what differs."""
    flat = [{**origin, **origin["recipe"]} for origin in (found, wanted)]
    differing = [k for k in flat[1] if k != "recipe" and flat[0].get(k) != flat[1][k]]
    if differing:
        raise ValueError(
            f"{where} was made with "
            + ", ".join(f"{k} = {flat[0].get(k)!r} (now {flat[1][k]!r})" for k in differing)
            + ". Choose another file, or delete it to start again."
        )


def _check_galaxies(recipe: Recipe) -> None:
    """Refuse a domain where nothing could be measured."""
    logM, hosts = np.unique(np.round(_slots(recipe.halos).logM, 2), return_counts=True)
    theta = recipe.parameters()
    number = np.concatenate(
        [
            (mean_centrals(logM, part) + mean_satellites(logM, part)) @ hosts
            for part in np.array_split(theta[:, 2:], len(theta) // 4096 + 1)
        ]
    )
    bad = np.flatnonzero(~(number >= 2))
    if len(bad):
        where = ", ".join(
            f"{k} = {v:.4g}" for k, v in zip(HOD_PARAMETERS, theta[bad[0], 2:], strict=True)
        )
        raise ValueError(
            f"{len(bad)} of {len(theta)} points expect fewer than 2 galaxies in the box, the first "
            f"({where}) {number[bad[0]]:.3g}: the heaviest host has 10^{logM[-1]:.2f} Msun/h. Narrow "
            "the domain."
        )


def _finished_shards(folder: Path) -> dict[int, Path]:
    """Shards that earlier runs left, each checked against the hash in its name."""
    for partial in folder.glob("*.part"):
        partial.unlink()
    found = {}
    for path in sorted(folder.glob("[0-9]*-*.hdf5")):
        index, _, digest = path.stem.partition("-")
        if hashlib.sha256(path.read_bytes()).hexdigest()[:16] != digest:
            raise ValueError(
                f"{path} is not what was written there (its hash differs). Delete this shard and run "
                "again: it is made anew, the others are kept."
            )
        found[int(index)] = path
    return found


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def _not_written(path: Path, error: Exception) -> OSError:
    return OSError(
        f"Cannot write {path}: {error}. Finished shards are kept; make room and run again."
    )


def _merge(
    recipe: Recipe,
    origin: dict[str, Any],
    redshift: float,
    box: float,
    shards: dict[int, Path],
    path: Path,
) -> None:
    """Join the shards, in their order, into one file."""
    partial = path.with_name(path.name + ".part")
    theta = recipe.parameters()
    first = 2 if recipe.kind == "expectation" else 0
    whole: dict[str, Array] = {
        "parameters": theta[:, first:],
        "split": recipe.splits(),
        "r_edges": np.asarray(recipe.r_edges),
    }
    options: dict[str, Any] = {
        "compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True,
    }  # fmt: skip
    n_empty = n_points_empty = 0
    try:
        with h5py.File(partial, "w") as file:
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
            for name in file:
                file[name].attrs["description"] = _CONTENTS[name]
            file["parameters"].attrs["names"] = list(PARAMETERS[first:])
            file["split"].attrs["names"] = list(SPLITS)
            domain = Domain.zheng07(**recipe.domain)
            file.attrs.update(
                schema=SCHEMA, kind=recipe.kind, version=origin["version"], seed=recipe.seed,
                design=recipe.design, n_catalogues=recipe.n_catalogues, halos=recipe.halos,
                halos_sha256=origin["halos_sha256"], box=box, redshift=redshift,
                domain=json.dumps(domain.to_dict()), origin=json.dumps(origin),
                n_points_with_empty_bins=n_points_empty,
            )  # fmt: skip
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise _not_written(path, error) from error
    if n_points_empty:
        log.info(
            "%d of %d points have bins without pairs, %d such bins in all: kept, and counted in "
            "n_empty_bins.", n_points_empty, recipe.n_points, n_empty,
        )  # fmt: skip


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class DataSet:
    """A data set in memory.

    Attributes
    ----------
    kind : str
    parameters : ndarray, shape (n_points, 7), or (n_points, 5) for expectation
        Masses are log10 of Msun/h.
    split : ndarray of int, shape (n_points,)
        Indices into `SPLITS`.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    columns : dict of str to ndarray
        Everything else, with the points along the first axis.
    attributes : dict
        Where it comes from: kind, halos, halos_sha256, box (Mpc/h), design, seed, version, ...
    """

    kind: str
    parameters: Array
    split: Array
    r_edges: Array
    columns: dict[str, Array]
    attributes: dict[str, Any]

    def __len__(self) -> int:
        return len(self.parameters)

    @classmethod
    def read(cls, path: str | Path, xi_screen: float | None = None) -> DataSet:
        """Read a file that `make_dataset` wrote, checking its contents against their checksums.

        Parameters
        ----------
        path : str or Path
        xi_screen : float, optional
            Leave out points where xi / xi_matter exceeds this in any bin, as the paper does with
            100. What is left out is logged.

        Raises
        ------
        ValueError
            If the file is damaged, incomplete or of another schema.
        """
        with _open(Path(path)) as file:
            try:
                columns = {name: file[name][()] for name in file}
            except (OSError, RuntimeError) as error:
                raise ValueError(f"{path} is damaged: {error}. Make it again.") from error
            attributes = dict(file.attrs)
        data = cls(
            str(attributes["kind"]),
            *(columns.pop(name) for name in ("parameters", "split", "r_edges")),
            columns,
            attributes,
        )
        return data if xi_screen is None else data._screened(xi_screen)

    def select(self, rows: str | Array) -> DataSet:
        """Some of the points: the name of a split, or a boolean array or indices."""
        if isinstance(rows, str):
            rows = self.split == SPLITS.index(rows)
        columns = {name: values[rows] for name, values in self.columns.items()}
        return DataSet(self.kind, self.parameters[rows], self.split[rows], self.r_edges, columns,
                       self.attributes)  # fmt: skip

    def noise(self, point: int) -> Noise:
        """The noise model at a point of a data set of realisations."""
        if "shape" not in self.columns:
            raise ValueError(
                f"This data set of {self.kind} holds no shape noise; make realisations with noise."
            )
        packed = self.columns["shape"][point].astype(np.float64)
        n_rows = 3 * (len(self.r_edges) - 1)
        i, j = np.triu_indices(n_rows)
        shape = np.zeros((*packed.shape[:-1], n_rows, n_rows))
        shape[..., i, j] = shape[..., j, i] = packed
        pairs = self.columns["shape_pairs"][point].astype(np.float64)
        return Noise(self.columns["templates"][point].astype(np.float64), shape, pairs)

    def _screened(self, limit: float) -> DataSet:
        from iaemu_likelihood.emulator.matter import xi_matter

        if self.kind == "expectation":
            xi = self.columns["templates"][:, 0]
        else:
            xi = self.columns["correlations"][:, :, 0].mean(axis=1)
        ratio = np.max(xi / xi_matter(self.r_edges), axis=1)
        keep = ratio <= limit
        log.warning(
            "xi / xi_matter > %g: %d of %d points left out%s.", limit, (~keep).sum(), len(keep),
            "" if keep.all() else ", with logMmin "
            f"{self._logMmin[~keep].min():.2f} to {self._logMmin[~keep].max():.2f}",
        )  # fmt: skip
        return self.select(keep)

    @property
    def _logMmin(self) -> Array:
        return self.parameters[:, -len(HOD_PARAMETERS)]


def _open(path: Path) -> h5py.File:
    """Open a data set of this schema."""
    if not path.exists():
        raise FileNotFoundError(f"No data set at {path}; make one with `iaemu dataset`.")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}).") from error
    if file.attrs.get("schema") != SCHEMA or "origin" not in file.attrs:
        found = file.attrs.get("schema")
        file.close()
        raise ValueError(
            f"{path} is no data set of schema {SCHEMA} (it says {found}); make it again."
        )
    return file
