r"""IAEmu's network, as arXiv:2504.05235 describes it.

All parameters to the mean and variance of the statistics of one catalogue: a fully connected
embedding, a convolutional decoder for each statistic, and dropout at prediction for what training
left uncertain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

# Of the embedding, after the parameters.
WIDTHS = (128, 128, 256, 256, 128)
CHANNELS = (7, 14, 28, 28, 56, 112, 112)
# Length of the convolutions per bin, which the last one, with this stride, reduces to one.
STRIDE = 5
# Smallest variance, in scaled units: far below any noise, and its logarithm is finite.
VARIANCE_FLOOR = 1e-9
# Rows that are evaluated at a time, to bound the memory (0.2 MB each).
MAX_ROWS = 1024
# What the weights file holds beside the network: of the parameters, and of the statistics as learned.
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


def _embedding(n_parameters: int, dropout: float) -> nn.Sequential:
    shortcuts = {2: nn.Linear(WIDTHS[1], WIDTHS[2]), 3: nn.Identity()}
    return nn.Sequential(
        *[
            Block(nn.Linear(a, b), (b,), dropout, shortcuts.get(i))
            for i, (a, b) in enumerate(pairwise((n_parameters, *WIDTHS)))
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
    """Scaled parameters to mean and variance of the scaled statistics.

    Parameters
    ----------
    n_parameters, n_statistics, n_bins : int
    dropout : float
        Rate.
    """

    def __init__(
        self, n_parameters: int, n_statistics: int, n_bins: int, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.embedding = _embedding(n_parameters, dropout)
        self.decoders = nn.ModuleList([_decoder(n_bins, dropout) for _ in range(n_statistics)])

    def forward(self, x: Tensor, which: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance, each of shape (n, m, n_bins), of some of the statistics.

        Parameters
        ----------
        x : torch.Tensor, shape (n, n_parameters)
        which : sequence of int, optional
            Only their decoders are evaluated; all when left out.
        """
        features = self.embedding(x)
        decoders = [
            self.decoders[i] for i in range(len(self.decoders)) if which is None or i in which
        ]
        both = torch.stack([decoder(features) for decoder in decoders], dim=1)
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
