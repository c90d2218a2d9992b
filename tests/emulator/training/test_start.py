"""Trained networks as the first guess of others."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.networks.perceptron import Perceptron, PerceptronsBetween
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config
from iaemu_likelihood.emulator.training.run import train
from iaemu_likelihood.emulator.training.start import first_guess
from safetensors.torch import load_file

N_OUT = 6 * 40


def scaling():
    rng = np.random.default_rng(1)
    return {"mean": torch.as_tensor(rng.normal(size=N_OUT)),
            "scale": torch.as_tensor(rng.uniform(0.5, 2, N_OUT))}  # fmt: skip


@pytest.mark.parametrize("member", [0, 1])
def test_the_first_guess_predicts_what_the_start_does(small_weights, small_config, member):
    config, own = replace(small_config, start=str(small_weights)), scaling()
    network = Perceptron(5, N_OUT, 16, 3)
    network.load(first_guess(config, "", member, own))
    tensors = load_file(small_weights / "weights.safetensors")
    start = Perceptron(5, N_OUT, 16, 3)
    start.load({name: tensors[name][member] for name in start.tensors()})
    x = torch.rand(10, 5) * 2 - 1
    with torch.no_grad():
        expected = start(x) * tensors["scale"] + tensors["mean"]
        found = network(x) * own["scale"] + own["mean"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_of_one_redshift_begin_those_of_several():
    config = read_training_config(DEFAULT_CONFIG)
    tensors = load_file_of(config.start)
    own = {name: tensors[name] for name in ("mean", "scale")}
    between = PerceptronsBetween(4, 6, len(own["mean"]), config.means.width, config.means.depth)
    between.load(first_guess(config, "", 2, own))
    start = Perceptron(5, len(own["mean"]), config.means.width, config.means.depth)
    start.load({name: tensors[name][2] for name in start.tensors()})
    x = torch.rand(10, 6) * 2 - 1
    shares = torch.tensor([[0, 0.3, 0.7, 0]]).expand(10, -1)
    with torch.no_grad():
        found = between(torch.cat([x, shares], dim=1))
        torch.testing.assert_close(found, start(x[:, :5]), rtol=1e-4, atol=1e-4)


def load_file_of(name):
    from iaemu_likelihood.emulator.models.weights import WEIGHTS_FILE, weights_folder

    return load_file(weights_folder(name) / WEIGHTS_FILE)


@pytest.mark.slow
def test_a_training_goes_on_from_the_start(small_weights, small_config, tmp_path):
    for name in ("tabulation.hdf5", "expectation.hdf5", "noise.hdf5"):
        shutil.copy(small_weights / name, tmp_path / name)
    short = replace(small_config.means, epochs=1)
    config = replace(small_config, start=str(small_weights), means=short, n_noise_points=0)
    train(config, tmp_path, progress=False)

    def losses(folder):
        with (folder / "network0" / "metrics.csv").open() as file:
            return [float(row["validation"]) for row in csv.DictReader(file) if row["validation"]]

    assert losses(tmp_path)[0] < 0.5 * losses(small_weights)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_networks": 3}, r"as they have other n_networks 2 \(here 3\)\. Make these the same"),
        ({"domain": {"logMmin": [11.8, 12.9]}}, "other domain"),
        ({"statistics": ["xi", "omega"]}, "other statistics"),
        ({"start": "paper"}, "start is 'paper', weights of kind paper"),
    ],
)
def test_another_shape_is_refused_before_the_work(
    small_weights, small_config, tmp_path, change, message
):
    config = replace(small_config, **{"start": str(small_weights), "n_noise_points": 0, **change})
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").glob("*.hdf5"))


def test_other_sizes_are_refused(small_weights, small_config, tmp_path):
    wide = replace(small_config.means, width=17)
    config = replace(small_config, start=str(small_weights), means=wide)
    with pytest.raises(ValueError, match=r"other means \(16, 3\) \(here \(17, 3\)\)"):
        train(config, tmp_path, progress=False)
