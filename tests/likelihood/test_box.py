"""The sample variance of the training's box, in likelihoods."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.watson import p2

from iaemu_likelihood import posterior
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions, hash_of
from iaemu_likelihood.likelihood.model import BOX, Bins, CorrelationModel

MU = np.array([[0.8, 0.3], [-0.4, 0.9]])
HOD = np.array([[12.54, 0.26, 12.68, 13.48, 1.0]])


@pytest.fixture(scope="module")
def model():
    return CorrelationModel(Emulator.load(), ["xi", "omega", "eta"])


def covariance(model, mu=MU, hod=HOD, bins=None):
    occupied = model.at(hod)
    bins = bins or Bins(model.names, None)
    return occupied.binned(occupied(mu, [BOX]), bins.statistics, bins.edges, [BOX])[1][BOX]


def test_covariance_is_that_of_templates_times_amplitudes(model):
    d = model.box_variance.of_templates(HOD)[:, 0]
    excess = model.at(HOD)._coarse[0]
    for (c, s), found in zip(p2(MU), covariance(model), strict=True):
        deviations = np.concatenate(
            [
                (1 + excess) * d[:, 0],
                c * d[:, 1] + s * d[:, 2],
                c * c * d[:, 3] + c * s * d[:, 4] + s * s * d[:, 5],
            ],
            axis=1,
        )
        np.testing.assert_allclose(found, deviations.T @ deviations, rtol=1e-9, atol=1e-18)


def test_some_statistics_in_other_bins_are_mapped_as_the_noise_is(model):
    """Two of the noise's bins together: pairs weight their deviations."""
    edges = tuple(model.emulator.r_edges[4:15:2])
    found = covariance(model, bins=Bins(("omega",), edges))
    binning, excess = model.binning(edges, fine=False), model.at(HOD)._coarse[0]
    maps = binning.of_ratio(excess)
    block = covariance(model)[:, 20:40, 20:40]
    np.testing.assert_allclose(found, maps.T @ block @ maps, rtol=1e-9)
    assert (np.linalg.eigvalsh(found) > 0).all()


def test_tensors_arrays_and_gradients_agree(model):
    hod = torch.as_tensor(HOD).requires_grad_()
    found = covariance(model, torch.as_tensor(MU), hod)
    np.testing.assert_allclose(found.detach().numpy(), covariance(model), rtol=1e-9, atol=1e-18)
    (slope,) = torch.autograd.grad(found[0].diagonal().sum(), hod)
    step = np.array([[1e-5, 0, 0, 0, 0]])
    up, down = (np.diagonal(covariance(model, hod=HOD + x)[0]).sum() for x in (step, -step))
    assert slope[0, 0].item() == pytest.approx((up - down) / 2e-5, rel=1e-4)


def run(**options):
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": ["sample1"]}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"emulator_error": "none", **options}},
        "params": dict(zip([f"{n}_sample1" for n in ("logMmin", "sigma_logM", "logM0", "logM1", "alpha")],
                           HOD[0].tolist(), strict=True)),
    }  # fmt: skip


def test_posteriors_of_all_kinds_take_it_and_it_is_part_of_their_identity(model):
    """Cobaya's own log-likelihood, the batched one, and the sum of the covariances by hand."""
    from cobaya.model import get_model

    post = posterior(run(model_error="box"))
    point = dict(zip(post.names, MU[0].tolist(), strict=True))
    of_cobaya = get_model(run(model_error="box")).loglikes(point)[0][0]
    core = CorrelationLikelihood(LikelihoodOptions("tng300.sample1", emulator_error="none"))
    (bins,) = core.bins
    occupied = model.at(HOD)
    mean, errors = occupied.binned(occupied(MU[:1], [BOX]), bins.statistics, bins.edges, [BOX])
    total = torch.as_tensor(core.data.covariance + errors[BOX][0])[None]
    residual = torch.as_tensor(mean - core.data.values)
    chi2 = (residual * torch.linalg.solve(total, residual[..., None])[..., 0]).sum()
    norm = torch.linalg.slogdet(total)[1] - np.linalg.slogdet(core.data.covariance)[1]
    # Without normalisation, a log-likelihood is 0 where data and model agree and nothing is added.
    expected = float(-(chi2 + norm) / 2)
    assert post.log_likelihood(MU[0]) == pytest.approx(expected, abs=1e-8)
    assert of_cobaya == pytest.approx(expected, abs=1e-8)
    assert post.closed_form is None
    assert posterior(run()).identity != post.identity
    plain = {"data_file": "tng300.sample1", "covariance_file": None}
    assert hash_of(plain) == hash_of({**plain, "model_error": "none"})
    assert hash_of(plain) != hash_of({**plain, "model_error": "box"})


def test_posteriors_become_wider():
    plain, wider = (posterior(run(model_error=kind)) for kind in ("none", "box"))
    first, second = (np.linalg.inv(x.fisher(MU[0])) for x in (plain, wider))
    assert second[0, 0] > 1.05 * first[0, 0]


def test_where_it_is_not_known_it_is_refused(model):
    with pytest.raises(ValueError, match="model_error must be one of none, box; got 'both'"):
        LikelihoodOptions("tng300.sample1", model_error="both")
    with pytest.raises(ValueError, match=r"not known for w_gg: it was estimated up to 15.85 Mpc/h"):
        LikelihoodOptions("x.ecsv", statistics=["w_gg"], emulator_error="none", model_error="box")
    emulator = Emulator.load()
    emulator.card["halos"]["snapshots"][0]["sha256"] = "f" * 64
    with pytest.raises(ValueError, match=r"bundled halo catalogue .*Set model_error: none"):
        _ = CorrelationModel(emulator, ["omega"]).box_variance
