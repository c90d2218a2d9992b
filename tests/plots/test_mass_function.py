"""The figure of a halo catalogue."""

import numpy as np
import pytest

from iaemu_likelihood.plots.mass_function import STEP, mass_function_plot


def test_densities_are_numbers_per_volume_and_decade():
    masses = {"a": np.array([1.05e12] * 8 + [2.05e12] * 2), "b": np.array([1.05e12])}
    (axes,) = mass_function_plot(masses, 50.0).axes
    first, second = (bar.lines[0] for bar in axes.containers)
    np.testing.assert_allclose(first.get_ydata(), np.array([8, 2]) / 50 / STEP)
    np.testing.assert_allclose(first.get_xdata(), [12.05, 12.35])
    np.testing.assert_allclose(second.get_ydata(), [1 / 50 / STEP])
    (_, low), (_, high) = axes.collections[0].get_segments()[0]
    assert (high - low) / 2 == pytest.approx(np.sqrt(8) / 50 / STEP)


def test_a_catalogue_draws_all_its_halos(small_halos):
    figure = small_halos.plot()
    hosts, subhalos = (bar.lines[0].get_ydata() for bar in figure.axes[0].containers)
    is_host = small_halos.columns["halo_upid"] == -1
    volume = small_halos.box**3 * STEP
    assert hosts.sum() * STEP * small_halos.box**3 == pytest.approx(is_host.sum())
    heavy = small_halos.columns["halo_mvir"][~is_host] > 0
    assert subhalos.sum() * volume == pytest.approx(heavy.sum())
    assert f"{is_host.sum()} hosts and {(~is_host).sum()} subhalos" in repr(small_halos)
