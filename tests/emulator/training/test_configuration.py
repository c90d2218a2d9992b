"""Configurations are read, refused by name, and those of older files still understood."""

from dataclasses import asdict, replace

import pytest
import yaml
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.statistics import OMEGA, STATISTICS
from iaemu_likelihood.emulator.training.configuration import (
    DEFAULT_CONFIG,
    prepare,
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
        ({"validation": 1.0}, "a share between 0 and 1"),
        ({"statistics": ["xi", "psi"]}, "No statistic psi"),
        ({"statistics": ["xi", "quiet"]}, "n_noise_points is 2048, but the shape noise of quiet"),
    ],
)
def test_impossible_trainings_are_refused_by_name(fields, message, monkeypatch):
    monkeypatch.setitem(STATISTICS, "quiet", replace(OMEGA, name="quiet", has_shape_noise=False))
    with pytest.raises(ValueError, match=message):
        replace(read_training_config(), **fields)
    without_noise = replace(read_training_config(), n_noise_points=0, statistics=["xi", "quiet"])
    assert [s.name for s in without_noise.learned] == ["xi", "quiet"]


def test_every_statistic_needs_its_beta():
    paper = read_training_config(DEFAULT_CONFIG.with_name("paper.yaml"))
    with pytest.raises(ValueError, match="beta lacks omega, eta"):
        replace(paper, beta={"xi": 0.9})


@pytest.mark.parametrize("name", ["templates", "paper"])
def test_bundled_weights_are_those_of_the_bundled_configuration(name):
    config = DEFAULT_CONFIG.with_name(f"{name}.yaml")
    assert Emulator.load(name).card["training"] == yaml.safe_load(config.read_text())


def test_a_folder_from_before_there_was_a_choice_of_model_is_of_the_default_one(tmp_path):
    config, kept = read_training_config(), tmp_path / "config.yaml"
    kept.write_text(DEFAULT_CONFIG.read_text())  # which does not name one
    assert prepare(config, tmp_path) == tmp_path
    with pytest.raises(ValueError, match=r"another configuration; see .*config\.yaml"):
        prepare(replace(config, statistics=["xi", "omega"]), tmp_path)
    kept.unlink()
    prepare(config, tmp_path)
    assert yaml.safe_load(kept.read_text()) == asdict(config)
    assert prepare(replace(config, domain=dict(config.domain)), tmp_path) == tmp_path
