"""Configurations are read, refused by name, and those of older files still understood."""

from dataclasses import asdict, replace

import pytest
import yaml
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.statistics import OMEGA, STATISTICS
from iaemu_likelihood.emulator.training.configuration import (
    DEFAULT_CONFIG,
    check_folder,
    keep,
    of_halos,
    read_training_config,
)


def test_configuration_errors_name_the_keys(tmp_path):
    fields = yaml.safe_load(DEFAULT_CONFIG.read_text())
    del fields["means"]["epochs"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(fields | {"means": {**fields["means"], "epoch": 3}}))
    with pytest.raises(ValueError, match="means: unknown keys: epoch; missing keys: epochs"):
        read_training_config(path)
    path.write_text(yaml.safe_dump(fields | {"kind": "gp"}))
    with pytest.raises(ValueError, match="kind is 'gp'; it must be one of templates, paper"):
        read_training_config(path)
    path.write_text("kind: [templates")
    with pytest.raises(ValueError, match="not readable YAML"):
        read_training_config(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_networks": 1}, "takes at least 2"),
        ({"validation": 1.0}, "validation is 1.0; it should be less than 1"),
        ({"validation": float("nan")}, "validation is nan; it should be a finite number"),
        ({"weight_xi": -1}, "weight_xi is -1; it should be greater than 0"),
        ({"weight_xi": "3e0"}, r"weight_xi is '3e0'; .*write 3.0e\+0"),
        ({"noise_weight": float("nan")}, "noise_weight is nan; it should be a finite number"),
        ({"seed": -1}, "seed is -1; it should be greater than or equal to 0"),
        ({"n_points": 2.5}, "n_points is 2.5; it should be a valid integer"),
        ({"n_points": 100}, "90 points to train on and 10 to validate with .* means: batch 1024"),
        ({"n_points": 1200, "validation": 1e-9}, "1200 points to train on and 0 to validate"),
        ({"n_noise_points": 100}, "n_noise_points is 100: 90 .* occupation: batch 128"),
        ({"n_factors": 0}, "n_factors is 0; it should be greater than 0"),
        ({"n_factors": 99999}, "n_factors is 99999; at most 120 numbers scatter together"),
        ({"n_components": 99999}, "n_components is 99999; at most 1842 components are known"),
        ({"n_catalogues": 0}, "n_catalogues is 0; it should be greater than 0"),
        ({"domain": {"logMmin": [14, 11]}}, "logMmin from 14 to 11"),
        ({"domain": {"n_rmse": -1}}, "sigma_logM from"),
        ({"halos": 3}, "halos: str is 3; it should be a valid string"),
        ({"statistics": ["xi", "psi"]}, "No statistic psi"),
        ({"statistics": ["xi", "quiet"]}, "n_noise_points is 2048, but the shape noise of quiet"),
    ],
)
def test_impossible_trainings_are_refused_by_name(fields, message, monkeypatch):
    monkeypatch.setitem(STATISTICS, "quiet", replace(OMEGA, name="quiet", has_shape_noise=False))
    with pytest.raises(ValueError, match=message):
        replace(read_training_config(), **fields)
    fields = {"n_noise_points": 0, "statistics": ["xi", "quiet"], "projected": None}
    without_noise = replace(read_training_config(), **fields)
    assert [s.name for s in without_noise.learned] == ["xi", "quiet"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it should be greater than 0"),
        ({"width": "160"}, "width is '160'; it should be a valid integer"),
        ({"depth": 1}, "depth is 1; it should be greater than or equal to 2"),
        ({"batch": True}, "batch is True; it should be a valid integer"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it should be greater than or equal to 0"),
        ({"learning_rate": 0.1}, "learning_rate is 0.1; it should be a valid dictionary"),
        (
            {"learning_rate": {"hidden": -1, "other": 1.0}},
            "learning_rate: hidden is -1; it should be greater than 0; learning_rate: others is "
            "missing; learning_rate: other is unknown",
        ),
    ],
)
def test_impossible_networks_are_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(read_training_config().means, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta": {"xi": 0.9}}, "beta lacks omega, eta"),
        (
            {"beta": {"xi": 0.9, "omega": 2, "eta": 0}},
            "beta: omega is 2; .* less than or equal to 1",
        ),
        ({"learning_rate": "1e-2"}, r"learning_rate is '1e-2'; .*write 1.0e-2"),
        ({"network": {"dropout": 0.0}}, "network: dropout is 0.0; it should be greater than 0"),
        ({"network": {"drop": 0.1}}, "network: dropout is missing; network: drop is unknown"),
        ({"schedule": {"factor": 0.1, "steps": 0}}, "schedule: steps is 0; .* greater than 0"),
        ({"validate_every": 65}, "validate_every is 65; of 64 epochs, none would be validated"),
        ({"gradient_clip": float("inf")}, "gradient_clip is inf; it should be a finite number"),
        ({"n_train": 100}, "n_train is 100: 90 .* too few for batch 128"),
    ],
)
def test_impossible_trainings_of_the_papers_network_are_refused_by_name(fields, message):
    paper = read_training_config(DEFAULT_CONFIG.with_name("paper.yaml"))
    with pytest.raises(ValueError, match=message):
        replace(paper, **fields)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "weight_decay: 1e-4",
            "means: weight_decay is '1e-4'; .*YAML takes 1e-4 as text: write 1.0e-4",
        ),
        ("weight_decay: -.5E3", r"means: weight_decay is '-.5E3'; .*write -.5e\+3"),
        ("weight_decay: yes", "means: weight_decay is True; it should be a valid number"),
        ("weight_decay: .nan", "means: weight_decay is nan; it should be a finite number"),
    ],
)
def test_types_are_checked_when_a_file_is_read(written, message, tmp_path):
    path = tmp_path / "config.yaml"
    text = DEFAULT_CONFIG.read_text()
    assert "  weight_decay: 0.0" in text
    path.write_text(text.replace("weight_decay: 0.0", written))
    with pytest.raises(ValueError, match=f"config.yaml: {message}"):
        read_training_config(path)


