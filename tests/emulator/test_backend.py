"""What a caller has set of numpy and torch changes nothing, and is as it was afterwards."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.backend import unaffected


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
