"""Training of IAEmu's network on catalogues drawn about their exact expectation.

As arXiv:2504.05235 trains it, but for the catalogues: not ten of each HOD point, but a new one every
epoch, from the noise model that was validated against realisations.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.atomic import write_tensors
from iaemu_likelihood.emulator.datasets.dataset import DataSet, Recipe, make_dataset
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.models.base import (
    CARD_FILE,
    SCHEMA,
    WEIGHTS_FILE,
    Emulator,
    TemplatesEmulator,
)
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.paper import MAX_ROWS, SCALING, PaperNetwork
from iaemu_likelihood.emulator.physics.parameters import PARAMETERS, Domain
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.physics.watson import p2_series
from iaemu_likelihood.emulator.training.templates import (
    draw_learning_curves,
    fit,
    prepare,
    provenance,
)
from lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class PaperConfig:
    """Everything that decides the weights; see `paper.yaml` for what each field means."""

    kind: str
    halos: str
    seed: int
    domain: dict[str, Any]
    n_train: int
    noise: str
    network: dict[str, float]
    epochs: int
    warm_up: float
    beta: dict[str, float]
    batch: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    schedule: dict[str, float]
    validate_every: int
    patience: float
    n_passes: int

    def __post_init__(self) -> None:
        if self.n_passes < 2:
            raise ValueError(
                f"n_passes is {self.n_passes}; the epistemic uncertainty is the scatter between "
                "passes and takes at least 2."
            )


class CatalogueNoise(Protocol):
    """Scatter of single catalogues, as the templates emulator has it."""

    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations from the expectation, (n, 7) float64 to (n, 3, n_bins)."""

    def sigma(self, theta: Tensor) -> Tensor:
        """Their standard deviations, (n, 7) float64 to (n, 3, n_bins)."""


