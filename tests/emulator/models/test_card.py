import shutil

import pytest
import yaml
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import (
    measured_tables,
    render_card,
    weights_table,
    write_card,
)
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


def test_names_do_not_break_the_rendered_card(folder):
    card = Emulator.load(folder).card
    card["halos"] = {"name": "a|b\nc `d` <b>e</b> [f](g)", "sha256": "``x"}
    card["description"] = "## no\nheading <script>alert(1)</script> `code"
    card["license"] = "```yaml"
    card["training"]["halos"] = "````"
    card["accuracy"]["expectation"]["x|y"] = card["accuracy"]["expectation"]["xi"]
    card["accuracy"]["command"] = "iaemu `id`"
    write_card(folder, card)
    text = (folder / "CARD.md").read_text()
    assert r"| halo catalogue | a\|b c \`d\` &lt;b>e&lt;/b> \[f](g) |" in text
    assert "| its SHA-256 | ``` ``x ``` |" in text
    assert "## no heading &lt;script>" in text
    assert "<" not in text
    assert "`` iaemu `id` ``" in text
    assert yaml.safe_load(text.split("`````yaml\n")[1].split("`````")[0]) == card["training"]
    rows = [line for line in text.splitlines() if line.startswith(r"| x\|y |")]
    assert len(rows) == 1
    # As many cells as the row of xi.
    xi = next(line for line in text.splitlines() if line.startswith("| xi | "))
    assert rows[0].replace(r"\|", "").count("|") == xi.count("|")


@pytest.mark.parametrize(
    "content",
    [
        b"- a\n- b\n",
        b"just words",
        b"\x00\xff\xfe",
        b"[" * 3000,
        b"accuracy: 3\n",
        b"schema: 99\n",
        b"",
    ],
)
def test_the_list_of_weights_goes_on_after_a_bad_card(folder, tmp_path, monkeypatch, content):
    monkeypatch.setenv("IAEMU_WEIGHTS", str(tmp_path))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "card.yaml").write_bytes(content)
    table = weights_table()
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == [*bundled_weights(), "bad", "mine"]
    assert rows["bad"][3].startswith("unreadable card: ")
    assert str(bad / "card.yaml") in rows["bad"][3]
    assert rows["mine"][1:4] == rows["templates"][1:4]
    assert all(isinstance(cell, str) for row in table.rows for cell in row)


@pytest.mark.parametrize(
    "accuracy",
    [None, {}, {"expectation": 3}, {"expectation": {"xi": 3}}, {"expectation": {"xi": {}}},
     {"expectation": {"xi": {"median_absolute_fractional_error": "small"}}}, {"xi": {"rms": None}}],
)  # fmt: skip
def test_weights_whose_accuracy_is_not_the_usual_one_are_listed(
    folder, tmp_path, monkeypatch, accuracy
):
    monkeypatch.setenv("IAEMU_WEIGHTS", str(tmp_path))
    card = {**Emulator.load(folder).card, "accuracy": accuracy}
    if accuracy is None:
        del card["accuracy"]
    write_card(folder, card)
    (row,) = [row for row in weights_table().rows if row[0] == "mine"]
    assert row[3] == "not measured by this version"
    for table in measured_tables(card.get("accuracy", {})):
        assert all(len(line) == len(table.columns) for line in table.rows)
