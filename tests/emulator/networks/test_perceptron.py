"""Networks of snapshots, and what they are between them."""

import pytest
import torch
from iaemu_likelihood.emulator.networks.perceptron import (
    PerceptronsBetween,
    at_input,
    layers,
    perceptron,
)

SIZES = {"n_in": 3, "n_out": 4, "width": 8, "depth": 3}


@pytest.fixture
def between():
    torch.manual_seed(1)
    return PerceptronsBetween(3, **SIZES)


def test_outputs_are_interpolated_between_the_networks(between):
    inputs = torch.rand(5, 3)
    shares = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0.25, 0.75, 0], [0, 0.5, 0.5], [0, 1, 0]])
    each = torch.stack([network(inputs) for network in between.networks])
    expected = torch.einsum("nk, kno -> no", shares, each)
    torch.testing.assert_close(between(torch.cat([inputs, shares], dim=1)), expected)


def test_a_network_without_weight_learns_nothing(between):
    shares = torch.tensor([[0.5, 0.5, 0.0]]).expand(4, -1)
    between(torch.cat([torch.rand(4, 3), shares], dim=1)).square().sum().backward()
    first, _, last = (sum(p.grad.abs().sum() for p in n.parameters()) for n in between.networks)
    assert first > 0
    assert last == 0


def test_tensors_go_from_one_to_another(between):
    torch.manual_seed(2)
    other = PerceptronsBetween(3, **SIZES)
    other.load(between.tensors())
    assert between.tensors()["weights.0"].shape == (3, 3, 8)
    x = torch.cat([torch.rand(6, 3), torch.rand(6, 3)], dim=1)
    torch.testing.assert_close(other(x), between(x), rtol=0, atol=0)


def test_an_input_can_be_fixed(between):
    inputs = torch.rand(5, 2)
    whole = torch.cat([inputs, torch.full((5, 1), 0.3)], dim=1)
    expected = torch.stack([network(whole) for network in between.networks])
    found = perceptron(inputs, *at_input(*layers(between.tensors()), 0.3))
    torch.testing.assert_close(found, expected)
