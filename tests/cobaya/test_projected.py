"""Projected statistics inside Cobaya: numbers by hand, responses of shapes, and what is refused."""

import copy
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from cobaya.input import update_info
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.shapes import largest_response, response

from iaemu_likelihood.cobaya.inputs import model_of

IAEMU, OURS = "iaemu_likelihood.IAEmu", "iaemu_likelihood.IACorrelations"


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture
def survey(on_the_sky, tmp_path):
    """The file of a measurement, made as `on_the_sky`, and its content."""

    def write(statistics=("w_gg", "w_gplus"), name="sky", **options):
        measured = on_the_sky(statistics, **options)
        measured.write(tmp_path / f"{name}.ecsv")
        return str(tmp_path / f"{name}.ecsv"), measured

    return write


def likelihood(file, statistics=("w_gg", "w_gplus"), **options):
    return {
        "class": OURS, "data_file": file, "statistics": list(statistics), "emulator_error": "none",
        **options,
    }  # fmt: skip


def info_of(params=None, theory=None, **likelihoods):
    return {
        "theory": {IAEMU: theory},
        "likelihood": likelihoods,
        **({} if params is None else {"params": params}),
    }


def model(*arguments, **likelihoods):
    return get_model(copy.deepcopy(info_of(*arguments, **likelihoods)), stop_at_error=True)


A2 = {"a2_cen": 0.55, "a2_sat": 0.3}


def by_hand(emulator, measured, truth, statistics, cut=None, a2=A2, **changed):
    """Residuals and rows of the covariance of the data in the order of the statistics."""
    low, high = measured.r_min, measured.r_max
    edges = np.unique(np.round(np.concatenate([low, high]), 12))
    how = replace(measured.conventions, **changed)
    p = emulator.predict_projected(
        truth, edges, r_edges=edges if how.pi_max is None else None,
        response=list(a2.values()), conventions=how, epistemic=False,
    ) if how.pi_max else emulator.predict_projected(
        truth, r_edges=edges, response=list(a2.values()), conventions=how, epistemic=False
    )  # fmt: skip
    # There is a gap, which no bin of the data covers.
    bins = np.searchsorted(edges, low * (1 + 1e-9)) - 1
    assert len(edges) - 1 == len(low) + 1
    rows, residuals = [], []
    for i, name in enumerate(statistics):
        keep = np.ones(len(low), bool) if cut is None else cut[name](low, high)
        residuals.append((measured.values[name] - p[name][bins])[keep])
        rows.append(np.flatnonzero(keep) + i * len(low))
    return np.concatenate(residuals), np.concatenate(rows)


def whole(measured, statistics):
    return np.block([[measured.covariances[a, b] for b in statistics] for a in statistics])


@pytest.mark.parametrize(
    "statistics", [("w_gg", "w_gplus"), ("w_plusplus", "w_gplus", "w_gg"), ("w_gg",)]
)
def test_log_likelihood_is_that_by_hand(survey, emulator, on_the_sky, statistics):
    file, measured = survey(("w_gg", "w_gplus", "w_plusplus"))
    post = model(sky=likelihood(file, statistics, covariance="full"))
    a2 = A2 if len(statistics) > 1 else {}
    residual, _ = by_hand(emulator, measured, on_the_sky.truth, statistics)
    covariance = whole(measured, statistics)
    chi2 = residual @ np.linalg.solve(covariance, residual)
    values, derived = post.loglikes({**on_the_sky.truth, **a2}, as_dict=True)
    assert values["sky"] == pytest.approx(-chi2 / 2, rel=1e-9)
    assert derived[f"ia_chi2_{'_'.join(statistics)}"] == pytest.approx(chi2, rel=1e-9)
    assert {*post.parameterization.sampled_params()} == {*on_the_sky.truth, *a2}


def test_the_quadrupole_is_that_by_hand(survey, emulator, on_the_sky):
    file, measured = survey(("xi_gplus_2",), responsivity=0.85, ellipticity="epsilon")
    post = model(sky=likelihood(file, ["xi_gplus_2"], covariance="full"))
    residual, _ = by_hand(emulator, measured, on_the_sky.truth, ["xi_gplus_2"])
    chi2 = residual @ np.linalg.solve(whole(measured, ["xi_gplus_2"]), residual)
    assert post.loglike({**on_the_sky.truth, **A2})[0] == pytest.approx(-chi2 / 2, rel=1e-9)


