"""The exact model with strengths that depend on host mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.expectation import Population, Sample, Tabulation
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.exact import (
    AlignedByMass,
    project_exactly,
    write_exact_card,
)
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.statistics import OMEGA, W_GG, W_GPLUS, XI

from ..expectation.test_tabulation import BOX, EDGES, HOD, tiny_catalogue

MU = [0.6, 0.3, 0.5, -0.4]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    halos, path = tiny_catalogue(), tmp_path_factory.mktemp("exact") / "tiny.hdf5"
    Tabulation.build(halos, EDGES, progress=False, tolerance=0).write(path)
    write_exact_card(path, halos)
    return path


@pytest.fixture(scope="module")
def emulator(file):
    return Emulator.load(file, alignment="watson_mass")


@pytest.mark.slow
def test_predictions_are_those_of_the_tabulation(file, emulator):
    assert emulator.space.names[:4] == ("mu_cen", "mu_sat", "slope_cen", "slope_sat")
    points = np.array([[*MU, *HOD], [*MU[:2], 0.0, 0.0, *HOD]])
    outside = points + np.array([*np.zeros(4), 0.0, 0.0, -3.0, 0.0, 0.0])
    tabulation = Tabulation.read(file)

    def expected(theta):
        return tabulation.aligned_templates(theta[:, :4], theta[:, 4:]).correlations()

    # Outside the domain by all of its functions, inside by their combinations.
    found = emulator.predict(outside, extrapolate=True)
    for name, values in zip(("xi", "omega", "eta"), expected(outside), strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)
    found = emulator.predict(points)
    for name, values in zip(("xi", "omega", "eta"), expected(points), strict=True):
        np.testing.assert_allclose(found[name], values, rtol=3e-4, atol=3e-5)
    # Without slopes it is the alignment of the paper.
    usual = Emulator.load(file).predict([*MU[:2], *HOD])
    np.testing.assert_allclose(found.omega[1], usual.omega, rtol=1e-3, atol=1e-4)
    assert np.abs(found.omega[0] - found.omega[1]).max() > 0.01


@pytest.mark.slow
def test_identity_knows_the_alignment(file):
    usual, by_mass = (Emulator.load(file, alignment=a) for a in (None, "watson_mass"))
    assert usual.card["content_sha256"] != by_mass.card["content_sha256"]
    assert Emulator.load(file, alignment="watson").card == usual.card


@pytest.mark.slow
@pytest.mark.parametrize("combined", [False, True])
def test_gradients_in_every_parameter_are_central_differences(file, emulator, combined):
    """Of two points at once, from sums in double precision."""
    combinations = emulator._combinations if combined else None
    pairs = Tabulation.read(file).directed(combinations, torch.device("cpu"), torch.float64)
    volumes = shell_volumes(EDGES) / BOX**3
    points = np.array([[*MU, *HOD], [-0.5, 0.9, -0.3, 0.8, 11.7, 0.3, 11.4, 13.2, 1.1]])
    rng = np.random.default_rng(0)
    weights = torch.as_tensor(rng.normal(size=(2, 3, len(EDGES) - 1)))

    def totals(theta):
        """A number of each point, to which all bins of all statistics add."""
        mu, hod = emulator.space.split(theta)
        occupied = AlignedByMass(pairs, *emulator._galaxies(hod), volumes, emulator.space, hod)
        return (weights * occupied(mu, emulator.statistics)[0]).sum((1, 2))

    theta = torch.tensor(points, requires_grad=True)
    (found,) = torch.autograd.grad(totals(theta).sum(), theta)
    h = 1e-5
    slopes = torch.stack(
        [
            (totals(theta.detach() + h * e) - totals(theta.detach() - h * e)) / (2 * h)
            for e in torch.eye(9, dtype=torch.float64)
        ],
        dim=1,
    )
    assert (found != 0).all()
    np.testing.assert_allclose(found, slopes, rtol=1e-5, atol=1e-6 * float(found.abs().max()))


@pytest.mark.slow
def test_points_of_one_occupation_are_predicted_together(emulator):
    """More of them than are evaluated at a time, with the gradient that each has alone."""
    mu = torch.as_tensor(MU + 0.1 * np.random.default_rng(0).uniform(-1, 1, (40, 4)))
    hod = torch.tensor(HOD[None])

    def found(of_alignment, of_hosts):
        leaves = [x.clone().requires_grad_() for x in (of_alignment, of_hosts)]
        occupied = emulator.at(leaves[1], (XI, OMEGA))
        mean, _ = occupied(leaves[0], (XI, OMEGA))
        xi = torch.broadcast_tensors(mean[:, 0].detach(), occupied.excess.detach())
        np.testing.assert_allclose(*xi, rtol=1e-5)
        alone, _ = occupied(leaves[0].detach(), (OMEGA,))
        np.testing.assert_allclose(alone[:, 0].detach(), mean[:, 1].detach(), rtol=1e-5, atol=1e-6)
        return mean.detach(), *torch.autograd.grad(mean[:, 1].sum(), leaves)

    mean, by_alignment, by_occupation = found(mu, hod)
    each = [found(mu[[i]], hod) for i in (0, 31, 32, 39)]
    for i, alone in zip((0, 31, 32, 39), each, strict=True):
        np.testing.assert_allclose(mean[i], alone[0][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(by_alignment[i], alone[1][0], rtol=1e-4, atol=1e-5)
    _, _, rows = found(mu, hod.expand(40, -1))
    np.testing.assert_allclose(by_occupation[0], rows.sum(0), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_impossible_numbers_of_galaxies_are_not_finite(file):
    emulator = Emulator.load(file, "desi_lrg", "watson_mass")
    hod = torch.tensor([[12.5, 0.4, 0.6, 13.4, 1.0, 1.3]], dtype=torch.float64)
    mean, _ = emulator.at(hod, (XI, OMEGA))(torch.tensor([MU]).double(), (XI, OMEGA))
    assert torch.isnan(mean).all()


def test_networks_refuse_it_by_name():
    with pytest.raises(ValueError, match=r"alignment is 'watson_mass', but the weights .* watson"):
        Emulator.load(alignment="watson_mass")


@pytest.mark.slow
def test_projected_statistics_of_two_samples(file):
    """w_g+ is linear in the shapes: centrals' and satellites' add up to those of all."""
    edges = np.logspace(-1, np.log10(13.0), 15)
    fine = Tabulation.build(
        tiny_catalogue(), edges, progress=False, tolerance=0, statistics=["xi", "omega", "omega_4"]
    )
    how = Conventions(pi_max=10.0, box=BOX)
    universe = Universe(None, 0.0, BOX)
    maps = [ProjectedMap(s, [0.5, 1.0, 3.0, 7.0], how, edges, universe) for s in (W_GG, W_GPLUS)]
    a2, everything = np.array([[0.4, 0.6]]), Population(HOD)
    positions = Sample(everything, 0.5, lambda logM: 1 / (1 + np.exp(13 - logM)))

    def projected(fractions):
        found = fine.cross_templates(Sample(everything, *fractions), positions, mu=MU)
        return found, project_exactly(found, np.empty((1, 0)), maps, how, a2)

    of_all, (gg, plus) = projected((1.0, 1.0))
    of_centrals, (gg_c, plus_c) = projected((1.0, 0.0))
    _, (gg_s, plus_s) = projected((0.0, 1.0))
    share = of_centrals.n_galaxies / of_all.n_galaxies
    np.testing.assert_allclose(gg, share * gg_c + (1 - share) * gg_s, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(plus, share * plus_c + (1 - share) * plus_s, rtol=1e-4, atol=1e-4)
    assert np.abs(plus).max() > 1e-2
    with pytest.raises(ValueError, match="these templates are of two samples"):
        project_exactly(of_all, np.empty((1, 0)), maps[:1], replace(how, redshift_space=True))
