"""The trained emulators: from parameters to correlation functions and their noise, with gradients."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from iaemu_likelihood.data import FOLDER, sha256
from iaemu_likelihood.emulator.aleatoric import NoiseAt, NoiseModel
from iaemu_likelihood.emulator.estimators import STATISTICS, bin_centres
from iaemu_likelihood.emulator.networks import layers, perceptron
from iaemu_likelihood.emulator.parameters import Domain, parameter_array
from iaemu_likelihood.emulator.templates import TEMPLATES_OF, combine_templates, eta_weights
from iaemu_likelihood.emulator.watson import p2_torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

# Schema 1 had no noise; it loads, without `Prediction.aleatoric`.
SCHEMA = 2
READABLE = (1, 2)
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.yaml"
# Where weights of the user are found by name.
USER_FOLDER = Path(
    os.environ.get("IAEMU_WEIGHTS", Path.home() / ".local/share/iaemu_likelihood/weights")
)
# Points whose covariance is computed at a time.
CHUNK = 256


@dataclass(frozen=True)
class Sigma:
    """One standard deviation of xi, omega and eta, of the same shapes as they have."""

    xi: Any
    omega: Any
    eta: Any


class Occupied(ABC):
    """An emulator at given occupation parameters, as a function of the alignment strengths.

    What does not depend on the strengths is computed once. Get one with `Emulator.at`.

    Attributes
    ----------
    xi : torch.Tensor, shape (n, n_bins), float64
        Which no alignment changes: the number of pairs in each bin is proportional to 1 + xi.
    """

    xi: Tensor

    @abstractmethod
    def __call__(
        self, mu: Tensor, errors: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Expectations and their covariances, differentiably. No check of the domain.

        Parameters
        ----------
        mu : torch.Tensor, shape (n, 2), float64
            mu_cen, mu_sat; as many as there are occupation parameters, unless these are of one
            point only.
        errors : collection of str
            Any of aleatoric and epistemic.

        Returns
        -------
        mean : torch.Tensor, shape (n, m, n_bins), float64
            m as many statistics as were asked for.
        covariances : dict of str to torch.Tensor, shape (n, m n_bins, m n_bins)
            One for each of `errors`.
        """


@dataclass(frozen=True)
class Prediction:
    """Expected correlation functions at one point or many.

    Attributes
    ----------
    r : ndarray or torch.Tensor, shape (20,)
        Arithmetic centres of the bins, Mpc/h.
    xi, omega, eta : ndarray or torch.Tensor, shape (20,) or (n, 20)
        Dimensionless averages over the bins.
    aleatoric : Sigma or None
        Scatter of the correlation functions of one galaxy catalogue in the box of the training
        about these; None if the weights have no noise.
    epistemic : Sigma or None
        What training left uncertain of these; None if it was not asked for.
    """

    r: Any
    xi: Any
    omega: Any
    eta: Any
    aleatoric: Sigma | None
    epistemic: Sigma | None


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def bundled_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return _names(FOLDER / "weights")


def user_weights() -> list[str]:
    """Names of the weights in `USER_FOLDER` ($IAEMU_WEIGHTS), that load by name as well."""
    return _names(USER_FOLDER)


def weights_folder(source: str | Path) -> Path:
    """Folder of weights given by name, bundled or the user's, or by path.

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the names.
    """
    if str(source) in bundled_weights():
        return FOLDER / "weights" / str(source)
    for folder in (Path(source), USER_FOLDER / source):
        if (folder / CARD_FILE).is_file():
            return folder
    raise FileNotFoundError(
        f"No weights {str(source)!r}: neither bundled ({', '.join(bundled_weights())}), nor in "
        f"{USER_FOLDER} ({', '.join(user_weights()) or 'none there'}), nor a folder with {CARD_FILE}."
    )


