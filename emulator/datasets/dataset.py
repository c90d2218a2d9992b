"""Data sets of correlation functions over the domain: from a recipe, in shards, into one file.

Three kinds share one HDF5 schema, a row being one point of parameter space:

- ``expectation``: the six templates, without noise, from `Tabulation`;
- ``realisations``: catalogues drawn by `iaemu_likelihood.emulator.mocks.fast`, with their noise;
- ``halotools``: catalogues of halotools-IA itself, measured by halotools.

A row depends on the recipe and on its own index alone, so rows can be made in any order, on any
number of machines, and a run that was killed is continued from the shards that it left.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from socket import gethostname
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos.catalogue import load_halos
from iaemu_likelihood.emulator.halos.sites import Slots, mean_centrals, mean_satellites
from iaemu_likelihood.emulator.mocks.estimators import (
    R_EDGES,
    STATISTICS,
    correlations,
    positions_and_axes,
    shell_volumes,
)
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA, drawable
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, Noise, mean_moments, shape_moments
from iaemu_likelihood.emulator.physics.parameters import HOD_PARAMETERS, PARAMETERS, Domain
from iaemu_likelihood.emulator.physics.templates import TEMPLATES, Templates
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Array = NDArray[Any]

SCHEMA = 1
# Points per shard: what a kill may cost at most.
SHARD_POINTS = {"expectation": 1024, "realisations": 4, "halotools": 1}
KINDS = tuple(SHARD_POINTS)
SPLITS = ("train", "validation", "test")
# Shards that a Dask cluster is given ahead: more than it has workers, and no more than fit in memory.
IN_FLIGHT = 1000
CONNECT_S = 10

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
    fractions : tuple of float
        Of train, validation and test; those of the paper, arXiv:2504.05235, unless said otherwise.
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
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    r_edges: tuple[float, ...] = tuple(R_EDGES.tolist())

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        if self.n_points < 1:
            raise ValueError(f"n_points is {self.n_points}; a data set has at least one.")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must not be negative.")
        if (self.kind == "expectation") != (self.n_catalogues == 0) or self.n_catalogues < 0:
            raise ValueError(
                f"n_catalogues is {self.n_catalogues}; {self.kind} takes "
                + ("0: it has no noise." if self.kind == "expectation" else "1 or more.")
            )
        allowed = tuple(inspect.signature(Domain.zheng07).parameters)
        unknown = [str(key) for key in self.domain if key not in allowed]
        if unknown or not isinstance(self.domain, dict):
            raise TypeError(
                f"domain has {', '.join(unknown)}; it is a mapping with some of "
                f"{', '.join(allowed)}."
            )
        if (
            len(self.fractions) != 3
            or min(self.fractions) < 0
            or abs(sum(self.fractions) - 1) > 1e-9
        ):
            raise ValueError(
                f"fractions of train, validation and test must add up to 1; got {self.fractions}."
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
        edges = np.round(np.cumsum(self.fractions) * self.n_points)[:-1]
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


# A process makes many shards: what they share is loaded once, and again when its file changed.


@lru_cache(maxsize=1)
def _halos_at(source: str, _: float) -> Any:
    try:
        return load_halos(source)
    except FileNotFoundError:
        raise
    except Exception as error:  # astropy's readers raise all kinds
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise ValueError(f"The halo catalogue {source} cannot be read: {reason}") from error


@lru_cache(maxsize=1)
def _tabulation_at(path: str, _: float) -> Tabulation:
    return Tabulation.read(path)


_slots = lru_cache(maxsize=1)(Slots.of)
_model = lru_cache(maxsize=1)(HalotoolsIA)


def _halos(source: str) -> Any:
    return _halos_at(source, _changed(source))


def _tabulation(path: str) -> Tabulation:
    return _tabulation_at(path, _changed(path))


def _changed(path: str) -> float:
    return os.stat(path).st_mtime if os.path.isfile(path) else 0.0


def _expectation(recipe: Recipe, theta: Array, points: range, tabulation: str) -> dict[str, Array]:
    from threadpoolctl import threadpool_limits

    table = _tabulation(tabulation)
    # Sums of a threaded matrix product depend on the number of threads in the last digits.
    with threadpool_limits(1, "blas"):
        found: Templates = table.templates(theta[points, 2:])
    edges = np.asarray(recipe.r_edges)
    random = found.n_galaxies[:, None] ** 2 * shell_volumes(edges) / table.box**3
    n_pairs = (1 + found.xi) * random
    return {
        "n_galaxies": np.stack([found.n_centrals, found.n_satellites], axis=1).astype(np.float32),
        "n_pairs": n_pairs.astype(np.float32),
        # Not where n_pairs is 0: the sum 1 + xi swallows less than 1e-16 of the random pairs.
        "n_empty_bins": np.isnan(found.omega_c).sum(axis=1).astype(np.int32),
        "templates": found.stack().astype(np.float32),
    }


def _realisations(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    slots, edges = _slots(_halos(recipe.halos)), np.asarray(recipe.r_edges)
    rows: list[dict[str, Any]] = []
    for point in points:
        columns: dict[str, list[Any]] = {
            name: [] for name in ("n_galaxies", "n_pairs", "templates", "correlations")
        }
        moments = []
        for catalogue in range(recipe.n_catalogues):
            rng = recipe.rng(point, catalogue)
            galaxies = populate(slots, theta[point, 2:], rng)
            mu_cen, mu_sat = theta[point, :2]
            found = measure(galaxies, mu_cen, mu_sat, slots.box, edges, rng)
            columns["n_galaxies"].append(galaxies.numbers)
            columns["n_pairs"].append(found.n_pairs)
            columns["templates"].append(found.templates)
            columns["correlations"].append([getattr(found.correlations, s) for s in STATISTICS])
            if recipe.noise:
                moments.append(shape_moments(galaxies, found, slots.box, edges, N_PRIMARIES, rng))
        row = {name: np.array(values) for name, values in columns.items()}
        if recipe.noise:
            shape, row["shape_pairs"] = mean_moments(moments, row["n_pairs"])
            i, j = np.triu_indices(shape.shape[-1])
            row["shape"] = shape[..., i, j]
        rows.append(row)
    return _stack(rows)


def _halotools(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    model, edges = _model(_halos(recipe.halos)), np.asarray(recipe.r_edges)
    rows: list[dict[str, Any]] = []
    for point in points:
        row: dict[str, list[Any]] = {"n_galaxies": [], "n_pairs": [], "correlations": []}
        for catalogue in range(recipe.n_catalogues):
            seed = int(recipe.rng(point, catalogue).integers(2**32))
            galaxies = model.populate(theta[point], seed)
            n_centrals = int(np.sum(np.asarray(galaxies["gal_type"]) == "centrals"))
            row["n_galaxies"].append([n_centrals, len(galaxies) - n_centrals])
            if not len(galaxies):  # which halotools refuses to measure
                row["n_pairs"].append(np.zeros(len(edges) - 1))
                row["correlations"].append(np.full((len(STATISTICS), len(edges) - 1), np.nan))
                continue
            found = correlations(*positions_and_axes(galaxies), model.box, edges)
            random = found.n_galaxies**2 * shell_volumes(edges) / model.box**3
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
# Neither numba's loops nor halotools' global random numbers stand two threads of a Dask worker.
_one_at_a_time = threading.Lock()


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
    with _one_at_a_time:
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
    origin = _origin(recipe)
    if not path.exists():
        _check_galaxies(recipe)
        folder.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        with _locked(folder):
            kept = folder / "origin.json"
            if kept.exists():
                _check_origin(folder, _read_origin(kept, kept.read_bytes()), origin)
            if not path.exists():  # looked at again: another process may have made it
                _finish(recipe, origin, path, folder, tabulation, scheduler, progress)
                log.info("%s is complete.", path)
                shutil.rmtree(folder)
                return path
    with _open(path) as file:
        _check_origin(path, _read_origin(path, file.attrs["origin"]), origin)
    log.info("%s is complete already.", path)
    # Left by a run that was killed just before its end.
    shutil.rmtree(folder, ignore_errors=True)
    return path


def _finish(
    recipe: Recipe,
    origin: dict[str, Any],
    path: Path,
    folder: Path,
    tabulation: str | Path | None,
    scheduler: str | None,
    progress: bool,
) -> None:
    """Make the shards that are missing, and of all of them the file."""
    for leftover in folder.glob("*.part"):
        leftover.unlink()
    shards = _finished_shards(folder, origin)
    missing = [i for i in range(recipe.n_shards) if i not in shards]
    with _cluster(scheduler) if scheduler and missing else nullcontext() as client:
        kept, table, of_shards = folder / "origin.json", "", origin
        if recipe.kind == "expectation":
            where = Path(tabulation or folder / "tabulation.hdf5").absolute()
            of_shards = origin | {"tabulation_sha256": _tabulate(recipe, where, progress)}
            table = str(where)
        if kept.exists():
            _check_origin(folder, _read_origin(kept, kept.read_bytes()), of_shards)
        else:
            with atomic_write(kept) as unfinished:
                unfinished.write_text(json.dumps(of_shards, indent=1))
        steps = _run(recipe, origin, missing, table, client)
        with closing(steps), _progress_bar(recipe, missing, progress) as advance:
            for shard, content in steps:
                shards[shard] = folder / f"{shard:07d}-{_digest(origin, content)}.hdf5"
                with atomic_write(shards[shard]) as unfinished:
                    unfinished.write_bytes(content)
                advance(len(recipe.points_of(shard)))
    _merge(recipe, origin, shards, path)


def _run(
    recipe: Recipe, origin: dict[str, Any], missing: list[int], tabulation: str, client: Any
) -> Generator[tuple[int, bytes], None, None]:
    """Make shards here, or in any order on the cluster of a Dask client."""
    if client is None:
        for shard in missing:
            yield _make_shard_of(recipe, origin, tabulation, shard)
        return
    from dask.distributed import KilledWorker, as_completed

    todo = iter(missing)
    submit = partial(client.submit, _make_shard_on_worker, recipe, origin, tabulation, pure=False)
    running = as_completed([submit(shard) for shard in islice(todo, IN_FLIGHT)])
    for future in running:
        try:
            yield future.result()
        except (KilledWorker, CancelledError) as error:
            raise OSError(
                f"The Dask cluster lost a shard: {error} Finished shards are kept; see that workers "
                "have enough memory and time, and run again."
            ) from error
        for shard in islice(todo, 1):
            running.add(submit(shard))


def _make_shard_on_worker(
    recipe: Recipe, origin: dict[str, Any], tabulation: str, shard: int
) -> tuple[int, bytes]:
    import numba

    numba.set_num_threads(1)  # a worker is one of many on its machine
    return _make_shard_of(recipe, origin, tabulation, shard)


def _make_shard_of(
    recipe: Recipe, origin: dict[str, Any], tabulation: str, shard: int
) -> tuple[int, bytes]:
    """A shard, if package and halo catalogue are still, and on every machine, those of the run."""
    differing = _differences(_origin(recipe), origin)
    if differing:
        raise ValueError(
            f"A process on {gethostname()} has {differing}. Package and halo catalogue must be the "
            "same in all workers, and stay the same while a data set is made."
        )
    return shard, make_shard(recipe, shard, tabulation)


@contextmanager
def _cluster(scheduler: str) -> Iterator[Any]:
    """A client of the Dask scheduler at an address, or of one that lives as long."""
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "A scheduler needs Dask: pip install 'iaemu_likelihood[cluster]'. Without a scheduler, "
            "shards are made one after the other."
        ) from error
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == "local":
            cluster = LocalCluster(threads_per_worker=1, dashboard_address=None)
            address = stack.enter_context(cluster)
        try:
            client = Client(address, timeout=CONNECT_S)
        except OSError as error:
            raise OSError(
                f"No Dask scheduler answers at {scheduler} ({error}). Start `dask scheduler`, and give "
                "the address that it prints."
            ) from error
        yield stack.enter_context(client)


@contextmanager
def _progress_bar(
    recipe: Recipe, missing: list[int], show: bool
) -> Iterator[Callable[[int], None]]:
    """A bar, as the function that moves it on by a number of points."""
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
    done = recipe.n_points - sum(len(recipe.points_of(shard)) for shard in missing)
    with Progress(*columns, disable=not show, speed_estimate_period=300) as bar:
        task = bar.add_task(recipe.kind, total=recipe.n_points, completed=done)
        yield lambda n: bar.advance(task, n)


def _origin(recipe: Recipe) -> dict[str, Any]:
    """All that the bytes of a data set follow from."""
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "halos_sha256": _halos(recipe.halos).sha256,
        "schema": SCHEMA,
        "version": version("iaemu_likelihood"),
    }


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What two origins differ in; an empty text if they agree."""
    old, new = ({**origin, **origin.get("recipe", {})} for origin in (found, wanted))
    differing = [k for k in new if k != "recipe" and old.get(k) != new[k]]
    return ", ".join(f"{k} = {old.get(k)!r} (now {new[k]!r})" for k in differing)


