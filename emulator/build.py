"""A halo catalogue to validated weights in one call."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iaemu_likelihood.emulator.atomic import atomic_write, writable_folder, write_json
from iaemu_likelihood.emulator.datasets import DataSet, Recipe, make_dataset, sources
from iaemu_likelihood.emulator.datasets.making import check_recipe
from iaemu_likelihood.emulator.datasets.sources import tabulation_files
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.training.configuration import Config
from iaemu_likelihood.emulator.training.run import train
from iaemu_likelihood.emulator.validation.headline import add_validation
from iaemu_likelihood.emulator.validation.report import write_report
from iaemu_likelihood.emulator.validation.weights import check_sizes, validate_emulator

# Seeds of test points are this far from those of the training.
SEED_STEP = 5234


def build(
    config: Config,
    out: str | Path,
    *,
    n_points: int = 5000,
    n_drawn: int = 200,
    n_catalogues: int = 20,
    tabulation: Sequence[str | Path] = (),
    progress: bool = True,
    scheduler: str | None = None,
    devices: int = 1,
) -> Path:
    """Tabulate, make data sets, train, make test sets and validate.

    Every step leaves its result in the folder, and a run that was stopped goes on from there.

    Parameters
    ----------
    config : TemplatesConfig or PaperConfig
        Its `halos` is the catalogue.
    out : str or Path
        Folder for everything; `Emulator.load` loads from it.
    n_points : int
        HOD points of the test of the expectation.
    n_drawn, n_catalogues : int
        The first of these, where catalogues are drawn, and their number at each.
    tabulation : sequence of str or Path
        Of the halo catalogues, in their order, if there are some; others are made.
    progress, scheduler, devices
        See `iaemu_likelihood.emulator.training.run.train`.

    Returns
    -------
    Path
        The folder, now with validation.json, report.html and the numbers in the card; of several
        redshifts with validation.z0.json and report.z0.html of the lowest, and so on.

    Raises
    ------
    ValueError, OSError
        As `train`; and if the test sets are too small or too large. Known before the work.
    """
    folder, table = Path(out), Path(out) / "tabulation.hdf5"
    check_sizes(n_points, n_drawn, n_catalogues)
    sizes: dict[str, dict[str, Any]] = {
        "expectation": {"n_points": n_points},
        "realisations": {"n_points": n_drawn, "n_catalogues": n_catalogues, "noise": False},
    }
    trained = config.recipe("expectation", 1)
    snapshots, files = (
        sources.snapshots(trained.catalogues),
        tabulation_files(trained.catalogues, table),
    )
    tests: list[dict[str, Recipe]] = []
    for boxes in snapshots.by_redshift:
        halos = [x.source for x in boxes]
        recipes = {
            kind: config.recipe(
                kind, **numbers, seed=config.seed + SEED_STEP, fractions=(0.0, 0.0, 1.0),
                halos=halos if len(halos) > 1 else halos[0],
            )
            for kind, numbers in sizes.items()
        }  # fmt: skip
        for recipe in recipes.values():
            check_recipe(recipe)
        tests.append(recipes)
    _copy(tabulation, files, folder)
    train(config, folder, progress, scheduler, devices)
    several = len(tests) > 1
    for i, (boxes, recipes) in enumerate(zip(snapshots.by_redshift, tests, strict=True)):
        at = f".z{i}" if several else ""
        source = table if len(boxes) > 1 else files[boxes[0].source]
        made = {
            kind: DataSet.read(
                make_dataset(recipe, folder / f"test_{kind}{at}.hdf5", source, scheduler, progress)
            )
            for kind, recipe in recipes.items()
        }
        numbers_file, redshift = folder / f"validation{at}.json", boxes[0].redshift
        if numbers_file.exists():
            continue
        with exclusive(folder):
            result = validate_emulator(
                Emulator.load(folder).at_redshift(redshift), made["expectation"],
                made["realisations"], progress=progress,
            )  # fmt: skip
            title = f"{folder.name}, z = {redshift:g}" if several else folder.name
            write_report(result, folder / f"report{at}.html", title)
            command = f"iaemu build --halos {' '.join(Path(x).name for x in trained.catalogues)}"
            add_validation(folder, result.numbers, command, redshift)
            write_json(result.numbers, numbers_file)
    return folder


def _copy(tabulations: Sequence[str | Path], files: Mapping[str, Path], folder: Path) -> None:
    """Put tabulations that are there into the folder, each checked to be of its halo catalogue."""
    if len(tabulations) > len(files):
        raise ValueError(
            f"{len(tabulations)} tabulations are given for {len(files)} halo catalogues."
        )
    for tabulation, (source, file) in zip(tabulations, files.items(), strict=False):
        if not file.exists():
            Tabulation.read(tabulation, sources.halos(source).sha256)
            with exclusive(writable_folder(folder)), atomic_write(file) as unfinished:
                shutil.copyfile(tabulation, unfinished)
