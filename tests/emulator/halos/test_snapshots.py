"""Halo catalogues of one simulation."""

from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.halos.snapshots import Catalogued, Snapshots
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07


@pytest.fixture(scope="module")
def early():
    return Catalogued.of("bundled@1", load_halos("bundled@1"))


@pytest.fixture(scope="module")
def late():
    return Catalogued.of("bundled", load_halos("bundled"))


def test_bundled_catalogues_know_their_redshift(early):
    assert early.redshift == 1.0
    with pytest.raises(
        ValueError, match=r"no bundled catalogue at redshift 0\.5.*0, 0\.3, 0\.625, 1"
    ):
        load_halos("bundled@0.5")


def test_they_are_ordered_and_grouped_by_redshift(early, late):
    other = replace(early, source="phases/other.hdf5", sha256="f" * 64)
    found = Snapshots.of([early, late, other])
    assert [[x.name for x in boxes] for boxes in found.by_redshift] == [
        ["bundled"],
        ["bundled@1", "other.hdf5"],
    ]
    assert found.sha256 not in [x.sha256 for x in found.catalogues]
    assert Snapshots.of([late]).sha256 == late.sha256
    # Two boxes of the same hosts have their mean abundance.
    hod = np.array([[12.5, 0.3, 12.5, 13.5, 1.0]])
    np.testing.assert_allclose(
        found.abundances[1].galaxies(ZHENG07, hod), early.abundance.galaxies(ZHENG07, hod)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box": 500.0, "sha256": "f" * 64}, "bundled has box 250.0, bundled@1 has 500.0"),
        ({"cosmology": "other", "sha256": "f" * 64}, "has cosmology .*bundled@1 has 'other'"),
        ({"satellites": "nfw", "sha256": "f" * 64}, "has satellites 'subhalos'.* has 'nfw'"),
    ],
)
def test_other_simulations_are_refused(early, late, changes, message):
    with pytest.raises(ValueError, match=message):
        Snapshots.of([late, replace(early, **changes)])


def test_what_is_there_twice_is_refused(early, late):
    with pytest.raises(ValueError, match="bundled@1 is given twice"):
        Snapshots.of([early, late, early])
    namesake = replace(early, source="elsewhere/bundled@1", sha256="f" * 64)
    with pytest.raises(ValueError, match="Two halo catalogues have the name bundled@1"):
        Snapshots.of([early, late, namesake])


def test_the_domain_ends_where_too_few_galaxies_are_expected(early, late):
    whole = Domain.of()
    found = Snapshots.of([early, late]).redshifts(whole, 600.0)
    assert found.values == (0.0, 1.0)
    assert found.highest == (14.0, 13.55)  # as docs/weights.md says
    rng = np.random.default_rng(1)
    for z, hosts in ((0.0, late.abundance), (1.0, early.abundance)):
        domain = found.domain(whole, z)
        unit = rng.uniform(-1, 1, (2000, 5))
        unit[:, 0] = 1
        number = hosts.galaxies(ZHENG07, domain.from_unit(unit)).sum(axis=1) * late.box**3
        assert number.min() > 550  # of other points than those that were looked at
    assert found.highest[1] < found.highest[0]
    assert Snapshots.of([early]).redshifts(whole, 0.0).highest == (14.0,)
    with pytest.raises(ValueError, match="Nowhere in the domain are 1e\\+09 galaxies expected"):
        Snapshots.of([early]).redshifts(whole, 1e9)


def test_between_snapshots_halos_of_a_rank_have_masses_between(early, late):
    several, rank = [late.abundance, early.abundance], np.log([1e-5, 1e-4, 1e-3])
    at_ends = [hosts.mass_above(rank) for hosts in several]
    assert (at_ends[0] > at_ends[1]).all()  # halos grow
    between = HostAbundance.between(several, [0.75, 0.25])
    np.testing.assert_allclose(
        between.mass_above(rank), 0.75 * at_ends[0] + 0.25 * at_ends[1], atol=2e-3
    )
    # There are as many hosts as in the nearest snapshot, and at a snapshot they are its own.
    assert between.density.sum() == late.abundance.density.sum()
    np.testing.assert_allclose(
        HostAbundance.between(several, [0, 1]).log_mass, early.abundance.log_mass, rtol=1e-12
    )


def test_ranks_go_back_to_masses(late):
    hosts = late.abundance
    np.testing.assert_allclose(hosts.mass_above(hosts.log_number), hosts.log_mass, rtol=1e-12)
    heavier = np.array([13.0, 14.0])[:, None] < hosts.log_mass
    number = np.log((heavier * hosts.density).sum(axis=1))
    np.testing.assert_allclose(hosts.mass_above(number), [13.0, 14.0], atol=0.02)