@dataclass(frozen=True)
class Catalogues:
    """Single catalogues, drawn afresh at HOD points whose expectation is known.

    Attributes
    ----------
    hod : torch.Tensor, shape (n, 5), float64
        logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
    templates : torch.Tensor, shape (n, 6, n_bins), float64
    noise : CatalogueNoise
    """

    hod: Tensor
    templates: Tensor
    noise: CatalogueNoise

    @classmethod
    def of(cls, data: DataSet, noise: CatalogueNoise, device: torch.device | str) -> Catalogues:
        """At the points of a data set of expectations."""
        if data.kind != "expectation":
            raise ValueError(f"Training takes a data set of expectation, not of {data.kind}.")
        hod, templates = (
            torch.as_tensor(x, dtype=torch.float64, device=device)
            for x in (data.parameters, data.columns["templates"])
        )
        return cls(hod, templates, noise)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One catalogue at each HOD point, mu_cen and mu_sat uniform in [-1, 1].

        Parameters
        ----------
        generator : torch.Generator

        Returns
        -------
        theta : torch.Tensor, shape (n, 7), float64
        values : torch.Tensor, shape (n, 3, n_bins), float64
            log(1 + xi), omega and eta.
        """
        mu = torch.rand(
            len(self.hod), 2, dtype=torch.float64, device=self.hod.device, generator=generator
        )
        theta = torch.cat([2 * mu - 1, self.hod], dim=1)
        with torch.no_grad():
            # Their covariances, of all bins together, would fill the memory at once.
            parts = [
                self._values(points, templates, generator)
                for points, templates in zip(
                    theta.split(MAX_ROWS), self.templates.split(MAX_ROWS), strict=True
                )
            ]
        return theta, torch.cat(parts)

    def _values(self, theta: Tensor, templates: Tensor, generator: torch.Generator) -> Tensor:
        strength = p2_series(theta[:, :2])
        mean = torch.stack(combine_templates(templates, strength[:, :1], strength[:, 1:]), dim=1)
        deviation, sigma = self.noise.draw_noise(theta, generator), self.noise.sigma(theta)
        # 1 + xi, a ratio of pair counts, stays positive: a log-normal of its mean and variance.
        one_plus_xi = 1 + mean[:, 0]
        variance = torch.log1p((sigma[:, 0] / one_plus_xi) ** 2)
        standard = deviation[:, 0] / sigma[:, 0]
        log_xi = one_plus_xi.log() - variance / 2 + variance.sqrt() * standard
        return torch.cat([log_xi[:, None], (mean + deviation)[:, 1:]], dim=1)


def beta_nll(mean: Tensor, variance: Tensor, target: Tensor, beta: Tensor | float) -> Tensor:
    """Gaussian negative log-likelihood weighted by variance^beta (Seitzer et al., 2203.09168).

    The weight is not differentiated; beta = 0 is the likelihood, at beta = 1 the mean is learned as
    in least squares. Elementwise, without the constant log(2 pi) / 2.
    """
    nll = (variance.log() + (target - mean) ** 2 / variance) / 2
    return variance.detach() ** beta * nll


class PaperTraining(LightningModule):
    """Training on catalogues drawn afresh every epoch.

    Parameters
    ----------
    data : DataSet
        Of expectations; its train and validation splits are used.
    noise : CatalogueNoise
        On `device`.
    config : PaperConfig
    device : torch.device or str
        Where catalogues are drawn, in float64. What is drawn depends on it.
    """

    def __init__(
        self,
        data: DataSet,
        noise: CatalogueNoise,
        config: PaperConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config
        self.r_edges = torch.as_tensor(data.r_edges)
        self.catalogues = Catalogues.of(data.select("train"), noise, device)
        self.n_batches = len(self.catalogues.hod) // config.batch
        if self.n_batches == 0:
            raise ValueError(
                f"{len(self.catalogues.hod)} training points do not fill a batch of {config.batch}."
            )
        torch.manual_seed(config.seed)
        self.network = PaperNetwork(len(self.r_edges) - 1, **config.network)

        theta, values = self.catalogues.draw(self._generator(-1))
        self.input_mean, self.input_scale = theta.mean(0), theta.std(0)
        self.target_mean, self.target_scale = values.mean((0, 2)), values.std((0, 2))
        validation = Catalogues.of(data.select("validation"), noise, device)
        drawn = validation.draw(self._generator(-2))
        self.validation = TensorDataset(*(x.cpu() for x in self._scaled(*drawn)))
        self.beta = torch.tensor([[config.beta[name]] for name in STATISTICS])

    def _generator(self, epoch: int) -> torch.Generator:
        seed = self.config.seed * 1_000_003 + epoch
        return torch.Generator(self.catalogues.hod.device).manual_seed(seed)

    def _scaled(self, theta: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (n, 7) and targets (n, 3, n_bins) of the network, float32, where they are."""
        inputs = (theta - self.input_mean) / self.input_scale
        targets = (values - self.target_mean[:, None]) / self.target_scale[:, None]
        return inputs.float(), targets.float()

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.n_batches))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.validation, batch_size=MAX_ROWS)

    def on_train_epoch_start(self) -> None:
        # A function of the epoch alone, so that a resumed run sees the same catalogues, in the same
        # order and through the same dropout.
        generator = self._generator(self.current_epoch)
        drawn = self._scaled(*self.catalogues.draw(generator))
        device = generator.device
        order = torch.randperm(len(drawn[0]), generator=generator, device=device)
        batches = order[: self.n_batches * self.config.batch].view(self.n_batches, -1)
        self._inputs, self._targets = (x[batches] for x in drawn)
        seeds = torch.randint(2**62, (self.n_batches,), generator=generator, device=device)
        self._dropout_seeds = seeds.tolist()

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        index = int(batch)  # of this epoch's batches; each device of several gets others
        inputs, targets = (x[index].to(self.device) for x in (self._inputs, self._targets))
        # For each batch, as Lightning's loops draw from the global generator, too.
        torch.manual_seed(self._dropout_seeds[index])
        warming_up = self.current_epoch < self.config.warm_up * self.config.epochs
        beta = 1.0 if warming_up else self.beta.to(self.device)
        mean, variance = self.network(inputs)
        loss = beta_nll(mean, variance, targets, beta).mean()
        if not loss.isfinite():
            raise FloatingPointError(
                f"The loss is {loss.item()} in epoch {self.current_epoch}, batch {index}: training "
                "has diverged. Lower learning_rate or gradient_clip, or look for NaN in the data."
            )
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        inputs, targets = batch
        mean, variance = self.network(inputs)
        squared = (mean - targets) ** 2
        loss = (0.7 * squared + 0.3 * beta_nll(mean, variance, targets, 0.0)).mean()
        self.log("validation", loss, prog_bar=True, batch_size=len(inputs), sync_dist=True)

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        period = math.ceil(config.epochs / config.schedule["steps"])
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, period, config.schedule["factor"])
        return [optimizer], [scheduler]