def test_scale_cuts_are_each_statistics_own(survey, emulator, on_the_sky):
    file, measured = survey()
    cuts = {"r_min": {"w_gg": 1.9, "w_gplus": 0.4}, "r_max": {"w_gg": 20.0, "w_gplus": 8.0}}
    post = model(sky=likelihood(file, covariance="full", **cuts))
    cut = {
        name: lambda low, high, name=name: (
            (low >= cuts["r_min"][name]) & (high <= cuts["r_max"][name])
        )
        for name in ("w_gg", "w_gplus")
    }
    statistics = ("w_gg", "w_gplus")
    residual, rows = by_hand(emulator, measured, on_the_sky.truth, statistics, cut)
    assert 8 < len(rows) < 14
    covariance = whole(measured, statistics)[np.ix_(rows, rows)]
    chi2 = residual @ np.linalg.solve(covariance, residual)
    assert post.loglike({**on_the_sky.truth, **A2})[0] == pytest.approx(-chi2 / 2, rel=1e-9)


@pytest.mark.parametrize("kaiser", [True, False])
def test_velocities_are_added_where_the_data_have_them(survey, emulator, on_the_sky, kaiser):
    file, measured = survey(redshift_space=True)
    post = model(sky=likelihood(file, kaiser=kaiser))
    statistics = ("w_gg", "w_gplus")
    residual, _ = by_hand(emulator, measured, on_the_sky.truth, statistics, redshift_space=kaiser)
    errors = np.concatenate([measured.errors[name] for name in statistics])
    found = post.loglike({**on_the_sky.truth, **A2})[0]
    assert found == pytest.approx(-(residual**2 / errors**2).sum() / 2, rel=1e-9)
    other, _ = by_hand(emulator, measured, on_the_sky.truth, statistics, redshift_space=not kaiser)
    assert found != pytest.approx(-(other**2 / errors**2).sum() / 2, rel=1e-3)


def test_responses_have_priors_about_those_of_the_axis_ratios(survey, on_the_sky):
    file, _ = survey()
    epsilon, _ = survey(name="other", ellipticity="epsilon")
    for given, centres, definition in (
        (likelihood(file), on_the_sky.axis_ratio, "distortion"),
        (likelihood(file, axis_ratio=0.6), [0.6, 0.6], "distortion"),
        (likelihood(file, axis_ratio=[0.5, 0.8]), [0.5, 0.8], "distortion"),
        (likelihood(epsilon), on_the_sky.axis_ratio, "epsilon"),
    ):
        prior = model(sky=given).prior
        for name, centre in zip(A2, response(centres, 2, definition), strict=True):
            pdf = prior.pdf[prior.params.index(name)]
            assert pdf.dist.name == "truncnorm"
            assert pdf.kwds["loc"] == pytest.approx(centre, rel=1e-12)
            assert pdf.kwds["scale"] == pytest.approx(0.2 * centre, rel=1e-12)
            limits = pdf.interval(1)
            assert limits == pytest.approx((0, largest_response(definition)), abs=1e-12)


def test_responses_of_samples_have_their_names_and_labels(survey, on_the_sky):
    names = "low", "LRG_0"
    files = [survey(name=name, axis_ratio=q)[0] for name, q in zip(names, (0.5, 0.8), strict=True)]
    post = model(
        None, {"samples": list(names)},
        sky=likelihood(files, sample=list(names), save_prediction=True, covariance="full"),
    )  # fmt: skip
    labels = post.parameterization.labels()
    assert labels["a2_cen_low"] == r"a_{2,\mathrm{cen}}^{\mathrm{low}}"
    assert labels["a2_sat_LRG_0"] == r"a_{2,\mathrm{sat}}^{\mathrm{LRG\_0}}"
    for sample, q in zip(names, (0.5, 0.8), strict=True):
        pdf = post.prior.pdf[post.prior.params.index(f"a2_cen_{sample}")]
        assert pdf.kwds["loc"] == pytest.approx(float(response(q)))
    # Both samples at once are two runs, and what is saved is what was predicted.
    a2 = {"low": [0.55, 0.3], "LRG_0": [0.4, 0.5]}
    truth = on_the_sky.truth
    point = {
        f"{k}_{s}": v
        for s in names
        for k, v in {**truth, **dict(zip(A2, a2[s], strict=True))}.items()
    }
    together, derived = post.loglikes(point, as_dict=True)
    alone = [
        model(sky=likelihood(file, covariance="full")).loglike(
            {**truth, **dict(zip(A2, a2[s], strict=True))}
        )[0]
        for s, file in zip(names, files, strict=True)
    ]
    assert together["sky"] == pytest.approx(sum(alone), rel=1e-10)
    (found,) = post.likelihood.values()
    predicted = found.predicted()[1]["w_gplus"]
    # The data lack the fifth of nine bins.
    assert derived["w_gplus_LRG_0_03"] == pytest.approx(predicted[3], rel=1e-12)
    assert derived["w_gplus_LRG_0_04"] == pytest.approx(predicted[5], rel=1e-12)
    assert "w_gplus_LRG_0_08" not in derived


