r"""IAEmu's network, as arXiv:2504.05235 describes it, and the emulator that predicts with it.

Seven parameters to the mean and variance of xi, omega and eta of one catalogue: a fully connected
embedding, three convolutional decoders, and dropout at prediction for what training left uncertain.

One thing differs on purpose. The paper takes the logarithm of xi and so has to leave out
catalogues with xi <= 0, which raises xi at large r. Here it is the logarithm of 1 + xi = DD / RR,
which is positive wherever there are pairs, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.models.base import Emulator, Occupied, Prediction, Sigma
from iaemu_likelihood.emulator.physics.parameters import parameter_array
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

WIDTHS = (7, 128, 128, 256, 256, 128)
CHANNELS = (7, 14, 28, 28, 56, 112, 112)
# Length of the convolutions per bin, which the last one, with this stride, reduces to one.
STRIDE = 5
# Smallest variance, in scaled units: far below any noise, and its logarithm is finite.
VARIANCE_FLOOR = 1e-9
# Rows that are evaluated at a time, to bound the memory (0.2 MB each).
MAX_ROWS = 1024
# What the weights file holds beside the network: of the parameters, and of log(1 + xi), omega, eta.
SCALING = ("input_mean", "input_scale", "target_mean", "target_scale")


class Dropout(nn.Module):
    """Dropout in training; in evaluation nothing, or fixed masks, one for each of several passes.

    A mask is shared by all points, so that each pass is one thinned network: a smooth function of
    the parameters, whatever other points are evaluated with them.

    Parameters
    ----------
    rate : float
    shape : tuple of int
        Of the features of one point.
    """

    def __init__(self, rate: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rate, self.shape = rate, shape
        self.masks: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.masks is None:
            return nn.functional.dropout(x, self.rate, self.training)
        return (x.unflatten(0, (len(self.masks), -1)) * self.masks[:, None]).flatten(0, 1)


class Block(nn.Module):
    """A layer, batch normalisation, leaky ReLU and dropout, with or without a shortcut around.

    Parameters
    ----------
    layer : nn.Module
    shape : tuple of int
        Of the layer's output for one point.
    dropout : float
        Rate.
    shortcut : nn.Module, optional
        Its output is added.
    """

    def __init__(
        self,
        layer: nn.Module,
        shape: tuple[int, ...],
        dropout: float,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            layer, nn.BatchNorm1d(shape[0]), nn.LeakyReLU(), Dropout(dropout, shape)
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y if self.shortcut is None else y + self.shortcut(x)


def _embedding(dropout: float) -> nn.Sequential:
    shortcuts = {2: nn.Linear(WIDTHS[2], WIDTHS[3]), 3: nn.Identity()}
    return nn.Sequential(
        *[
            Block(nn.Linear(a, b), (b,), dropout, shortcuts.get(i))
            for i, (a, b) in enumerate(pairwise(WIDTHS))
        ]
    )


def _decoder(n_bins: int, dropout: float) -> nn.Sequential:
    length = STRIDE * n_bins
    size = CHANNELS[0] * length
    last = nn.Conv1d(CHANNELS[-1], 2, STRIDE, stride=STRIDE)
    nn.init.zeros_(last.bias[1:])  # type: ignore[index]
    return nn.Sequential(
        Block(nn.Linear(WIDTHS[-1], size), (size,), dropout),
        nn.Unflatten(1, (CHANNELS[0], length)),
        *[
            # The third and the sixth, which keep the number of channels, have a shortcut.
            Block(
                nn.Conv1d(a, b, 3, padding=1),
                (b, length),
                dropout,
                nn.Identity() if a == b else None,
            )
            for a, b in pairwise(CHANNELS)
        ],
        last,
    )


class PaperNetwork(nn.Module):
    """Scaled parameters to mean and variance of the scaled correlation functions.

    Parameters
    ----------
    n_bins : int
    dropout : float
        Rate.
    """

    def __init__(self, n_bins: int = 20, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = _embedding(dropout)
        self.decoders = nn.ModuleList([_decoder(n_bins, dropout) for _ in range(3)])

    def forward(self, x: Tensor, statistics: Sequence[int] = (0, 1, 2)) -> tuple[Tensor, Tensor]:
        """Mean and variance, each of shape (n, m, n_bins), of m of xi, omega, eta (0, 1, 2).

        Only their decoders are evaluated. Inputs have shape (n, 7).
        """
        features = self.embedding(x)
        both = torch.stack([self.decoders[i](features) for i in statistics], dim=1)
        return both[:, :, 0], nn.functional.softplus(both[:, :, 1]) + VARIANCE_FLOOR

    def fold(self) -> None:
        """Put each batch normalisation, in evaluation mode, into the layer before it."""
        for block in self.modules():
            if isinstance(block, Block):
                layer, norm, *_ = block.layers
                fuse: Any = (
                    fuse_conv_bn_eval if isinstance(layer, nn.Conv1d) else fuse_linear_bn_eval
                )
                block.layers[0], block.layers[1] = fuse(layer, norm), nn.Identity().eval()

    @property
    def _dropouts(self) -> list[Dropout]:
        return [module for module in self.modules() if isinstance(module, Dropout)]

    def draw_masks(self, n_passes: int, generator: torch.Generator) -> list[Tensor]:
        """Masks for each dropout layer, of shape (n_passes, ...) each, for `thinned`."""
        return [
            (torch.rand(n_passes, *layer.shape, generator=generator) >= layer.rate)
            / (1 - layer.rate)
            for layer in self._dropouts
        ]

    @contextmanager
    def thinned(self, masks: list[Tensor]) -> Iterator[None]:
        """Within, and in evaluation mode, apply masks: those of the first pass to the first rows.

        The inputs of all passes follow each other along the first axis, the same number for each.
        """
        for layer, mask in zip(self._dropouts, masks, strict=True):
            layer.masks = mask
        try:
            yield
        finally:
            for layer in self._dropouts:
                layer.masks = None


class PaperEmulator(Emulator):
    r"""The paper's network with dropout at prediction.

    Prediction and aleatoric uncertainty are those of the network without dropout, so that they cost
    one evaluation and do not depend on `epistemic`; the paper averages over passes with dropout. The
    epistemic uncertainty is the scatter between the passes. Their masks are drawn once, when the
    weights are loaded, and shared by all points: the same parameters give the same numbers, and
    smooth ones.

    Notes
    -----
    The network gives the mean m and variance v of log(1 + xi), taken as Gaussian. 1 + xi is then
    log-normal, with mean :math:`e^{m + v/2}` and variance :math:`(e^v - 1) e^{2m + v}`. omega and
    eta are scaled linearly.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        training = card["training"]
        self._dtype = torch.float32
        self._network = PaperNetwork(len(self.r_edges) - 1, **training["network"])
        prefix = "network."
        self._network.load_state_dict(
            {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        )
        self._network.eval().requires_grad_(False).fold()
        generator = torch.Generator().manual_seed(training["seed"])
        self._masks = self._network.draw_masks(training["n_passes"], generator)
        self._scaling = {name: tensors[name].double() for name in SCALING}

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> PaperEmulator:
        self._device = self._device if device is None else torch.device(device)
        self._dtype = self._dtype if dtype is None else dtype
        self._network.to(device=self._device, dtype=self._dtype)
        self._masks = [mask.to(device=self._device, dtype=self._dtype) for mask in self._masks]
        self._scaling = {name: x.to(self._device) for name, x in self._scaling.items()}
        return self

    def at(self, hod: Tensor, statistics: Sequence[str] = STATISTICS) -> Occupied:
        return _OccupiedNetwork(self, hod, [STATISTICS.index(name) for name in statistics])

    def _inputs(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Scaled inputs of the network, in parts."""
        centre, scale = self._scaling["input_mean"], self._scaling["input_scale"]
        return ((theta - centre) / scale).to(self._dtype).split(MAX_ROWS)

    def moments(
        self, theta: Tensor, statistics: Sequence[int] = (0, 1, 2)
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of some of xi, omega, eta (0, 1, 2): (n, 7) to (n, m, n_bins)."""
        parts = [self._network(part, statistics) for part in self._inputs(theta)]
        mean, variance = (torch.cat(x) for x in zip(*parts, strict=True))
        return self._physical(mean, variance, statistics)

    def _predict(self, theta: Any, unit: Any, epistemic: bool) -> Prediction:
        points = torch.atleast_2d(torch.as_tensor(theta))
        mean, variance = self.moments(points)
        shape = (*theta.shape[:-1], -1)

        def sigma(x: Tensor) -> Sigma:
            return Sigma(*(part.reshape(shape) for part in x.unbind(1)))

        spread = None
        if epistemic:
            with torch.no_grad():
                spread = sigma(self.passes(points).std(0))
        xi, omega, eta = (x.reshape(shape) for x in mean.unbind(1))
        return Prediction(self._r.copy(), xi, omega, eta, sigma(variance.sqrt()), spread)

    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        """As in `Emulator`; diagonal, since the network gives variances only."""
        points = parameter_array(theta)
        self._checked_unit(points)
        with torch.inference_mode():
            sigma = self(torch.as_tensor(points, device=self._device), epistemic=False).aleatoric
        assert sigma is not None
        variances = torch.cat([sigma.xi, sigma.omega, sigma.eta], dim=-1) ** 2
        return torch.diag_embed(variances).cpu().numpy()

    def _physical(
        self, mean: Tensor, variance: Tensor, statistics: Sequence[int] = (0, 1, 2)
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of statistics from those that the network gives, (..., m, n_bins)."""
        centre, scale = (
            self._scaling[k][list(statistics), None] for k in ("target_mean", "target_scale")
        )
        m, v = centre + scale * mean, scale**2 * variance
        if 0 not in statistics:
            return m, v
        means, variances = list(m.unbind(-2)), list(v.unbind(-2))
        i = statistics.index(0)
        one_plus_xi = torch.exp(means[i] + variances[i] / 2)
        means[i], variances[i] = one_plus_xi - 1, torch.expm1(variances[i]) * one_plus_xi**2
        return torch.stack(means, dim=-2), torch.stack(variances, dim=-2)

    def passes(self, theta: Tensor, statistics: Sequence[int] = (0, 1, 2)) -> Tensor:
        """The mean by each pass with dropout, (n, 7) to (n_passes, n, m, n_bins)."""
        return torch.cat([self._passes(part, statistics) for part in self._inputs(theta)], dim=1)

    def _passes(self, inputs: Tensor, statistics: Sequence[int]) -> Tensor:
        at_a_time = max(1, MAX_ROWS // len(inputs))
        passes = []
        for masks in zip(*(mask.split(at_a_time) for mask in self._masks), strict=True):
            n = len(masks[0])
            with self._network.thinned(list(masks)):
                mean, variance = self._network(inputs.repeat(n, 1), statistics)
            passes.append(self._physical(mean, variance, statistics)[0].unflatten(0, (n, -1)))
        return torch.cat(passes)


class _OccupiedNetwork(Occupied):
    """The network with its last five inputs given."""

    def __init__(self, emulator: PaperEmulator, hod: Tensor, statistics: list[int]) -> None:
        self._emulator, self._hod, self._statistics = emulator, hod, statistics
        # The network has learned only roughly that xi does not depend on the alignment.
        random_axes = torch.cat([hod.new_zeros(len(hod), 2), hod], dim=1)
        self.xi = emulator.moments(random_axes, [0])[0][:, 0]

    def __call__(
        self, mu: Tensor, errors: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        theta = torch.cat([mu, self._hod.expand(len(mu), -1)], dim=1)
        mean, variance = self._emulator.moments(theta, self._statistics)
        covariances = {}
        if "aleatoric" in errors:
            covariances["aleatoric"] = torch.diag_embed(variance.flatten(1))
        if "epistemic" in errors:
            passes = self._emulator.passes(theta, self._statistics).flatten(2)
            deviation = passes - passes.mean(0)
            covariances["epistemic"] = torch.einsum(
                "pni,pnj->nij", deviation, deviation / (len(passes) - 1)
            )
        return mean, covariances
