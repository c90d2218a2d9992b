"""From halos to weights: they learn, resume, and stop where they should."""

import os
import shutil
import signal
from contextlib import ExitStack
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from astropy.table import Table
from iaemu_likelihood.emulator.build import build
from iaemu_likelihood.emulator.datasets import DataSet, sources
from iaemu_likelihood.emulator.datasets.making import check_recipe
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.halos.readers import BUNDLED
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, ETA, OMEGA, XI, named
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.training import loop
from iaemu_likelihood.emulator.training.configuration import (
    DEFAULT_CONFIG,
    of_halos,
    read_training_config,
)
from iaemu_likelihood.emulator.training.loop import fit
from iaemu_likelihood.emulator.training.perceptrons import MeansTraining, noise_weights, scale_means
from iaemu_likelihood.emulator.training.run import train
from iaemu_likelihood.emulator.training.templates import training_points
from safetensors.torch import load_file

from iaemu_likelihood import data

from ..children import end, start

POINT = [0.5, 0.2, 12.5, 0.3, 12.5, 13.4, 1.0]


@pytest.mark.slow
def test_training_learns_and_writes_a_card(small_weights, small_config, small_halos):
    emulator = Emulator.load(small_weights)
    data = DataSet.read(small_weights / "expectation.hdf5").select("validation")
    theta = np.concatenate([np.full((len(data), 2), 0.4), data.parameters], axis=1)
    p = emulator.predict(theta)
    first = templates_of(data.statistics).index(XI.templates[0])
    truth, *_ = emulator.binning(data.columns["templates"][:, first])
    # A few short epochs are enough to do far better than the mean of the training points.
    assert np.median(np.abs(p.xi / truth - 1)) < 0.3
    factor = load_file(small_weights / "weights.safetensors")["epistemic_factor"]
    assert ((factor > 0.3) & (factor < 30)).all()
    card = emulator.card
    assert card["halos"]["sha256"] == small_halos.sha256
    assert card["training"] == yaml.safe_load((small_weights / "config.yaml").read_text())
    assert card["training"]["n_points"] == 512
    assert (card["occupation"], card["alignment"]) == ("zheng07", "watson")
    assert card["statistics"] == list(DEFAULT_STATISTICS)
    assert card["domain_note"].endswith(
        "sigma_logM >= 0.05 (so that it stays positive), logM0 <= 13"
    )
    assert (small_weights / "CARD.md").read_text().count("arXiv") >= 3
    # Whoever may read the card may read the weights.
    assert (small_weights / "weights.safetensors").stat().st_mode == (
        small_weights / "card.yaml"
    ).stat().st_mode
    for kind in ("network0", "network1", "occupation", "shape"):
        assert "validation" in (small_weights / kind / "metrics.csv").read_text()
        assert list((small_weights / kind).glob("events.out.tfevents*"))


def test_noise_is_learned(small_weights, small_config):
    """Better than its mean over the domain: the number of galaxies varies by a factor of 30."""
    emulator = Emulator.load(small_weights)
    data = DataSet.read(small_weights / "noise.hdf5")
    theta = data.parameters
    mu, _ = data.space.split(theta)
    p = emulator.predict(theta).aleatoric
    for name in (OMEGA.name, ETA.name):
        sigma = [data.noise(i).sigma(*mu[i])[name] for i in range(len(data))]
        error = np.log10(p[name] / np.array(sigma))
        spread = np.log10(np.array(sigma) / np.nanmedian(sigma, axis=0))
        assert abs(np.nanmedian(error)) < 0.1, name
        assert np.nanstd(error) < 0.5 * np.nanstd(spread), name
    sigmas = np.sqrt(np.diagonal(emulator.covariance(theta), axis1=1, axis2=2))
    np.testing.assert_allclose(sigmas, np.concatenate(list(p.values()), axis=1), rtol=1e-10)


def test_a_training_at_four_redshifts_names_the_catalogue_that_an_installed_package_lacks(
    tmp_path, monkeypatch
):
    """As a wheel has it, without what pyproject.toml leaves out."""
    installed = tmp_path / "data"
    shutil.copytree(data.FOLDER / "halos", installed / "halos")
    shutil.copy(data.FOLDER / "SHA256SUMS", installed)
    for redshift, name in BUNDLED.items():
        if redshift:
            (installed / name).unlink()
    monkeypatch.setattr(data, "FOLDER", installed)
    sources._catalogued.cache_clear()
    config, folder = read_training_config(DEFAULT_CONFIG), tmp_path / "weights"
    missing = r"bundled@0\.3 is not in this installation: .*from a clone.* --halos bundled\)"
    for make in (train, build):
        with pytest.raises(FileNotFoundError, match=missing):
            make(config, folder, progress=False)
    assert not folder.exists()
    with pytest.raises(FileNotFoundError, match=r"bundled@0\.3 is not in this installation"):
        load_halos("bundled@0.3")
    assert load_halos().redshift == 0


