"""What a caller has set of numpy and torch changes nothing, and is as it was afterwards."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.emulator.models import Emulator

INSIDE = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default_dtype": default_dtype,
    "default_device": default_device,
    "device_of_a_block": lambda: torch.device("meta"),
    "numpy_raises": lambda: np.errstate(all="raise"),
}


def state():
    made = torch.ones(1)
    return (
        made.device, made.dtype, (made @ made).dtype, torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), *np.geterr().values(),
    )  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_state_of_the_caller_is_left_out_and_restored(setting):
    @unaffected(gradients=True)
    def slope():
        x = torch.tensor([[1.0, 700.0]], requires_grad=True)
        (x @ x.mT).sum().backward()
        np.exp(np.array([1e9]))
        return x.grad

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with SETTINGS[setting]():
            before = state()
            found = slope()
            with pytest.raises(KeyError), unaffected(gradients=True):
                raise KeyError
            assert state() == before
    assert found.tolist() == [[2, 1400]]
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    assert not found.is_inference()


def test_gradients_are_the_callers_affair_unless_they_are_needed():
    with torch.no_grad():
        with unaffected():
            assert not torch.is_grad_enabled()
        with unaffected(gradients=True):
            assert torch.is_grad_enabled()
    with torch.inference_mode(), unaffected():
        assert torch.is_inference_mode_enabled()


def numbers(emulator):
    """What an emulator says of a point and of many, by all of its entries."""
    points = emulator.domain.sample(130, seed=1)
    many = emulator.predict(points, epistemic=False)
    one, tensors = emulator.predict(points[0]), emulator(torch.from_numpy(points[:1]))
    mu, hod = emulator.space.split(points[:1])
    some = emulator.statistics
    mean, errors = emulator.at(hod, some)(mu, some, ("aleatoric", "epistemic"))
    found = [
        *many.values(), *many.aleatoric.values(), *one.values(), *one.epistemic.values(),
        *tensors.values(), mean, *errors.values(), emulator.covariance(points[0]),
    ]  # fmt: skip
    return [as_array(x) for x in found]


@pytest.fixture(scope="module", params=["templates", "paper"])
def loaded(request):
    emulator = Emulator.load(request.param)
    return emulator, numbers(emulator), request.param


@pytest.mark.parametrize("setting", SETTINGS)
def test_predictions_do_not_depend_on_what_the_caller_set(loaded, setting):
    emulator, expected, name = loaded
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with SETTINGS[setting]():
            before = state()
            found, again = numbers(emulator), Emulator.load(name)
            assert state() == before
            inside = numbers(again) if name == "templates" else [again.predict(INSIDE).eta]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = expected if name == "templates" else [emulator.predict(INSIDE).eta]
    for a, b in zip(inside, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    # What was loaded there gives gradients elsewhere.
    theta = torch.tensor(INSIDE, requires_grad=True)
    (slope,) = torch.autograd.grad(again(theta).omega.sum(), theta)
    assert slope.isfinite().all()
    assert (slope[:2] != 0).all()


def test_only_tensors_of_points_are_called_with(loaded):
    emulator, *_ = loaded
    for given in (
        INSIDE,
        np.array(INSIDE),
        torch.tensor(INSIDE) + 0j,
        torch.ones(7, dtype=int),
        None,
    ):
        with pytest.raises(
            TypeError, match=r"called with a torch.Tensor of floating-point numbers, got"
        ):
            emulator(given)
    for shape in ((6,), (7, 6), (0, 7), (1, 1, 7), ()):
        with pytest.raises(ValueError, match=r"Expected shape \(7,\) or \(n, 7\), n at least 1"):
            emulator(torch.ones(shape, dtype=torch.float64))
    single = emulator(torch.tensor(INSIDE, dtype=torch.float32))
    double = emulator(torch.tensor(INSIDE).float().double())
    assert torch.equal(single.omega, double.omega)
