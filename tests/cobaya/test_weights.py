"""Chains are bound to all that the weights' predictions depend on, the card's numbers included."""

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.run import run
from iaemu_likelihood.emulator.models.card import seal, write_card
from iaemu_likelihood.emulator.models.weights import read_card, weights_folder

from iaemu_likelihood.sampling.nuts import run_nuts

THEORY = "iaemu_likelihood.IAEmu"


def example(folder):
    text = (files("iaemu_likelihood.yaml_examples") / "tng300_sample1.yaml").read_text()
    info = yaml.safe_load(text)
    info["theory"][THEORY]["weights"] = str(folder)
    info["sampler"] = {"mcmc": {"max_samples": 20, "seed": 1, "output_every": 10}}
    return info


@pytest.fixture
def mine(tmp_path):
    return shutil.copytree(weights_folder("templates"), tmp_path / "mine")


def edited(folder):
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["domain"]["logMmin"][0] = 10.4
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return card


def without_hash(folder):
    card = yaml.safe_load((folder / "card.yaml").read_text())
    del card["content_sha256"]
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "schema": 2}))


def anew(folder):
    write_card(folder, edited(folder))


def older_and_edited(folder):
    without_hash(folder)
    edited(folder)


@pytest.mark.slow
@pytest.mark.parametrize("change", [edited, anew, older_and_edited])
def test_a_chain_does_not_go_on_with_a_changed_card(mine, tmp_path, change):
    info = {**example(mine), "output": str(tmp_path / "chain")}
    run(info, stop_at_error=True)
    before = Path(f"{info['output']}.1.txt").read_text()
    change(mine)
    info["sampler"]["mcmc"]["max_samples"] = 30
    with pytest.raises(LoggedError):
        run(info, resume=True, stop_at_error=True)
    assert Path(f"{info['output']}.1.txt").read_text() == before


@pytest.mark.slow
def test_a_chain_goes_on_with_a_sealed_card_and_other_words(mine, tmp_path):
    without_hash(mine)
    info = {**example(mine), "output": str(tmp_path / "chain")}
    run(info, stop_at_error=True)
    before = Path(f"{info['output']}.1.txt").read_text()
    seal(mine)
    write_card(mine, {**read_card(mine), "description": "Mine.", "accuracy": {}})
    info["sampler"]["mcmc"]["max_samples"] = 30
    run(info, resume=True, stop_at_error=True)
    after = Path(f"{info['output']}.1.txt").read_text()
    assert after.startswith(before)
    assert len(after) > len(before)


@pytest.mark.slow
def test_nuts_does_not_go_on_with_a_changed_card(mine, tmp_path):
    info = {k: v for k, v in example(mine).items() if k in ("theory", "likelihood", "params")}
    settings = {"warm_up": 20, "samples": 10, "progress": False}
    run_nuts(info, tmp_path / "chain", **settings)
    anew(mine)
    with pytest.raises(ValueError, match="another input, weights"):
        run_nuts(info, tmp_path / "chain", **settings)
