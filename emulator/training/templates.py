"""Training of emulators of kind ``templates``: networks for the templates and for the noise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.atomic import write_tensors
from iaemu_likelihood.emulator.datasets import DataSet, make_dataset
from iaemu_likelihood.emulator.datasets.recipe import SPLITS
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.models import TemplatesEmulator
from iaemu_likelihood.emulator.models.weights import WEIGHTS_FILE
from iaemu_likelihood.emulator.noise.targets import NoiseTargets
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import named
from iaemu_likelihood.emulator.physics.templates import combine_templates, templates_of
from iaemu_likelihood.emulator.training.cards import card_of, write_weights
from iaemu_likelihood.emulator.training.configuration import NetworkConfig, TemplatesConfig, keep
from iaemu_likelihood.emulator.training.curves import draw_learning_curves
from iaemu_likelihood.emulator.training.loop import fit
from iaemu_likelihood.emulator.training.perceptrons import (
    MeansTraining,
    OccupationTraining,
    PerceptronTraining,
    ShapeTraining,
    noise_weights,
    scale_means,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

log = logging.getLogger(__name__)

# Trains the module that a function makes, with some settings, in a folder; the last argument is put
# before the names of its tensors.
Fit = Callable[[Callable[[], PerceptronTraining], NetworkConfig, Path, str], dict[str, Tensor]]


def train_templates(
    config: TemplatesConfig, folder: Path, progress: bool, scheduler: str | None, devices: int
) -> None:
    """From the halo catalogue to weights; see `iaemu_likelihood.emulator.training.run.train`."""
    keep(config, folder)
    table = folder / "tabulation.hdf5"
    options: dict[str, Any] = {"scheduler": scheduler, "progress": progress}
    recipes = config.recipes()
    data = DataSet.read(
        make_dataset(recipes["expectation"], folder / "expectation.hdf5", table, **options)
    )
    noise = None
    if "noise" in recipes:
        noise = DataSet.read(make_dataset(recipes["noise"], folder / "noise.hdf5", **options))

    fitted = partial(_fitted, progress=progress, devices=devices)
    tensors = _means(config, data, folder, fitted)
    runs = [f"network{i}" for i in range(config.n_networks)]
    if noise is not None:
        tensors |= _noise(config, noise, table, folder, fitted, progress)
        runs += NOISE_PARTS
    curves = draw_learning_curves({run: folder / run for run in runs}, folder)
    card = card_of(config, data, _description(config), curves)
    tensors["epistemic_factor"] = _epistemic_factor(tensors, card, data.select("validation"))
    write_weights(folder, tensors, card)


def training_points(data: DataSet, domain: Domain) -> tuple[Tensor, Tensor]:
    """Occupation parameters in the unit cube, (n, n_occupation), and which points validate, (n,)."""
    validating = torch.as_tensor(data.split == SPLITS.index("validation"))
    return torch.as_tensor(domain.to_unit(data.hod), dtype=torch.float32), validating


def _fitted(
    make: Callable[[], PerceptronTraining], settings: NetworkConfig, folder: Path, prefix: str, *,
    progress: bool, devices: int,
) -> dict[str, Tensor]:  # fmt: skip
    """Tensors of one network, trained unless that is done already."""
    path = folder / WEIGHTS_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        module = make()
        fit(module, folder, epochs=settings.epochs, patience=settings.patience, progress=progress,
            devices=devices)  # fmt: skip
        write_tensors(module.tensors(prefix), path)
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}). Delete {folder} and run again: this network is trained "
            "anew, others are kept."
        ) from error


def _means(config: TemplatesConfig, data: DataSet, folder: Path, fitted: Fit) -> dict[str, Tensor]:
    """The ensemble of networks for the mean templates."""
    statistics = config.learned
    inputs, validating = training_points(data, config.region)
    targets, mean, scale = scale_means(data.columns["templates"], statistics, config.weight_xi)
    n_pairs = data.columns["n_pairs"].astype(np.float64)
    weights = noise_weights(n_pairs, config.noise_weight, len(templates_of(statistics)))
    weights *= torch.where(_of_public_bins(config).flatten(), 1.0, config.weight_projected)
    members = []
    for i in range(config.n_networks):
        log.info("Means, network %d of %d.", i + 1, config.n_networks)
        make = partial(
            MeansTraining, inputs, validating, targets, weights, config.means, config.seed + i
        )
        members.append(fitted(make, config.means, folder / f"network{i}", ""))
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    edges = {"r_edges": torch.as_tensor(R_EDGES), "fine_edges": torch.as_tensor(config.fine_edges)}
    return tensors | {"mean": mean, "scale": scale} | edges


def _of_public_bins(config: TemplatesConfig) -> Tensor:
    """Which of the numbers serve other than projected statistics, (n_templates, n_fine)."""
    public = [t in templates_of(named(config.statistics)) for t in templates_of(config.learned)]
    near = config.fine_edges[1:] <= R_EDGES[-1] * (1 + 1e-9)
    return torch.tensor(public)[:, None] & torch.as_tensor(near)


# What the networks of the noise are trained with, by the names of their folders and tensors.
NOISE_PARTS: dict[str, Callable[..., PerceptronTraining]] = {
    "occupation": OccupationTraining,
    "shape": ShapeTraining,
}


def _noise(
    config: TemplatesConfig, data: DataSet, table: Path, folder: Path, fitted: Fit, progress: bool
) -> dict[str, Tensor]:
    """The two networks of the scatter of one catalogue."""
    targets = None
    if not all((folder / part / WEIGHTS_FILE).exists() for part in NOISE_PARTS):
        tabulation = Tabulation.read(table).coarser(data.r_edges, config.statistics)
        expected = tabulation.templates(data.hod, progress, data.space.occupation)
        noises = (data.noise(point) for point in range(len(data)))
        targets = NoiseTargets.of(noises, expected.values)
    points = training_points(data, config.region)
    sizes = {"occupation": config.n_factors, "shape": config.n_components}
    tensors: dict[str, Tensor] = {}
    for part, training in NOISE_PARTS.items():
        log.info("Noise: %s.", part)
        settings: NetworkConfig = getattr(config, part)
        make = partial(training, *points, targets, sizes[part], settings, config.seed)
        tensors |= fitted(make, settings, folder / part, f"{part}.")
    return tensors


def _epistemic_factor(tensors: dict[str, Tensor], card: dict[str, Any], data: DataSet) -> Tensor:
    """By which the ensemble's scatter must grow to cover 95.4 % of the errors with two sigma.

    At the validation points, with alignment parameters uniform in their limits; one factor for each
    statistic that is learned, over all of its bins.
    """
    space, statistics = data.space, data.statistics
    size = (len(data), space.n_alignment)
    mu = np.random.default_rng(0).uniform(*space.alignment.limits, size)
    as_it_is = tensors | {"epistemic_factor": torch.ones(len(statistics))}
    n_fine = len(data.r_edges) - 1
    occupied = TemplatesEmulator(as_it_is, card).at(data.hod, statistics, n_fine)
    guess, errors = occupied(mu, statistics, ("epistemic",))
    spread = np.sqrt((errors["epistemic"] ** 2).sum(axis=0))
    templates = data.columns["templates"].astype(np.float64)
    truth = combine_templates(templates, mu, statistics, space.alignment)
    factors = []
    for i in range(len(statistics)):
        known = spread[:, i] > 0  # where a statistic is not counted, it is zero throughout
        error = np.abs(guess[:, i] - truth[:, i])[known] / spread[:, i][known]
        factors.append(np.quantile(error, 0.954) / 2)
    return torch.tensor(factors, dtype=torch.float64)


def _description(config: TemplatesConfig) -> str:
    space = config.space
    templates = ", ".join(template.name for template in templates_of(config.learned))
    noise = (
        "two more to the moments of the scatter of one catalogue about it, trained on "
        f"{config.n_noise_points} x {config.n_catalogues} realisations; "
    )
    return (
        f"Ensemble of {config.n_networks} networks: {', '.join(space.occupation.names)} to the "
        f"templates {templates}, trained on their expectation over halotools-IA's draws; "
        f"{noise if config.n_noise_points else ''}{' and '.join(space.alignment.names)} enter in "
        "closed form."
    )
