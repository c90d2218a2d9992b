"""Many galaxy catalogues, drawn one after the other and kept on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write, read_arrays, writable_folder
from iaemu_likelihood.emulator.digest import digest
from iaemu_likelihood.emulator.halos import HaloCatalogue
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.mocks.estimators import correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.table import Table

Array = NDArray[np.float64]

# Between checkpoints.
SAVE_EVERY_S = 10.0
_DELETE = "Delete it and run again: its catalogues are drawn anew, the others are kept."


def realisations(
    halos: HaloCatalogue,
    points: Array,
    n: int,
    seed: int,
    r_edges: Array,
    folder: Path | None = None,
    progress: bool = True,
    space: ParameterSpace = DEFAULT_SPACE,
    statistics: Sequence[str] = DEFAULT_STATISTICS,
) -> Array:
    """Correlations of n halotools-IA catalogues at each of some parameter points.

    Parameters
    ----------
    halos, points, n, seed, folder, progress, space
        As in `of_populations`.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    statistics : sequence of str

    Returns
    -------
    ndarray, shape (n_points, n, n_statistics, n_bins)

    Raises
    ------
    ValueError
        As `of_populations`.
    """

    def measured(galaxies: Table, _: int) -> Array:
        found = correlations(*positions_and_axes(galaxies), halos.box, r_edges, statistics)
        return np.stack(list(found.values()))

    origin = {"r_edges": r_edges, "statistics": statistics}
    return of_populations(measured, halos, points, n, seed, origin, folder, progress, space)


def of_populations(
    measured: Callable[[Table, int], Array],
    halos: HaloCatalogue,
    points: Array,
    n: int,
    seed: int,
    origin: Mapping[str, Any],
    folder: Path | None = None,
    progress: bool = True,
    space: ParameterSpace = DEFAULT_SPACE,
) -> Array:
    """What is measured in n halotools-IA catalogues at each of some parameter points.

    Parameters
    ----------
    measured : callable
        From halotools' table of galaxies, and the seed that they were drawn with, to an array.
    halos : HaloCatalogue
    points : ndarray, shape (n_points, n_parameters)
        Of `space`.
    n : int
    seed : int
        Realisation i of point k is drawn with seed + 10,000 k + i: with the same seeds, points would
        share the random numbers of their hosts, and with them their fluctuations.
    origin : mapping
        Everything that `measured` follows from besides the galaxies; numbers, text and arrays.
    folder : Path, optional
        Keep results here, a file per point; a run that was stopped goes on from there.
    progress : bool
        Show a progress bar.
    space : ParameterSpace

    Returns
    -------
    ndarray, shape (n_points, n, ...)

    Raises
    ------
    ValueError
        If a seed is impossible, or a file in the folder is damaged or of another point, seed,
        catalogue or `origin`.
    """
    if not 0 <= seed <= (most := 2**32 - 10_000 * len(points) - n):
        raise ValueError(f"seed is {seed}; it must be from 0 to {most}.")
    model = HalotoolsIA(halos, space)
    origins = [
        {"point": point, "seed": seed + 10_000 * index, "halos": halos.sha256, **origin}
        for index, point in enumerate(points)
    ]

    def catalogue(index: int, i: int) -> Array:
        own_seed = seed + 10_000 * index + i
        return measured(model.populate(points[index], own_seed), own_seed)

    return draw_with_checkpoints(catalogue, n, origins, folder, "halotools-IA catalogues", progress)


def draw_with_checkpoints(
    catalogue: Callable[[int, int], Array],
    n: int,
    origins: Sequence[Mapping[str, Any]],
    folder: Path | None,
    label: str,
    progress: bool,
) -> Array:
    """Draw n catalogues at each of some points, and keep them in a file per point on the way.

    Parameters
    ----------
    catalogue : callable
        From the index of a point and the number of the catalogue to an array.
    n : int
    origins : sequence of mapping
        Per point: everything its catalogues follow from. A file of another origin is refused.
    folder : Path, optional
        Keep nothing when left out.
    label : str
        Of the progress bar.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray, shape (n_points, n, ...)

    Raises
    ------
    ValueError
        If `n` is below 1, or a file in the folder is damaged or of another origin.
    OSError
        If the folder cannot be written to, or another process keeps its catalogues there.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least one of the {label} is drawn.")
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("[progress.description]{task.description}")
    columns = text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    result = []
    alone = exclusive(writable_folder(folder)) if folder else nullcontext()
    with alone, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(label, total=n * len(origins))
        for index, origin in enumerate(origins):
            file = folder / f"realisations{index}.npz" if folder else None
            done = _read_checkpoint(file, origin)[:n]
            bar.advance(task, len(done))
            saved = monotonic()
            while len(done) < n:
                done.append(catalogue(index, len(done)))
                if file is not None and (len(done) == n or monotonic() - saved > SAVE_EVERY_S):
                    _write_checkpoint(file, np.array(done), origin)
                    saved = monotonic()
                bar.advance(task)
            result.append(np.array(done))
    return np.stack(result)


def _write_checkpoint(file: Path, draws: Array, origin: Mapping[str, Any]) -> None:
    with atomic_write(file) as unfinished, unfinished.open("wb") as content:
        np.savez(content, draws=draws, sha256=digest({"draws": draws}, origin), **origin)


def _read_checkpoint(file: Path | None, origin: Mapping[str, Any]) -> list[Array]:
    if file is None or not file.exists():
        return []
    try:
        content = read_arrays(file)
    except ValueError as error:
        raise ValueError(f"{error} {_DELETE}") from error
    if "draws" not in content:
        raise ValueError(f"{file} is damaged: it lacks draws. {_DELETE}")
    draws, found = content.pop("draws"), str(content.pop("sha256", ""))
    for name, value in origin.items():
        there = content.get(name, "unknown")
        if not np.array_equal(there, value):
            raise ValueError(
                f"{file} was made with {name} = {there}, not {value}. Choose another folder."
            )
    if found not in ("", digest({"draws": draws}, origin)):
        raise ValueError(f"{file} is damaged: its draws were changed. {_DELETE}")
    return list(draws)