def weights_sha256(source: str | Path) -> str:
    """SHA-256 of a weights file; empty if there is none."""
    try:
        return sha256(weights_folder(source) / WEIGHTS_FILE)
    except FileNotFoundError:
        return ""


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of a folder, checked against each other."""
    try:
        card = yaml.safe_load((folder / CARD_FILE).read_text())
        schema, kind, digest = card["schema"], card["kind"], card["weights_sha256"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CARD_FILE} is not a readable card: {error}") from error
    if schema not in READABLE:
        raise ValueError(
            f"{folder} has schema {schema}, this version of iaemu_likelihood reads "
            f"{' and '.join(map(str, READABLE))}. Install version {card.get('version', '?')}, which "
            "the card names, or train again with `iaemu train`."
        )
    if kind not in ("templates", "paper"):
        raise ValueError(f"{folder / CARD_FILE}: kind is {kind!r}; it must be templates or paper.")
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing beside its card.")
    # Read once: what was hashed is what is used, whatever happens to the file meanwhile.
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ValueError(
            f"{path} is not the file that its card describes: SHA-256 {found[:12]}..., the card "
            f"says {digest[:12]}.... It was changed or truncated."
        )
    try:
        return load(content), card
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class Emulator(ABC):
    """Emulator of xi, omega and eta. Get one with `Emulator.load`.

    Attributes
    ----------
    domain : Domain
        Where it was trained.
    r_edges : ndarray, shape (21,)
        Mpc/h.
    card : dict
        What the weights are: halo catalogue, training, accuracy, hashes.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        self.card = card
        self.domain = Domain.from_dict(card["domain"])
        self.r_edges: NDArray[np.float64] = tensors["r_edges"].double().numpy()
        self._device: torch.device | str = "cpu"
        self._r = torch.as_tensor(bin_centres(self.r_edges))

    @staticmethod
    def load(source: str | Path = "templates") -> Emulator:
        """Load weights.

        Parameters
        ----------
        source : str or Path
            Name of weights (``iaemu info`` lists them), or a folder that holds
            weights.safetensors and card.yaml.

        Returns
        -------
        Emulator
            On the CPU; see `to`.

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If a file is damaged, of another schema, or not the one that the card describes.
        """
        tensors, card = _read(weights_folder(source))
        if card["kind"] == "paper":
            from iaemu_likelihood.emulator.paper import PaperEmulator

            return PaperEmulator(tensors, card)
        return TemplatesEmulator(tensors, card)

    @abstractmethod
    def to(self, device: torch.device | str) -> Emulator:
        """Move to a device, such as ``"cuda"``; returns itself."""

    @abstractmethod
    def at(self, hod: Tensor, statistics: Sequence[str] = STATISTICS) -> Occupied:
        """Prepare for given occupation parameters. No check of the domain.

        Parameters
        ----------
        hod : torch.Tensor, shape (n, 5), float64
            logMmin, sigma_logM, logM0, logM1, alpha.
        statistics : sequence of str
            Any of xi, omega, eta.
        """

    @abstractmethod
    def __call__(self, theta: Tensor, epistemic: bool = True) -> Prediction:
        """Predict from a tensor, differentiably. No check of the domain.

        Parameters
        ----------
        theta : torch.Tensor, shape (7,) or (n, 7), float64
            mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha.
        epistemic : bool
            Give the epistemic uncertainty, too.

        Returns
        -------
        Prediction
            Of tensors.
        """

    @abstractmethod
    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Aleatoric covariance of (xi, omega, eta) of one galaxy catalogue.

        Parameters
        ----------
        theta : array_like, shape (7,) or (n, 7)

        Returns
        -------
        ndarray, shape (60, 60) or (n, 60, 60)

        Raises
        ------
        ValueError
            As `predict`; and if the weights have no noise.
        """

    @property
    def has_noise(self) -> bool:
        """Whether the weights know the scatter of single catalogues."""
        return True

    def predict(
        self,
        parameters: Any = None,
        *,
        extrapolate: bool = False,
        epistemic: bool = True,
        **named: ArrayLike,
    ) -> Prediction:
        """Predict xi, omega and eta.

        Parameters
        ----------
        parameters : array_like, shape (7,) or (n, 7), or mapping, optional
            mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
        extrapolate : bool
            Evaluate outside the domain of the training, too (mu_cen and mu_sat stay in [-1, 1]).
        epistemic : bool
            Give the epistemic uncertainty, too.
        **named : float or array_like, shape (n,)
            The seven parameters by name, instead of `parameters`.

        Returns
        -------
        Prediction
            Of float64 arrays, shape (20,) for one point and (n, 20) for many.

        Raises
        ------
        ValueError
            If a parameter is not finite or outside the domain; the message names it, its value
            and its range.
        """
        theta = self._checked(parameter_array(parameters, **named), extrapolate)
        with torch.inference_mode():
            p = self(theta, epistemic)

        def numbers(sigma: Sigma | None) -> Sigma | None:
            return sigma and Sigma(*(x.cpu().numpy() for x in (sigma.xi, sigma.omega, sigma.eta)))

        r, xi, omega, eta = (x.cpu().numpy() for x in (p.r, p.xi, p.omega, p.eta))
        return Prediction(r, xi, omega, eta, numbers(p.aleatoric), numbers(p.epistemic))

    def _checked(self, theta: NDArray[np.float64], extrapolate: bool = False) -> Tensor:
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        if not extrapolate or not (np.abs(theta[..., :2]) <= 1).all():
            self.domain.check(theta)
        return torch.as_tensor(theta, device=self._device)


class TemplatesEmulator(Emulator):
    """Networks for the templates and the moments of the noise; mu enters in closed form.

    Computes in float64. The epistemic uncertainty is the scatter between the networks of the
    ensemble, times a factor for each statistic that makes it cover 95.4 % of the errors at the
    validation points with two sigma.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        tensors = {name: tensor.double() for name, tensor in tensors.items()}
        self._weights, self._biases = layers(tensors)
        self._mean, self._scale = tensors["mean"], tensors["scale"]
        self.epistemic_factor = tensors.get("epistemic_factor", torch.ones(3, dtype=torch.float64))
        has_noise = "shape.components" in tensors
        self._noise = NoiseModel(tensors, len(self.r_edges) - 1) if has_noise else None

    def to(self, device: torch.device | str) -> TemplatesEmulator:
        self._device = device
        self._weights = [w.to(device) for w in self._weights]
        self._biases = [b.to(device) for b in self._biases]
        self._mean, self._scale = self._mean.to(device), self._scale.to(device)
        self.epistemic_factor, self._r = self.epistemic_factor.to(device), self._r.to(device)
        if self._noise:
            self._noise.to(device)
        return self

    def _unit(self, hod: Tensor) -> Tensor:
        return torch.cat(self.domain.to_unit(hod), dim=-1)

    def templates(self, hod: Tensor) -> Tensor:
        """Templates by every network of the ensemble.

        Parameters
        ----------
        hod : torch.Tensor, shape (n, 5), float64
            logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).

        Returns
        -------
        torch.Tensor, shape (n_networks, n, 6, n_bins)
            In the order of `iaemu_likelihood.emulator.templates.TEMPLATES`.
        """
        scaled = perceptron(self._unit(hod), self._weights, self._biases)
        values = (scaled * self._scale + self._mean).unflatten(-1, (6, -1))
        return torch.cat([torch.expm1(values[..., :1, :]), values[..., 1:, :]], dim=-2)

    def __call__(self, theta: Tensor, epistemic: bool = True) -> Prediction:
        points = torch.atleast_2d(theta)
        strength = p2_torch(points[:, :2])
        templates = self.templates(points[:, 2:])
        each = combine_templates(templates, strength[:, :1], strength[:, 1:])
        shape = (*theta.shape[:-1], -1)
        xi, omega, eta = (x.mean(0).reshape(shape) for x in each)
        spread, aleatoric = None, None
        if epistemic:
            stds = (f * x.detach().std(0) for f, x in zip(self.epistemic_factor, each, strict=True))
            spread = Sigma(*(std.reshape(shape) for std in stds))
        if self._noise:
            aleatoric = Sigma(*(x.reshape(shape) for x in self.sigma(points).unbind(1)))
        return Prediction(self._r, xi, omega, eta, aleatoric, spread)

    def at(self, hod: Tensor, statistics: Sequence[str] = STATISTICS) -> Occupied:
        return _OccupiedTemplates(self, hod, statistics)

    def _need_noise(self) -> NoiseModel:
        if self._noise is None:
            raise ValueError(
                f"These weights have no noise (schema {self.card['schema']}); train again with "
                "`iaemu train`, or use the bundled ones."
            )
        return self._noise

    @property
    def has_noise(self) -> bool:
        return self._noise is not None

    def noise_at(self, hod: Tensor) -> NoiseAt:
        """Aleatoric noise at occupation parameters (n, 5), as a function of mu.

        Raises
        ------
        ValueError
            If the weights have none.
        """
        return self._need_noise().at(self._unit(hod))

    def sigma(self, theta: Tensor) -> Tensor:
        """Aleatoric standard deviations of xi, omega, eta: (n, 7) to (n, 3, n_bins)."""
        return self.noise_at(theta[:, 2:]).sigma(theta[:, :2])

    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of one catalogue's xi, omega, eta: (n, 7) to (n, 3, n_bins)."""
        return self.noise_at(theta[:, 2:]).draw(theta[:, :2], generator)

    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        points = self._checked(parameter_array(theta))
        with torch.inference_mode():
            parts = [
                self.noise_at(part[:, 2:]).covariance(part[:, :2])
                for part in torch.atleast_2d(points).split(CHUNK)
            ]
        return torch.cat(parts).reshape(*points.shape[:-1], *parts[0].shape[1:]).cpu().numpy()


