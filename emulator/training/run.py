"""Training of emulators of any kind: halo catalogue to weights, resumable at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from iaemu_likelihood.emulator.atomic import writable_folder
from iaemu_likelihood.emulator.backend import unaffected
from iaemu_likelihood.emulator.datasets import sources
from iaemu_likelihood.emulator.datasets.making import check_recipe
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.models.weights import CARD_FILE
from iaemu_likelihood.emulator.training.configuration import (
    DEFAULT_CONFIG,
    Config,
    TemplatesConfig,
    check_folder,
)
from iaemu_likelihood.emulator.training.loop import check_devices
from iaemu_likelihood.emulator.training.paper import train_paper
from iaemu_likelihood.emulator.training.templates import train_templates

# By the kind of their configuration: (config, folder, progress, scheduler, devices), see `train`.
TRAININGS: dict[str, Callable[[Any, Path, bool, str | None, int], None]] = {
    "templates": train_templates,
    "paper": train_paper,
}


def train(
    config: Config,
    out: str | Path,
    progress: bool = True,
    scheduler: str | None = None,
    devices: int = 1,
) -> Path:
    """Train an emulator and write its weights and card.

    Every step leaves its result in the folder, and a run that was stopped goes on from there:
    the tabulation, the data sets, and each network (a checkpoint every epoch).

    Parameters
    ----------
    config : TemplatesConfig or PaperConfig
        See `iaemu_likelihood.emulator.training.configuration.read_training_config`.
    out : str or Path
        Folder for the results; created if need be.
    progress : bool
    scheduler : str, optional
        For the data sets; see `make_dataset`.
    devices : int
        For the networks; see `fit`.

    Returns
    -------
    Path
        The folder, from which `Emulator.load` loads.

    Raises
    ------
    ValueError
        If the folder holds results of another configuration, or the configuration cannot be
        trained: known before the work, and before anything is written.
    OSError
        If the folder cannot be written to, or another process trains there.
    """
    folder = Path(out)
    check_folder(config, folder)
    if (folder / CARD_FILE).exists():
        return folder
    check_devices(devices)
    _check_box(config)
    for recipe in config.recipes().values():
        check_recipe(recipe)
    # Training sets the seed of torch's random numbers.
    rng = torch.random.fork_rng(range(torch.cuda.device_count()))
    with exclusive(writable_folder(folder)), rng, unaffected(gradients=True):
        TRAININGS[config.kind](config, folder, progress, scheduler, devices)
    return folder


def _check_box(config: Config) -> None:
    """Refuse projected statistics of halo catalogues whose box is too small for them."""
    if not isinstance(config, TemplatesConfig) or not config.projected:
        return
    snapshots, farthest = (
        sources.snapshots(config.recipe("expectation", 1).catalogues),
        config.fine_edges[-1],
    )
    if farthest > snapshots.box / 2:
        raise ValueError(
            f"The box of {snapshots.name} has a side of {snapshots.box:g} Mpc/h; projected statistics "
            f"take pairs up to {farthest:.4g} Mpc/h, which half of the box must hold. Train without "
            f"them: in a copy of the configuration ({DEFAULT_CONFIG} unless you gave one) write "
            "projected: null, and give that."
        )
