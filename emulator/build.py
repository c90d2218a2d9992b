"""A halo catalogue to validated weights in one call."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from iaemu_likelihood.emulator.atomic import atomic_write, writable_folder, write_json
from iaemu_likelihood.emulator.datasets import DataSet, make_dataset
from iaemu_likelihood.emulator.datasets.making import check_recipe
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
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
    tabulation: str | Path | None = None,
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
    tabulation : str or Path, optional
        Of the halo catalogue, if there is one; otherwise it is made.
    progress, scheduler, devices
        See `iaemu_likelihood.emulator.training.run.train`.

    Returns
    -------
    Path
        The folder, now with validation.json, report.html and the numbers in the card.

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
    recipes = {
        kind: config.recipe(
            kind, **numbers, seed=config.seed + SEED_STEP, fractions=(0.0, 0.0, 1.0)
        )
        for kind, numbers in sizes.items()
    }
    for recipe in recipes.values():
        check_recipe(recipe)
    if tabulation is not None and not table.exists():
        Tabulation.read(tabulation, load_halos(config.halos).sha256)
        with exclusive(writable_folder(folder)), atomic_write(table) as unfinished:
            shutil.copyfile(tabulation, unfinished)
    train(config, folder, progress, scheduler, devices)
    made = {
        kind: DataSet.read(
            make_dataset(recipe, folder / f"test_{kind}.hdf5", table, scheduler, progress)
        )
        for kind, recipe in recipes.items()
    }
    numbers_file = folder / "validation.json"
    if numbers_file.exists():
        return folder
    with exclusive(folder):
        result = validate_emulator(
            Emulator.load(folder), made["expectation"], made["realisations"], progress=progress
        )
        write_report(result, folder / "report.html", folder.name)
        add_validation(folder, result.numbers, f"iaemu build --halos {Path(config.halos).name}")
        write_json(result.numbers, numbers_file)
    return folder
