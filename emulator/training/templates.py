"""Training of emulators of kind ``templates``: networks for the templates and for the noise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.atomic import write_tensors
from iaemu_likelihood.emulator.backend import as_array
from iaemu_likelihood.emulator.datasets import DataSet, make_dataset, sources
from iaemu_likelihood.emulator.datasets.recipe import SPLITS
from iaemu_likelihood.emulator.expectation.snapshots import templates_between
from iaemu_likelihood.emulator.models import TemplatesEmulator
from iaemu_likelihood.emulator.models.templates import PROJECTED, hosts_of
from iaemu_likelihood.emulator.models.weights import (
    WEIGHTS_FILE,
    learned_of,
    redshifts_of,
    statistics_of,
)
from iaemu_likelihood.emulator.noise.targets import NoiseTargets
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES, R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT, Redshifts
from iaemu_likelihood.emulator.physics.statistics import XI, Statistic, named
from iaemu_likelihood.emulator.physics.templates import combine_templates, templates_of
from iaemu_likelihood.emulator.training.cards import card_of, write_weights
from iaemu_likelihood.emulator.training.configuration import NetworkConfig, TemplatesConfig, keep
from iaemu_likelihood.emulator.training.curves import draw_learning_curves
from iaemu_likelihood.emulator.training.loop import fit
from iaemu_likelihood.emulator.training.perceptrons import (
    BinnedMeansTraining,
    MeansTraining,
    OccupationTraining,
    PerceptronTraining,
    ShapeTraining,
    noise_weights,
    scale_means,
)
from iaemu_likelihood.emulator.training.start import check_start, first_guess
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Trains the module that a function makes, with some settings, in a folder; the last argument is put
# before the names of its tensors.
Fit = Callable[[Callable[[], PerceptronTraining], NetworkConfig, Path, str], dict[str, Tensor]]


def train_templates(
    config: TemplatesConfig, folder: Path, progress: bool, scheduler: str | None, devices: int
) -> None:
    """From the halo catalogue to weights; see `iaemu_likelihood.emulator.training.run.train`."""
    check_start(config)
    keep(config, folder)
    table = folder / "tabulation.hdf5"
    options: dict[str, Any] = {"scheduler": scheduler, "progress": progress}
    recipes = config.recipes()
    data = DataSet.read(
        make_dataset(recipes["expectation"], folder / "expectation.hdf5", table, **options)
    )
    fitted = partial(_fitted, progress=progress, devices=devices)
    tensors, runs = _means(config, data, folder, fitted)
    if "noise" in recipes:
        tensors |= _noise(config, table, folder, fitted, options)
        runs += NOISE_PARTS
    curves = draw_learning_curves({run: folder / run for run in runs}, folder)
    card = card_of(config, data, _description(config), curves)
    tensors |= hosts_of(sources.snapshots(recipes["expectation"].catalogues))
    tensors |= _epistemic_factors(tensors, card, data.select("validation"))
    write_weights(folder, tensors, card)


def training_points(data: DataSet, domain: Domain, redshifts: Redshifts) -> tuple[Tensor, Tensor]:
    """Inputs of networks, (n, n_inputs), and which points validate, (n,).

    The inputs are the occupation parameters in the unit cube, and the redshift, if there are several.
    """
    validating = torch.as_tensor(data.split == SPLITS.index("validation"))
    inputs = domain.to_unit(data.hod)
    if redshifts.are_several:
        inputs = np.column_stack([inputs, redshifts.unit(data.redshift)])
    return torch.as_tensor(inputs, dtype=torch.float32), validating


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


def _means(
    config: TemplatesConfig, data: DataSet, folder: Path, fitted: Fit
) -> tuple[dict[str, Tensor], list[str]]:
    """The ensembles of networks for the mean templates; also the names of their folders."""
    points, redshifts = training_points(data, config.region, config.redshifts), config.redshifts
    snapshots = None
    if redshifts.are_several:
        snapshots = torch.as_tensor(redshifts.weights(data.redshift), dtype=torch.float32)
    ensembles = {"network": ("", config.means, _in_bins(config, data))}
    if config.projected:
        ensembles["projected"] = PROJECTED, config.projected, _for_projected(config, data)
    tensors: dict[str, Tensor] = {}
    runs = []
    for name, (prefix, settings, (training, scaling)) in ensembles.items():
        members = []
        for i in range(config.n_networks):
            log.info("Means (%s), network %d of %d.", name, i + 1, config.n_networks)
            make = partial(
                training, *points, snapshots=snapshots, config=settings, seed=config.seed + i,
                start=first_guess(config, prefix, i, scaling) if config.start else None,
            )  # fmt: skip
            members.append(fitted(make, settings, folder / f"{name}{i}", ""))
            runs.append(f"{name}{i}")
        tensors |= {f"{prefix}{key}": torch.stack([m[key] for m in members]) for key in members[0]}
        tensors |= {f"{prefix}{key}": x for key, x in scaling.items()}
    edges = {"r_edges": torch.as_tensor(R_EDGES), "fine_edges": torch.as_tensor(data.r_edges)}
    return tensors | edges, runs


# Makes the training of a network, and the mean and scale of its outputs.
Means = tuple[Callable[..., PerceptronTraining], dict[str, Tensor]]


def _in_bins(config: TemplatesConfig, data: DataSet) -> Means:
    """Of the statistics in three dimensions, in fine bins that make up those between `R_EDGES`."""
    statistics, n_wide = named(config.statistics), len(R_EDGES) - 1
    n_near, n_templates = len(NEAR_EDGES) - 1, len(templates_of(statistics))
    fine = data.columns["templates"][:, :n_templates, :n_near].astype(np.float64)
    pairs = data.columns["n_pairs"][:, :n_near].astype(np.float64)
    targets, mean, scale = scale_means(fine, statistics, config.weight_xi)
    inside = (n_wide, n_near // n_wide)
    pairs_inside = pairs.reshape(-1, *inside)
    n_pairs = pairs_inside.sum(axis=-1)
    shares = pairs_inside / n_pairs[..., None]
    binning = PairWeightedBinning(NEAR_EDGES, R_EDGES)
    excess = fine[:, templates_of(statistics).index(XI.templates[0])]
    wide = np.concatenate(
        [
            binning.means(excess, rows) if statistic.is_ratio else rows @ binning.of_density(excess)
            for statistic, rows in zip(statistics, _rows(fine, statistics), strict=True)
        ],
        axis=1,
    )
    _, _, scale_of_wide = scale_means(wide, statistics, config.weight_xi)
    relative = scale.view(n_templates, *inside) / scale_of_wide.view(n_templates, n_wide, 1)
    training = partial(
        BinnedMeansTraining,
        targets=targets.view(len(targets), n_templates, *inside),
        scale=relative.float(),
        shares=torch.as_tensor(shares, dtype=torch.float32),
        weights=noise_weights(n_pairs, config.noise_weight, n_templates),
        weight_inside=config.weight_inside,
    )
    return training, {"mean": mean, "scale": scale}


def _rows(values: Array, statistics: Sequence[Statistic]) -> list[Array]:
    """Templates, (n, n_templates, n_bins), by statistic."""
    return np.split(values, np.cumsum([len(s.templates) for s in statistics])[:-1], axis=1)


def _for_projected(config: TemplatesConfig, data: DataSet) -> Means:
    """Of all that projected statistics are made of, in all bins."""
    n_templates = len(templates_of(config.learned))
    targets, mean, scale = scale_means(data.columns["templates"], config.learned, config.weight_xi)
    n_pairs = data.columns["n_pairs"].astype(np.float64)
    weights = noise_weights(n_pairs, config.noise_weight, n_templates)
    of_others = torch.full((n_templates, len(data.r_edges) - 1), config.weight_projected)
    of_others[: len(templates_of(named(config.statistics))), : len(NEAR_EDGES) - 1] = 1
    weights *= of_others.flatten()
    return partial(MeansTraining, targets=targets, weights=weights), {"mean": mean, "scale": scale}


# What the networks of the noise are trained with, by the names of their folders and tensors.
NOISE_PARTS: dict[str, Callable[..., PerceptronTraining]] = {
    "occupation": OccupationTraining,
    "shape": ShapeTraining,
}


def _noise(
    config: TemplatesConfig, table: Path, folder: Path, fitted: Fit, options: dict[str, Any]
) -> dict[str, Tensor]:
    """The two networks of the scatter of one catalogue."""
    points, targets = None, None
    # What they learn takes long to make, and is needed until both are trained.
    if not all((folder / part / WEIGHTS_FILE).exists() for part in NOISE_PARTS):
        data = DataSet.read(
            make_dataset(config.recipes()["noise"], folder / "noise.hdf5", **options)
        )
        points = training_points(data, config.region, config.redshifts)
        tables = sources.tabulations(
            (recipe := config.recipes()["noise"]).catalogues,
            table,
            recipe.r_edges,
            recipe.statistics,
        )
        weights = config.redshifts.weights(data.redshift)
        hosts = sources.snapshots(config.recipe("expectation", 1).catalogues).abundances
        expected = templates_between(tables, hosts, weights, data.hod, data.space.occupation)
        noises = (data.noise(point) for point in range(len(data)))
        targets = NoiseTargets.of(noises, expected.values)
    sizes = {"occupation": config.n_factors, "shape": config.n_components}
    tensors: dict[str, Tensor] = {}
    for part, training in NOISE_PARTS.items():
        log.info("Noise: %s.", part)
        settings: NetworkConfig = getattr(config, part)
        make = partial(training, *(points or ()), targets, sizes[part], settings, config.seed)
        tensors |= fitted(make, settings, folder / part, f"{part}.")
    return tensors


def _epistemic_factors(
    tensors: dict[str, Tensor], card: dict[str, Any], data: DataSet
) -> dict[str, Tensor]:
    """By which an ensemble's scatter must grow to cover 95.4 % of the errors with two sigma.

    At the validation points, of several redshifts those in the snapshots, with alignment parameters
    uniform in their limits; one factor for each statistic of an ensemble, over all of its bins.
    """
    space = data.space
    size = (len(data), space.n_alignment)
    mu = np.random.default_rng(0).uniform(*space.alignment.limits, size)
    prefixes = {"": statistics_of(card)}
    if f"{PROJECTED}mean" in tensors:
        prefixes[PROJECTED] = learned_of(card)
    names = {prefix: f"{prefix}epistemic_factor" for prefix in prefixes}
    ones = {names[prefix]: torch.ones(len(x)) for prefix, x in prefixes.items()}
    emulator = TemplatesEmulator(tensors | ones, card)
    found = {}
    for prefix, statistics in prefixes.items():
        n_bins = len(data.r_edges) - 1 if prefix else emulator.n_fine()
        n_templates = len(templates_of(statistics))
        ratios: list[list[Array]] = [[] for _ in statistics]
        for redshift in redshifts_of(card).values:
            rows = np.abs(data.redshift - redshift) <= SAME_REDSHIFT
            there = emulator.at_redshift(redshift).at(data.hod[rows], statistics, n_bins)
            guess, errors = there(mu[rows], statistics, ("epistemic",))
            spread = np.sqrt((as_array(errors["epistemic"]) ** 2).sum(axis=0))
            templates = data.columns["templates"][rows, :n_templates, :n_bins].astype(np.float64)
            truth = combine_templates(templates, mu[rows], statistics, space.alignment)
            error = np.abs(as_array(guess) - truth)
            for i, ratio in enumerate(ratios):
                known = spread[:, i] > 0  # where a statistic is not counted, it is zero throughout
                ratio.append(error[:, i][known] / spread[:, i][known])
        factors = [np.quantile(np.concatenate(ratio), 0.954) / 2 for ratio in ratios]
        found[names[prefix]] = torch.tensor(factors, dtype=torch.float64)
    return found


def _description(config: TemplatesConfig) -> str:
    space = config.space
    templates = ", ".join(t.name for t in templates_of(named(config.statistics)))
    others = ", ".join(t.name for t in templates_of(config.learned))
    projected = (
        f"as many to {others} for projected statistics, up to {config.fine_edges[-1]:.4g} Mpc/h; "
    )
    noise = (
        "two more to the moments of the scatter of one catalogue about it, trained on "
        f"{config.n_noise_points} x {config.n_catalogues} realisations; "
    )
    redshifts = config.redshifts
    snapshots = f" for each of {len(redshifts.values)} snapshots" if redshifts.are_several else ""
    begun = f", begun with those of {config.start}" if config.start else ""
    return (
        f"Ensemble of {config.n_networks} networks{snapshots}{begun}: "
        f"{', '.join(space.occupation.names)} to the templates {templates}, trained on their expectation over halotools-IA's draws; "
        f"{projected if config.projected else ''}"
        f"{noise if config.n_noise_points else ''}{' and '.join(space.alignment.names)} enter in "
        "closed form."
    )
