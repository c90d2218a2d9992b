"""The bundled test points: the three kinds agree with each other, and with the bundled weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.templates import combine_templates, templates_of


@pytest.fixture(scope="module")
def expectation():
    return DataSet.held_out("expectation")


def test_sizes_and_origin(expectation):
    sha256 = load_halos("bundled").sha256
    for kind, n_points, n_catalogues in (
        ("expectation", 5000, 0), ("realisations", 200, 20), ("halotools", 30, 10),
    ):  # fmt: skip
        data = DataSet.held_out(kind)
        assert (data.kind, len(data)) == (kind, n_points)
        assert data.attributes["n_catalogues"] == n_catalogues
        assert data.attributes["halos_sha256"] == sha256
        assert len(data.select("test")) == n_points
        # Of the same points, but for the last digits, which depend on the machine.
        np.testing.assert_allclose(data.hod, expectation.hod[:n_points], rtol=1e-13)


@pytest.mark.parametrize("kind", ["realisations", "halotools"])
def test_catalogues_scatter_about_the_expectation(expectation, kind):
    data = DataSet.held_out(kind)
    draws = data.columns["correlations"].astype(np.float64)
    templates = expectation.columns["templates"][: len(data)].astype(np.float64)
    mu, _ = data.space.split(data.parameters)
    expected = combine_templates(templates, mu, data.statistics)
    # Where every catalogue has many pairs, so that a ratio of sums is not biased.
    usable = (data.columns["n_pairs"].min(axis=1) > 200)[:, None] & np.isfinite(expected)
    n = draws.shape[1]
    with np.errstate(invalid="ignore"):
        z = (draws.mean(axis=1) - expected) / (draws.std(axis=1, ddof=1) / np.sqrt(n))
    for i, name in enumerate(statistic.name for statistic in data.statistics):
        values = z[:, i][usable[:, i]]
        assert len(values) > 0.8 * z[:, i].size, name
        # Student's t with n - 1 degrees of freedom has the variance (n - 1) / (n - 3). Bins of a
        # point move together, so that there are fewer independent numbers than it seems.
        assert np.mean(values**2) == pytest.approx((n - 1) / (n - 3), rel=0.25), name
        assert abs(np.mean(values)) < 0.25, name
        assert np.abs(values).max() < 8, name


def test_weights_at_the_points(expectation):
    emulator = Emulator.load()
    with torch.no_grad():
        fine = emulator.templates(torch.as_tensor(expectation.parameters)).mean(0).numpy()
    mean = np.stack(emulator.binning(*fine.swapaxes(0, 1)), axis=1)
    truth = expectation.columns["templates"]
    for i, template in enumerate(templates_of(expectation.statistics)):
        if template.kinds:
            scale = np.abs(truth[:, i]).max(axis=0)
            assert np.median(np.abs(mean[:, i] - truth[:, i]) / scale) < 0.005
        else:
            error = np.abs((1 + mean[:, i]) / (1 + truth[:, i]) - 1)
            assert np.median(error) < 0.002
