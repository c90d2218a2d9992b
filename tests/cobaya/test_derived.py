"""Derived parameters of galaxies in Cobaya, in batches, and in `iaemu check`."""

import numpy as np
import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.model import get_model
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.models.derived import DERIVED, DerivedModel

from iaemu_likelihood import posterior
from iaemu_likelihood.cobaya.check import check_run

POINT = {
    "mu_cen": 0.6, "mu_sat": 0.2, "logMmin": 11.7, "sigma_logM": 0.3, "logM0": 11.9, "logM1": 12.8,
    "alpha": 1.0, "a2_cen": 0.3, "a2_sat": 0.25,
}  # fmt: skip


def run_of(names, sample=None, statistics=("w_gg", "w_gplus"), **options):
    label = f"_{sample}" if sample else ""
    likelihood = {
        "data_file": "tng300.projected_z0",
        "statistics": list(statistics),
        "sample": sample,
    }
    likelihood |= {"r_max": 14.0, "emulator_error": "none", **options}
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": [sample] if sample else None}},
        "likelihood": {"iaemu_likelihood.IACorrelations": likelihood},
        "params": {f"{name}{label}": {"derived": True} for name in names},
        "sampler": {"evaluate": None},
    }


def expected(names):
    values = np.array([list(POINT.values())])
    found = DerivedModel(Emulator.load(), names)(values[:, 2:7], values[:, :2], values[:, 7:])
    return {name: float(x[0]) for name, x in found.items()}


@pytest.mark.parametrize("sample", [None, "LRG"])
def test_cobaya_stores_those_that_params_name(sample):
    run = run_of(DERIVED, sample)
    model = get_model(run)
    label = f"_{sample}" if sample else ""
    names = model.parameterization.sampled_params()
    found = model.logposterior([POINT[name.removesuffix(label)] for name in names])
    derived = dict(zip(model.parameterization.derived_params(), found.derived, strict=True))
    for name, value in expected(list(DERIVED)).items():
        assert derived[f"{name}{label}"] == pytest.approx(value, rel=1e-9)
    # In batches, and as GetDist takes them.
    target = posterior(run)
    points = np.array([[POINT[name.removesuffix(label)] for name in target.names]] * 2)
    points[1, target.names.index(f"alpha{label}")] += 0.1
    batch = target.derived(points)
    assert list(batch) == [f"{name}{label}" for name in DERIVED]
    for name, values in batch.items():
        assert (
            values[0] == pytest.approx(derived[name], rel=1e-9) == target.derived(points[0])[name]
        )
        assert values[1] != values[0]
    chain = target.getdist(np.tile(points, (50, 1)))
    parameter = chain.paramNames.parWithName(f"b_g{label}")
    assert parameter.isDerived
    assert parameter.label == (r"b_\mathrm{g}^{\mathrm{LRG}}" if sample else r"b_\mathrm{g}")
    np.testing.assert_allclose(chain[f"b_g{label}"][:2], batch[f"b_g{label}"])


def test_nothing_is_computed_that_nobody_asks_for(monkeypatch):
    monkeypatch.setattr(DerivedModel, "__call__", None)
    run = run_of([])
    del run["params"]
    model = get_model(run)
    names = model.parameterization.sampled_params()
    assert np.isfinite(model.loglike([POINT[name] for name in names])[0])
    assert posterior(run).derived([POINT[name] for name in names]) == {}


def test_three_dimensions_have_no_amplitude_of_shapes():
    """There are no responses, of which A_IA is made."""
    run = run_of(["b_g", "A_IA"], None, ["omega"], data_file="tng300.sample1")
    with pytest.raises(LoggedError, match="a2_cen"):
        get_model(run)
    run["params"].pop("A_IA")
    model = get_model(run)
    names = model.parameterization.sampled_params()
    found = model.logposterior([POINT[name] for name in names])
    assert found.derived[0] == pytest.approx(expected(["b_g"])["b_g"], rel=1e-9)


def test_check_shows_them_and_the_measured_density(tmp_path):
    path = tmp_path / "run.yaml"

    def checked(run):
        path.write_text(yaml.safe_dump(run))
        return check_run(path)

    run = run_of(["b_g"], number_density={"value": 0.0133, "error": 0.0007})
    report = checked(run)
    galaxies = report.numbers["galaxies"][""]
    assert list(galaxies) == list(DERIVED)
    assert report.numbers["number_densities"] == {"": [{"value": 0.0133, "error": 0.0007}]}
    assert report.numbers["reference"]["n_data"] == 2 * 9 + 1
    text = " ".join(report.sentences())
    assert f"n_gal = {galaxies['n_gal']:.4g}" in text
    assert "measured 0.0133 ± 0.0007 (h/Mpc)^3" in text
    assert "counts more than once" not in text
    run["likelihood"]["again"] = {
        **run["likelihood"]["iaemu_likelihood.IACorrelations"],
        "class": "iaemu_likelihood.IACorrelations", "label": "again",
    }  # fmt: skip
    assert "given to 2 likelihoods, and so counts more than once" in " ".join(
        checked(run).sentences()
    )
