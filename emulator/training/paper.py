"""Training of emulators of kind ``paper``: IAEmu's network, on catalogues about their expectation.

As arXiv:2504.05235 trains it, but for the catalogues: not ten of each HOD point, but a new one every
epoch, from the noise model that was validated against realisations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from iaemu_likelihood.emulator.datasets import DataSet, make_dataset, sources
from iaemu_likelihood.emulator.models import Emulator, TemplatesEmulator
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.networks.iaemu import MAX_ROWS, SCALING, PaperNetwork
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.training.cards import card_of, write_weights
from iaemu_likelihood.emulator.training.configuration import PaperConfig, keep
from iaemu_likelihood.emulator.training.curves import draw_learning_curves
from iaemu_likelihood.emulator.training.loop import fit
from lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class CatalogueNoise(Protocol):
    """Scatter of single catalogues, as the templates emulator has it."""

    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations from the expectation.

        (n, n_parameters), float64, to (n, n_statistics, n_bins).
        """

    def sigma(self, theta: Tensor) -> Tensor:
        """Their standard deviations, of the same shapes."""


@dataclass(frozen=True)
class Catalogues:
    """Single catalogues, drawn afresh at HOD points whose expectation is known.

    Attributes
    ----------
    hod : torch.Tensor, shape (n, n_occupation), float64
        Occupation parameters (masses: log10 of Msun/h).
    templates : torch.Tensor, shape (n, n_templates, n_bins), float64
    noise : CatalogueNoise
    space : ParameterSpace
    statistics : tuple of Statistic
    """

    hod: Tensor
    templates: Tensor
    noise: CatalogueNoise
    space: ParameterSpace = DEFAULT_SPACE
    statistics: tuple[Statistic, ...] = named(DEFAULT_STATISTICS)

    @classmethod
    def of(cls, data: DataSet, noise: CatalogueNoise, device: torch.device | str) -> Catalogues:
        """At the points of a data set of expectations."""
        if data.kind != "expectation":
            raise ValueError(f"Training takes a data set of expectation, not of {data.kind}.")
        hod, templates = (
            torch.as_tensor(x, dtype=torch.float64, device=device)
            for x in (data.hod, data.columns["templates"])
        )
        return cls(hod, templates, noise, data.space, data.statistics)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One catalogue at each HOD point, alignment parameters uniform in their limits.

        Parameters
        ----------
        generator : torch.Generator

        Returns
        -------
        theta : torch.Tensor, shape (n, n_parameters), float64
        values : torch.Tensor, shape (n, n_statistics, n_bins), float64
            The statistics, or log(1 + statistic) of those that are learned as logarithms.
        """
        share = torch.rand(
            len(self.hod), self.space.n_alignment, dtype=torch.float64, device=self.hod.device,
            generator=generator,
        )  # fmt: skip
        low, high = self.space.alignment.limits
        theta = self.space.join((high - low) * share + low, self.hod)
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
        mu, _ = self.space.split(theta)
        mean = combine_templates(templates, mu, self.statistics, self.space.alignment)
        deviation, sigma = self.noise.draw_noise(theta, generator), self.noise.sigma(theta)
        values = mean + deviation
        for i, statistic in enumerate(self.statistics):
            if statistic.learned_as_logarithm:
                values[:, i] = _logarithm(mean[:, i], deviation[:, i], sigma[:, i])
        return values


def _logarithm(mean: Tensor, deviation: Tensor, sigma: Tensor) -> Tensor:
    """log(1 + x) of a log-normal 1 + x, as a ratio of pair counts stays positive.

    Its mean and variance are those of x, and it deviates by as many standard deviations.
    """
    variance = torch.log1p((sigma / (1 + mean)) ** 2)
    return (1 + mean).log() - variance / 2 + variance.sqrt() * (deviation / sigma)


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
        self.network = PaperNetwork(
            len(data.space), len(data.statistics), len(self.r_edges) - 1, **config.network
        )

        theta, values = self.catalogues.draw(self._generator(-1))
        self.input_mean, self.input_scale = theta.mean(0), theta.std(0)
        self.target_mean, self.target_scale = values.mean((0, 2)), values.std((0, 2))
        validation = Catalogues.of(data.select("validation"), noise, device)
        drawn = validation.draw(self._generator(-2))
        self.validation = TensorDataset(*(x.cpu() for x in self._scaled(*drawn)))
        self.beta = torch.tensor([[config.beta[s.name]] for s in data.statistics])

    def _generator(self, epoch: int) -> torch.Generator:
        seed = self.config.seed * 1_000_003 + epoch
        return torch.Generator(self.catalogues.hod.device).manual_seed(seed)

    def _scaled(self, theta: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the network, of the same shapes, float32, where they are."""
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
            raise ValueError(
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
    config: PaperConfig, folder: Path, progress: bool, scheduler: str | None, devices: int
) -> None:
    """From the halo catalogue to weights; see `iaemu_likelihood.emulator.training.run.train`."""
    noise = _noise(config)  # whose errors come before anything is written
    keep(config, folder)
    recipe = config.recipes()["expectation"]
    path, table = folder / "expectation.hdf5", folder / "tabulation.hdf5"
    data = DataSet.read(make_dataset(recipe, path, table, scheduler, progress))
    module = PaperTraining(data, noise, config)
    fit(
        module, folder / "network", epochs=config.epochs,
        patience=round(config.patience * config.epochs), validate_every=config.validate_every,
        progress=progress, gradient_clip=config.gradient_clip, devices=devices,
    )  # fmt: skip
    curves = draw_learning_curves({"network": folder / "network"}, folder)
    description = _description(config, len(module.catalogues.hod), curves["network"]["epochs"])
    tensors = tensors_of(module) | sources.halos(config.halos).abundance.tensors()
    write_weights(folder, tensors, card_of(config, data, description, curves))


