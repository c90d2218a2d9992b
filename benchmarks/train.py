"""What an epoch of training costs, for every network, on one thread and on two.

python benchmarks/train.py [--smoke] [--json FILE]

Wall time, checkpoints included: the difference between a run of several epochs and one of a single
epoch, on the bundled held-out points and, for the noise, on numbers of the right kind, as what they
are does not change the cost. Beside it, what that makes of the whole training of the bundled weights,
on two threads if these are faster.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.noise.blocks import (
    N_COMPONENTS,
    N_NEIGHBOURHOODS,
    PAIRS,
    SHAPE_BLOCKS,
    occupation_blocks,
)
from iaemu_likelihood.emulator.noise.targets import NoiseTargets
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config
from iaemu_likelihood.emulator.training.loop import fit
from iaemu_likelihood.emulator.training.paper import PaperTraining
from iaemu_likelihood.emulator.training.perceptrons import (
    MeansTraining,
    OccupationTraining,
    ShapeTraining,
    noise_weights,
    scale_means,
)
from iaemu_likelihood.emulator.training.templates import training_points
from measuring import main, show, threads

MORE_EPOCHS = 4
N_NOISE = 512
N_CATALOGUES = 3


def split(data):
    """A data set of test points as one to train with: the last eighth validates."""
    part = (np.arange(len(data.split)) >= len(data.split) * 7 // 8).astype(data.split.dtype)
    return dataclasses.replace(data, split=part)


def made_up_noise(data, rng):
    """Targets of the noise, near one in variance and uncorrelated, of statistics as in a data set."""
    n, b = N_NOISE, len(data.r_edges) - 1
    size, n_templates = N_NEIGHBOURHOODS * b, len(templates_of(data.statistics))

    def triangles(sizes):
        own = [j == 0 for k in sizes for i in range(k) for j in range(i + 1)]
        noise = rng.normal(scale=0.1, size=(n, len(own), b))
        return np.where(np.array(own)[:, None], np.exp(noise), noise)

    cholesky = np.tril(rng.normal(scale=0.05, size=(n, N_COMPONENTS, size, size))) + np.eye(size)
    return NoiseTargets(
        statistics=data.statistics,
        occupation=triangles(occupation_blocks(data.statistics)),
        deviations=rng.normal(size=(n, N_CATALOGUES, n_templates, b)),
        shape=triangles(SHAPE_BLOCKS),
        pairs=np.exp(rng.normal(size=(n, len(PAIRS), b))),
        cholesky=cholesky.astype(np.float32),
        counted=np.ones((n, b), bool),
    )


def networks(smoke):
    """Each network: how to make its training, points per epoch, and the configuration's numbers."""
    config = read_training_config(DEFAULT_CONFIG)
    data = split(DataSet.held_out("expectation"))
    # As if of redshifts as those of the training: how many networks see a point depends on its own.
    redshift = config.recipe("expectation", len(data)).point_redshifts()
    data = dataclasses.replace(data, columns=data.columns | {"redshift": redshift})
    snapshots = torch.as_tensor(config.redshifts.weights(redshift), dtype=torch.float32)
    inputs, validating = training_points(data, config.region, config.redshifts)
    templates, n_pairs = (data.columns[name] for name in ("templates", "n_pairs"))
    targets, _, _ = scale_means(templates, data.statistics, config.weight_xi)
    weights = noise_weights(n_pairs.astype(np.float64), config.noise_weight, templates.shape[1])
    train = 1 - config.validation
    yield (
        f"templates, one of {config.n_networks} networks of the means",
        lambda: MeansTraining(
            inputs, validating, targets, weights, config.means, 1, snapshots=snapshots
        ),
        int((~validating).sum()), config.n_points * train, config.means.epochs, config.n_networks,
    )  # fmt: skip
    of_noise = inputs[-N_NOISE:], torch.arange(N_NOISE) >= N_NOISE * 7 // 8
    noise = made_up_noise(data, np.random.default_rng(1))
    for part, kind, settings, size in (
        ("occupation", OccupationTraining, config.occupation, config.n_factors),
        ("shape", ShapeTraining, config.shape, config.n_components),
    ):
        yield (
            f"templates, noise of the {part}",
            lambda kind=kind, s=settings, size=size: kind(*of_noise, noise, size, s, 1),
            int((~of_noise[1]).sum()), config.n_noise_points * train, settings.epochs, 1,
        )  # fmt: skip
    paper = read_training_config(DEFAULT_CONFIG.with_name("paper.yaml"))
    emulator = Emulator.load()
    of_paper = split(data.select(np.arange(1024))) if smoke else data
    yield (
        "paper", lambda: PaperTraining(of_paper, emulator, paper),
        int((of_paper.split == 0).sum()), paper.n_train * 0.9, paper.epochs, 1,
    )  # fmt: skip


def seconds_of(make, epochs, n_threads):
    with tempfile.TemporaryDirectory() as folder, threads(n_threads):
        module = make()
        start = time.perf_counter()
        fit(module, Path(folder), epochs=epochs, patience=epochs, progress=False)
        return time.perf_counter() - start


def run(smoke: bool) -> dict:
    rows = {}
    epochs = 2 if smoke else 1 + MORE_EPOCHS
    torch.manual_seed(1)
    for name, make, n_points, n_whole, n_epochs, n_networks in networks(smoke):
        row = {"points": n_points}
        for n_threads in (1,) if smoke else (1, 2):
            seconds_of(make, 1, n_threads)  # imports, and compiles
            one, more = (seconds_of(make, n, n_threads) for n in (1, epochs))
            row[f"epoch_s_{n_threads}"] = (more - one) / (epochs - 1)
        best = min(value for key, value in row.items() if key.startswith("epoch"))
        row["whole_s"] = best * n_whole / n_points * n_epochs * n_networks
        rows[name] = row
    show(
        "Training",
        ["", "points", "an epoch, one thread [s]", "two [s]", "all epochs of all networks [min]"],
        [
            [
                name, f"{row['points']}", f"{row['epoch_s_1']:.2f}",
                f"{row['epoch_s_2']:.2f}" if "epoch_s_2" in row else "", f"{row['whole_s'] / 60:.1f}",
            ]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