def test_other_halo_catalogues_do_not_inherit_the_note_about_the_configurations_own():
    config = read_training_config(DEFAULT_CONFIG)
    assert "stand-in" in config.note
    assert of_halos(config, config.halos) == config
    part = of_halos(config, ["bundled@1"])
    assert (part.halos, part.note) == ("bundled@1", config.note)
    for halos in (["own.hdf5"], ["bundled", "own.hdf5"]):
        other = of_halos(config, halos)
        assert other.note == ""
        assert other == replace(config, note="", halos=halos if len(halos) > 1 else halos[0])
    paper = read_training_config(DEFAULT_CONFIG.with_name("paper.yaml"))
    assert of_halos(paper, ["own.hdf5"]) == replace(paper, halos="own.hdf5")
    with pytest.raises(
        ValueError, match=r"halos is \['bundled', 'bundled@1'\]; it should be .* string"
    ):
        of_halos(paper, ["bundled", "bundled@1"])


def test_a_configuration_runs_no_code(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"kind: !!python/object/apply:pathlib.Path.touch [{tmp_path}/ran]")
    with pytest.raises(ValueError, match="not readable YAML"):
        read_training_config(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["templates", "z0", "paper"])
def test_bundled_weights_are_those_of_the_bundled_configuration(name):
    config = DEFAULT_CONFIG.with_name(f"{name}.yaml")
    training, whole = Emulator.load(name).card["training"], asdict(read_training_config(config))
    assert {*yaml.safe_load(config.read_text())} <= {*training}
    assert whole | training == whole


def test_a_folder_from_before_there_was_a_choice_of_model_is_of_the_default_one(tmp_path):
    config, kept = read_training_config(), tmp_path / "config.yaml"
    kept.write_text(DEFAULT_CONFIG.read_text())  # which does not name one
    check_folder(config, tmp_path)
    two = replace(config, statistics=["xi", "omega"], means=replace(config.means, width=16))
    with pytest.raises(
        ValueError,
        match=r"another configuration: means: width = 160 \(now 16\), statistics = \['xi', 'omega', 'eta'\]"
        rf" \(now \['xi', 'omega'\]\)\. Choose another folder, or go on with {kept} as",
    ):
        check_folder(two, tmp_path)
    kept.unlink()
    check_folder(two, tmp_path)
    keep(config, tmp_path)
    assert yaml.safe_load(kept.read_text()) == asdict(config)
    check_folder(replace(config, domain=dict(config.domain)), tmp_path)
