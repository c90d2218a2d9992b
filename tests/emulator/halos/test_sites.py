from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.physics.occupations import ZHENG07


def test_subhalos_follow_their_host_in_descending_mpeak(small_halos):
    sites, columns = GalaxySites.of(small_halos), small_halos.columns
    assert (np.diff(sites.logM) >= 0).all()
    number = np.diff(sites.first_subhalo)
    assert number.sum() == len(sites.offset) == (columns["halo_upid"] != -1).sum()
    # The heaviest host has a mass of its own, so it is known in the catalogue.
    row = np.argmax(np.where(columns["halo_upid"] == -1, columns["halo_mvir"], 0))
    theirs = np.flatnonzero(
        (columns["halo_upid"] != -1) & (columns["halo_hostid"] == columns["halo_id"][row])
    )
    theirs = theirs[np.argsort(-columns["halo_mpeak"][theirs])]
    assert len(theirs) == number[-1] > 100
    position = np.stack([columns[f"halo_{x}"][theirs] for x in "xyz"], axis=1)
    mine = (sites.position[-1] + sites.offset[sites.first_subhalo[-2] :]) % sites.box
    np.testing.assert_allclose(mine, position, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(sites.radial[-10:], axis=1), 1)


def test_mean_number_is_a_sum_over_hosts(small_halos):
    sites, hod = GalaxySites.of(small_halos), np.array([12.0, 0.26, 12.1, 12.9, 1.0])
    centrals = ZHENG07.mean_centrals(sites.logM, hod[None])
    satellites = ZHENG07.mean_satellites(sites.logM, hod[None])
    expected = centrals.sum() + satellites.sum()
    assert sites.mean_number(hod) == pytest.approx(expected, rel=1e-12)


def test_mass_bins_that_do_not_serve_are_named(small_halos):
    bins = np.array([1e13, 1e16])
    with pytest.raises(ValueError, match=r"Host masses .* not inside subhalo_mass_bins, 1e.13 to"):
        GalaxySites.of(replace(small_halos, subhalo_mass_bins=bins))
    # Only the two heaviest hosts keep their subhalos.
    columns = small_halos.columns
    heavy = np.sort(columns["halo_mvir"][columns["halo_upid"] == -1])[-2]
    keep = (columns["halo_upid"] == -1) | (columns["halo_mvir_host_halo"] >= heavy)
    halos = replace(small_halos, columns={name: x[keep] for name, x in columns.items()})
    with pytest.raises(
        ValueError, match=r"No subhalos in subhalo_mass_bins 0 \(.*, but hosts; join"
    ):
        GalaxySites.of(halos)