def test_a_training_like_that_of_the_bundled_weights_in_a_small_box(
    small_halos_file, small_config, tmp_path
):
    """Its projected statistics need a larger one, and its domain ends where galaxies are too few."""
    config = of_halos(read_training_config(DEFAULT_CONFIG), small_config.halos.split())
    with pytest.raises(
        ValueError, match=r"small\.hdf5 has a side of 80 Mpc/h; .* up to 112\.2 .*projected: null"
    ):
        train(config, tmp_path / "weights", progress=False)
    assert not list(tmp_path.iterdir())
    narrow = replace(config, projected=None)
    assert narrow.redshifts.highest[0] < narrow.region.bands.first[1] - 1
    check_recipe(narrow.recipes()["noise"])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["network0", "occupation"])
def test_a_stopped_training_ends_at_the_same_weights(
    small_weights, small_config, tmp_path, monkeypatch, part
):
    """Stop a network after its first checkpoint, as a kill would, then start again."""

    class Killed(Exception):
        pass

    class Trainer(loop.Trainer):
        def save_checkpoint(self, filepath, *args, **kwargs):
            super().save_checkpoint(filepath, *args, **kwargs)
            if part in str(filepath) and self.current_epoch == 3:
                raise Killed

    others = shutil.ignore_patterns(part, "weights.safetensors", "card.yaml", "CARD.md")
    shutil.copytree(small_weights, tmp_path, dirs_exist_ok=True, ignore=others)
    for finished in {"network0", "network1", "occupation", "shape"} - {part}:
        shutil.copy(small_weights / finished / "weights.safetensors", tmp_path / finished)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Trainer", Trainer)
        with pytest.raises(Killed):
            train(small_config, tmp_path, progress=False)
    assert (tmp_path / part / "last.ckpt").exists()
    assert not (tmp_path / part / "weights.safetensors").exists()
    train(small_config, tmp_path, progress=False)
    assert (tmp_path / "weights.safetensors").read_bytes() == (
        small_weights / "weights.safetensors"
    ).read_bytes()
    # The learning curve is that of the whole training.
    curves = [Emulator.load(folder).card["learning_curve"] for folder in (tmp_path, small_weights)]
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_processes_end_with_their_training_which_can_be_gone_on_with(
    name, small_weights, small_config, tmp_path
):
    folder, path = tmp_path / "weights", tmp_path / "config.yaml"
    folder.mkdir()
    for file in ("tabulation.hdf5", "expectation.hdf5"):
        shutil.copy(small_weights / file, folder)
    means = replace(small_config.means, epochs=100_000, patience=100_000)
    config = replace(small_config, n_noise_points=0, means=means)
    path.write_text(yaml.safe_dump(asdict(config)))
    last = folder / "network0" / "last.ckpt"
    run = tmp_path / "log", "train", path, "--out", folder, "--devices", "2"
    handler = "SIG_IGN" if name == "SIGKILL" else "default_int_handler"
    process = start(*run, at_interrupts=handler)
    assert not end(process, getattr(signal, name), last.exists)
    epoch = torch.load(last, weights_only=True)["epoch"]
    if name == "SIGKILL":  # the harder end of the two
        process = start(*run)
        gone_on = lambda: torch.load(last, weights_only=True)["epoch"] > epoch  # noqa: E731
        assert not end(process, signal.SIGKILL, gone_on)
    else:
        assert epoch >= 0


@pytest.mark.parametrize("content", [b"", b"PK\3\4 half of it", "pickle"])
def test_a_checkpoint_runs_no_code_and_a_damaged_one_is_refused_by_name(content, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    last = tmp_path / "last.ckpt"
    if content == "pickle":
        torch.save({"state_dict": Touch()}, last)
    else:
        last.write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{last} is damaged, or no checkpoint: .*Delete {tmp_path}"
    ):
        fit(None, tmp_path, epochs=1, patience=1, progress=False)
    assert list(tmp_path.iterdir()) == [last]


