"""Training of the emulators: halo catalogue to weights, resumable at every step."""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.atomic import write_tensors, atomic_write
from iaemu_likelihood.emulator.datasets.dataset import DataSet, Recipe, make_dataset
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.models.base import CARD_FILE, SCHEMA, WEIGHTS_FILE
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.networks.perceptron import Perceptron
from iaemu_likelihood.emulator.noise.learned import (
    OCCUPATION_BLOCKS,
    PAIRS,
    SHAPE_BLOCKS,
    block_loss,
    block_stds,
    factor_loss,
    n_outputs,
    rows_of_block,
)
from iaemu_likelihood.emulator.noise.targets import Moments
from iaemu_likelihood.emulator.physics.parameters import HOD_PARAMETERS, Domain
from iaemu_likelihood.emulator.physics.templates import TEMPLATES
from iaemu_likelihood.emulator.training.configuration import read_config, read_yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DEFAULT_CONFIG = Path(__file__).parent / "templates.yaml"


@dataclass(frozen=True)
class NetworkConfig:
    """How one kind of network is built and trained."""

    width: int
    depth: int
    epochs: int
    batch: int
    learning_rate: dict[str, float]
    weight_decay: float
    patience: int


@dataclass(frozen=True)
class TemplatesConfig:
    """Everything that decides the weights; see `templates.yaml` for what each field means."""

    kind: str
    halos: str
    seed: int
    domain: dict[str, Any]
    validation: float
    n_points: int
    n_networks: int
    weight_xi: float
    noise_weight: float
    means: NetworkConfig
    n_noise_points: int
    n_catalogues: int
    occupation: NetworkConfig
    n_factors: int
    shape: NetworkConfig
    n_components: int

    def __post_init__(self) -> None:
        if self.n_networks < 2:
            raise ValueError(
                f"n_networks is {self.n_networks}; the epistemic uncertainty is the scatter between "
                "networks and takes at least 2."
            )
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}; it is a share between 0 and 1.")

    def recipe(self, kind: str, **numbers: Any) -> Recipe:
        """Of one of the two data sets."""
        shares = (1 - self.validation, self.validation, 0.0)
        return Recipe(kind, seed=self.seed, halos=self.halos, domain=self.domain, fractions=shares,
                      **numbers)  # fmt: skip


# ---------------------------------------------------------------- networks


