"""Training of the templates emulator: halo catalogue to weights, resumable at every step."""

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
from iaemu_likelihood.emulator.files import writing
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.networks import TemplatesNetwork
from iaemu_likelihood.emulator.parameters import HOD_PARAMETERS, Domain
from iaemu_likelihood.emulator.prediction import CARD_FILE, SCHEMA, WEIGHTS_FILE
from iaemu_likelihood.emulator.tabulation import Tabulation
from iaemu_likelihood.emulator.templates import TEMPLATES
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DEFAULT_CONFIG = Path(__file__).parent / "templates.yaml"


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the weights; see `templates.yaml` for what each field means."""

    halos: str
    seed: int
    domain: dict[str, Any]
    n_train: int
    n_test: int
    network: dict[str, int]
    n_networks: int
    epochs: int
    batch: int
    learning_rate: dict[str, float]
    weight_xi: float

    def __post_init__(self) -> None:
        if self.n_networks < 2:
            raise ValueError(
                f"n_networks is {self.n_networks}; the epistemic uncertainty is the scatter between "
                "networks and takes at least 2."
            )

    @classmethod
    def read(cls, path: str | Path = DEFAULT_CONFIG) -> TrainingConfig:
        """Read a YAML file; unknown and missing keys are errors that name them."""
        given = yaml.safe_load(Path(path).read_text()) or {}
        known = set(cls.__dataclass_fields__)
        if set(given) != known:
            raise ValueError(
                f"{path}: unknown keys: {', '.join(sorted(set(given) - known)) or 'none'}; "
                f"missing keys: {', '.join(sorted(known - set(given))) or 'none'}."
            )
        return cls(**given)


@dataclass(frozen=True)
class TrainingSet:
    """Scaled inputs and targets, and how to undo the scaling of the targets.

    Attributes
    ----------
    inputs : torch.Tensor, shape (n, 5), float32
    targets : torch.Tensor, shape (n, 6 * n_bins), float32
    mean, scale : torch.Tensor, shape (6 * n_bins,), float64
        Template (log(1 + xi) for xi) = mean + scale * target.
    """

    inputs: Tensor
    targets: Tensor
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, hod: Array, templates: Array, domain: Domain, weight_xi: float) -> TrainingSet:
        """Scale occupation parameters (n, 5) and templates (n, 6, n_bins)."""
        values = np.concatenate([np.log1p(templates[:, :1]), templates[:, 1:]], axis=1)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale[0] /= weight_xi
        return cls(
            torch.as_tensor(np.concatenate(domain.to_unit(hod), axis=-1), dtype=torch.float32),
            torch.as_tensor((values - mean) / scale, dtype=torch.float32).flatten(1),
            torch.as_tensor(mean).flatten(),
            torch.as_tensor(scale).flatten(),
        )


class TemplatesTraining(LightningModule):
    """Least-squares training of one network.

    Parameters
    ----------
    data : TrainingSet
    config : TrainingConfig
    seed : int
        Of the initial weights and of the order of the points, epoch by epoch.
    """

    def __init__(self, data: TrainingSet, config: TrainingConfig, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = TemplatesNetwork(
            data.inputs.shape[1], data.targets.shape[1], **config.network
        )
        self.data, self.config, self.seed = data, config, seed
        self.n_batches = len(data.inputs) // config.batch
        # Two optimisers for different parameters, both stepped on every batch.
        self.automatic_optimization = False

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.n_batches))  # type: ignore[arg-type]

    def on_train_epoch_start(self) -> None:
        # A function of the epoch alone, so that a resumed run sees the same batches.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.current_epoch)
        order = torch.randperm(len(self.data.inputs), generator=generator)
        self._batches = order[: self.n_batches * self.config.batch].view(self.n_batches, -1)

    def training_step(self, _: Tensor, index: int) -> None:
        batch = self._batches[index]
        inputs, targets = (x[batch].to(self.device) for x in (self.data.inputs, self.data.targets))
        loss = torch.nn.functional.mse_loss(self.network(inputs), targets)
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        schedulers: Any = self.lr_schedulers()
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        hidden = list(self.network.weights)[1:-1]
        others = [self.network.weights[0], self.network.weights[-1], *self.network.biases]
        rate = self.config.learning_rate
        optimizers = [
            torch.optim.Muon(hidden, lr=rate["hidden"], weight_decay=0.0, momentum=0.95),
            torch.optim.Adam(others, lr=rate["others"], betas=(0.9, 0.99)),
        ]
        steps = self.config.epochs * self.n_batches
        warm_up = max(1, int(0.03 * steps))

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / warm_up) * max(0.0, 1 - step / steps)

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]


def _train_network(
    data: TrainingSet, config: TrainingConfig, seed: int, folder: Path, progress: bool
) -> Path:
    """Train one network, or go on where a stopped run left off; the path of its weights."""
    finished = folder / WEIGHTS_FILE
    if finished.exists():
        return finished
    module = TemplatesTraining(data, config, seed)
    last = folder / "last.ckpt"
    # Lightning's notes on hardware that is not there, workers and logging intervals.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=config.epochs,
            default_root_dir=folder,
            logger=CSVLogger(folder, name="", version=""),
            callbacks=[
                ModelCheckpoint(
                    folder, filename="last", every_n_epochs=10, enable_version_counter=False
                ),
                *([RichProgressBar()] if progress else []),
            ],
            enable_progress_bar=progress,
            accelerator="auto",
            devices=1,
            enable_model_summary=False,
            log_every_n_steps=module.n_batches,
        )
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    with writing(finished) as unfinished:
        save_file(module.network.state_dict(), unfinished)
    return finished


def train(config: TrainingConfig, out: str | Path, progress: bool = True) -> Path:
    """Train an ensemble and write its weights and card.

    Every step leaves its result in the folder, and a run that was stopped goes on from there:
    the tabulation, the training points, and each network (checkpoint every 10 epochs).

    Parameters
    ----------
    config : TrainingConfig
    out : str or Path
        Folder for the results; created if need be.
    progress : bool

    Returns
    -------
    Path
        The folder, from which `Emulator.load` loads.

    Raises
    ------
    ValueError
        If the folder holds results of another configuration.
    """
    from iaemu_likelihood.emulator.prediction import Emulator
    from iaemu_likelihood.emulator.validation import emulator_against_tabulation

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "config.yaml"
    if kept.exists() and yaml.safe_load(kept.read_text()) != asdict(config):
        raise ValueError(f"{folder} holds a training with another configuration; see {kept}.")
    kept.write_text(yaml.safe_dump(asdict(config), sort_keys=False))

    halos = load_halos(config.halos)
    tabulation = Tabulation.cached(
        folder / "tabulation.hdf5", halos, seed=config.seed, progress=progress
    )
    domain = Domain.zheng07(**config.domain)
    points = folder / "points.npz"
    if not points.exists():
        hod = domain.sample(config.n_train, config.seed)[:, 2:]
        templates = tabulation.templates(hod, progress)
        with writing(points) as unfinished, unfinished.open("wb") as file:
            np.savez(file, hod=hod, templates=templates.stack())
    with np.load(points, allow_pickle=False) as kept_points:
        data = TrainingSet.of(
            kept_points["hod"], kept_points["templates"], domain, config.weight_xi
        )

    members = []
    for i in range(config.n_networks):
        log.info("Network %d of %d.", i + 1, config.n_networks)
        path = _train_network(data, config, config.seed + i, folder / f"network{i}", progress)
        members.append(load_file(path))
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    tensors |= {
        "mean": data.mean,
        "scale": data.scale,
        "r_edges": torch.as_tensor(tabulation.r_edges),
    }
    save_file(tensors, folder / WEIGHTS_FILE)
    card = {
        "schema": SCHEMA,
        "kind": "templates",
        "description": (
            f"Ensemble of {config.n_networks} networks: {', '.join(HOD_PARAMETERS)} to the "
            f"templates {', '.join(TEMPLATES)}, trained on their expectation over halotools-IA's "
            "draws; mu_cen and mu_sat enter in closed form."
        ),
        "halos": {"name": tabulation.halos_name, "sha256": tabulation.halos_sha256},
        "redshift": float(halos.redshift),
        "r_edges_unit": "Mpc/h",
        "domain": domain.to_dict(),
        "domain_note": (
            f"the paper's bands, cut to sigma_logM >= {domain.minimum[0]:g} (so that it stays positive) "
            f"and logM0 <= {domain.maximum[1]:g}"
        ),
        "network": config.network,
        "training": asdict(config),
        "version": version("iaemu_likelihood"),
        "license": "BSD-3-Clause",
        "citation": ["arXiv:2504.05235", "arXiv:2311.07374", "arXiv:1606.04106"],
        "weights_sha256": sha256(folder / WEIGHTS_FILE),
    }
    (folder / CARD_FILE).write_text(yaml.safe_dump(card, sort_keys=False))
    card["accuracy"] = emulator_against_tabulation(
        Emulator.load(folder), tabulation, config.n_test, config.seed + 1_000
    )
    (folder / CARD_FILE).write_text(yaml.safe_dump(card, sort_keys=False))
    return folder
