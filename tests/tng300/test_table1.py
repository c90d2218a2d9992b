"""Table 1: what can fail is known before sampling, and a figure costs nothing that was found."""

import json

import pytest
from iaemu_likelihood.emulator.models import Emulator

from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.tng300 import table1


def test_an_unknown_sample_is_refused_before_any_is_fitted(tmp_path, iaemu):
    result = iaemu("table1", "sample1", "sample4", cwd=tmp_path)
    assert result.returncode == 1
    assert "No TNG300 sample 'sample4'; there are sample1, sample2, sample3" in result.stderr
    assert not list(tmp_path.iterdir())


def test_weights_of_another_occupation_are_refused_in_a_sentence():
    measured = Measurement.read("tng300.sample1")
    assert len(table1._occupation(measured, Emulator.load().space.occupation.names)) == 5
    with pytest.raises(ValueError, match=r"with alpha, .*; the weights have another, with cut"):
        table1._occupation(measured, ["logMmin", "cut"])


@pytest.mark.parametrize("ending", ["updated.yaml", "checkpoint"])
def test_data_never_becomes_code_where_cobaya_resumes(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    state = tmp_path / f"tng300_sample1.{ending}"
    state.write_text("x: !!python/object/apply:os.mkdir ['pwned']\n")
    with pytest.raises(ValueError, match=rf"{ending}, line 1: the tag !!python/object/apply"):
        table1.fit_sample("sample1", tmp_path)
    assert list(tmp_path.iterdir()) == [state]


@pytest.mark.slow
def test_a_figure_that_fails_costs_nothing_that_was_found(tmp_path, iaemu, monkeypatch):
    info = table1.example("sample1")
    info["sampler"] = {"mcmc": {"max_samples": 60, "seed": 1}}
    monkeypatch.setattr(table1, "example", lambda _: info)
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains/tng300_sample1_corner.png").mkdir()  # so that no file can be written there
    result = iaemu("table1", "sample1", "sample1", "--json", "t.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "closed form" in result.stdout
    (sample,) = json.loads((tmp_path / "t.json").read_text())["samples"]
    assert {fit["parameter"] for fit in sample["fits"]} == {"mu_cen", "mu_sat"}
    assert "| mu_cen | mu_sat |" in (tmp_path / "chains/table1.md").read_text()
    assert (tmp_path / "chains/tng300_sample1_prediction.png").stat().st_size > 1e4
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "tng300_sample1_corner.png" in errors[0]
