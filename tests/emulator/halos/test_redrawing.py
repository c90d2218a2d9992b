"""Another draw of a catalogue's subhalos."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.halos.redrawing import redrawn
from iaemu_likelihood.emulator.halos.rows import POSITION


def seen_by_hosts(halos):
    """Of the first subhalos: distance in virial radii and cosine with the axis, and their hosts."""
    sites = GalaxySites.of(halos)
    rvir = np.sort(halos.columns["halo_rvir"][halos.columns["halo_upid"] == -1])
    host = np.flatnonzero(np.diff(sites.first_subhalo))
    first = sites.first_subhalo[host]
    distance = np.linalg.norm(sites.offset[first], axis=1) / rvir[host]
    return distance, np.abs((sites.radial[first] * sites.axis[host]).sum(axis=1)), sites


def test_neighbours_in_mass_exchange_their_subhalos(small_halos):
    distance, cosine, _ = seen_by_hosts(small_halos)
    again = redrawn(small_halos, seed=1)
    of_others, turned, sites = seen_by_hosts(again)
    whole = len(distance) // 64 * 64
    groups = (x[:whole].reshape(-1, 64) for x in (distance, cosine, of_others, turned))
    was, was_turned, now, now_turned = groups
    by_distance, again_by_distance = (np.argsort(x, axis=1) for x in (was, now))

    def sorted_by(x, order):
        return np.take_along_axis(x, order, axis=1)

    np.testing.assert_allclose(
        sorted_by(now, again_by_distance), sorted_by(was, by_distance), rtol=2e-3
    )
    # Angles with the axis move with the distances.
    same = np.isclose(
        sorted_by(now_turned, again_by_distance), sorted_by(was_turned, by_distance), atol=5e-3
    )
    assert same.mean() > 0.97
    assert (np.abs(now - was) > 1e-3).mean() > 0.95
    assert len(sites.offset) == len(GalaxySites.of(small_halos).offset)


def test_hosts_stay_and_the_seed_decides(small_halos):
    one, two, other = (redrawn(small_halos, seed) for seed in (1, 1, 2))
    host = small_halos.columns["halo_upid"] == -1
    for key in POSITION:
        np.testing.assert_array_equal(one.columns[key][host], small_halos.columns[key][host])
        np.testing.assert_array_equal(one.columns[key], two.columns[key])
        assert (one.columns[key][~host] != other.columns[key][~host]).mean() > 0.95
    assert one.sha256 != small_halos.sha256


def test_without_subhalos_nothing_can_be_drawn(small_halos):
    bare = HaloCatalogue.from_columns(
        "bare", small_halos.columns, small_halos.box, 0.0, 3.8e9, satellites="nfw",
        cosmology="flat LCDM Om0=0.3 Ob0=0.05 h=0.7 sigma8=0.8 ns=0.96",
    )  # fmt: skip
    with pytest.raises(ValueError, match="bare has no subhalos to draw again"):
        redrawn(bare, seed=1)