def tensors_of(module: PaperTraining) -> dict[str, Tensor]:
    """What the weights file of a `PaperEmulator` holds: the network, its scaling, the bins."""
    tensors = {f"network.{name}": x for name, x in module.network.state_dict().items()}
    for name in (*SCALING, "r_edges"):
        tensors[name] = getattr(module, name)
    return {name: x.detach().cpu().contiguous() for name, x in tensors.items()}


def train_paper(
    config: PaperConfig,
    out: str | Path,
    progress: bool = True,
    scheduler: str | None = None,
    devices: int = 1,
) -> Path:
    """Train IAEmu's network and write its weights and card; as `training.train`, which calls this."""
    folder = prepare(config, out)
    if (folder / CARD_FILE).exists():
        return folder
    recipe = Recipe(
        "expectation", config.n_train, config.seed, halos=config.halos, domain=config.domain,
        fractions=(0.9, 0.1, 0.0),
    )  # fmt: skip
    path, table = folder / "expectation.hdf5", folder / "tabulation.hdf5"
    data = DataSet.read(make_dataset(recipe, path, table, scheduler, progress))
    module = PaperTraining(data, _noise(config, data), config)
    fit(
        module, folder / "network", epochs=config.epochs,
        patience=round(config.patience * config.epochs), validate_every=config.validate_every,
        progress=progress, gradient_clip=config.gradient_clip, devices=devices,
    )  # fmt: skip
    write_tensors(tensors_of(module), folder / WEIGHTS_FILE)
    curves = draw_learning_curves({"network": folder / "network"}, folder)
    card = {
        "schema": SCHEMA,
        "kind": "paper",
        "description": (
            f"IAEmu's network (arXiv:2504.05235): {', '.join(PARAMETERS)} to mean and variance of xi, "
            "omega and eta of one catalogue. Trained on catalogues drawn about their exact "
            f"expectation from the noise model of the weights {config.noise!r}, one at each of "
            f"{len(module.catalogues.hod)} HOD points in every epoch, for {curves['network']['epochs']} "
            "epochs; not on galaxy catalogues. xi is learned as log(1 + xi), so that nothing is left "
            "out where xi < 0, and is log-normal in the prediction. Mean and aleatoric uncertainty "
            f"are without dropout, the epistemic one is the scatter of {config.n_passes} passes with "
            "dropout. Channels of the decoders are those of the public code (snehjp2/IAEmu)."
        ),
        **provenance(data, Domain.zheng07(**config.domain)),
        "learning_curve": curves,
        "training": asdict(config),
    }
    write_card(folder, card | {"weights_sha256": sha256(folder / WEIGHTS_FILE)})
    return folder


def _noise(config: PaperConfig, data: DataSet) -> TemplatesEmulator:
    """The emulator whose noise is drawn from."""
    noise = Emulator.load(config.noise)
    if not isinstance(noise, TemplatesEmulator):
        raise ValueError(
            f"noise: {config.noise} is of kind {noise.card['kind']}; weights of kind templates are "
            "needed, whose noise has all its correlations."
        )
    digest = noise.card["halos"]["sha256"]
    if digest != data.attributes["halos_sha256"]:
        raise ValueError(
            f"noise: {config.noise} was trained on the halo catalogue {noise.card['halos']['name']} "
            f"({digest[:12]}...), not on {config.halos}. Train templates on that one first, and give "
            "their folder."
        )
    return noise
