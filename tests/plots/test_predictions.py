"""Data against predictions: what the figure says is what the likelihood has, and all of it is seen."""

import numpy as np
import pytest
import yaml
from iaemu_likelihood.emulator import Emulator
from matplotlib.collections import LineCollection
from scipy.stats import chi2

from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.plots import prediction_plot, predictions
from iaemu_likelihood.sampling.optimum import climb
from iaemu_likelihood.sampling.posterior import posterior

POINT = {"logMmin": 12.54, "sigma_logM": 0.26, "logM0": 12.68, "logM1": 13.48, "alpha": 1.0}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A short chain that fits three statistics, one of which is cut."""
    folder = tmp_path_factory.mktemp("three")
    emulator = Emulator.load()
    p = emulator.predict(mu_cen=0.8, mu_sat=0.3, **POINT)
    rng = np.random.default_rng(1)
    names = list(p)[:3]
    measured = Measurement(
        "galaxies of $10^{11}$",
        emulator.r_edges[:-1],
        emulator.r_edges[1:],
        {name: p[name] + p.aleatoric[name] * rng.normal(size=len(p.r)) for name in names},
        {name: p.aleatoric[name] for name in names},
    )
    measured.write(folder / "a.ecsv")
    run = {
        "theory": {"iaemu_likelihood.IAEmu": {}},
        "likelihood": {
            "a": {
                "class": "iaemu_likelihood.IACorrelations",
                "data_file": str(folder / "a.ecsv"),
                "statistics": names,
                "r_min": {names[0]: 0.3, names[1]: 0.1, names[2]: 0.1},
            }
        },
        "params": POINT,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    post = posterior(run)
    best = np.array([0.8, 0.3])
    spread = np.linalg.cholesky(np.linalg.inv(post.fisher(best)))
    draws = best + rng.normal(size=(200, 2)) @ spread.T
    root = folder / "chain"
    post.getdist(draws, log_posterior=post(draws)).saveAsText(str(root))
    root.with_suffix(".txt").rename(folder / "chain_1.txt")
    best = climb(post, draws[np.argmax(post(draws))]).x
    assert post(best) > post(draws).max()
    return root, folder / "run.yaml", best


def test_chi2_is_that_of_the_likelihood(chain):
    """For a diagonal covariance, the sum of the squared residuals of the figure."""
    root, _ = chain
    (fit,) = predictions(root, n=10)
    (name,) = fit.draws
    measured = fit.measurement
    residuals = (measured.values[name] - fit.best[name]) / fit.sigma[name]
    assert fit.chi2 == pytest.approx((residuals**2).sum())
    np.testing.assert_array_equal(fit.sigma[name], measured.errors[name])
    assert (fit.n_data, fit.n_parameters) == (12, 2)
    assert fit.p_value == pytest.approx(chi2.sf(fit.chi2, 10))
    figure = prediction_plot([fit])
    assert f"{fit.chi2:.1f} / 10" in figure.get_suptitle()
    assert f"p = {fit.p_value:.2g}" in figure.get_suptitle()


def test_the_emulators_errors_are_part_of_sigma(three):
    root, run, best = three
    (fit,) = predictions(root, n=5, run=run)
    sigma = Emulator.load().predict(mu_cen=best[0], mu_sat=best[1], **POINT).aleatoric
    for name in fit.draws:
        expected = np.hypot(fit.measurement.errors[name], sigma[name])
        fitted = np.isfinite(fit.sigma[name])
        np.testing.assert_allclose(fit.sigma[name][fitted], expected[fitted], rtol=1e-5)
    cut, *whole = (np.isfinite(x) for x in fit.sigma.values())
    np.testing.assert_array_equal(cut, fit.measurement.r_min > 0.3)
    assert np.all(whole)


def test_nothing_is_clipped_and_names_mean_themselves(three):
    root, run, _ = three
    (fit,) = predictions(root, n=50, run=run)
    figure = prediction_plot([fit])
    assert figure.get_suptitle().startswith(r"galaxies of \$10^{11}\$: $\chi^2")
    figure.draw_without_rendering()
    assert len(figure.axes) == 2 * len(fit.draws)
    seen = 0
    for axes in figure.axes:
        low, high = axes.get_ylim()
        bars = [x for x in axes.collections if isinstance(x, LineCollection)]
        bands = [x for x in axes.patches if hasattr(x, "get_data")]
        y = [segment[:, 1] for bar in bars for segment in bar.get_segments()]
        for band in bands:
            values, _, baseline = band.get_data()
            y += [values, values if baseline is None else baseline]
        assert low < min(map(np.min, y))
        assert max(map(np.max, y)) < high
        seen += len(y)
    assert seen > 100
    labels = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert {"0.1", "1", "10"} <= {*labels}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["95 %", "68 %", "best fit", "data", "not fitted"]


def test_chains_stand_side_by_side(chain):
    root, _ = chain
    (fit,) = predictions(root, n=10)
    figure = prediction_plot([fit, fit, fit], ["a", "b_1", "c $x$"])
    above = figure.axes[::2]
    assert [axes.get_title().partition("\n")[0] for axes in above] == ["a", "b_1", r"c \$x\$"]
    figure.draw_without_rendering()
    tops = {round(axes.get_position().y1, 6) for axes in above}
    assert len(tops) == 1
    assert len({round(axes.get_position().x0, 2) for axes in above}) == 3


def test_projected_statistics_are_drawn_with_their_gaps(on_the_sky, tmp_path):
    on_the_sky().write(tmp_path / "sky.ecsv")
    run = {
        "theory": {"iaemu_likelihood.IAEmu": {}},
        "likelihood": {
            "a": {
                "class": "iaemu_likelihood.IACorrelations", "data_file": str(tmp_path / "sky.ecsv"),
                "statistics": ["w_gg", "w_gplus"], "r_min": {"w_gg": 2.0, "w_gplus": 0.3},
                "emulator_error": "epistemic",
            }
        },
        "params": POINT,
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    post = posterior(run)
    assert post.names == ["mu_cen", "mu_sat", "a2_cen", "a2_sat"]
    truth = {"mu_cen": 0.8, "mu_sat": 0.3, "a2_cen": 0.58, "a2_sat": 0.29}
    best = np.array([truth[name] for name in post.names])
    draws = best + 0.01 * np.random.default_rng(1).normal(size=(60, 4))
    root = tmp_path / "chain"
    post.getdist(draws, log_posterior=post(draws)).saveAsText(str(root))
    root.with_suffix(".txt").rename(tmp_path / "chain_1.txt")
    (fit,) = predictions(root, n=10, run=tmp_path / "run.yaml")
    at = climb(post, draws[np.argmax(post(draws))]).x
    assert fit.best_label == "best fit"
    measured = Measurement.read(tmp_path / "sky.ecsv")
    p = Emulator.load().predict_projected(
        {**POINT, "mu_cen": at[0], "mu_sat": at[1]}, measured.r_edges, response=at[2:],
        conventions=measured.conventions,
    )  # fmt: skip
    keep = np.arange(9) != 4
    for name in ("w_gg", "w_gplus"):
        np.testing.assert_allclose(fit.best[name], p[name], rtol=1e-6)
        assert fit.draws[name].shape == (10, 9)
        expected = np.hypot(measured.errors[name], p.epistemic[name][keep])
        fitted = np.isfinite(fit.sigma[name])
        np.testing.assert_allclose(fit.sigma[name][fitted], expected[fitted], rtol=1e-5)
    assert (fit.n_data, fit.n_parameters) == (12, 4)
    figure = prediction_plot([fit])
    figure.draw_without_rendering()
    assert "r_" in figure.axes[1].get_xlabel()
