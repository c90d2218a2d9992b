"""`iaemu examples`: what a user of an installed package copies."""

import json
from pathlib import Path

import pytest

from iaemu_likelihood import yaml_examples

FOLDER = Path(yaml_examples.__file__).parent
THERE = {path.name for path in FOLDER.iterdir() if path.suffix in (".yaml", ".ini", ".ipynb")}


def test_it_lists_what_there_is(iaemu):
    found = iaemu("examples")
    assert found.returncode == 0
    assert all(name in found.stdout for name in THERE)
    assert "Fit omega(r) of the three TNG300 samples in one run." in found.stdout
    assert "From halos to weights" in found.stdout


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("tng300_sample1", {"tng300_sample1.yaml"}),
        ("tng300_sample1.yaml", {"tng300_sample1.yaml"}),
        ("fit_tng300", {"fit_tng300.ipynb"}),
        (
            "cosmosis_tng300_projected",
            {f"cosmosis_tng300_projected{x}.ini" for x in ("", "_values", "_priors")},
        ),
        ("all", THERE),
    ],
)
def test_copies_are_the_files(name, files, iaemu, tmp_path):
    assert iaemu("examples", name, cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == files
    for file in files:
        assert (tmp_path / file).read_bytes() == (FOLDER / file).read_bytes()


def test_a_file_that_is_there_is_kept(iaemu, tmp_path):
    mine = tmp_path / "tng300_sample1.yaml"
    mine.write_text("mine")
    found = iaemu("examples", "tng300_sample1", "tng300_sample2", cwd=tmp_path)
    assert found.returncode == 1
    assert "tng300_sample1.yaml exists; pass --overwrite" in found.stderr
    assert mine.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [mine]  # neither is copied
    assert iaemu("examples", "tng300_sample1", "--overwrite", cwd=tmp_path).returncode == 0
    assert mine.read_bytes() == (FOLDER / mine.name).read_bytes()


def test_an_unknown_name_is_refused_with_those_that_there_are(iaemu, tmp_path):
    found = iaemu("examples", "tng300", cwd=tmp_path)
    assert found.returncode == 1
    assert "No example 'tng300'; there are cosmosis_tng300_projected.ini" in found.stderr


def test_notebooks_are_without_results():
    """The site runs them; what they gave once would only grow old."""
    notebooks = [json.loads(path.read_text()) for path in FOLDER.glob("*.ipynb")]
    cells = [cell for each in notebooks for cell in each["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 20
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