def test_responses_may_be_fixed_shared_or_have_other_priors(survey, on_the_sky):
    for axis_ratio in (on_the_sky.axis_ratio, None):
        file, _ = survey(name=f"of_{axis_ratio is None}", axis_ratio=axis_ratio)
        free = {"prior": {"min": 0.1, "max": 0.9}}
        post = model({"a2_cen": free, "a2_sat": "lambda a2_cen: a2_cen / 2"}, sky=likelihood(file))
        assert "a2_sat" not in post.parameterization.sampled_params()
        shared = post.loglike({**on_the_sky.truth, "a2_cen": 0.6})[0]
        assert "ia_chi2_w_gg_w_gplus" in post.derived_params
        fixed = model({"a2_cen": 0.6, "a2_sat": 0.3}, sky=likelihood(file))
        assert {*fixed.parameterization.sampled_params()} == {*on_the_sky.truth}
        assert fixed.loglike(on_the_sky.truth)[0] == pytest.approx(shared, rel=1e-12)


def test_without_an_axis_ratio_it_is_said_what_to_give(survey):
    file, _ = survey(axis_ratio=None)
    with pytest.raises(
        LoggedError,
        match=r"sky.ecsv: w_gg, w_gplus depend on the shapes of galaxies, .*Give axis_ratio, which sets "
        r"priors of a2_cen and a2_sat .* or give these parameters in params",
    ):
        model(sky=likelihood(file))
    # Positions have no shapes.
    assert "a2_cen" not in model(sky=likelihood(file, ["w_gg"])).parameterization.sampled_params()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"emulator_error": "aleatoric"}, "emulator_error is aleatoric, but the scatter of a single"),
        ({"emulator_error": "total"}, "scatter of a single catalogue is not known for w_gg, w_gplus"),
        ({"statistics": ["w_gplus", "omega"]}, "w_gplus, measured on the sky, and omega, in three dim"),
        ({"axis_ratio": 1.0}, "option axis_ratio: axis_ratio is 1.0; .*at least 0.1 and below 1"),
        ({"axis_ratio": [0.5, 0.05]}, r"option axis_ratio: axis_ratio is \[0.5, 0.05\]"),
        ({"axis_ratio": [0.5, 0.6, 0.7]}, r"expected the shorter over the longer axis of the galaxies"),
        ({"statistics": ["w_plusplus"]}, "w_plusplus"),
    ],
)  # fmt: skip
def test_mistakes_say_what_to_do(survey, options, message):
    file, _ = survey()
    with pytest.raises(LoggedError, match=message):
        model(sky={**likelihood(file), **options})


def test_weights_without_far_bins_and_bins_that_are_too_near_are_refused(
    survey, on_the_sky, tmp_path
):
    file, measured = survey()
    with pytest.raises(LoggedError, match="of kind paper, do not predict w_gg, w_gplus"):
        model(None, {"weights": "paper"}, sky=likelihood(file))
    near = replace(measured, r_min=measured.r_min / 10, r_max=measured.r_max / 10)
    near.write(tmp_path / "near.ecsv")
    with pytest.raises(LoggedError, match=r"increasing numbers from 0.1 Mpc/h on"):
        model(sky=likelihood(str(tmp_path / "near.ecsv")))


def test_responses_are_of_one_definition(survey):
    first, _ = survey()
    second, _ = survey(("xi_gplus_2",), name="other", ellipticity="epsilon")
    given = {"a": likelihood(first), "b": likelihood(second, ["xi_gplus_2"])}
    with pytest.raises(LoggedError, match="inconsistent"):
        model(**given)
    for name, axis_ratio in (("a", 0.6), ("b", 0.6)):
        given[name]["axis_ratio"] = axis_ratio
    third, _ = survey(name="third", axis_ratio=None)
    fourth, _ = survey(("xi_gplus_2",), name="fourth", ellipticity="epsilon", axis_ratio=None)
    with pytest.raises(
        LoggedError, match=r"are distortion in one measurement and epsilon in another"
    ):
        model(A2, a=likelihood(third), b=likelihood(fourth, ["xi_gplus_2"]))


