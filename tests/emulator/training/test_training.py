import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from astropy.table import Table
from iaemu_likelihood.emulator.datasets.dataset import DataSet
from iaemu_likelihood.emulator.models.base import Emulator
from iaemu_likelihood.emulator.physics.parameters import Domain
from iaemu_likelihood.emulator.training import templates as training
from iaemu_likelihood.emulator.training.build import build
from safetensors.torch import load_file

POINT = [0.5, 0.2, 12.5, 0.3, 12.5, 13.4, 1.0]


@pytest.fixture(scope="module")
def config(small_halos_table, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.ecsv"
    small_halos_table.write(path)
    whole = training.read_training_config()
    small = {"width": 16, "depth": 3, "epochs": 40, "batch": 64}
    rate = {"hidden": 0.03, "others": 0.02}
    noise = {**small, "epochs": 30, "batch": 8, "learning_rate": rate}
    return replace(
        whole,
        halos=str(path),
        domain={"logMmin": [11.8, 13.0], "logM0_max": 13.0},
        n_points=512,
        n_networks=2,
        n_noise_points=40,
        n_components=4,
        means=replace(whole.means, **small),
        occupation=replace(whole.occupation, **noise),
        shape=replace(whole.shape, **noise),
    )


@pytest.fixture(scope="module")
def trained(config, small_tabulation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    small_tabulation.write(folder / "tabulation.hdf5")
    return training.train(config, folder, progress=False)


def test_training_learns_and_writes_a_card(trained, config, small_halos):
    emulator = Emulator.load(trained)
    data = DataSet.read(trained / "expectation.hdf5").select("validation")
    theta = np.concatenate([np.full((len(data), 2), 0.4), data.parameters], axis=1)
    p = emulator.predict(theta)
    truth = data.columns["templates"]
    # 40 short epochs are enough to do far better than the mean of the training points.
    assert np.median(np.abs(p.xi / truth[:, 0] - 1)) < 0.3
    factor = load_file(trained / "weights.safetensors")["epistemic_factor"]
    assert ((factor > 0.3) & (factor < 30)).all()
    card = emulator.card
    assert card["halos"]["sha256"] == small_halos.sha256
    assert card["training"] == yaml.safe_load((trained / "config.yaml").read_text())
    assert card["training"]["n_points"] == 512
    assert (trained / "CARD.md").read_text().count("arXiv") >= 3
    # Whoever may read the card may read the weights.
    assert (trained / "weights.safetensors").stat().st_mode == (
        trained / "card.yaml"
    ).stat().st_mode
    for kind in ("network0", "network1", "occupation", "shape"):
        assert "validation" in (trained / kind / "metrics.csv").read_text()
        assert list((trained / kind).glob("events.out.tfevents*"))


def test_noise_is_learned(trained, config):
    """Better than its mean over the domain: the number of galaxies varies by a factor of 30."""
    emulator = Emulator.load(trained)
    data = DataSet.read(trained / "noise.hdf5")
    theta = data.parameters
    p = emulator.predict(theta).aleatoric
    for name in ("omega", "eta"):
        sigma = [data.noise(i).sigma(*theta[i, :2])[name] for i in range(len(data))]
        error = np.log10(getattr(p, name) / np.array(sigma))
        spread = np.log10(np.array(sigma) / np.nanmedian(sigma, axis=0))
        assert abs(np.nanmedian(error)) < 0.1, name
        assert np.nanstd(error) < 0.5 * np.nanstd(spread), name
    covariance = emulator.covariance(theta)
    np.testing.assert_allclose(np.sqrt(covariance[:, 45, 45]), p.eta[:, 5], rtol=1e-10)


@pytest.mark.parametrize("part", ["network0", "occupation"])
def test_a_stopped_training_ends_at_the_same_weights(trained, config, tmp_path, monkeypatch, part):
    """Stop a network after its first checkpoint, as a kill would, then start again."""

    class Killed(Exception):
        pass

    class Trainer(training.Trainer):
        def save_checkpoint(self, filepath, *args, **kwargs):
            super().save_checkpoint(filepath, *args, **kwargs)
            if part in str(filepath) and self.current_epoch == 3:
                raise Killed

    others = shutil.ignore_patterns(part, "weights.safetensors", "card.yaml", "CARD.md")
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, ignore=others)
    for finished in {"network0", "network1", "occupation", "shape"} - {part}:
        shutil.copy(trained / finished / "weights.safetensors", tmp_path / finished)
    with monkeypatch.context() as patch:
        patch.setattr(training, "Trainer", Trainer)
        with pytest.raises(Killed):
            training.train(config, tmp_path, progress=False)
    assert (tmp_path / part / "last.ckpt").exists()
    assert not (tmp_path / part / "weights.safetensors").exists()
    training.train(config, tmp_path, progress=False)
    assert (tmp_path / "weights.safetensors").read_bytes() == (
        trained / "weights.safetensors"
    ).read_bytes()


def test_early_stopping_fires_and_keeps_the_best(trained, config, tmp_path):
    """With a rate so high that the validation loss soon rises."""
    data = DataSet.read(trained / "noise.hdf5")
    inputs, validating = training.training_points(data, Domain.zheng07(**config.domain))
    settings = replace(
        config.means, epochs=200, batch=4, patience=5, learning_rate={"hidden": 0.3, "others": 0.1}
    )
    targets = torch.as_tensor(data.columns["templates"][:, 0, 0], dtype=torch.float32)
    targets = torch.nan_to_num(targets)
    module = training.MeansTraining(
        inputs, validating, targets, torch.ones_like(targets), settings, 1
    )
    training.fit(module, tmp_path, epochs=200, patience=5, progress=False)
    losses = Table.read(tmp_path / "metrics.csv")["validation"]
    losses = np.asarray(losses[~np.ma.getmaskarray(losses)], float)
    assert len(losses) < 200
    assert len(losses) - 1 - np.argmin(losses) == 5
    rows = module.validation_rows
    with torch.no_grad():
        assert module._loss_at(rows).item() == pytest.approx(losses.min(), rel=1e-5)


def test_two_processes_train_one_network(trained, config, tmp_path):
    """Gradients are averaged between them, and each takes half of the batches."""
    data = DataSet.read(trained / "expectation.hdf5")
    inputs, validating = training.training_points(data, Domain.zheng07(**config.domain))
    targets, *_ = training.scale_means(data.columns["templates"], config.weight_xi)
    weights = torch.ones_like(targets)
    n_training = int((~validating).sum())
    ended = []
    # One batch of all points, which both processes get, is the same as with one process.
    for devices, batch in ((1, n_training), (2, n_training), (2, 32)):
        settings = replace(config.means, batch=batch)
        module = training.MeansTraining(inputs, validating, targets, weights, settings, 1)
        folder = tmp_path / f"{devices}-{batch}"
        training.fit(module, folder, epochs=4, patience=4, progress=False, devices=devices)
        ended.append(module.network.state_dict())
    for name in ended[0]:
        torch.testing.assert_close(ended[0][name], ended[1][name], rtol=1e-4, atol=1e-6)
    steps = np.max(Table.read(folder / "metrics.csv")["step"]) + 1
    assert steps == 4 * -(-(n_training // 32) // 2)


def test_a_loss_that_is_no_number_stops_the_training(trained, config, tmp_path):
    data = DataSet.read(trained / "expectation.hdf5")
    inputs, validating = training.training_points(data, Domain.zheng07(**config.domain))
    targets = torch.full((len(data), 2), torch.nan)
    weights = torch.ones_like(targets)
    module = training.MeansTraining(inputs, validating, targets, weights, config.means, 1)
    with pytest.raises(FloatingPointError, match="nan in epoch 0, batch 0: lower the learning"):
        training.fit(module, tmp_path, epochs=2, patience=5, progress=False)


def test_another_configuration_is_not_mixed_in(trained, config):
    with pytest.raises(ValueError, match="training with another configuration"):
        training.train(replace(config, n_components=5), trained, progress=False)


def test_configuration_errors_name_the_keys(tmp_path):
    fields = yaml.safe_load(training.DEFAULT_CONFIG.read_text())
    del fields["means"]["epochs"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(fields | {"means": {**fields["means"], "epoch": 3}}))
    with pytest.raises(ValueError, match="means: unknown keys: epoch; missing keys: epochs"):
        training.read_training_config(path)
    path.write_text(yaml.safe_dump(fields | {"kind": "gp"}))
    with pytest.raises(ValueError, match="kind is 'gp'; it must be one of templates, paper"):
        training.read_training_config(path)
    path.write_text("kind: [templates")
    with pytest.raises(ValueError, match="not readable YAML"):
        training.read_training_config(path)


@pytest.mark.parametrize("name", ["templates", "paper"])
def test_bundled_weights_are_those_of_the_bundled_configuration(name):
    config = training.DEFAULT_CONFIG.with_name(f"{name}.yaml")
    assert Emulator.load(name).card["training"] == yaml.safe_load(config.read_text())


def test_build_ends_with_validated_weights(trained, config, tmp_path):
    """From where the training ended; what is there already is not made again."""
    folder = shutil.copytree(trained, tmp_path / "built")
    numbers = {"n_points": 60, "n_drawn": 4, "n_catalogues": 3}
    build(config, folder, **numbers, progress=False)
    report = json.loads((folder / "validation.json").read_text())
    assert report["targets"]
    assert "<img" in (folder / "report.html").read_text()
    card = Emulator.load(folder).card
    assert card["accuracy"]["command"] == "iaemu build --halos small.ecsv"
    assert len(DataSet.read(folder / "test_expectation.hdf5")) == 60
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(config, folder, **numbers, progress=False)
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    changed = {path.name for path in before if before[path] != after[path]}
    assert not changed
