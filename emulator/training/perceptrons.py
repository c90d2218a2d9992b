"""Training of the perceptrons: of the mean templates, and of the two parts of the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.networks.perceptron import Perceptron, PerceptronsBetween
from iaemu_likelihood.emulator.noise.blocks import (
    PAIRS,
    SHAPE_BLOCKS,
    block_stds,
    n_outputs,
    occupation_blocks,
    rows_of_block,
)
from iaemu_likelihood.emulator.noise.losses import block_loss, factor_loss
from iaemu_likelihood.emulator.noise.targets import NoiseTargets
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.training.configuration import NetworkConfig
from lightning import LightningModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

Array = NDArray[np.float64]

# In units of the scatter of the targets, which are far larger where there is hardly a pair: squares of
# errors there would decide every step.
_LINEAR = 0.1


class PerceptronTraining(LightningModule):
    """Training of one perceptron on points in memory.

    Subclasses say what its outputs are held against.

    Parameters
    ----------
    inputs : torch.Tensor, shape (n, n_inputs), float32
        Occupation parameters in the unit cube, and a coordinate of redshift if there are several.
    validating : torch.Tensor of bool, shape (n,)
        Points that judge and do not train.
    n_out : int
    config : NetworkConfig
    seed : int
        Of the initial weights and of the order of the points, epoch by epoch.
    snapshots : torch.Tensor, shape (n, n_snapshots), float32, optional
        Weight of each snapshot in the interpolation to a point; each then has a network of its own.
    start : mapping of str to torch.Tensor, optional
        Weights and biases to begin with; see `Perceptron.tensors`.
    """

    def __init__(
        self, inputs: Tensor, validating: Tensor, n_out: int, config: NetworkConfig, seed: int,
        snapshots: Tensor | None = None, start: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        torch.manual_seed(seed)
        sizes = inputs.shape[1], n_out, config.width, config.depth
        self.network: Perceptron | PerceptronsBetween
        if snapshots is None:
            self.network = Perceptron(*sizes)
        else:
            self.network = PerceptronsBetween(snapshots.shape[1], *sizes)
            inputs = torch.cat([inputs, snapshots], dim=1)
        if start:
            self.network.load(start)
        self.inputs, self.config, self.seed = inputs, config, seed
        self.training_rows = torch.nonzero(~validating)[:, 0]
        self.validation_rows = torch.nonzero(validating)[:, 0]
        self.n_batches = len(self.training_rows) // config.batch
        if not self.n_batches or not len(self.validation_rows):
            raise ValueError(
                f"{len(self.training_rows)} points to train on and {len(self.validation_rows)} to "
                f"validate with are too few for batches of {config.batch}."
            )
        # Two optimisers for different parameters, both stepped on every batch.
        self.automatic_optimization = False

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Mean loss of the network's outputs at some of the points."""
        raise NotImplementedError

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """What a prediction needs of it, by names that begin with `prefix`."""
        return {f"{prefix}{name}": x for name, x in self.network.tensors().items()}

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.n_batches))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(1))  # type: ignore[arg-type]

    def on_train_epoch_start(self) -> None:
        # A function of the epoch alone, so that a resumed run sees the same batches.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.current_epoch)
        order = torch.randperm(len(self.training_rows), generator=generator)
        used = order[: self.n_batches * self.config.batch]
        self._batches = self.training_rows[used].view(self.n_batches, -1)

    def training_step(self, index: Tensor, _: int) -> None:
        loss = self._loss_at(self._batches[int(index)])
        if not torch.isfinite(loss):
            raise ValueError(
                f"The loss is {loss.item()} in epoch {self.current_epoch}, batch {int(index)}: lower "
                "the learning rate. The last checkpoint is kept."
            )
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        schedulers: Any = self.lr_schedulers()
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)

    def validation_step(self, _: Tensor, index: int) -> None:
        self.log("validation", self._loss_at(self.validation_rows), prog_bar=True, sync_dist=True)

    def _loss_at(self, rows: Tensor) -> Tensor:
        return self.loss(self.network(self.inputs[rows].to(self.device)), rows)

    def configure_optimizers(self) -> Any:
        hidden, others = self.network.split_parameters()
        rate, decay = self.config.learning_rate, self.config.weight_decay
        optimizers = [
            torch.optim.Muon(hidden, lr=rate["hidden"], weight_decay=decay, momentum=0.95),
            torch.optim.AdamW(others, lr=rate["others"], weight_decay=decay, betas=(0.9, 0.99)),
        ]
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = max(1, int(0.03 * steps))

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / warm_up) * max(0.0, 1 - step / steps)

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]


