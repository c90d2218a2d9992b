"""All targets, and a run over them."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .cards import Cards
from .cases import OUTCOMES, Result, Target, tried
from .checkpoints import Checkpoints
from .commands import Commands
from .configurations import Configurations
from .covariances import Covariances
from .data_sets import DataSets
from .galaxies import Galaxies
from .halos import Halos
from .measurements import Measurements
from .points import Points
from .posteriors import Posteriors
from .recipes import Recipes
from .rockstar import Rockstar
from .runs import Runs
from .soap import Soap
from .surveys import Surveys
from .tabulations import Tabulations
from .weights import Weights

TARGETS: dict[str, type[Target]] = {
    target.name: target
    for target in (
        Measurements, Covariances, Cards, Weights, Halos, Galaxies, Tabulations, DataSets, Checkpoints, Points,
        Posteriors, Configurations, Recipes, Runs, Commands, Surveys, Rockstar, Soap,
    )
}  # fmt: skip


def fuzz(
    n: int, seed: int = 1, only: str | None = None, case: int | None = None
) -> Iterator[Result]:
    """Try cases.

    Parameters
    ----------
    n : int
        Number of cases, shared out between all targets, or of the one.
    seed : int
    only : str, optional
        Name of a target.
    case : int, optional
        Index of the only case.
    """
    targets = [only] if only else list(TARGETS)
    total = sum(TARGETS[name].share for name in targets)
    memory = Path("/dev/shm")
    logging.disable(logging.CRITICAL)  # what is logged is no result
    try:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            for name in targets:
                examples, files = Path(folder) / name, Path(folder) / "case"
                examples.mkdir()
                target = TARGETS[name](examples)
                count = max(1, round(n * target.share / total))
                for index in range(count) if case is None else [case]:
                    files.mkdir()
                    yield tried(target, seed, index, files)
                    shutil.rmtree(files)
    finally:
        logging.disable(logging.NOTSET)


def table(results: Sequence[Result]) -> None:
    """Print how the cases of each target ended."""
    shown = Table("target", "tried", *OUTCOMES, title="Hostile cases", title_justify="left")
    rows = {name: [x.outcome for x in results if x.target == name] for name in TARGETS}
    for name, ends in {**rows, "all": [x.outcome for x in results]}.items():
        if ends:
            count = Counter(ends)
            shown.add_row(name, str(len(ends)), *(str(count[outcome]) for outcome in OUTCOMES))
    Console(width=80).print(shown)
