"""The plugin inside Cobaya: wiring, numbers, and what it refuses."""

from __future__ import annotations

import copy
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml
from cobaya.input import update_info
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA
from scipy.stats import multivariate_normal

from iaemu_likelihood.cobaya.theory import default_parameters
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.tng300.table1 import exact_posterior, example

SAMPLES = ["sample1", "sample2", "sample3"]
# log-likelihoods of the bundled weights and data at the paper's best fits: any change of weights,
# binning or data shows here.
BEST_FIT = {"sample1": (0.80, 0.32), "sample2": (0.69, 0.11), "sample3": (0.56, 0.00)}
STORED = {
    "sample1": -4.265222283131094,
    "sample2": -11.680913309459514,
    "sample3": -10.508102924104783,
}


def model_of(info, **changes):
    info = copy.deepcopy({k: info[k] for k in ("theory", "likelihood", "params")})
    for key, value in changes.items():
        info[key] = value
    return get_model(info, stop_at_error=True)


def joint(**options):
    """All three samples in one run."""
    infos = [example(s) for s in SAMPLES]
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": SAMPLES, **options}},
        "likelihood": {k: v for info in infos for k, v in info["likelihood"].items()},
        "params": {k: v for info in infos for k, v in info["params"].items()},
    }


def best_fit(*samples):
    return {
        f"{p}_{s}": v
        for s in samples
        for p, v in zip(("mu_cen", "mu_sat"), BEST_FIT[s], strict=True)
    }


@pytest.mark.parametrize("sample", SAMPLES)
def test_stored_log_likelihood(sample):
    model = model_of(example(sample))
    assert model.loglike(best_fit(sample))[0] == pytest.approx(STORED[sample], abs=1e-6)


@pytest.mark.parametrize("weights", ["templates", "paper"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_equals_the_same_computed_by_hand(sample, weights):
    emulator, measured = (
        Emulator.load(weights),
        Measurement.read(f"tng300.{sample}").cut(0.1, 15.85),
    )
    mu_cen, mu_sat = BEST_FIT[sample]
    theta = emulator.space.read(mu_cen=mu_cen, mu_sat=mu_sat, **measured.metadata["hod"])[0][None]
    mu, hod = emulator.space.split(theta)
    occupied = emulator.at(hod, (OMEGA,))
    fine = occupied(mu, (OMEGA,))[0][0, 0]
    # Which pairs there are does not depend on their alignment, as the network knows only roughly.
    edges = emulator.fine_edges[: emulator.n_fine() + 1]
    _, omega = PairWeightedBinning(edges, measured.r_edges)(occupied.excess[0], fine)
    chi2 = np.sum(((omega - measured.values["omega"]) / measured.errors["omega"]) ** 2)
    info = example(sample)
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = weights
    # The paper's network is computed in single precision.
    close = {"templates": 1e-9, "paper": 1e-6}[weights]
    assert model_of(info).loglike(best_fit(sample))[0] == pytest.approx(-chi2 / 2, rel=close)


def test_example_uses_the_occupation_of_the_data():
    for sample in SAMPLES:
        params = example(sample)["params"]
        hod = Measurement.read(f"tng300.{sample}").metadata["hod"]
        assert params == {f"{name}_{sample}": value for name, value in hod.items()}


def test_three_samples_at_once_equal_three_runs():
    together = model_of(joint()).loglikes(best_fit(*SAMPLES))[0]
    alone = [model_of(example(s)).loglike(best_fit(s))[0] for s in SAMPLES]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_parameters_can_be_shared():
    info = joint()
    for sample in SAMPLES[1:]:
        info["params"][f"mu_cen_{sample}"] = {"value": "lambda mu_cen_sample1: mu_cen_sample1"}
    model = model_of(info)
    assert "mu_cen_sample2" not in model.parameterization.sampled_params()
    point = {k: v for k, v in best_fit(*SAMPLES).items() if "mu_cen" not in k or k.endswith("1")}
    assert np.isfinite(model.loglike(point)[0])


def test_all_seven_free_and_no_suffix(caplog):
    info = {
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {
            "iaemu_likelihood.tng300.Sample1": {
                "sample": None,
                "statistics": ["xi", "omega", "eta"],
            }
        },
        "params": {"alpha": {"prior": {"min": 0.7, "max": 1.3}}},
    }
    model = model_of(info)
    assert set(model.parameterization.sampled_params()) == set(DEFAULT_SPACE.names)
    # The default priors do not reach beyond the domain.
    assert "reaches beyond" not in caplog.text
    inside = dict(
        mu_cen=0.8, mu_sat=0.3, logMmin=12.5, sigma_logM=0.26, logM0=12.5, logM1=13.5, alpha=1.0
    )
    assert np.isfinite(model.loglike(inside)[0])
    assert model.loglike({**inside, "logM1": 15.0})[0] == -np.inf


def test_points_outside_the_domain_are_rejected_and_counted(caplog):
    model = model_of(
        {
            "theory": {"iaemu_likelihood.IAEmu": None},
            "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": None}},
            "params": {"alpha": {"prior": {"min": 0.7, "max": 1.3}}},
        }
    )
    point = dict(
        mu_cen=0.8, mu_sat=0.3, logMmin=12.5, sigma_logM=0.26, logM0=12.5, logM1=15.2, alpha=1.0
    )
    assert model.loglike(point)[0] == -np.inf
    with caplog.at_level("INFO"):
        model.close()
    assert "1 point(s) outside the emulator's domain were rejected" in caplog.text