def test_two_statistics_of_one_sample_share_their_responses(survey, on_the_sky):
    projected, _ = survey()
    quadrupole, _ = survey(("xi_gplus_2",), name="quadrupole")
    given = {"w": likelihood(projected), "q": likelihood(quadrupole, ["xi_gplus_2"])}
    post = model(**given)
    assert {*post.parameterization.sampled_params()} == {*on_the_sky.truth, *A2}
    point = {**on_the_sky.truth, **A2}
    alone = [model(**{name: each}).loglike(point)[0] for name, each in given.items()]
    np.testing.assert_allclose(post.loglikes(point)[0], alone, rtol=1e-12)
    assert {c.get_name() for c in post.sampled_dependence["a2_cen"]} == {"w", "q"}


def test_with_statistics_in_three_dimensions_in_one_run(survey, on_the_sky):
    file, _ = survey()
    three = {"class": "iaemu_likelihood.tng300.Sample1", "sample": None, "emulator_error": "total"}
    given = {"w": likelihood(file, emulator_error="epistemic"), "three": three}
    point = {**on_the_sky.truth, **A2}
    together = model(**given).loglikes(point)[0]
    alone = [
        model(w=given["w"]).loglike(point)[0],
        model(three=three).loglike(on_the_sky.truth)[0],
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-10)


@pytest.mark.parametrize("known", [True, False])
def test_the_theory_waits_while_responses_change(survey, on_the_sky, monkeypatch, known):
    file, _ = survey(axis_ratio=on_the_sky.axis_ratio if known else None)
    free = {"prior": {"min": 0.05, "max": 1.1}}
    params = None if known else {"a2_cen": free, "a2_sat": free}
    post = model(params, sky=likelihood(file))
    calls = Counter()
    theory = post.theory[IAEMU]
    calculate = type(theory).calculate

    def counted(self, *arguments, **options):
        calls["theory"] += 1
        return calculate(self, *arguments, **options)

    monkeypatch.setattr(type(theory), "calculate", counted)
    point = {**on_the_sky.truth, **A2}
    values = [post.loglike({**point, "a2_cen": a2})[0] for a2 in (0.4, 0.5, 0.6)]
    assert calls["theory"] == 1
    assert len({*values}) == 3
    # So a sampler takes more steps in them: they are blocked by themselves.
    blocks, _ = post.get_param_blocking_for_sampler()
    assert sorted(map(sorted, blocks))[0] == ["a2_cen", "a2_sat"]


@pytest.mark.parametrize("a2", [0.0, -0.1, 1.3])
def test_impossible_responses_are_rejected(survey, on_the_sky, a2):
    file, _ = survey()
    wide = {"prior": {"min": -2, "max": 2}}
    post = model({"a2_cen": 0.5, "a2_sat": wide}, sky=likelihood(file))
    assert post.loglike({**on_the_sky.truth, "a2_sat": a2})[0] == -np.inf
    assert np.isfinite(post.loglike({**on_the_sky.truth, "a2_sat": 0.5})[0])
    (found,) = post.likelihood.values()
    post.loglike({**on_the_sky.truth, "a2_sat": a2})
    with pytest.raises(LoggedError, match="a response of shapes is impossible"):
        found.predicted()


def test_the_emulators_own_error_is_added(survey, emulator, on_the_sky):
    file, measured = survey()
    post = model(sky=likelihood(file, ["w_gg"], emulator_error="epistemic", normalized=True))
    residual, _ = by_hand(emulator, measured, on_the_sky.truth, ["w_gg"])
    edges = np.unique(np.round(np.concatenate([measured.r_min, measured.r_max]), 12))
    sigma = emulator.predict_projected(on_the_sky.truth, edges, conventions=measured.conventions)
    keep = np.arange(9) != 4
    (found,) = post.likelihood.values()
    point = on_the_sky.truth
    value = post.loglike(point)[0]
    ((_, covariances),) = found.moments()
    whole = covariances["epistemic"][0]
    np.testing.assert_allclose(np.sqrt(np.diag(whole)), sigma.epistemic.w_gg, rtol=1e-9)
    total = whole[np.ix_(keep, keep)] + np.diag(measured.errors["w_gg"] ** 2)
    expected = -(residual @ np.linalg.solve(total, residual)) / 2 - np.linalg.slogdet(2 * np.pi * total)[1] / 2  # fmt: skip
    assert value == pytest.approx(expected, rel=1e-9)


