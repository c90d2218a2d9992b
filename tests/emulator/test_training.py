from dataclasses import replace

import numpy as np
import pytest
import yaml
from iaemu_likelihood.emulator import training
from iaemu_likelihood.emulator.prediction import Emulator

POINT = [0.5, 0.2, 12.5, 0.3, 12.5, 13.4, 1.0]


@pytest.fixture(scope="module")
def config(small_halos_table, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.ecsv"
    small_halos_table.write(path)
    return replace(
        training.TrainingConfig.read(),
        halos=str(path),
        n_train=512,
        n_test=64,
        network={"width": 16, "depth": 3},
        n_networks=2,
        epochs=40,
        batch=64,
    )


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    return training.train(config, tmp_path_factory.mktemp("trained"), progress=False)


def test_training_learns_and_writes_a_card(trained, config, small_halos):
    emulator = Emulator.load(trained)
    assert np.isfinite(emulator.predict(POINT).omega).all()
    assert emulator.card["halos"]["sha256"] == small_halos.sha256
    assert emulator.card["training"]["n_train"] == 512
    assert emulator.card["accuracy"]["n_points"] == 64
    # 40 short epochs are enough to do far better than the mean of the training points.
    assert emulator.card["accuracy"]["xi"]["median_fractional_error"] < 0.3


def test_a_stopped_training_ends_at_the_same_weights(trained, config, tmp_path, monkeypatch):
    """Stop the first network after its first checkpoint, as a kill would, then start again."""

    class Killed(Exception):
        pass

    class Trainer(training.Trainer):
        def save_checkpoint(self, *args, **kwargs):
            super().save_checkpoint(*args, **kwargs)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "Trainer", Trainer)
        with pytest.raises(Killed):
            training.train(config, tmp_path, progress=False)
    assert (tmp_path / "network0/last.ckpt").exists()
    assert not (tmp_path / "network0/weights.safetensors").exists()
    training.train(config, tmp_path, progress=False)
    assert (tmp_path / "weights.safetensors").read_bytes() == (
        trained / "weights.safetensors"
    ).read_bytes()


def test_another_configuration_is_not_mixed_in(trained, config):
    with pytest.raises(ValueError, match="training with another configuration"):
        training.train(replace(config, epochs=41), trained, progress=False)


def test_configuration_errors_name_the_keys(tmp_path):
    fields = yaml.safe_load(training.DEFAULT_CONFIG.read_text())
    del fields["epochs"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**fields, "epoch": 3}))
    with pytest.raises(ValueError, match="unknown keys: epoch; missing keys: epochs"):
        training.TrainingConfig.read(path)


def test_bundled_weights_are_those_of_the_bundled_configuration():
    card = Emulator.load("templates").card
    assert card["training"] == yaml.safe_load(training.DEFAULT_CONFIG.read_text())
