"""The exact model with strengths that depend on host mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.expectation import Population, Sample, Tabulation
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.exact import project_exactly, write_exact_card
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
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


@pytest.mark.slow
def test_predictions_are_those_of_the_tabulation(file):
    emulator = Emulator.load(file, alignment="watson_mass")
    assert emulator.space.names[:4] == ("mu_cen", "mu_sat", "slope_cen", "slope_sat")
    points = np.array([[*MU, *HOD], [*MU[:2], 0.0, 0.0, *HOD]])
    found = emulator.predict(points)
    expected = Tabulation.read(file).aligned_templates(points[:, :4], points[:, 4:]).correlations()
    for name, values in zip(("xi", "omega", "eta"), expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)
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
def test_no_gradient_is_refused_by_name(file):
    emulator = Emulator.load(file, alignment="watson_mass")
    occupied = emulator.at(torch.tensor(HOD[None]), (XI, OMEGA))
    mu = torch.tensor([MU], dtype=torch.float64)
    mean, _ = occupied(mu, (XI, OMEGA))
    assert mean.shape[:2] == (1, 2)
    np.testing.assert_allclose(mean[0, 0], occupied.excess[0], rtol=1e-5)
    with pytest.raises(ValueError, match="have no gradient"):
        occupied(mu.requires_grad_(), (XI, OMEGA))


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
