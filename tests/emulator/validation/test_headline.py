import json
import shutil

import pytest
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import render_card
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.validation.headline import add_validation


def test_validation_goes_into_card_and_page(validation, tmp_path):
    folder = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    add_validation(folder, json.loads(json.dumps(validation.numbers)), "iaemu validate mine")
    card = Emulator.load(folder).card
    assert card["accuracy"]["command"] == "iaemu validate mine"
    found = validation.numbers["expectation"]["all"]["omega"]["nrmse"]
    assert card["accuracy"]["expectation"]["omega"]["nrmse"] == pytest.approx(found, rel=1e-3)
    single = card["calibration"]["single_catalogues"]["eta"]
    assert single["bias_of_sigma_dex"] == pytest.approx(
        validation.numbers["aleatoric"]["eta"]["bias_dex"], abs=1e-3
    )
    assert (folder / "CARD.md").read_text() == render_card(folder)
    assert "single catalogues" in render_card(folder)
