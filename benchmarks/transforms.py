"""What the networks of the means should learn: transforms, scalings, principal components.

    python benchmarks/transforms.py [--points 8192] [--epochs 60] [--tabulation tabulation.hdf5]

Small networks on a part of the training points, all trained alike, and their errors at the held-out
points. `emulator/training/templates.yaml` follows what wins here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.datasets import DataSet, make_dataset
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config
from iaemu_likelihood.emulator.training.loop import fit
from iaemu_likelihood.emulator.training.perceptrons import MeansTraining, noise_weights
from iaemu_likelihood.emulator.training.templates import training_points
from iaemu_likelihood.emulator.validation.metrics import mean_absolute_fractional_error, smape
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

Array = NDArray[np.float64]

TRANSFORMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "log1p": (np.log1p, np.expm1),
    "asinh": (np.arcsinh, np.sinh),
    "none": (lambda x: x, lambda x: x),
}
# Transform of the templates that are learned as logarithms, which is xi; their weight; exponent of the
# noise weights; principal components (0: all).
VARIANTS = [
    ("log1p", 4.0, 0.0, 0),
    ("log1p", 4.0, 0.125, 0),
    ("log1p", 4.0, 0.25, 0),
    ("log1p", 4.0, 0.5, 0),
    ("log1p", 1.0, 0.25, 0),
    ("asinh", 4.0, 0.25, 0),
    ("none", 4.0, 0.25, 0),
    ("log1p", 4.0, 0.0, 48),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--tabulation", type=Path, help="built in a temporary folder when left out")
    arguments = parser.parse_args()
    config = read_training_config(DEFAULT_CONFIG.with_name("z0.yaml"))
    settings = replace(config.means, width=128, depth=3, batch=256, epochs=arguments.epochs)
    test = DataSet.held_out("expectation")
    space, statistics = test.space, test.statistics
    logarithmic = [s.learned_as_logarithm for s in statistics for _ in s.templates]
    size = len(test), space.n_alignment
    mu = np.random.default_rng(0).uniform(*space.alignment.limits, size)
    truth = test.columns["templates"].astype(np.float64)
    correlations = combine_templates(truth, mu, statistics, space.alignment)
    aleatoric = Emulator.load().predict(space.join(mu, test.hod)).aleatoric
    assert aleatoric is not None
    sigma = np.stack([aleatoric[s.name] for s in statistics], axis=1)

    # Ratios go through zero, where a fractional error means nothing.
    measures = [
        (f"SMAPE {s.name}", smape)
        if s.is_ratio
        else (f"|error| / {s.name}", mean_absolute_fractional_error)
        for s in statistics
    ]
    table = Table(
        "transform", "weight", "noise weight", "components", *(words for words, _ in measures),
        *(f"error / sigma, 95 %: {s.name}" for s in statistics),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tabulation = arguments.tabulation or Path(folder) / "tabulation.hdf5"
        fractions = (1 - config.validation, config.validation, 0.0)
        recipe = config.recipe("expectation", arguments.points, fractions=fractions)
        data = DataSet.read(make_dataset(recipe, Path(folder) / "data.hdf5", tabulation))
        inputs, validating = training_points(data, config.region, config.redshifts)
        unit, _ = training_points(test, config.region, config.redshifts)
        for i, (transform, weight, exponent, n_components) in enumerate(VARIANTS):
            forward, inverse = TRANSFORMS[transform]
            values = data.columns["templates"].astype(np.float64)
            values[:, logarithmic] = forward(values[:, logarithmic])
            mean, scale = values.mean(axis=0), values.std(axis=0)
            scale[logarithmic] /= weight
            targets = ((values - mean) / scale).reshape(len(values), -1)
            basis = np.eye(targets.shape[1])
            if n_components:
                basis = np.linalg.svd(targets, full_matrices=False)[2][:n_components]
            largest = (targets @ basis.T).std(axis=0).max()
            scaled = torch.as_tensor(targets @ basis.T / largest).float()
            n_pairs = data.columns["n_pairs"].astype(np.float64)
            weights = noise_weights(n_pairs, exponent, len(logarithmic))
            if n_components:  # a component is no bin
                weights = torch.ones_like(scaled)
            module = MeansTraining(inputs, validating, scaled, weights, settings, config.seed)
            fit(module, Path(folder) / f"fit{i}", epochs=settings.epochs, patience=settings.epochs,
                progress=False)  # fmt: skip
            with torch.inference_mode():
                found = module.network(unit).double().numpy() * largest @ basis
            guess = found.reshape(truth.shape) * scale + mean
            guess[:, logarithmic] = inverse(guess[:, logarithmic])
            predicted = combine_templates(guess, mu, statistics, space.alignment)
            in_sigma = np.percentile(np.abs(predicted - correlations) / sigma, 95, axis=(0, 2))
            table.add_row(
                transform, f"{weight:g}", f"{exponent:g}", str(n_components or "all"),
                *(
                    f"{measure(predicted[:, k], correlations[:, k]):.5f}"
                    for k, (_, measure) in enumerate(measures)
                ),
                *(f"{x:.3f}" for x in in_sigma),
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