class _OccupiedTemplates(Occupied):
    """Templates in which the strengths enter in closed form."""

    def __init__(self, emulator: TemplatesEmulator, hod: Tensor, statistics: Sequence[str]) -> None:
        self._emulator, self._hod = emulator, hod
        self._statistics = [STATISTICS.index(name) for name in statistics]
        self._ensemble = emulator.templates(hod)
        mean = self._ensemble.mean(0)
        self.xi = mean[:, 0]
        self._mean = self._of_statistics(mean)

    @cached_property
    def _noise(self) -> NoiseAt:
        return self._emulator.noise_at(self._hod)

    def __call__(
        self, mu: Tensor, errors: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        strength = p2_torch(mu)
        mean = _combined(self._mean, strength)
        covariances = {}
        if "aleatoric" in errors:
            covariances["aleatoric"] = self._noise.covariance(mu, self._statistics)
        if "epistemic" in errors:
            ensemble = _combined(self._of_statistics(self._ensemble), strength)
            factor = self._emulator.epistemic_factor[self._statistics, None]
            deviation = (factor * (ensemble - ensemble.mean(0))).flatten(2)
            covariances["epistemic"] = torch.einsum(
                "eni,enj->nij", deviation, deviation / (len(deviation) - 1)
            )
        return mean, covariances

    def _of_statistics(self, templates: Tensor) -> list[Tensor]:
        """One, two or three templates of each statistic that is wanted, (..., n, k, n_bins)."""
        return [templates[..., list(TEMPLATES_OF[i]), :] for i in self._statistics]


def _combined(templates: Sequence[Tensor], strength: Tensor) -> Tensor:
    """Templates of m statistics to their sums, (..., n, m, n_bins), with strengths (n, 2)."""
    sums = []
    for of_one in templates:
        k = of_one.shape[-2]
        if k == 1:  # xi, as many times as there are strengths
            sums.append(of_one.expand(*of_one.shape[:-3], len(strength), 1, -1))
        else:
            sums.append((strength if k == 2 else eta_weights(strength))[:, None] @ of_one)
    return sums[0] if len(sums) == 1 else torch.cat(sums, dim=-2)