def test_out_of_domain_can_be_an_error():
    info = {
        "theory": {"iaemu_likelihood.IAEmu": {"out_of_domain": "error"}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": None}},
        "params": {"alpha": {"prior": {"min": 0.7, "max": 1.3}}},
    }
    point = {
        **dict(zip(DEFAULT_SPACE.names, (0.8, 0.3, 12.5, 0.26, 12.5, 15.2, 1.0), strict=True)),
    }
    with pytest.raises(ValueError, match=r"logM1 = 15.2 is outside"):
        model_of(info).loglike(point)


def test_fixed_parameters_outside_the_domain_stop_at_the_start():
    info = example("sample1")
    info["params"]["logM1_sample1"] = 15.2
    with pytest.raises(LoggedError, match=r"logM1 = 15.2 is outside the emulator's domain"):
        model_of(info)


def test_a_prior_wider_than_the_domain_is_warned_about(caplog):
    info = example("sample1")
    info["params"]["mu_sat_sample1"] = {"prior": {"min": -2, "max": 1}, "latex": "x"}
    with caplog.at_level("WARNING"):
        model = model_of(info)
    assert "prior of mu_sat_sample1, [-2, 1], reaches beyond" in caplog.text
    assert model.loglike({"mu_cen_sample1": 0.5, "mu_sat_sample1": -1.5})[0] == -np.inf


def test_getter_returns_new_arrays():
    model = model_of(example("sample1"))
    model.loglike(best_fit("sample1"))
    theory = model.theory["iaemu_likelihood.IAEmu"]
    first = theory.get_ia_correlations("sample1", ["omega"])
    expected = first["omega"].copy()
    first["omega"][:] = 0
    np.testing.assert_array_equal(
        theory.get_ia_correlations("sample1", ["omega"])["omega"], expected
    )
    with pytest.raises(LoggedError, match="requested eta at the start"):
        theory.get_ia_correlations("sample1", ["omega", "eta"])


@pytest.mark.parametrize(
    ("theory", "likelihood", "message"),
    [
        ({"samples": ["sample1", "sample1"]}, {}, "distinct labels of letters"),
        ({"samples": ["other"]}, {}, "No sample 'sample1'"),
        ({"out_of_domain": "ignore"}, {}, "out_of_domain is 'ignore'"),
        ({"weights": "nothing"}, {}, "No weights 'nothing'"),
        ({}, {"data_file": "nothing.ecsv"}, "No measurement at .*nothing.ecsv"),
        ({}, {"statistics": ["gamma"]}, "got gamma"),
        ({}, {"r_min": 5.0, "r_max": 5.5}, "no bin lies wholly between"),
        ({}, {"covariance": "full"}, "holds no covariance of omega and omega"),
        ({}, {"covariance": "round"}, "covariance must be one of"),
        ({"samples": "sample1"}, {}, "must be a list of distinct labels"),
        ({}, {"statistics": "omega"}, "must be a list without repetitions"),
        ({}, {"r_min": None}, "r_min is null"),
    ],
)
def test_mistakes_in_the_yaml_say_what_to_do(theory, likelihood, message):
    info = example("sample1")
    info["theory"]["iaemu_likelihood.IAEmu"].update(theory)
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"] = likelihood
    with pytest.raises(LoggedError, match=message):
        model_of(info)


def test_types_are_enforced():
    info = example("sample1")
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"] = {"normalized": "no"}
    with pytest.raises(TypeError, match="normalized"):
        model_of(info)
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"] = {"data_file": 5}
    with pytest.raises(TypeError, match="data_file"):
        model_of(info)


def test_start_says_which_bins_were_dropped_and_what_the_covariance_is(caplog):
    info = example("sample3")
    info["likelihood"]["iaemu_likelihood.tng300.Sample3"] = {"r_min": 0.5, "covariance": "full"}
    with caplog.at_level("INFO"):
        model_of(info)
    assert "omega in 8 bins, 0.5179 to 13.89 Mpc/h; dropped 0.1-0.1509 Mpc/h" in caplog.text
    assert "from 27 jackknife regions for 8 data points" in caplog.text


def test_normalization_is_that_of_a_gaussian():
    info = example("sample1")
    plain = model_of(info).loglike(best_fit("sample1"))[0]
    options = info["likelihood"]["iaemu_likelihood.tng300.Sample1"]
    options["normalized"] = True
    model = model_of(info)
    (likelihood,) = model.likelihood.values()
    data = likelihood.core.data
    gaussian = multivariate_normal(data.values, data.covariance)
    expected = plain + gaussian.logpdf(data.values)
    assert model.loglike(best_fit("sample1"))[0] == pytest.approx(expected)


@pytest.mark.parametrize("shared", [False, True])
def test_percival_counts_the_parameters_of_its_sample(shared):
    info = joint()
    options = {"covariance": "full", "covariance_correction": "percival", "emulator_error": "none"}
    info["likelihood"]["iaemu_likelihood.tng300.Sample3"] = options
    point = best_fit(*SAMPLES)
    if shared:
        # Through a parameter that the theory does not know.
        info["params"]["mu_cen_all"] = {"prior": {"min": -1, "max": 1}, "drop": True}
        for sample in SAMPLES:
            info["params"][f"mu_cen_{sample}"] = {"value": "lambda mu_cen_all: mu_cen_all"}
        point = {k: v for k, v in point.items() if "mu_sat" in k} | {"mu_cen_all": 0.6}
    model = model_of(info)
    third = model.loglikes(point, as_dict=True)
    log_likelihood = third[0]["iaemu_likelihood.tng300.Sample3"]
    chi2, n, d, p = third[1]["ia_chi2_sample3_omega"], 27, 12, 2
    b = (n - d - 2) / ((n - d - 1) * (n - d - 4))
    m = p + 2 + (n - 1 + b * (d - p)) / (1 + b * (d - p))
    assert log_likelihood == pytest.approx(-m / 2 * np.log1p(chi2 / (n - 1)), rel=1e-9)
    assert len(model.parameterization.sampled_params()) == (4 if shared else 6)


def test_hashes_go_into_the_updated_yaml_and_guard_it():
    info = example("sample1")
    updated = update_info({k: info[k] for k in ("theory", "likelihood", "params")})
    assert len(updated["theory"]["iaemu_likelihood.IAEmu"]["weights_sha256"]) == 64
    data = updated["likelihood"]["iaemu_likelihood.tng300.Sample1"]["data_sha256"]
    assert len(data) == 64
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"] = {"data_sha256": "0" * 64}
    with pytest.raises(LoggedError, match="are not those of this run"):
        model_of(info)
    info = example("sample1")
    info["theory"]["iaemu_likelihood.IAEmu"]["weights_sha256"] = "0" * 64
    with pytest.raises(LoggedError, match="are not those of this run"):
        model_of(info)


@pytest.mark.slow
def test_a_chain_agrees_with_the_closed_form():
    info = example("sample2")
    # Bounds, which the example waits for, too, are not looked at here.
    sampler = {"mcmc": {"seed": 1, "Rminus1_stop": 0.01, "Rminus1_cl_stop": 1.0}}
    _, sampler = run({**info, "sampler": sampler, "output": None}, stop_at_error=True)
    chain = sampler.products(to_getdist=True, skip_samples=0.3)["sample"]
    exact = exact_posterior("sample2")
    for i, name in enumerate(("mu_cen_sample2", "mu_sat_sample2")):
        assert abs(chain.mean(name) - exact.mean[i]) < 0.1 * exact.std[i]
        assert chain.std(name) == pytest.approx(exact.std[i], rel=0.1)


@pytest.mark.slow
def test_every_example_is_read_by_cobaya(tmp_path):
    from importlib.resources import files

    paths = [
        p for p in files("iaemu_likelihood.yaml_examples").iterdir() if p.name.endswith(".yaml")
    ]
    assert len(paths) >= 7
    for path in paths:
        info = yaml.safe_load(path.read_text())
        assert info["output"] == f"chains/{path.name.removesuffix('.yaml').removesuffix('_post')}"
        # `test_runs.py` runs the first, `test_exact.py` the second.
        if "post" not in info and path.name != "tng300_exact.yaml":
            info["output"] = str(tmp_path / path.name)
            run({**info, "sampler": {"evaluate": None}}, stop_at_error=True)


def test_a_run_resumes_only_with_the_same_data(tmp_path):
    info = {**example("sample1"), "output": str(tmp_path / "chain")}
    info["sampler"] = {"mcmc": {"max_samples": 20, "seed": 1}}
    run(info, stop_at_error=True)
    run(info, resume=True, stop_at_error=True)
    info["likelihood"] = {"iaemu_likelihood.tng300.Sample1": {"r_min": 1.0}}
    with pytest.raises(LoggedError):
        run(info, resume=True, stop_at_error=True)


if __name__ == "__main__":
    for s in SAMPLES:
        print(s, repr(float(model_of(example(s)).loglike(best_fit(s))[0])))


# At the edge of a bin, 1.179 Mpc/h, so that none is lost between the two.
CUTS = {"small": {"r_max": 1.18}, "large": {"r_min": 1.17}}


def with_cuts(labelled):
    info = example("sample1")
    common = {"class": "iaemu_likelihood.tng300.Sample1", "emulator_error": "none"}
    info["likelihood"] = {
        name: {**common, **cut, **({"label": name, "save_prediction": True} if labelled else {})}
        for name, cut in CUTS.items()
    }
    return info


def test_two_cuts_of_one_sample_have_their_own_derived_parameters():
    model = model_of(with_cuts(labelled=True))
    assert {"ia_chi2_small", "ia_chi2_large"} <= set(model.derived_params)
    log_likelihoods, derived = model.loglikes(best_fit("sample1"), as_dict=True)
    for name in CUTS:
        assert derived[f"ia_chi2_{name}"] == pytest.approx(-2 * log_likelihoods[name])
        assert f"omega_sample1_{name}_00" in derived
    whole = model_of(example("sample1")).loglike(best_fit("sample1"))[0]
    assert sum(log_likelihoods.values()) == pytest.approx(whole)


def test_two_cuts_without_labels_are_refused_with_what_to_set():
    with pytest.raises(
        LoggedError,
        match=r"ia_chi2_sample1_omega.*small \(label: sample1_omega; give each likelihood its own",
    ):
        model_of(with_cuts(labelled=False))


@pytest.mark.parametrize("label", ["a b", "x:y", "$", "\\alpha", "[/b]"])
def test_a_label_is_one_word(label):
    info = example("sample1")
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"]["label"] = label
    with pytest.raises(LoggedError, match=r"label must be letters|not a valid Python variable"):
        model_of(info)


def test_what_torch_and_numpy_are_set_to_changes_nothing():
    """Not even through the paper's network, whose single precision autocast would halve."""
    info = example("sample1")
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = "paper"
    expected = model_of(info).loglike(best_fit("sample1"))[0]
    model = model_of(info)
    for set_by_caller in (
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
        lambda: np.errstate(all="raise"),
    ):
        with set_by_caller():
            assert model_of(info).loglike(best_fit("sample1"))[0] == expected
            model.loglike({name: value - 0.01 for name, value in best_fit("sample1").items()})
            assert model.loglike(best_fit("sample1"))[0] == expected


def test_paths_of_likelihoods_are_resolved_when_they_are_made(tmp_path, monkeypatch):
    Measurement.read("tng300.sample3").write(tmp_path / "own.ecsv")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    info = example("sample3")
    options = {"covariance": "full", "covariance_correction": "percival", "emulator_error": "none"}
    values = []
    for file in ("tng300.sample3", "own.ecsv", "~/own.ecsv"):
        info["likelihood"]["iaemu_likelihood.tng300.Sample3"] = {"data_file": file, **options}
        model = model_of(info)
        values.append(model.loglike(best_fit("sample3"))[0])
        (likelihood,) = model.likelihood.values()
    assert values[0] == values[1] == values[2]
    monkeypatch.chdir("/")
    likelihood._build(2)  # as percival does when all parameters are known
    assert likelihood.data_file == str(tmp_path / "own.ecsv")


def test_defaults_of_the_theory_are_those_of_the_parameter_space():
    """IAEmu.yaml is what cobaya-doc prints; the numbers in it are the space's and the domain's."""
    written = yaml.safe_load((files("iaemu_likelihood.cobaya") / "IAEmu.yaml").read_text())[
        "params"
    ]
    assert written == default_parameters(Domain.of())
    assert list(written) == list(DEFAULT_SPACE.names)
