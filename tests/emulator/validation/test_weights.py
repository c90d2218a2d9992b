"""An emulator whose errors are known must come out with just these."""

import json
from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.validation.metrics import GAUSSIAN_COVERAGE
from iaemu_likelihood.emulator.validation.report import figures, write_report
from iaemu_likelihood.emulator.validation.weights import validate_emulator

from .artificial import SCATTER, ArtificialEmulator, data_sets

STATISTICS = ("xi", "omega", "eta")


@pytest.fixture(scope="module")
def data():
    return data_sets()


def validated(emulator, data, **arguments):
    return validate_emulator(emulator, *data, progress=False, **arguments)


def test_numbers_are_plain_and_complete(validation):
    numbers = json.loads(json.dumps(validation.numbers, allow_nan=False))
    assert numbers == validation.numbers
    blocks = {"data", "expectation", "ten_realisations", "sigma_units", "aleatoric", "calibration",
              "epistemic", "worst", "baselines", "targets", "timing"}  # fmt: skip
    assert blocks <= set(numbers)
    assert numbers["data"]["n_values_without_pairs"] == 6
    assert len(numbers["expectation"]["all"]["xi"]["per_bin"]["nrmse"]) == 20


def test_known_error_comes_out(data):
    numbers = validated(ArtificialEmulator(error=-0.02), data).numbers
    for i, name in enumerate(STATISTICS):
        found = numbers["expectation"]["all"][name]
        assert found["mean_signed_fractional_error"] == pytest.approx(-0.02)
        assert found["mean_absolute_fractional_error"] == pytest.approx(0.02)
        assert found["median_absolute_fractional_error"] == pytest.approx(0.02)
        assert found["nrmse"] == pytest.approx(0.02)
        assert found["smape"] == pytest.approx(2 * 0.02 / 1.98, rel=1e-3)
        assert found["spearman"] == pytest.approx(1)
        p95 = numbers["sigma_units"]["predicted"][name]["p95"]
        assert p95 == pytest.approx(0.02 / SCATTER[i], rel=1e-6)
        assert numbers["worst"][name][0]["score"] == pytest.approx(0.02 / SCATTER[i], rel=1e-6)
        parts = [numbers["expectation"][k] for k in ("interior", "edge")]
        assert sum(part["n_points"] for part in parts) == 600
        assert parts[0][name]["nrmse"] == pytest.approx(0.02)
    by_name = {t["name"]: t for t in numbers["targets"]}
    target = by_name["xi: mean absolute fractional error against the expectation"]
    assert (target["value"], target["met"]) == (pytest.approx(0.02), False)
    assert by_name["eta: NRMSE against the expectation"]["met"]


def test_right_scatter_is_calibrated(data):
    numbers = validated(ArtificialEmulator(), data).numbers
    for name in STATISTICS:
        assert numbers["aleatoric"][name]["bias_dex"] == pytest.approx(0, abs=0.02)
        assert numbers["aleatoric"][name]["variance_bias_dex"] == pytest.approx(0, abs=0.02)
        found = numbers["calibration"][name]
        for k, expected in GAUSSIAN_COVERAGE.items():
            assert found["coverage"][str(k)] == pytest.approx(expected, abs=0.02)
        np.testing.assert_allclose(found["pit"], 0.05, atol=0.015)
        np.testing.assert_allclose(
            found["reliability"], numbers["calibration"]["reliability_levels"], atol=0.03
        )
        assert found["crps_relative"] == pytest.approx(1, abs=0.05)
        assert found["chi2"]["per_degree"] == pytest.approx(1, abs=0.03)
        # The mean of ten has a tenth of the variance.
        perfect = numbers["ten_realisations"]["perfect"]["all"][name]
        emulator = numbers["ten_realisations"]["emulator"]["all"][name]
        assert emulator["nrmse"] == pytest.approx(perfect["nrmse"], rel=1e-5)
        assert abs(perfect["median_residual"]) < 0.2
    together = numbers["calibration"]["chi2"]
    assert together["per_degree"] == pytest.approx(1, abs=0.03)
    assert together["fraction_beyond_95"] == pytest.approx(0.05, abs=0.03)
    assert together["n_not_positive_definite"] == 0


def test_wrong_scatter_is_seen(data):
    numbers = validated(ArtificialEmulator(factor=2.0), data).numbers
    for name in STATISTICS:
        bias = numbers["aleatoric"][name]["bias_dex"]
        assert bias == pytest.approx(np.log10(2), abs=0.02)
        assert numbers["calibration"][name]["coverage"]["1"] == pytest.approx(0.9545, abs=0.02)
        assert numbers["calibration"][name]["chi2"]["per_degree"] == pytest.approx(0.25, abs=0.02)
        assert numbers["calibration"][name]["pit"][0] < 0.03
        assert numbers["calibration"][name]["crps_relative"] > 1.05


