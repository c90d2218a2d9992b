"""The figure of a halo catalogue."""

from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.rows import AXES

from iaemu_likelihood.plots.halo_catalogue import N_COSINES, STEP, WIDE_STEP


def drawn(panel):
    return [bar.lines[0].get_xydata() for bar in panel.containers]


def test_densities_are_numbers_per_volume_and_decade(small_halos):
    """As many halos as there are, with Poisson errors, near the mass function of theory."""
    halos = replace(small_halos, cosmology=load_halos().cosmology)
    masses, _, _ = halos.plot().axes
    hosts, subhalos = drawn(masses)
    is_host, mass = halos.columns["halo_upid"] == -1, halos.columns["halo_mvir"]
    volume = halos.box**3 * STEP
    assert hosts[:, 1].sum() * volume == pytest.approx(is_host.sum())
    assert subhalos[:, 1].sum() * volume == pytest.approx((mass[~is_host] > 0).sum())
    number = (np.abs(np.log10(mass[is_host]) - 12.05) < STEP / 2).sum()
    at = np.argmin(np.abs(hosts[:, 0] - 12.05))
    assert hosts[at] == pytest.approx([12.05, number / volume])
    (_, low), (_, high) = masses.collections[0].get_segments()[at]
    assert (high - low) / 2 == pytest.approx(np.sqrt(number) / volume)
    line = next(line for line in masses.lines if line.get_label() == "Despali et al. 2016")
    theory = np.interp(12.05, *line.get_data())
    # The catalogue's masses are those of this mass function; a corner of its box has its own density.
    assert number / volume == pytest.approx(theory, rel=0.2)
    # Of no known cosmology there is no line.
    labels = [line.get_label() for line in small_halos.plot().axes[0].lines]
    assert "Despali et al. 2016" not in labels


def test_axes_along_the_grid_are_seen(small_halos):
    """Every fourth host points along x: by so much its last bin is fuller."""
    hosts = small_halos.columns["halo_upid"] == -1
    along = np.flatnonzero(hosts)[::4]
    columns = dict(small_halos.columns)
    for key, value in zip(AXES, (1.0, 0.0, 0.0), strict=True):
        columns[key] = columns[key].copy()
        columns[key][along] = value
    x, y, _ = drawn(replace(small_halos, columns=columns).plot().axes[1])
    assert x[-1, 1] == pytest.approx(1 + 0.25 * (N_COSINES - 1), rel=0.05)
    assert y[0, 1] == pytest.approx(1 + 0.25 * (N_COSINES - 1), rel=0.05)
    for each in drawn(small_halos.plot().axes[1]):
        np.testing.assert_allclose(each[:, 1], 1, atol=0.15)
        assert each[:, 1].mean() == pytest.approx(1)


def test_subhalos_of_hosts_or_concentrations(small_halos):
    columns = small_halos.columns
    hosts = columns["halo_upid"] == -1
    line = small_halos.plot().axes[2].lines[0].get_xydata()
    in_bin = hosts & (np.floor(np.log10(columns["halo_mvir"]) / WIDE_STEP) == 52)
    number = np.isin(columns["halo_hostid"][~hosts], columns["halo_id"][in_bin]).sum()
    expected = number / in_bin.sum()
    np.testing.assert_allclose(line[line[:, 0] == 52.5 * WIDE_STEP, 1], expected)
    alone = {
        **{name: x[hosts] for name, x in columns.items()},
        "halo_nfw_conc": np.full(hosts.sum(), 5.0),
    }
    nfw = HaloCatalogue.from_columns("nfw", alone, small_halos.box, 0.0, 3.8e9)
    panel = nfw.plot().axes[2]
    assert panel.get_ylabel() == "concentration of hosts"
    np.testing.assert_allclose(panel.lines[0].get_ydata(), 5, rtol=0.016)