def test_the_getter_needs_conventions_and_responses(survey, on_the_sky):
    file, measured = survey()
    post = model(sky=likelihood(file))
    point = {**on_the_sky.truth, **A2}
    post.loglike(point)
    theory, (found,) = post.theory[IAEMU], post.likelihood.values()
    edges, how = found.core.bins[0].edges, measured.conventions
    get = theory.get_ia_correlations
    both = get(None, ["w_gg", "w_gplus"], edges, how, np.array([list(A2.values())]))
    np.testing.assert_allclose(both["w_gplus"], found.predicted()[0]["w_gplus"], rtol=1e-12)
    np.testing.assert_allclose(get(None, ["w_gg"], edges, how)["w_gg"], both["w_gg"], rtol=1e-12)
    with pytest.raises(ValueError, match="need the responses a_2"):
        get(None, ["w_gplus"], edges, how)
    with pytest.raises(ValueError, match="asked for by themselves, with r_edges and conventions"):
        get(None, ["w_gplus"], edges)


def test_a_chain_with_everything_free_runs_and_keeps_to_its_data(survey, on_the_sky, tmp_path):
    file, measured = survey()
    info = {
        **info_of(sky=likelihood(file, covariance="full", save_prediction=True)),
        "output": str(tmp_path / "chains" / "sky"),
        "sampler": {"mcmc": {"max_samples": 60, "seed": 1, "learn_proposal": False}},
    }
    updated, sampler = run(copy.deepcopy(info), stop_at_error=True)
    chain = sampler.products()["sample"]
    assert {*on_the_sky.truth, *A2, "ia_chi2_w_gg_w_gplus", "w_gplus_07"} <= {*chain.data.columns}
    assert (chain["a2_cen"] > 0).all()
    assert np.ptp(chain["a2_sat"]) > 0
    assert updated["likelihood"]["sky"]["data_sha256"]
    changed = replace(measured, values={k: v + 0.01 for k, v in measured.values.items()})
    changed.write(file, overwrite=True)
    with pytest.raises(LoggedError, match="run information not compatible"):
        run(copy.deepcopy(info), resume=True, stop_at_error=True)


@pytest.mark.parametrize(
    ("redshift", "warned"), [(0.0, False), (0.3, True), (1, True), ("0 to 1", False)]
)
def test_data_at_another_redshift_than_the_weights_are_warned_of(
    survey, on_the_sky, caplog, redshift, warned
):
    file, measured = survey()
    metadata = {**measured.metadata, "redshift": redshift}
    replace(measured, metadata=metadata).write(file, overwrite=True)
    found = model(on_the_sky.truth, w=likelihood(file, axis_ratio=0.6)).likelihood["w"]
    (sentence,) = found.redshift_warnings() or [""]
    assert (
        sentence.startswith(
            f"{file} was measured at z = {redshift}, but the weights predict z = 0,"
        )
        == warned
    )
    assert ("but the weights predict z = 0" in caplog.text) == warned


def test_options_and_priors_are_in_the_updated_input(survey):
    file, _ = survey()
    updated = update_info(info_of(sky=likelihood(file)))
    assert updated["params"]["a2_cen"]["prior"]["dist"] == "truncnorm"
    assert updated["likelihood"]["sky"]["kaiser"] is True
    # A run that is read from there is the same.
    model_of(updated)


def test_parameters_have_the_same_order_in_every_process(tmp_path, on_the_sky):
    """Of several hash seeds, by which the order of sets would differ."""
    on_the_sky().write(tmp_path / "sky.ecsv")
    code = (
        "from cobaya.input import update_info\n"
        "options = {'data_file': 'sky.ecsv', 'statistics': ['w_gg', 'w_gplus'], "
        "'emulator_error': 'none', 'sample': 'LRG', 'class': 'iaemu_likelihood.IACorrelations'}\n"
        "found = update_info({'likelihood': {'sky': options}})\n"
        "print([name for name in found['params'] if name.startswith('a2')])\n"
    )
    for seed in range(4):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
        )
        assert found.stdout.decode().strip() == "['a2_cen_LRG', 'a2_sat_LRG']"
