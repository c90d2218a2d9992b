import shutil

import pytest
import yaml
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import render_card, write_card
from iaemu_likelihood.emulator.models.weights import bundled_weights, weights_folder


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(weights_folder("templates"), tmp_path / "mine")


@pytest.mark.parametrize("name", bundled_weights())
def test_bundled_card_is_rendered_from_its_yaml(name):
    folder = weights_folder(name)
    assert (folder / "CARD.md").read_text() == render_card(folder)


def test_a_card_survives_writing_and_tells_what_matters(folder):
    card = Emulator.load(folder).card
    write_card(folder, card)
    assert Emulator.load(folder).card == card
    text = (folder / "CARD.md").read_text()
    for part in (card["halos"]["sha256"], card["weights_sha256"], "BSD-3-Clause", "arXiv:2504.05235",
                 "## Domain", "sigma_logM", "## Accuracy", "## Calibration", "## Limits"):  # fmt: skip
        assert part in text
    quoted = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert quoted == card["training"]
    assert "![Learning curve](learning_curve.png)" in text
    (folder / "learning_curve.png").unlink()
    assert "learning_curve.png" not in render_card(folder)
    assert not list(folder.glob("*.part"))


def test_weights_that_were_not_measured_say_so(folder):
    card = {k: v for k, v in Emulator.load(folder).card.items()
            if k not in ("accuracy", "calibration")}  # fmt: skip
    write_card(folder, card)
    assert (folder / "CARD.md").read_text().count("Not measured yet") == 2