class PerceptronTraining(LightningModule):
    """Training of one perceptron on points in memory.

    Subclasses say what its outputs are held against.

    Parameters
    ----------
    inputs : torch.Tensor, shape (n, 5), float32
        Occupation parameters in the unit cube.
    validating : torch.Tensor of bool, shape (n,)
        Points that judge and do not train.
    n_out : int
    config : NetworkConfig
    seed : int
        Of the initial weights and of the order of the points, epoch by epoch.
    """

    def __init__(
        self, inputs: Tensor, validating: Tensor, n_out: int, config: NetworkConfig, seed: int
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = Perceptron(inputs.shape[1], n_out, config.width, config.depth)
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
            raise FloatingPointError(
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
        hidden = list(self.network.weights)[1:-1]
        others = [self.network.weights[0], self.network.weights[-1], *self.network.biases]
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
    """The six mean templates, by weighted least squares.

    Parameters
    ----------
    inputs, validating, config, seed
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
    ) -> None:
        super().__init__(inputs, validating, targets.shape[1], config, seed)
        self.targets, self.weights = targets, weights

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        error = outputs - self.targets[rows].to(self.device)
        return (error.square() * self.weights[rows].to(self.device)).mean()


def noise_weights(n_pairs: Array, exponent: float) -> Tensor:
    """Weights (n, 6 n_bins) of squared errors: pairs (n, n_bins) over their median, to a power.

    A catalogue's noise falls with the number of pairs: with the exponent 1 errors would count in
    units of the noise, with 0 in units of the scatter of the templates over the domain.
    """
    weights = (n_pairs / np.median(n_pairs, axis=0)) ** exponent
    weights /= weights.mean(axis=0)
    return torch.as_tensor(np.tile(weights, len(TEMPLATES)), dtype=torch.float32)


def scale_means(templates: Array, weight_xi: float) -> tuple[Tensor, Tensor, Tensor]:
    """Targets (n, 6 n_bins) of the networks, and mean and scale of each, (6 n_bins,).

    Template (log(1 + xi) for xi) = mean + scale * target.
    """
    values = np.concatenate([np.log1p(templates[:, :1]), templates[:, 1:]], axis=1)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[0] /= weight_xi
    targets = torch.as_tensor((values - mean) / scale, dtype=torch.float32)
    return targets.flatten(1), torch.as_tensor(mean).flatten(), torch.as_tensor(scale).flatten()


class _MomentsTraining(PerceptronTraining):
    """Blocks of second moments by their Gaussian likelihood, and something else."""

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

    def tensors(self, part: str) -> dict[str, Tensor]:
        """What `NoiseModel` needs, by name."""
        state = {f"{part}.{k}": v for k, v in self.network.state_dict().items()}
        return state | {f"{part}.offset": self.offset, f"{part}.scale": self.scale}


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


class OccupationTraining(_MomentsTraining):
    """Variances of the templates between catalogues, and the factors of their correlations."""

    def __init__(
        self, inputs: Tensor, validating: Tensor, moments: Moments, n_factors: int,
        config: NetworkConfig, seed: int,
    ) -> None:  # fmt: skip
        deviations = torch.as_tensor(moments.deviations)
        n_numbers = deviations.shape[2] * deviations.shape[3]
        super().__init__(inputs, validating, moments.occupation, moments.counted,
                         OCCUPATION_BLOCKS, n_numbers * n_factors, config, seed)  # fmt: skip
        self.deviations = deviations

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        blocks = self.blocks(outputs)
        each = blocks.detach().split([n_outputs((k,)) for k in OCCUPATION_BLOCKS], dim=1)
        stds = []
        for block, size in zip(each, OCCUPATION_BLOCKS, strict=True):
            own, others = rows_of_block(size)
            stds.append(block_stds(block[:, own].exp().unbind(1), block[:, others].unbind(1)))
        std = torch.cat(stds, dim=1)
        # Factors are learned of what the present variances standardise.
        z = (self.deviations[rows].to(outputs.device) / std[:, None]).flatten(2)
        loadings = outputs[:, self.n_blocks :].double().unflatten(-1, (z.shape[-1], -1))
        return self.block_loss(blocks, rows) + factor_loss(loadings, z).mean()


class ShapeTraining(_MomentsTraining):
    """Second moments of the quadrupoles, and principal components of their correlations."""

    def __init__(
        self, inputs: Tensor, validating: Tensor, moments: Moments, n_components: int,
        config: NetworkConfig, seed: int,
    ) -> None:  # fmt: skip
        both = np.concatenate([moments.shape, moments.pairs], axis=1)
        sizes = SHAPE_BLOCKS + (1,) * len(PAIRS)
        super().__init__(
            inputs, validating, both, moments.counted, sizes, n_components, config, seed
        )
        i, j = np.tril_indices(moments.cholesky.shape[-1])
        triangles = torch.as_tensor(moments.cholesky[..., i, j]).flatten(1)
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

    def tensors(self, part: str) -> dict[str, Tensor]:
        extra = {f"{part}.components": self.components, f"{part}.centre": self.centre}
        return super().tensors(part) | extra


# ---------------------------------------------------------------- fitting


def fit(
    module: Any,
    folder: Path,
    *,
    epochs: int,
    patience: int,
    validate_every: int = 1,
    progress: bool = True,
    gradient_clip: float | None = None,
    devices: int = 1,
) -> None:
    """Train a module, or go on where a stopped run left off; it then holds the best weights.

    Parameters
    ----------
    module : LightningModule
        With `network`; logs "validation".
    folder : Path
        For checkpoints (best.ckpt, last.ckpt), metrics.csv and TensorBoard's events.
    epochs, patience : int
        At most; and how many without a better validation stop the training.
    validate_every : int
        Epochs between validations and checkpoints.
    progress : bool
    gradient_clip : float, optional
        Largest norm of the gradient.
    devices : int
        GPUs, or processes on a CPU; several train on different batches (DDP).
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    keep: dict[str, Any] = {"every_n_epochs": validate_every, "enable_version_counter": False}
    # Lightning's notes on hardware that is not there, workers and logging intervals.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            logger=[
                CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1),
                TensorBoardLogger(folder, name="", version=""),
            ],
            callbacks=[
                EarlyStopping("validation", patience=max(1, patience // validate_every)),
                ModelCheckpoint(folder, filename="best", monitor="validation", **keep),
                ModelCheckpoint(folder, filename="last", monitor=None, **keep),
                *([RichProgressBar()] if progress else []),
            ],
            enable_progress_bar=progress,
            accelerator="auto",
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            gradient_clip_val=gradient_clip,
            check_val_every_n_epoch=validate_every,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            log_every_n_steps=1_000_000,  # once per epoch
        )
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    module.cpu()


def _trained(
    make: Any, path: Path, part: str | None, config: NetworkConfig, progress: bool, devices: int
) -> dict[str, Tensor]:
    """Tensors of one network, trained unless that is done already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        module = make()
        fit(module, path.parent, epochs=config.epochs, patience=config.patience, progress=progress,
            devices=devices)  # fmt: skip
        tensors = module.tensors(part) if part else module.network.state_dict()
        write_tensors(tensors, path)
    return dict(load_file(path))


# ---------------------------------------------------------------- from halos to weights


def read_training_config(path: str | Path = DEFAULT_CONFIG) -> Any:
    """A configuration of either kind of emulator, by its key ``kind``."""
    from iaemu_likelihood.emulator.training.paper import PaperConfig

    kinds = {"templates": TemplatesConfig, "paper": PaperConfig}
    kind = read_yaml(path).get("kind")
    if kind not in kinds:
        raise ValueError(f"{path}: kind is {kind!r}; it must be one of {', '.join(kinds)}.")
    return read_config(kinds[kind], path)


def prepare(config: Any, out: str | Path) -> Path:
    """The folder of a training, which is refused if it is of another configuration."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "config.yaml"
    if not kept.exists():
        with atomic_write(kept) as unfinished:
            unfinished.write_text(yaml.safe_dump(asdict(config), sort_keys=False))
    elif yaml.safe_load(kept.read_text()) != asdict(config):
        raise ValueError(f"{folder} holds a training with another configuration; see {kept}.")
    return folder


def train(
    config: Any,
    out: str | Path,
    progress: bool = True,
    scheduler: str | None = None,
    devices: int = 1,
) -> Path:
    """Train an emulator and write its weights and card.

    Every step leaves its result in the folder, and a run that was stopped goes on from there:
    the tabulation, the two data sets, and each network (a checkpoint every epoch).

    Parameters
    ----------
    config : TemplatesConfig or PaperConfig
    out : str or Path
        Folder for the results; created if need be.
    progress : bool
    scheduler : str, optional
        For the data sets; see `make_dataset`.
    devices : int
        For the networks; see `fit`.

    Returns
    -------
    Path
        The folder, from which `Emulator.load` loads.

    Raises
    ------
    ValueError
        If the folder holds results of another configuration.
    """
    if not isinstance(config, TemplatesConfig):
        from iaemu_likelihood.emulator.training.paper import train_paper

        return train_paper(config, out, progress, scheduler, devices)
    folder = prepare(config, out)
    if (folder / CARD_FILE).exists():
        return folder
    domain = Domain.zheng07(**config.domain)
    table = folder / "tabulation.hdf5"
    options: dict[str, Any] = {"scheduler": scheduler, "progress": progress}
    recipe = config.recipe("expectation", n_points=config.n_points)
    data = DataSet.read(make_dataset(recipe, folder / "expectation.hdf5", table, **options))
    recipe = config.recipe("realisations", n_points=config.n_noise_points,
                           n_catalogues=config.n_catalogues)  # fmt: skip
    noise = DataSet.read(make_dataset(recipe, folder / "noise.hdf5", **options))

    inputs, validating = training_points(data, domain)
    targets, mean, scale = scale_means(data.columns["templates"], config.weight_xi)
    weights = noise_weights(data.columns["n_pairs"].astype(np.float64), config.noise_weight)
    fitting = (progress, devices)
    members = []
    for i in range(config.n_networks):
        log.info("Means, network %d of %d.", i + 1, config.n_networks)
        seed = config.seed + i
        members.append(
            _trained(
                lambda seed=seed: MeansTraining(
                    inputs, validating, targets, weights, config.means, seed
                ),
                folder / f"network{i}" / WEIGHTS_FILE, None, config.means, *fitting,
            )
        )  # fmt: skip
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    tensors |= {"mean": mean, "scale": scale, "r_edges": torch.as_tensor(data.r_edges)}

    paths = [folder / part / WEIGHTS_FILE for part in ("occupation", "shape")]
    moments = None
    if not all(path.exists() for path in paths):
        hod = noise.parameters[:, 2:]
        moments = Moments.of(noise, Tabulation.read(table).templates(hod, progress).stack())
    for part, path, settings in zip(
        ("occupation", "shape"), paths, (config.occupation, config.shape), strict=True
    ):
        log.info("Noise: %s.", part)
        kind: Any = {"occupation": OccupationTraining, "shape": ShapeTraining}[part]
        size = config.n_factors if part == "occupation" else config.n_components
        tensors |= _trained(
            lambda kind=kind, size=size, settings=settings: kind(
                *training_points(noise, domain), moments, size, settings, config.seed
            ),
            path, part, settings, *fitting,
        )  # fmt: skip
    runs = [f"network{i}" for i in range(config.n_networks)] + ["occupation", "shape"]
    curves = draw_learning_curves({run: folder / run for run in runs}, folder)
    card = _card(config, data, domain) | {"learning_curve": curves}
    tensors["epistemic_factor"] = _epistemic_factor(tensors, card, data.select("validation"))
    write_tensors(tensors, folder / WEIGHTS_FILE)
    write_card(folder, card | {"weights_sha256": sha256(folder / WEIGHTS_FILE)})
    return folder


def training_points(data: DataSet, domain: Domain) -> tuple[Tensor, Tensor]:
    """Occupation parameters in the unit cube, (n, 5), and which points validate, (n,)."""
    unit = domain.to_unit(data.parameters[:, -len(HOD_PARAMETERS) :])
    validating = torch.as_tensor(data.split == 1)
    return torch.as_tensor(unit, dtype=torch.float32), validating


def _epistemic_factor(tensors: dict[str, Tensor], card: dict[str, Any], data: DataSet) -> Tensor:
    """By which the ensemble's scatter must grow to cover 95.4 % of the errors with two sigma.

    At the validation points, with mu uniform in [-1, 1]; one factor per statistic.
    """
    from iaemu_likelihood.emulator.models.base import TemplatesEmulator
    from iaemu_likelihood.emulator.physics.templates import combine_templates
    from iaemu_likelihood.emulator.physics.watson import p2

    mu = np.random.default_rng(0).uniform(-1, 1, (len(data), 2))
    theta = np.concatenate([mu, data.parameters], axis=1)
    guess = TemplatesEmulator(tensors, card).predict(theta)
    assert guess.epistemic is not None
    truth = combine_templates(data.columns["templates"], *p2(mu).T[..., None])
    factors = []
    for name, values in zip(("xi", "omega", "eta"), truth, strict=True):
        error = np.abs(getattr(guess, name) - values) / getattr(guess.epistemic, name)
        factors.append(np.quantile(error, 0.954) / 2)
    return torch.tensor(factors, dtype=torch.float64)


def _card(config: TemplatesConfig, data: DataSet, domain: Domain) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "templates",
        "description": (
            f"Ensemble of {config.n_networks} networks: {', '.join(HOD_PARAMETERS)} to the "
            f"templates {', '.join(TEMPLATES)}, trained on their expectation over halotools-IA's "
            "draws; two more to the moments of the scatter of one catalogue about it, trained on "
            f"{config.n_noise_points} x {config.n_catalogues} realisations; mu_cen and mu_sat enter "
            "in closed form."
        ),
        **provenance(data, domain),
        "training": asdict(config),
    }


