"""The emulator in bins of r_p: rows, parts, and errors that do not depend on what else is asked."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.conventions import Conventions

from iaemu_likelihood.likelihood.evaluation import Points, evaluate, predict
from iaemu_likelihood.likelihood.model import Bins, CorrelationModel

EDGES, R_EDGES = (0.3, 1.0, 3.0, 10.0), (0.5, 2.0, 8.0)
HOW = Conventions(40.0)
NAMES = ("w_gg", "w_gplus", "w_plusplus")
RESPONSES = np.array([[0.6, 0.3]])


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def theta(emulator):
    return emulator.domain.sample(4, seed=4)


def in_bins(emulator, theta, bins, responses=RESPONSES, errors=(), others=(), row=None):
    model = CorrelationModel(emulator, [*bins.statistics, *others])
    finite, (predicted,) = predict([Points(model, theta[:, :2], theta[:, 2:], responses, errors)])
    assert finite.all()
    return predicted.in_bins(bins, errors, row)


def test_is_what_the_emulator_predicts(emulator, theta):
    p = emulator.predict_projected(theta, EDGES, response=RESPONSES[0], conventions=HOW)
    mean, covariances = in_bins(emulator, theta, Bins(NAMES, EDGES, HOW), errors=("epistemic",))
    np.testing.assert_allclose(mean, np.hstack([p[name] for name in NAMES]), rtol=1e-12)
    sigma = np.hstack([p.epistemic[name] for name in NAMES])
    diagonal = np.sqrt(np.diagonal(covariances["epistemic"], axis1=1, axis2=2))
    np.testing.assert_allclose(diagonal, sigma, rtol=1e-9)
    # In the order that is asked for.
    turned, _ = in_bins(emulator, theta, Bins(NAMES[::-1], EDGES, HOW))
    np.testing.assert_allclose(turned, np.hstack([p[name] for name in NAMES[::-1]]), rtol=1e-12)


def test_errors_do_not_depend_on_what_else_is_asked(emulator, theta):
    _, together = in_bins(emulator, theta, Bins(NAMES, EDGES, HOW), errors=("epistemic",))
    for i, name in enumerate(NAMES):
        own = slice(3 * i, 3 * i + 3)
        for others in ((), ("omega",), NAMES):
            _, alone = in_bins(
                emulator, theta, Bins((name,), EDGES, HOW), errors=("epistemic",), others=others
            )
            np.testing.assert_allclose(
                alone["epistemic"], together["epistemic"][:, own, own], rtol=1e-8
            )


def test_one_row_of_many_is_that_point(emulator, theta):
    """With its own responses, as of samples that a theory evaluates at once."""
    for bins in (Bins(NAMES, EDGES, HOW), Bins(("xi_gplus_2",), R_EDGES, Conventions(None))):
        for row in range(len(theta)):
            a2 = np.array([[0.2 + 0.1 * row, 0.5]])
            found = in_bins(emulator, theta, bins, a2, ("epistemic",), row=row)
            one = in_bins(emulator, theta[[row]], bins, a2, ("epistemic",))
            np.testing.assert_allclose(found[0], one[0], rtol=1e-10)
            np.testing.assert_allclose(found[1]["epistemic"], one[1]["epistemic"], rtol=1e-8)


def test_beside_statistics_in_three_dimensions(emulator, theta):
    model = CorrelationModel(emulator, ["omega", "w_gplus"])
    points = Points(model, theta[:, :2], theta[:, 2:], RESPONSES)
    _, (both,) = predict([points._replace(errors=("aleatoric", "epistemic"))])
    for edges in (None, R_EDGES):
        bins = Bins(("omega",), edges)
        only = CorrelationModel(emulator, ["omega"])
        _, (alone,) = predict([Points(only, theta[:, :2], theta[:, 2:], errors=("epistemic",))])
        found = both.in_bins(bins, ("epistemic",))
        expected = alone.in_bins(bins, ("epistemic",))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
        np.testing.assert_allclose(found[1]["epistemic"], expected[1]["epistemic"], rtol=1e-8)
    mean, _ = in_bins(emulator, theta, Bins(("w_gplus",), EDGES, HOW))
    np.testing.assert_allclose(both.in_bins(Bins(("w_gplus",), EDGES, HOW))[0], mean, rtol=1e-12)


def test_gradients_of_responses_alone(emulator, theta):
    """Where nothing else has a gradient, tensors are needed all the same."""
    a2 = torch.tensor(RESPONSES, requires_grad=True)
    bins = Bins(("w_gplus",), EDGES, HOW)
    tensors = torch.as_tensor(theta)
    mean, _ = in_bins(emulator, tensors, bins, a2)
    (slope,) = torch.autograd.grad(mean[0].sum(), a2)
    for i in range(2):
        step = 1e-5 * np.eye(2)[[i]]
        up, down = (
            in_bins(emulator, theta, bins, RESPONSES + s)[0][0].sum() for s in (step, -step)
        )
        assert float(slope[0, i]) == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_shapes_without_responses_are_refused(emulator, theta):
    with pytest.raises(ValueError, match="shapes need the responses a_2"):
        in_bins(emulator, theta, Bins(("w_gg", "w_gplus"), EDGES, HOW), None)
    positions, _ = in_bins(emulator, theta, Bins(("w_gg",), EDGES, HOW), None, others=("w_gplus",))
    with_shapes, _ = in_bins(emulator, theta, Bins(("w_gg",), EDGES, HOW))
    np.testing.assert_array_equal(positions, with_shapes)


def test_points_far_outside_are_rejected(emulator):
    model = CorrelationModel(emulator, NAMES)
    hod = np.array([[13.0, 0.3, 1e300, -1e300, 1e200]])
    points = Points(model, np.array([[0.5, 0.5]]), hod, RESPONSES)
    with torch.inference_mode():
        found = evaluate([points], "extrapolate")
    assert not found.accepted


def test_bins_that_cannot_be_are_refused_before_any_point(emulator):
    model = CorrelationModel(emulator, NAMES)
    with pytest.raises(ValueError, match=r"increasing numbers from 0.1 Mpc/h on"):
        model.check(Bins(("w_gg",), (0.05, 1.0), HOW))
    with pytest.raises(ValueError, match="give pi_max"):
        model.check(Bins(("w_gg",), EDGES, Conventions(None)))
    with pytest.raises(ValueError, match="of kind paper, do not predict w_gplus"):
        CorrelationModel(Emulator.load("paper"), ["omega", "w_gplus"])
