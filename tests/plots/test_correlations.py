"""Figures of correlation functions: each by its power of the separation, in one scale of lengths."""

import subprocess
import sys

import numpy as np
import pytest
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.binned import Binned
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES

from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.plots.correlations import correlation_plot, scale, value_label

POINT = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]


def test_points_are_the_measurement_times_its_power():
    measured = Measurement.read("tng300.sample1")
    figure = measured.plot()
    r = (measured.r_min + measured.r_max) / 2
    assert len(figure.axes) == 3
    for axes, (name, values) in zip(figure.axes, measured.values.items(), strict=True):
        (points,) = [line for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(points.get_xdata(), r)
        np.testing.assert_allclose(
            points.get_ydata(), values * r ** OBSERVABLES[name].plot_power, rtol=1e-12
        )
        segments = axes.collections[0].get_segments()
        half = [(high - low) / 2 for (_, low), (_, high) in segments]
        np.testing.assert_allclose(half, measured.errors[name] * scale(name, r), rtol=1e-9)


def test_bands_are_those_of_the_prediction():
    prediction = Emulator.load().predict(POINT)
    axes = prediction.plot().axes[1]
    np.testing.assert_allclose(
        axes.lines[0].get_ydata(), prediction.omega * np.sqrt(prediction.r), rtol=1e-12
    )
    wide = axes.collections[0].get_paths()[0].vertices[:, 1]
    highest = ((prediction.omega + prediction.aleatoric.omega) * np.sqrt(prediction.r)).max()
    assert wide.max() == pytest.approx(highest)


def test_many_points_are_lines():
    prediction = Emulator.load().predict([POINT] * 10)
    figure = prediction.plot()
    assert len(figure.axes[0].lines) == 11  # and one for the legend
    assert [x.get_text() for x in figure.legends[0].get_texts()] == ["prediction, 10 points"]


def test_data_and_model_share_panels():
    measured, prediction = Measurement.read("tng300.sample1"), Emulator.load().predict(POINT)
    figure = correlation_plot({"a $b$": measured.binned(), "model": prediction.binned()})
    assert len(figure.axes) == 3
    shown = [text for text in figure.legends[0].get_texts() if text.get_text() == "a $b$"]
    assert not shown[0].get_parse_math()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("xi", r"$r^{2}\,\xi(r)\ [(\mathrm{Mpc}/h)^{2}]$"),
        ("omega", r"$r^{1/2}\,\omega(r)\ [(\mathrm{Mpc}/h)^{1/2}]$"),
        ("eta", r"$r\,\eta(r)\ [\mathrm{Mpc}/h]$"),
        ("w_gg", r"$r_\mathrm{p}\,w_\mathrm{gg}(r_\mathrm{p})\ [(\mathrm{Mpc}/h)^{2}]$"),
        ("xi_gplus_2", r"$r\,\tilde\xi_{\mathrm{g+},2}(r)\ [\mathrm{Mpc}/h]$"),
    ],
)
def test_axes_say_what_is_drawn(name, label):
    assert value_label(name) == label
    panel = correlation_plot({"": [Binned("r", np.arange(1.0, 4), {name: np.ones(3)})]}).axes[0]
    assert panel.get_ylabel() == label
    assert panel.get_xlabel().startswith("$r_" if name.startswith("w") else r"$r\ ")
    panel.figure.draw_without_rendering()


@pytest.mark.parametrize("name", OBSERVABLES)
def test_every_statistic_can_be_drawn(name):
    data = Binned("r", np.arange(1.0, 4), {name: np.ones(3)}, {"err": {name: np.ones(3)}})
    correlation_plot({name: [data]}).draw_without_rendering()


def test_matplotlib_is_imported_when_something_is_drawn():
    """A prediction needs none, and its figure needs no Cobaya."""
    script = f"""
import sys
from iaemu_likelihood.emulator import Emulator
p = Emulator.load().predict({POINT})
repr(p), p._repr_html_()
print("matplotlib" in sys.modules)
p.plot()
print("matplotlib" in sys.modules, "cobaya" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert found.stdout.split() == ["False", "True", "False", "False"]
