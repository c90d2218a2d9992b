"""The networks that map occupation parameters to templates and to moments of the noise."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from iaemu_likelihood.emulator.backend import MANY
from torch import Tensor, nn

# In float32 faster than the matrix product that torch takes by itself, which on some processors knows
# no better than AVX2; and the activation comes with it. torch's compiler emits the same.
_ONEDNN: Any = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available()
    else None
)

# Weights and biases of the hidden layers of a network.
Hidden = tuple[list[Tensor], list[Tensor]]


def perceptron(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Multilayer perceptron with residual hidden layers.

    Parameters
    ----------
    x : torch.Tensor, shape (n, n_in)
    weights : sequence of torch.Tensor, shape (n_in, width), (width, width), ..., (width, n_out)
        Or with a leading axis of networks of the same shape, which are then evaluated together.
    biases : sequence of torch.Tensor, shape (1, width), ..., (1, n_out)
        Likewise.

    Returns
    -------
    torch.Tensor, shape (n, n_out) or (n_networks, n, n_out)
    """
    if weights[0].ndim == 3 and x.shape[0] >= MANY:
        # One network after another, whose numbers stay in the cache.
        each = zip(*(w.unbind(0) for w in (*weights, *biases)), strict=True)
        n = len(weights)
        return torch.stack([perceptron(x, network[:n], network[n:]) for network in each])
    return affine(hidden(x, weights[:-1], biases[:-1]), weights[-1], biases[-1])


def hidden(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The hidden layers of a `perceptron` without its last layer, (n, n_in) to (..., n, width)."""
    x = affine(x, weights[0], biases[0], silu=True)
    gradients = torch.is_grad_enabled()
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        y = affine(x, weight, bias, silu=True)
        x = x + y if gradients else x.add_(y)
    return x


def side_by_side(first: Hidden, second: Hidden) -> Hidden:
    """Hidden layers that compute those of two networks of the same input."""
    weights, biases = [], []
    for i in range(max(len(first[0]), len(second[0]))):
        # Beyond the last layer of one of them zeros, by which a residual layer changes nothing.
        (w1, b1), (w2, b2) = (
            (w[i], b[i]) if i < len(w) else (w[-1].new_zeros(w[-1].shape[1:] * 2), 0 * b[-1])
            for w, b in (first, second)
        )
        weights.append(torch.block_diag(w1, w2) if i else torch.cat([w1, w2], dim=1))
        biases.append(torch.cat([b1, b2], dim=1))
    return weights, biases


def affine(x: Tensor, weight: Tensor, bias: Tensor, silu: bool = False) -> Tensor:
    """One layer: ``x @ weight + bias``, and the activation if it has one."""
    y: Tensor
    if weight.ndim == 3:
        y = torch.baddbmm(bias, x if x.ndim == 3 else x.expand(len(weight), -1, -1), weight)
    elif x.shape[0] >= MANY and _onednn_may(x):
        y = _ONEDNN(x, weight.mT, bias[0], "swish" if silu else "none", [], "")
        return y
    else:
        y = torch.addmm(bias, x, weight)
    return nn.functional.silu(y, inplace=not torch.is_grad_enabled()) if silu else y


def _onednn_may(x: Tensor) -> bool:
    plain = x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled()
    return plain and _ONEDNN is not None


def layers(tensors: Mapping[str, Tensor], prefix: str = "") -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of a perceptron, from tensors named ``PREFIXweights.0`` and so on."""
    n_layers = sum(name.startswith(f"{prefix}weights.") for name in tensors)
    weights, biases = (
        [tensors[f"{prefix}{kind}.{i}"] for i in range(n_layers)] for kind in ("weights", "biases")
    )
    return weights, biases


def shapes(
    n_in: int, n_out: int, width: int, depth: int, prefix: str = "", networks: tuple[int, ...] = ()
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a perceptron, or of several, by the names that `layers` reads."""
    found = {}
    for i, (a, b) in enumerate(itertools.pairwise([n_in, *[width] * depth, n_out])):
        found[f"{prefix}weights.{i}"] = (*networks, a, b)
        found[f"{prefix}biases.{i}"] = (*networks, 1, b)
    return found


class Perceptron(nn.Module):
    """One network: occupation parameters in the unit cube to scaled outputs.

    Parameters
    ----------
    n_in, n_out : int
    width : int
        Of the hidden layers.
    depth : int
        Number of hidden layers.
    """

    def __init__(self, n_in: int, n_out: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [n_in, *[width] * depth, n_out]
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.weights = nn.ParameterList([layer.weight.detach().T.contiguous() for layer in layers])
        self.biases = nn.ParameterList([layer.bias.detach()[None] for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        return perceptron(x, list(self.weights), list(self.biases))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and biases by the names that `layers` reads."""
        return self.state_dict()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights and biases of another network; see `tensors`."""
        self.load_state_dict(dict(tensors))

    def split_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The matrices of the hidden layers, and all other parameters."""
        first, *hidden, last = self.weights
        return hidden, [first, last, *self.biases]


class PerceptronsBetween(nn.Module):
    """One network for each node of a linear interpolation, such as the snapshots of a simulation.

    Parameters
    ----------
    n_nodes : int
    n_in, n_out, width, depth : int
        Of each network, see `Perceptron`.
    """

    def __init__(self, n_nodes: int, n_in: int, n_out: int, width: int, depth: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            [Perceptron(n_in, n_out, width, depth) for _ in range(n_nodes)]
        )
        self.n_out = n_out

    @property
    def each(self) -> list[Perceptron]:
        """The networks, node by node."""
        return cast(list[Perceptron], list(self.networks))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs, (n, n_out), at inputs to which the nodes' weights are joined, (n, n_in + n_nodes)."""
        inputs, shares = x[:, : -len(self.networks)], x[:, -len(self.networks) :]
        found = x.new_zeros(len(x), self.n_out)
        for network, share in zip(self.each, shares.unbind(1), strict=True):
            rows = torch.nonzero(share)[:, 0]
            found = found.index_add(0, rows, share[rows, None] * network(inputs[rows]))
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Weights and biases by the names that `layers` reads, with a leading axis of nodes."""
        each = [network.tensors() for network in self.each]
        return {name: torch.stack([x[name] for x in each]) for name in each[0]}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights and biases of another such network; see `tensors`."""
        for i, network in enumerate(self.each):
            network.load({name: x[i] for name, x in tensors.items()})

    def split_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The matrices of the hidden layers, and all other parameters."""
        each = [network.split_parameters() for network in self.each]
        hidden, others = ([x for parts in kind for x in parts] for kind in zip(*each, strict=True))
        return hidden, others


def at_input(
    weights: Sequence[Tensor], biases: Sequence[Tensor], value: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Layers of networks of which the last input is fixed, and no input any more."""
    first, *others = weights
    return [first[..., :-1, :], *others], [biases[0] + value * first[..., -1:, :], *biases[1:]]