@pytest.mark.parametrize("devices", [0, -1, 10_000])
def test_devices_that_are_not_there_are_refused_before_the_work(devices, small_config, tmp_path):
    with pytest.raises(ValueError, match=f"devices is {devices}; this machine has .* (cores|GPUs)"):
        train(small_config, tmp_path / "weights", progress=False, devices=devices)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"halos": "nowhere.hdf5"}, "No halo catalogue at nowhere.hdf5"),
        ({"domain": {"logMmin": [16.0, 17.0], "logM0_max": 18.0}}, "expect fewer than 2 galaxies"),
        ({"n_points": 10**9}, "take more than .* GiB of memory, .*make at most"),
    ],
)
def test_a_first_attempt_that_fails_leaves_nothing_that_blocks_the_second(
    fields, message, small_config, tmp_path
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(replace(small_config, **fields), tmp_path / "weights", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["double precision", "inference", "no gradients", "errors"])
def test_what_the_caller_has_set_changes_no_weights(setting, small_weights, small_config, tmp_path):
    means = replace(small_config.means, epochs=2)
    config = replace(small_config, n_noise_points=0, means=means)
    found = []
    for name in ("usual", "set"):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("tabulation.hdf5", "expectation.hdf5"):
            shutil.copy(small_weights / file, folder)
        state, dtype = torch.get_rng_state(), torch.get_default_dtype()
        with ExitStack() as stack:
            if name == "set":
                stack.callback(torch.set_default_dtype, dtype)
                if setting == "double precision":
                    torch.set_default_dtype(torch.float64)
                elif setting == "inference":
                    stack.enter_context(torch.inference_mode())
                elif setting == "no gradients":
                    stack.enter_context(torch.no_grad())
                else:
                    stack.enter_context(np.errstate(all="raise"))
            train(config, folder, progress=False)
        assert torch.equal(torch.get_rng_state(), state)
        found.append((folder / "weights.safetensors").read_bytes())
    assert found[0] == found[1]


def test_two_trainings_in_one_folder(small_config, tmp_path):
    told = pytest.raises(BlockingIOError, match=f"Process {os.getpid()} on .* is at work on")
    with exclusive(tmp_path), told:
        train(small_config, tmp_path, progress=False)


def test_a_folder_that_is_a_file_is_refused_before_the_work(small_config, tmp_path):
    (tmp_path / "weights").touch()
    with pytest.raises(NotADirectoryError, match="weights is a file; give the name of a folder"):
        train(small_config, tmp_path / "weights", progress=False)


def test_without_noise_points_weights_have_no_noise(small_weights, small_config, tmp_path):
    for name in ("tabulation.hdf5", "expectation.hdf5"):
        shutil.copy(small_weights / name, tmp_path)
    for name in ("network0", "network1"):
        shutil.copytree(small_weights / name, tmp_path / name)
    train(replace(small_config, n_noise_points=0), tmp_path, progress=False)
    emulator, noisy = Emulator.load(tmp_path), Emulator.load(small_weights)
    assert not emulator.has_noise
    assert not (tmp_path / "noise.hdf5").exists()
    p, q = emulator.predict(POINT), noisy.predict(POINT)
    assert p.aleatoric is None
    # To the last digits, in which products of matrices differ on some processors.
    np.testing.assert_allclose(p.eta, q.eta, rtol=1e-12)
    np.testing.assert_allclose(p.epistemic.eta, q.epistemic.eta, rtol=1e-12)
    assert "realisations" in noisy.card["description"]
    assert "realisations" not in emulator.card["description"]


def test_targets_are_scaled_and_logarithms_where_they_should_be():
    statistics = named(("omega", "xi"))
    templates = np.random.default_rng(1).uniform(0.1, 3, (50, 3, 4))
    targets, mean, scale = scale_means(templates, statistics, weight=3.0)
    values = (mean + scale * targets.double()).reshape(templates.shape).numpy()
    *omega, xi = (values[:, i] for i in range(3))
    np.testing.assert_allclose(np.stack(omega, 1), templates[:, :2], rtol=1e-6)
    np.testing.assert_allclose(np.expm1(xi), templates[:, 2], rtol=1e-6)
    spread = targets.reshape(templates.shape).std((0, 2), correction=0)
    torch.testing.assert_close(spread, torch.tensor([1.0, 1.0, 3.0]), rtol=1e-4, atol=0)


def test_a_bin_in_which_no_pair_is_expected_is_learned_as_the_emptiest_one():
    rng = np.random.default_rng(4)
    templates = rng.uniform(0.1, 5, (50, len(templates_of((XI, OMEGA))), 3))
    templates[7, 0, 1] = templates[9, 0, 2] = -1
    whole = templates.copy()
    whole[7, 0, 1] = np.delete(templates[:, 0, 1], 7).min()
    whole[9, 0, 2] = np.delete(templates[:, 0, 2], 9).min()
    for found, expected in zip(
        scale_means(templates, (XI, OMEGA), 3.0), scale_means(whole, (XI, OMEGA), 3.0), strict=True
    ):
        assert found.isfinite().all()
        torch.testing.assert_close(found, expected)


def test_bins_with_more_pairs_count_more():
    n_pairs = np.random.default_rng(1).uniform(1, 100, (50, 4))
    weights = noise_weights(n_pairs, 0.25, 3).reshape(50, 3, 4)
    assert torch.equal(weights[:, 0], weights[:, 2])
    torch.testing.assert_close(weights.mean(0), torch.ones(3, 4))
    ratio = (n_pairs[0] / n_pairs[1]) ** 0.25
    np.testing.assert_allclose(weights[0, 0] / weights[1, 0], ratio, rtol=1e-5)


def test_outliers_count_linearly(small_config):
    """An error a hundred times as large has a gradient as large as that of a tenth of the scatter."""
    points = torch.zeros(32, 5), torch.arange(32) >= 30
    weights = torch.ones(32, 1)
    settings = replace(small_config.means, batch=8)

    def slope(error):
        module = MeansTraining(*points, torch.zeros(32, 1), weights, settings, 1)
        outputs = torch.tensor([[error]], requires_grad=True)
        module.loss(outputs, torch.tensor([0])).backward()
        return outputs.grad.item()

    assert slope(0.05) == pytest.approx(2 * 0.05)  # as that of squares
    assert slope(10.0) == pytest.approx(slope(0.1))


def test_early_stopping_fires_and_keeps_the_best(small_weights, small_config, tmp_path):
    """With a rate so high that the validation loss soon rises."""
    data = DataSet.read(small_weights / "noise.hdf5")
    inputs, validating = training_points(data, small_config.region, small_config.redshifts)
    settings = replace(
        small_config.means,
        epochs=200,
        batch=4,
        patience=5,
        learning_rate={"hidden": 0.3, "others": 0.1},
    )
    targets = torch.as_tensor(data.columns["templates"][:, 0, 0], dtype=torch.float32)
    targets = torch.nan_to_num(targets)
    module = MeansTraining(inputs, validating, targets, torch.ones_like(targets), settings, 1)
    fit(module, tmp_path, epochs=200, patience=5, progress=False)
    losses = Table.read(tmp_path / "metrics.csv")["validation"]
    losses = np.asarray(losses[~np.ma.getmaskarray(losses)], float)
    assert len(losses) < 200
    assert len(losses) - 1 - np.argmin(losses) == 5
    rows = module.validation_rows
    with torch.no_grad():
        assert module._loss_at(rows).item() == pytest.approx(losses.min(), rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_one_network(small_weights, small_config, tmp_path):
    """Gradients are averaged between them, and each takes half of the batches."""
    data = DataSet.read(small_weights / "expectation.hdf5")
    inputs, validating = training_points(data, small_config.region, small_config.redshifts)
    targets, *_ = scale_means(data.columns["templates"], data.statistics, small_config.weight_xi)
    weights = torch.ones_like(targets)
    n_training = int((~validating).sum())
    ended = []
    # One batch of all points, which both processes get, is the same as with one process.
    for devices, batch in ((1, n_training), (2, n_training), (2, 32)):
        settings = replace(small_config.means, batch=batch)
        module = MeansTraining(inputs, validating, targets, weights, settings, 1)
        folder = tmp_path / f"{devices}-{batch}"
        fit(module, folder, epochs=2, patience=2, progress=False, devices=devices)
        ended.append(module.network.state_dict())
    for name in ended[0]:
        torch.testing.assert_close(ended[0][name], ended[1][name], rtol=1e-4, atol=1e-6)
    steps = np.max(Table.read(folder / "metrics.csv")["step"]) + 1
    assert steps == 2 * -(-(n_training // 32) // 2)


def test_a_loss_that_is_no_number_stops_the_training(small_weights, small_config, tmp_path):
    data = DataSet.read(small_weights / "expectation.hdf5")
    inputs, validating = training_points(data, small_config.region, small_config.redshifts)
    targets = torch.full((len(data), 2), torch.nan)
    weights = torch.ones_like(targets)
    module = MeansTraining(inputs, validating, targets, weights, small_config.means, 1)
    with pytest.raises(ValueError, match="nan in epoch 0, batch 0: lower the learning"):
        fit(module, tmp_path, epochs=2, patience=5, progress=False)


def test_another_configuration_is_not_mixed_in(small_weights, small_config):
    with pytest.raises(ValueError, match="training with another configuration"):
        train(replace(small_config, n_components=5), small_weights, progress=False)