def _noise(config: PaperConfig) -> TemplatesEmulator:
    """The emulator whose noise is drawn from."""
    noise = Emulator.load(config.noise)
    if not isinstance(noise, TemplatesEmulator) or not noise.has_noise:
        raise ValueError(
            f"noise: {config.noise} is of kind {noise.card['kind']}; weights of kind templates are "
            "needed, whose noise has all its correlations."
        )
    digest = halos_of(noise.card, noise.redshift)["sha256"]
    if digest != sources.halos(config.halos).sha256:
        raise ValueError(
            f"noise: {config.noise} was trained on the halo catalogue {noise.card['halos']['name']} "
            f"({digest[:12]}...), not on {config.halos}. Train templates on that one first, and give "
            "their folder."
        )
    if (noise.space, noise.statistics) != (config.space, config.learned):
        raise ValueError(
            f"noise: {config.noise} has the parameters {', '.join(noise.space.names)} and the "
            f"statistics {', '.join(s.name for s in noise.statistics)}; this configuration has "
            f"{', '.join(config.space.names)} and {', '.join(config.statistics)}. Train templates with "
            "those first, and give their folder."
        )
    return noise


def _description(config: PaperConfig, n_points: int, n_epochs: int) -> str:
    names = ", ".join(config.space.names)
    statistics = ", ".join(config.statistics)
    learned = "".join(
        f"{s.name} is learned as log(1 + {s.name}), so that nothing is left out where {s.name} < 0, and "
        "is log-normal in the prediction. "
        for s in config.learned
        if s.learned_as_logarithm
    )
    return (
        f"IAEmu's network (arXiv:2504.05235): {names} to mean and variance of {statistics} of one "
        "catalogue. Trained on catalogues drawn about their exact expectation from the noise model of "
        f"the weights {config.noise!r}, one at each of {n_points} HOD points in every epoch, for "
        f"{n_epochs} epochs; not on galaxy catalogues. {learned}Mean and "
        "aleatoric uncertainty are without dropout, the epistemic one is the scatter of "
        f"{config.n_passes} passes with dropout. Channels of the decoders are those of the public "
        "code (snehjp2/IAEmu)."
    )
