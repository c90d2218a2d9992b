"""Everything that a number depends on is under a hash, and a name means one folder."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.models import Emulator, weights
from iaemu_likelihood.emulator.models.card import seal, write_card
from iaemu_likelihood.emulator.models.weights import (
    CARD_FILE,
    KNOWN_AS,
    WEIGHTS_FILE,
    content_sha256,
    identity,
    read_card,
    user_weights,
    weights_folder,
    weights_sha256,
)
from safetensors.torch import load_file, save_file

POINT = np.array([0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0])


@pytest.fixture(params=["templates", "paper"])
def folder(request, tmp_path):
    return shutil.copytree(weights_folder(request.param), tmp_path / "mine")


@pytest.fixture
def templates(tmp_path):
    return shutil.copytree(weights_folder("templates"), tmp_path / "mine")


def rewritten(folder, change):
    """Change the card as an editor does, and give what it holds then."""
    path = folder / CARD_FILE
    card = yaml.safe_load(path.read_text())
    change(card)
    path.write_text(yaml.safe_dump(card))
    return card


def older(card):
    card["schema"] = 2
    del card["content_sha256"]


def with_tensors(folder, change):
    """Change the tensors and hash them anew, as somebody does who knows the format."""
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    digest = sha256(folder / WEIGHTS_FILE)
    write_card(folder, read_card(folder) | {"weights_sha256": digest})


# ------------------------------------------------ kind 2: what a number depends on is hashed


def digit(card):
    card["domain"]["logMmin"][0] = 10.4


def band(card):
    card["domain"]["half_width"][2] *= 1 + 1e-15


def cut(card):
    card["domain"]["minimum"][1] = 9.0


def order(card):
    if "learned" in card:
        card["learned"][-2:] = reversed(card["learned"][-2:])
    else:
        card["statistics"] = ["omega", "xi", "eta"]


def alignment(card):
    # The same, but once it is said and once it is not.
    card |= {"alignment": "watson"} if card.pop("alignment", None) is None else {}


def seed(card):
    card["training"]["seed"] = 2


def redshift(card):
    card["redshift"] = 1e-3


def halos(card):
    card["halos"]["sha256"] = "0" * 64


@pytest.mark.parametrize("change", [digit, band, cut, order, alignment, seed, redshift, halos])
def test_a_card_that_was_changed_is_refused(folder, change):
    rewritten(folder, change)
    with pytest.raises(ValueError, match=r"card.yaml was changed: content_sha256 is \w{12}"):
        Emulator.load(folder)
    assert weights_sha256(folder) == ""


@pytest.mark.parametrize("key", ["network", "n_passes"])
def test_settings_of_the_papers_network_are_hashed(tmp_path, key):
    folder = shutil.copytree(weights_folder("paper"), tmp_path / "mine")
    rewritten(folder, lambda card: card["training"].update({key: {"dropout": 0.1}}))
    with pytest.raises(ValueError, match="was changed"):
        Emulator.load(folder)


def test_what_is_only_said_about_weights_is_free(folder):
    before = identity(read_card(folder))

    def about(card):
        card |= {"description": "mine", "license": "none", "version": "9", "citation": ["mine"]}
        card |= {"accuracy": {}, "calibration": {}, "domain_note": "none", "learning_curve": {}}

    rewritten(folder, about)
    assert identity(Emulator.load(folder).card) == before


def test_bundled_weights_keep_the_name_by_which_runs_know_them():
    """They predict what they did before their files held the hosts of the halo catalogue."""
    for name in ("paper", "templates"):
        card = read_card(weights_folder(name))
        assert card["schema"] == weights.SCHEMA
        assert KNOWN_AS.get(content_sha256(card), card["content_sha256"]) == identity(card)
        assert weights_sha256(name) == identity(card) != card["weights_sha256"]


def test_other_content_has_another_identity(folder):
    before = weights_sha256(folder)
    card = read_card(folder)
    digit(card)
    write_card(folder, card)
    assert weights_sha256(folder) not in (before, card["weights_sha256"], "")
    Emulator.load(folder)


def test_older_cards_load_with_a_warning_and_are_sealed(folder, caplog):
    predicted = Emulator.load(folder).predict(POINT)
    assert not caplog.records
    rewritten(folder, older)
    with caplog.at_level(logging.WARNING):
        found = Emulator.load(folder)
    (record,) = caplog.records
    assert "card.yaml is of an older version" in record.getMessage()
    assert f"`iaemu seal {folder}`" in record.getMessage()
    before = identity(found.card)
    # Also of them, other numbers are other weights.
    rewritten(folder, digit)
    assert identity(read_card(folder)) != before
    rewritten(folder, lambda card: card["domain"]["logMmin"].__setitem__(0, 11.4))

    tensors, caplog.handler.records[:] = sha256(folder / WEIGHTS_FILE), []
    digest = seal(folder)
    card = yaml.safe_load((folder / CARD_FILE).read_text())
    assert (card["schema"], card["content_sha256"]) == (weights.SCHEMA, digest)
    assert sha256(folder / WEIGHTS_FILE) == tensors
    with caplog.at_level(logging.WARNING):
        sealed = Emulator.load(folder)
    assert not caplog.records
    assert identity(sealed.card) == before
    np.testing.assert_array_equal(sealed.predict(POINT).eta, predicted.eta)
    # A second time changes nothing, and what was changed is not sealed.
    seal(folder)
    assert yaml.safe_load((folder / CARD_FILE).read_text()) == card
    rewritten(folder, digit)
    with pytest.raises(ValueError, match="was changed"):
        seal(folder)


def test_a_new_card_without_its_hash_is_refused(folder):
    rewritten(folder, lambda card: card.pop("content_sha256"))
    with pytest.raises(ValueError, match=r"card.yaml .*the key content_sha256 is missing"):
        Emulator.load(folder)


# ------------------------------------------------ kind 2: required tensors are required


def left_out(prefix):
    def change(tensors):
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    "prefix",
    ["epistemic_factor", "occupation.", "shape.", "shape.components", "weights.3", "biases.5", "mean",
     "r_edges"],
)  # fmt: skip
def test_tensors_that_were_left_out_are_missed(templates, prefix):
    with_tensors(templates, left_out(prefix))
    with pytest.raises(ValueError, match=rf"mine cannot be used: .*missing|{prefix}.* is missing"):
        Emulator.load(templates)


def more(tensors):
    tensors["spare"] = tensors["mean"].clone()


def wide(tensors):
    tensors["scale"] = tensors["scale"].repeat(2)


def transposed(tensors):
    tensors["weights.0"] = tensors["weights.0"].mT.contiguous()


def broken(tensors):
    tensors["shape.centre"][17] = np.nan


def falling(tensors):
    tensors["r_edges"] = tensors["r_edges"].flip(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (more, "unknown tensors: spare"),
        (wide, r"tensor scale has the shape \(480,\); it must be \(240,\)"),
        (
            transposed,
            r"tensor weights.0 has the shape \(3, 4, 160, 6\); it must be \(3, 4, 6, 160\)",
        ),
        (broken, "tensor shape.centre holds what is no finite real number"),
        (falling, r"(?s)tensor r_edges .*it must rise"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(templates, change, said):
    with_tensors(templates, change)
    with pytest.raises(ValueError, match=said):
        Emulator.load(templates)


@pytest.mark.parametrize("name", ["input_scale", "network.decoders.2.8.bias", "target_mean"])
def test_tensors_of_the_papers_network_are_missed(tmp_path, name):
    folder = shutil.copytree(weights_folder("paper"), tmp_path / "mine")
    with_tensors(folder, left_out(name))
    with pytest.raises(ValueError, match=f"missing tensors: {name}"):
        Emulator.load(folder)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("means", "width"), "160", "training: means: width is '160'; it must be a whole number"),
        (("n_networks",), True, "training: n_networks is True; it must be a whole number"),
        (("means", "depth"), 10**9, "training: means: depth is 1000000000, more than the tensors"),
        (("shape",), None, "training: shape is None; it must be a mapping"),
    ],
)
def test_a_training_that_is_not_that_of_the_tensors_is_refused(templates, keys, value, said):
    card = read_card(templates)
    inner = card["training"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    write_card(templates, card)
    with pytest.raises(ValueError, match=said):
        Emulator.load(templates)


# ------------------------------------------------ kind 2: a name means one folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder, a folder of the user's weights and a home folder, all empty."""
    for name in ("here", "own", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("IAEMU_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def put(*folders):
    return [shutil.copytree(weights_folder("paper").resolve(), folder) for folder in folders]


@pytest.mark.parametrize("place", ["here", "own"])
def test_a_folder_with_the_name_of_bundled_weights_is_ambiguous(elsewhere, place):
    (mine,) = put(elsewhere / place / "templates")
    with pytest.raises(ValueError, match="'templates' stands for several weights: ") as error:
        Emulator.load("templates")
    assert str(weights.FOLDER / "weights" / "templates") in str(error.value)
    assert str(mine) in str(error.value)
    assert weights_folder(mine) == mine
    if place == "here":
        assert weights_folder("./templates") == weights_folder(Path("templates")) == mine


def test_a_name_both_here_and_among_the_users_is_ambiguous(elsewhere):
    mine, other = put(elsewhere / "here" / "trained", elsewhere / "own" / "trained")
    with pytest.raises(ValueError, match="several weights") as error:
        weights_folder("trained")
    assert str(mine) in str(error.value)
    assert str(other) in str(error.value)
    shutil.rmtree(mine)
    assert weights_folder("trained") == other
    # The same folder twice is one.
    os.chdir(elsewhere / "own")
    assert weights_folder("trained") == other


def test_weights_of_the_user_load_by_name(elsewhere):
    put(elsewhere / "own" / "copy")
    assert user_weights() == ["copy"]
    assert Emulator.load("copy").card == Emulator.load("paper").card


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_folder_of_the_user_is_an_unset_one(elsewhere, monkeypatch, value):
    if value is None:
        monkeypatch.delenv("IAEMU_WEIGHTS")
    else:
        monkeypatch.setenv("IAEMU_WEIGHTS", value)
    put(elsewhere / "here" / "mine", elsewhere / "home/.local/share/iaemu_likelihood/weights/own")
    assert user_weights() == ["own"]
    assert weights_folder("own").is_relative_to(elsewhere / "home")
    with pytest.raises(FileNotFoundError, match="No weights ''"):
        weights_folder("")


def test_the_home_folder_is_that_of_the_call(elsewhere, monkeypatch):
    (mine,) = put(elsewhere / "home" / "mine")
    assert weights_folder("~/mine") == mine
    monkeypatch.setenv("IAEMU_WEIGHTS", "~")
    assert weights_folder("mine") == mine
    monkeypatch.setenv("HOME", str(elsewhere / "own"))
    with pytest.raises(FileNotFoundError, match="No weights '~/mine'"):
        weights_folder("~/mine")


@pytest.mark.parametrize("source", [None, 3, b"templates", ["templates"], {}])
def test_what_is_neither_a_name_nor_a_path_is_refused(source):
    with pytest.raises(ValueError, match="Weights are given by a name or a path; got "):
        Emulator.load(source)
    assert weights_sha256(source) == ""


# ------------------------------------------------ kind 8: a bad card is said, with file and key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.pop("halos"), "the key halos is missing"),
        (lambda card: card["halos"].pop("sha256"), "the key halos: sha256 is missing"),
        (lambda card: card.update(halos=["a"]), r"halos is \['a'\]; it must be a mapping"),
        (lambda card: card.update(redshift="0"), "redshift is '0'; it must be a finite number"),
        (lambda card: card.update(redshift=np.nan.real), "redshift is nan; it must be a finite"),
        (lambda card: card.update(schema="3"), "schema is '3'; it must be a whole number"),
        (lambda card: card.update(schema=True), "schema is True; it must be a whole number"),
        (lambda card: card.update(kind=["templates"]), r"kind is \['templates'\]; it must be a text"),
        (lambda card: card.update(statistics="xi"), "statistics is 'xi'; it must be a list"),
        (lambda card: card.update(statistics=["xi", "xi"]), "statistics is .*different names"),
        (lambda card: card.update(statistics=["zeta"]), "No statistic zeta"),
        (lambda card: card.update(occupation="tinker"), "No occupation 'tinker'"),
        (lambda card: card.update(accuracy=3), "accuracy is 3; it must be a mapping"),
        (lambda card: card.update(accuracy={"xi": [1]}), r"accuracy: xi is \[1\]; it must be a number"),
        (lambda card: card.update(citation=[1]), r"citation is \[1\]; it must be a list of texts"),
        (lambda card: card.update(domain=[1]), r"domain is \[1\]; it must be a mapping"),
        (lambda card: card["domain"].pop("slope"), "domain: A domain has .*slope"),
        (lambda card: card["domain"].update(slope="1234"), "domain: slope is '1234'; it must be a list"),
        (lambda card: card["domain"].update(slope=[1, 2, 3]), "domain: slope is .*a list of 4 numbers"),
        (lambda card: card["domain"].update(logMmin=[14, 11]), "domain: .*logMmin from 14.0 to 11.0"),
        (lambda card: card["domain"]["logMmin"].__setitem__(1, 10**400), "domain: logMmin is "),
        (lambda card: card["domain"]["half_width"].__setitem__(0, -0.2), "domain: .*sigma_logM from"),
        (lambda card: card["domain"]["intercept"].__setitem__(3, np.nan), "domain: intercept is "),
    ],
)  # fmt: skip
def test_a_bad_card_is_refused_by_file_and_key(templates, change, said):
    rewritten(templates, change)
    with pytest.raises(ValueError, match=rf"mine/card.yaml is not a readable card: {said}"):
        Emulator.load(templates)


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b\n", b"just words", b"\x00\xff\xfe\x80", b"a: [", b"[" * 5000, b"a: *b\n",
     b"&a [*a]", b"a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]", b"schema: !!python/object/apply:os.getcwd []", b"schema: 2020-01-01"],
)  # fmt: skip
def test_what_is_no_card_is_refused(templates, content):
    (templates / CARD_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"mine/card.yaml is not a readable card: "):
        Emulator.load(templates)
    assert weights_sha256(templates) == ""
