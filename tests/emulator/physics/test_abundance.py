"""The number of galaxies is the sum of an occupation over all hosts."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.occupations import DESI_ELG, DESI_LRG, ZHENG07

# TNG300's sample 1; a sharp threshold; the ends of the domain.
HOD = np.array(
    [
        [12.54, 0.26, 12.68, 13.48, 1.0],
        [12.3, 0.05, 12.0, 13.3, 1.1],
        [11.4, 0.05, 11.0, 12.3, 1.2],
        [14.0, 0.6, 13.9, 14.6, 0.9],
    ]
)


@pytest.fixture(scope="module")
def masses():
    return np.random.default_rng(0).exponential(0.5, 200_000) + 11.0


def test_bins_of_mass_give_the_sum_over_hosts(masses):
    hosts = HostAbundance.of(masses, box=200.0)
    assert hosts.density.sum() * 200.0**3 == pytest.approx(len(masses), rel=1e-12)
    each = (ZHENG07.mean_centrals, ZHENG07.mean_satellites)
    expected = [[mean(masses, point[None]).sum() / 200.0**3 for mean in each] for point in HOD]
    np.testing.assert_allclose(hosts.galaxies(ZHENG07, HOD), expected, rtol=1e-4)


def test_tensors_give_the_same_numbers_and_their_gradient(masses):
    hosts = HostAbundance.of(masses, box=200.0)
    hod = torch.tensor(HOD, requires_grad=True)
    found = hosts.galaxies(ZHENG07, hod)
    np.testing.assert_array_equal(found.detach(), hosts.galaxies(ZHENG07, HOD))
    (slope,) = torch.autograd.grad(found[:, 1].sum(), hod)
    # d<N>/d log10 M_1 is -alpha ln(10) <N> for a power law.
    expected = -HOD[:, 4] * np.log(10) * found[:, 1].detach().numpy()
    np.testing.assert_allclose(slope[:, 3], expected, rtol=1e-6)
    assert not slope[:, :2].any()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_more_than_one_central_in_a_host_is_refused(kind, masses):
    hosts = HostAbundance.of(masses, box=200.0)
    hod = np.array([[11.8, 0.05, 0.5, 4.0, 11.5, 13.0, 1.0, 0.1]] * 2)
    assert (hosts.galaxies(DESI_ELG, kind(hod)) > 0).all()
    hod[1, 1] = 1.0
    with pytest.raises(
        ValueError,
        match=r"desi_elg expects 1\.\d+ centrals .* A_c = 1, .*A host has one central at most",
    ):
        hosts.galaxies(DESI_ELG, kind(hod))


def test_where_every_host_has_a_central_there_is_a_gradient(masses):
    """Though more than one is expected a step beside."""
    hosts = HostAbundance.of(masses, box=200.0)
    hod = torch.tensor([[12.8, 0.1, 0.5, 13.5, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    centrals = hosts.galaxies(DESI_LRG, hod)[:, 0].sum()
    (slope,) = torch.autograd.grad(centrals, hod)
    assert DESI_LRG.names[-1] == "f_ic"  # to which centrals are proportional
    assert slope[0, -1] == pytest.approx(centrals.item(), rel=1e-6)


def test_tensors_of_weights_are_read_back(masses):
    hosts = HostAbundance.of(masses, box=200.0)
    found = HostAbundance.from_tensors(hosts.tensors())
    np.testing.assert_array_equal(found.log_mass, hosts.log_mass)
    np.testing.assert_array_equal(found.density, hosts.density)
    assert HostAbundance.from_tensors({}) is None
    bad = hosts.tensors() | {"host_density": -torch.tensor(hosts.density)}
    with pytest.raises(ValueError, match="positive density"):
        HostAbundance.from_tensors(bad)


@pytest.mark.parametrize("weights", ["templates", "paper", "z0"])
def test_bundled_weights_hold_the_hosts_of_their_catalogue(weights):
    catalogue = load_halos("bundled")
    emulator = Emulator.load(weights)
    assert halos_of(emulator.card, 0.0) == {"name": "bundled", "sha256": catalogue.sha256}
    np.testing.assert_array_equal(emulator.hosts.density, catalogue.abundance.density)
    sites = GalaxySites.of(catalogue)
    n_centrals, n_satellites = np.mean(
        [populate(sites, HOD[0], np.random.default_rng(seed)).numbers for seed in range(4)], axis=0
    )
    mean = emulator.hosts.galaxies(ZHENG07, HOD[:1])[0] * catalogue.box**3
    # Of four catalogues; at most Poisson noise.
    assert abs(n_centrals - mean[0]) < 3 * np.sqrt(mean[0] / 4)
    assert abs(n_satellites - mean[1]) < 3 * np.sqrt(mean[1] / 4)