def test_epistemic_sigma_covers_the_error(data):
    numbers = validated(ArtificialEmulator(scatter=0.03), data).numbers
    for name in STATISTICS:
        found = numbers["epistemic"][name]
        for k, expected in GAUSSIAN_COVERAGE.items():
            assert found["coverage"][str(k)] == pytest.approx(expected, abs=0.02)
        assert found["median_error_over_sigma"] == pytest.approx(0.6745, abs=0.02)


def test_gaussian_processes_learn_smooth_templates(data):
    block = validated(ArtificialEmulator(error=0.01), data).numbers["baselines"]
    baseline = block["gaussian_processes"]
    assert (baseline["n_train"], baseline["n_test"]) == (120, 480)
    assert baseline["xi"]["nrmse"] < 0.03
    same = block["emulator_at_the_same_points"]["xi"]
    assert same["nrmse"] == pytest.approx(0.01)
    assert same["n_values"] == baseline["xi"]["n_values"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(data):
    first, second, other = (validated(ArtificialEmulator(0.01, 0.01), data, seed=seed).numbers
                            for seed in (1, 1, 2))  # fmt: skip
    assert first["expectation"] == second["expectation"]
    assert first["expectation"] != other["expectation"]


def test_paper_is_held_to_the_paper_and_old_weights_have_less_to_show(data):
    result = validated(ArtificialEmulator(kind="paper", aleatoric=False), data)
    assert "aleatoric" not in result.numbers
    assert "calibration" not in result.numbers
    assert "do not predict the scatter" in result.numbers["left_out"][0]
    bars = {t["name"]: t["bar"] for t in result.numbers["targets"]}
    assert bars["omega: SMAPE against means of 10 realisations"] == [0, 0.30]
    assert bars["omega: SMAPE against the expectation"] is None
    assert {"aleatoric", "calibration"}.isdisjoint(figures(result))


def test_data_that_do_not_belong_are_refused(data):
    expectation, realisations = data
    emulator = ArtificialEmulator()
    with pytest.raises(ValueError, match="of kind expectation is needed; got one of realisations"):
        validated(emulator, (realisations, realisations))
    with pytest.raises(ValueError, match="at the first points of the expectation"):
        validated(emulator, (expectation.select(np.arange(599, -1, -1)), realisations))
    foreign = {**expectation.attributes, "halos_sha256": "b" * 64}
    with pytest.raises(ValueError, match="trained on the halo catalogue 'artificial'"):
        validated(emulator, (replace(expectation, attributes=foreign), realisations))
    origin = json.dumps({"recipe": {"statistics": ["xi", "omega"]}})
    fewer = replace(expectation, attributes={**expectation.attributes, "origin": origin})
    with pytest.raises(
        ValueError, match=r"statistics of the weights are .* expectation are xi, om"
    ):
        validated(emulator, (fewer, realisations))
    emulator.domain = Domain.of(logMmin=(15.0, 16.0), logM0_max=20.0)
    with pytest.raises(ValueError, match="0 HOD points in the domain are too few to validate with"):
        validated(emulator, data)
    emulator = ArtificialEmulator()
    one = realisations.select(np.arange(1))
    with pytest.raises(
        ValueError, match="1 HOD points in the domain at which catalogues are drawn"
    ):
        validated(emulator, (expectation, one))
    columns = realisations.columns | {"correlations": realisations.columns["correlations"][:, :1]}
    with pytest.raises(ValueError, match="1 catalogues at each point are too few"):
        validated(emulator, (expectation, replace(realisations, columns=columns)))


def test_points_outside_the_domain_are_counted(data):
    emulator = ArtificialEmulator()
    emulator.domain = Domain.of(logMmin=(11.4, 13.0))
    numbers = validated(emulator, data).numbers["data"]
    drawn = (data[1].parameters[:, 2] > 13).sum()
    outside = (data[0].parameters[:, 0] > 13).sum()
    assert numbers["n_points"] == 600 - outside
    assert numbers["n_points_outside_the_domain"] == outside + drawn


@pytest.mark.slow
def test_report_has_all_tables_and_figures(validation, tmp_path):
    path = tmp_path / "report.html"
    write_report(validation, path, "mine")
    page = path.read_text()
    for name in ("accuracy", "aleatoric", "epistemic", "calibration", "maps", "worst"):
        assert f'<figure id="{name}"><img alt="{name}" src="data:image/png;base64,iVBOR' in page
    assert page.count("<figure") == 6
    for target in validation.numbers["targets"]:
        assert target["name"].replace("'", "&#39;") in page
    assert "http:" not in page  # all in one file
    assert "https:" not in page
    with pytest.raises(ValueError, match=r"must end in \.html"):
        write_report(validation, tmp_path / "report.txt")
