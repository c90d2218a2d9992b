"""What the networks of the means should learn: transforms of xi, scalings, principal components.

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
from iaemu_likelihood.emulator.datasets.dataset import DataSet, make_dataset
from iaemu_likelihood.emulator.models.base import Emulator
from iaemu_likelihood.emulator.physics.parameters import Domain
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.physics.watson import p2
from iaemu_likelihood.emulator.training.templates import (
    MeansTraining,
    fit,
    noise_weights,
    read_training_config,
    training_points,
)
from iaemu_likelihood.emulator.validation.metrics import smape
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

Array = NDArray[np.float64]

TRANSFORMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "log1p": (np.log1p, np.expm1),
    "asinh": (np.arcsinh, np.sinh),
    "none": (lambda x: x, lambda x: x),
}
# Transform of xi, weight of xi, exponent of the noise weights, principal components (0: all).
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
    config = read_training_config()
    settings = replace(config.means, width=128, depth=3, batch=256, epochs=arguments.epochs)
    domain = Domain.zheng07(**config.domain)
    test = DataSet.held_out("expectation")
    mu = np.random.default_rng(0).uniform(-1, 1, (len(test), 2))
    strength = p2(mu).T[..., None]
    truth = test.columns["templates"].astype(np.float64)
    correlations = np.stack(combine_templates(truth, *strength), axis=1)
    theta = np.concatenate([mu, test.parameters], axis=1)
    aleatoric = Emulator.load().predict(theta).aleatoric
    assert aleatoric is not None
    sigma = np.stack([aleatoric.xi, aleatoric.omega, aleatoric.eta], axis=1)

    table = Table("xi", "its weight", "noise weight", "components", "|error| of xi",
                  "SMAPE omega", "eta", "error / sigma, 95 %: xi", "omega", "eta")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tabulation = arguments.tabulation or Path(folder) / "tabulation.hdf5"
        recipe = config.recipe("expectation", n_points=arguments.points)
        data = DataSet.read(make_dataset(recipe, Path(folder) / "data.hdf5", tabulation))
        inputs, validating = training_points(data, domain)
        unit = torch.as_tensor(domain.to_unit(test.parameters)).float()
        for i, (transform, weight, exponent, n_components) in enumerate(VARIANTS):
            forward, inverse = TRANSFORMS[transform]
            values = data.columns["templates"].astype(np.float64)
            values[:, 0] = forward(values[:, 0])
            mean, scale = values.mean(axis=0), values.std(axis=0)
            scale[0] /= weight
            targets = ((values - mean) / scale).reshape(len(values), -1)
            basis = np.eye(targets.shape[1])
            if n_components:
                basis = np.linalg.svd(targets, full_matrices=False)[2][:n_components]
            size = (targets @ basis.T).std(axis=0).max()
            scaled = torch.as_tensor(targets @ basis.T / size).float()
            weights = noise_weights(data.columns["n_pairs"].astype(np.float64), exponent)
            if n_components:  # a component is no bin
                weights = torch.ones_like(scaled)
            module = MeansTraining(inputs, validating, scaled, weights, settings, config.seed)
            fit(module, Path(folder) / f"fit{i}", epochs=settings.epochs, patience=settings.epochs,
                progress=False)  # fmt: skip
            with torch.inference_mode():
                found = module.network(unit).double().numpy() * size @ basis
            guess = found.reshape(truth.shape) * scale + mean
            guess[:, 0] = inverse(guess[:, 0])
            error = np.stack(combine_templates(guess, *strength), axis=1) - correlations
            in_sigma = np.percentile(np.abs(error) / sigma, 95, axis=(0, 2))
            found = correlations + error
            table.add_row(
                transform, f"{weight:g}", f"{exponent:g}", str(n_components or "all"),
                f"{100 * np.mean(np.abs(error[:, 0] / correlations[:, 0])):.3f} %",
                *(f"{smape(found[:, k], correlations[:, k]):.4f}" for k in (1, 2)),
                *(f"{x:.3f}" for x in in_sigma),
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