def _read_origin(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Delete this file and run again.") from error


def _check_origin(where: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse what was made in another way, saying what differs."""
    differing = _differences(found, wanted)
    if differing:
        raise ValueError(
            f"{where} was made with {differing}. Choose another file, or delete it to start again."
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the lock of a killed process is gone with it."""
    import fcntl

    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"Another process is at work in {folder}. Wait until it ends, or stop it."
            ) from error
        yield


def _tabulate(recipe: Recipe, path: Path, progress: bool) -> str:
    """See that there is the tabulation of this recipe; returns its hash."""
    edges = np.asarray(recipe.r_edges)
    table = Tabulation.cached(path, _halos(recipe.halos), edges, progress=progress)
    if table.seed != 0:
        raise ValueError(
            f"{path} was tabulated with seed {table.seed}; data sets take 0, so that their recipe "
            "alone decides what they hold."
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_galaxies(recipe: Recipe) -> None:
    """Refuse a domain where nothing could be measured."""
    logM, hosts = np.unique(np.round(_slots(_halos(recipe.halos)).logM, 2), return_counts=True)
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


def _digest(origin: dict[str, Any], content: bytes) -> str:
    """What ties a shard to its content and to its recipe."""
    return hashlib.sha256(json.dumps(origin).encode() + content).hexdigest()[:16]


def _finished_shards(folder: Path, origin: dict[str, Any]) -> dict[int, Path]:
    """Shards that earlier runs left, each checked against the hash in its name."""
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


def _merge(recipe: Recipe, origin: dict[str, Any], shards: dict[int, Path], path: Path) -> None:
    """Join the shards, in their order, into one file.

    In memory, which reading it takes as well: HDF5 itself crashes when a disk is full.
    """
    halos = _halos(recipe.halos)
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
        for name in file:
            file[name].attrs["description"] = _CONTENTS[name]
        file["parameters"].attrs["names"] = list(PARAMETERS[first:])
        file["split"].attrs["names"] = list(SPLITS)
        domain = Domain.zheng07(**recipe.domain)
        file.attrs.update(
            schema=SCHEMA, kind=recipe.kind, version=origin["version"], seed=recipe.seed,
            design=recipe.design, n_catalogues=recipe.n_catalogues, halos=recipe.halos,
            halos_sha256=origin["halos_sha256"], box=float(np.max(halos.Lbox)),
            redshift=float(halos.redshift),
            domain=json.dumps(domain.to_dict()), origin=json.dumps(origin),
            n_points_with_empty_bins=n_points_empty,
        )  # fmt: skip
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())
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
                attributes = dict(file.attrs)
                theta, split, r_edges = (columns.pop(k) for k in ("parameters", "split", "r_edges"))
            except (OSError, RuntimeError, KeyError) as error:
                raise ValueError(f"{path} is damaged: {error}. Make it again.") from error
        data = cls(str(attributes["kind"]), theta, split, r_edges, columns, attributes)
        return data if xi_screen is None else data._screened(xi_screen)

    @classmethod
    def held_out(cls, kind: str) -> DataSet:
        """The bundled test points of a kind, the same for every validation.

        Expectations at 5,000 points of the default domain; 20 realisations at the first 200 of
        them; 10 halotools-IA catalogues at the first 30. `data/validation/README.md` has the
        commands that made them.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        return cls.read(bundled(f"validation/{kind}.hdf5"))

    def select(self, rows: str | Array) -> DataSet:
        """Some of the points: the name of a split, or a boolean array or indices."""
        if isinstance(rows, str):
            if rows not in SPLITS:
                raise ValueError(f"The splits are {', '.join(SPLITS)}; got {rows!r}.")
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
        from iaemu_likelihood.emulator.halos.matter import xi_matter

        if self.kind == "expectation":
            xi = self.columns["templates"][:, 0]
        else:
            xi = self.columns["correlations"][:, :, 0].mean(axis=1)
        ratio = np.max(xi / xi_matter(self.r_edges), axis=1)
        keep = ~(ratio > limit)
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
        schema = file.attrs.get("schema") if "origin" in file.attrs else None
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); make it again.") from error
    if schema != SCHEMA:
        file.close()
        raise ValueError(
            f"{path} is no data set of schema {SCHEMA} (it says {schema}); make it again."
        )
    return file