class MeansTraining(PerceptronTraining):
    """The mean templates, by weighted least squares with little regard for outliers.

    Parameters
    ----------
    inputs, validating, config, seed, snapshots, start
        As in `PerceptronTraining`.
    targets : torch.Tensor, shape (n, n_out)
        Scaled as `scale_means` does.
    weights : torch.Tensor, shape (n, n_out)
        Of the squared errors, see `noise_weights`.
    """

    def __init__(
        self,
        inputs: Tensor,
        validating: Tensor,
        targets: Tensor,
        weights: Tensor,
        config: NetworkConfig,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(inputs, validating, targets.shape[1], config, seed, **options)
        self.targets, self.weights = targets, weights

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        error = outputs - self.targets[rows].to(self.device)
        return (_squares(error) * self.weights[rows].to(self.device)).mean()


class BinnedMeansTraining(PerceptronTraining):
    """The mean templates in fine bins, of which several make a bin that counts.

    What counts is the mean over the pairs of each wide bin; how the fine bins inside it differ from that
    counts less. To first order, a wide bin's logarithm of 1 + xi errs by the mean of its fine bins'
    errors, too.

    Parameters
    ----------
    inputs, validating, config, seed, snapshots, start
        As in `PerceptronTraining`.
    targets : torch.Tensor, shape (n, n_templates, n_wide, n_inside)
        Scaled as `scale_means` does.
    scale : torch.Tensor, shape (n_templates, n_wide, n_inside)
        Of the targets, over that of the wide bins.
    shares : torch.Tensor, shape (n, n_wide, n_inside)
        Of the wide bins' pairs.
    weights : torch.Tensor, shape (n, n_templates n_wide)
        Of the squared errors, see `noise_weights`.
    weight_inside : float
        Of the deviations inside a wide bin.
    """

    def __init__(
        self,
        inputs: Tensor,
        validating: Tensor,
        targets: Tensor,
        scale: Tensor,
        shares: Tensor,
        weights: Tensor,
        weight_inside: float,
        config: NetworkConfig,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(inputs, validating, targets[0].numel(), config, seed, **options)
        self.targets, self.scale, self.shares = targets, scale, shares
        self.weights, self.weight_inside = weights, weight_inside

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        targets, scale, shares, weights = (
            x.to(outputs.device)
            for x in (self.targets[rows], self.scale, self.shares[rows], self.weights[rows])
        )
        error = (outputs.view_as(targets) - targets) * scale
        wide = (error * shares[:, None]).sum(-1)
        inside = _squares(error - wide[..., None]).mean()
        of_wide = (_squares(wide.flatten(1)) * weights).mean()
        loss: Tensor = of_wide + self.weight_inside * inside
        return loss


def _squares(errors: Tensor) -> Tensor:
    """Squares of errors up to `_LINEAR`, beyond which they grow linearly (Huber's loss)."""
    return 2 * torch.nn.functional.huber_loss(
        errors, torch.zeros_like(errors), reduction="none", delta=_LINEAR
    )


def noise_weights(n_pairs: Array, exponent: float, n_templates: int) -> Tensor:
    """Weights (n, n_templates n_bins) of squared errors: pairs over their median, to a power.

    A catalogue's noise falls with the number of pairs: with the exponent 1 errors would count in
    units of the noise, with 0 in units of the scatter of the templates over the domain.

    Parameters
    ----------
    n_pairs : ndarray, shape (n, n_bins)
    exponent : float
    n_templates : int
    """
    weights = (n_pairs / np.median(n_pairs, axis=0)) ** exponent
    weights /= weights.mean(axis=0)
    return torch.as_tensor(np.tile(weights, n_templates), dtype=torch.float32)


def scale_means(
    templates: Array, statistics: Sequence[Statistic], weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets of the networks, with their mean and scale.

    A template, or log(1 + template) where it is learned as a logarithm, is mean + scale * target.

    Parameters
    ----------
    templates : ndarray, shape (n, n_templates, n_bins)
    statistics : sequence of Statistic
        Whose templates these are.
    weight : float
        Of errors of the logarithms, whose scatter is small, relative to the others.

    Returns
    -------
    targets : torch.Tensor, shape (n, n_templates n_bins)
    mean, scale : torch.Tensor, shape (n_templates n_bins,)
    """
    logarithmic = [s.learned_as_logarithm for s in statistics for _ in s.templates]
    values = templates.copy()
    with np.errstate(divide="ignore"):
        logarithms = np.log1p(values[:, logarithmic])
    # Where no pair is expected there is none, and the smallest one of all points stands for it.
    empty = np.isneginf(logarithms)
    smallest = logarithms.min(axis=0, where=~empty, initial=np.inf)
    values[:, logarithmic] = np.where(empty, smallest, logarithms)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[logarithmic] /= weight
    scale[scale == 0] = 1  # of what is the same at all points
    targets = torch.as_tensor((values - mean) / scale, dtype=torch.float32)
    return targets.flatten(1), torch.as_tensor(mean).flatten(), torch.as_tensor(scale).flatten()


class _NoiseTraining(PerceptronTraining):
    """Blocks of second moments by their Gaussian likelihood, and numbers for the correlations."""

    def __init__(
        self,
        inputs: Tensor,
        validating: Tensor,
        moments: Array,
        counted: NDArray[np.bool_],
        sizes: tuple[int, ...],
        n_others: int,
        config: NetworkConfig,
        seed: int,
    ) -> None:
        self.sizes, self.n_bins = sizes, moments.shape[-1]
        self.n_blocks = moments.shape[1] * self.n_bins
        super().__init__(inputs, validating, self.n_blocks + n_others, config, seed)
        self.moments = torch.as_tensor(moments)
        self.counted = torch.as_tensor(counted)
        self.offset, self.scale = _scale_blocks(moments, counted, sizes)

    def blocks(self, outputs: Tensor) -> Tensor:
        """Log-variances and regression coefficients, (n, ..., n_bins), float64."""
        values = outputs[:, : self.n_blocks].double() * self.scale.to(outputs.device)
        return (values + self.offset.to(outputs.device)).unflatten(-1, (-1, self.n_bins))

    def block_loss(self, blocks: Tensor, rows: Tensor) -> Tensor:
        """Mean over what has pairs, relative to the scales, so that it is of order one."""
        moments = self.moments[rows].to(blocks.device)
        counted = self.counted[rows].to(blocks.device)[:, None]
        terms = block_loss(blocks, moments, self.sizes) - self._typical.to(blocks.device)
        return (terms * counted).sum() / (counted.sum() * terms.shape[1])

    @property
    def _typical(self) -> Tensor:
        offset = self.offset.unflatten(-1, (-1, self.n_bins))
        first = np.cumsum([0, *(i + 1 for k in self.sizes for i in range(k))])[:-1]
        return offset[first]

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        scaling = {f"{prefix}offset": self.offset, f"{prefix}scale": self.scale}
        return super().tensors(prefix) | scaling


def _scale_blocks(
    moments: Array, counted: NDArray[np.bool_], sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Typical values and scatter of log-variances and coefficients over the points."""
    offset, scale = np.zeros(moments.shape[1:]), np.ones(moments.shape[1:])
    at = 0
    with np.errstate(divide="ignore"):
        logs = np.where(counted[:, None] & (moments > 0), np.log(np.abs(moments)), np.nan)
    for size in sizes:
        first: list[int] = []
        for i in range(size):
            offset[at] = np.nanmean(logs[:, at], axis=0)
            scale[at] = np.nanstd(logs[:, at], axis=0)
            for j, other in enumerate(first):
                scale[at + 1 + j] = np.exp((offset[at] - offset[other]) / 2)
            first.append(at)
            at += 1 + i
    return torch.as_tensor(offset).flatten(), torch.as_tensor(scale).flatten()


class OccupationTraining(_NoiseTraining):
    """Variances of the templates between catalogues, and the factors of their correlations.

    Parameters
    ----------
    inputs, validating, config, seed
        As in `PerceptronTraining`.
    targets : NoiseTargets
    n_factors : int
        Common factors of the correlations.
    """

    def __init__(
        self, inputs: Tensor, validating: Tensor, targets: NoiseTargets, n_factors: int,
        config: NetworkConfig, seed: int,
    ) -> None:  # fmt: skip
        deviations = torch.as_tensor(targets.deviations)
        n_numbers = deviations.shape[2] * deviations.shape[3]
        super().__init__(
            inputs, validating, targets.occupation, targets.counted,
            occupation_blocks(targets.statistics), n_numbers * n_factors, config, seed,
        )  # fmt: skip
        self.deviations = deviations

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        blocks = self.blocks(outputs)
        each = blocks.detach().split([n_outputs((k,)) for k in self.sizes], dim=1)
        stds = []
        for block, size in zip(each, self.sizes, strict=True):
            own, others = rows_of_block(size)
            stds.append(block_stds(block[:, own].exp().unbind(1), block[:, others].unbind(1)))
        std = torch.cat(stds, dim=1)
        # Factors are learned of what the present variances standardise.
        z = (self.deviations[rows].to(outputs.device) / std[:, None]).flatten(2)
        loadings = outputs[:, self.n_blocks :].double().unflatten(-1, (z.shape[-1], -1))
        return self.block_loss(blocks, rows) + factor_loss(loadings, z).mean()


class ShapeTraining(_NoiseTraining):
    """Second moments of the neighbourhoods, and principal components of their correlations.

    Parameters
    ----------
    inputs, validating, config, seed
        As in `PerceptronTraining`.
    targets : NoiseTargets
    n_components : int
        Principal components of the factors of the correlations.
    """

    def __init__(
        self, inputs: Tensor, validating: Tensor, targets: NoiseTargets, n_components: int,
        config: NetworkConfig, seed: int,
    ) -> None:  # fmt: skip
        both = np.concatenate([targets.shape, targets.pairs], axis=1)
        sizes = SHAPE_BLOCKS + (1,) * len(PAIRS)
        super().__init__(
            inputs, validating, both, targets.counted, sizes, n_components, config, seed
        )
        i, j = np.tril_indices(targets.cholesky.shape[-1])
        triangles = torch.as_tensor(targets.cholesky[..., i, j]).flatten(1)
        self.centre = triangles[self.training_rows].mean(0)
        deviations = triangles - self.centre
        _, singular, vectors = torch.linalg.svd(deviations[self.training_rows], full_matrices=False)
        rms = singular[:n_components] / len(self.training_rows) ** 0.5
        vectors = vectors[:n_components]
        # A component is of order one, and counts as much as it moves the factors.
        self.components = vectors * rms[:, None]
        self.coordinates = deviations @ vectors.T / rms
        self.weight = rms.square() / rms.square().sum()

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        error = outputs[:, self.n_blocks :] - self.coordinates[rows].to(outputs.device)
        correlations = (error.square() * self.weight.to(outputs.device)).sum(-1).mean()
        return self.block_loss(self.blocks(outputs), rows) + correlations

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        extra = {f"{prefix}components": self.components, f"{prefix}centre": self.centre}
        return super().tensors(prefix) | extra