def draw_learning_curves(runs: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Draw learning_curve.png of the metrics.csv in folders of `fit`, and sum them up.

    Parameters
    ----------
    runs : dict of str to Path
        By name.
    folder : Path
        Where the figure goes.

    Returns
    -------
    dict
        By name: the number of epochs, the best of them (from 1) and its validation loss.
    """
    from astropy.table import Table
    from iaemu_likelihood.emulator.models.card import LEARNING_CURVE
    from matplotlib.figure import Figure

    n_columns = min(3, len(runs))
    n_rows = -(-len(runs) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns + 1, 2.4 * n_rows), layout="constrained")
    summary = {}
    for i, (name, run) in enumerate(runs.items()):
        axes = figure.add_subplot(n_rows, n_columns, i + 1, title=name, xlabel="epoch")
        table = Table.read(run / "metrics.csv").filled(np.nan)
        for column, style in (("loss", "C0:"), ("validation", "C1-")):
            rows = np.isfinite(table[column])
            epochs, values = np.asarray(table["epoch"][rows]) + 1, np.asarray(table[column][rows])
            axes.plot(epochs, values, style, label={"loss": "training"}.get(column, column))
            if (values > 0).all():
                axes.set_yscale("log")
        best = int(np.argmin(values))
        summary[name] = {
            "epochs": int(epochs[-1]),
            "best_epoch": int(epochs[best]),
            "validation": float(values[best]),
        }
    figure.axes[0].legend(fontsize="small")
    figure.savefig(folder / LEARNING_CURVE, dpi=120, metadata={"Software": None})
    return summary


def provenance(data: DataSet, domain: Domain) -> dict[str, Any]:
    """What cards of every kind say of where weights come from."""
    return {
        "halos": {
            "name": str(data.attributes["halos"]),
            "sha256": str(data.attributes["halos_sha256"]),
        },
        "redshift": float(data.attributes["redshift"]),
        "box": float(data.attributes["box"]),
        "box_unit": "Mpc/h",
        "r_edges_unit": "Mpc/h",
        "domain": domain.to_dict(),
        "domain_note": (
            f"the paper's bands, cut to sigma_logM >= {domain.minimum[0]:g} (so that it stays positive) "
            f"and logM0 <= {domain.maximum[1]:g}"
        ),
        "version": version("iaemu_likelihood"),
        "license": "BSD-3-Clause",
        "citation": ["arXiv:2504.05235", "arXiv:2311.07374", "arXiv:1606.04106"],
    }
