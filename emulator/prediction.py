"""The trained emulators: from parameters to correlation functions and their noise, with gradients."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from iaemu_likelihood.data import FOLDER, sha256
from iaemu_likelihood.emulator.aleatoric import Alignment, NoiseAt, NoiseModel
from iaemu_likelihood.emulator.estimators import STATISTICS, bin_centres
from iaemu_likelihood.emulator.networks import layers, perceptron
from iaemu_likelihood.emulator.parameters import Domain, parameter_array
from iaemu_likelihood.emulator.templates import template_weights
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


def _numbers(parts: Sequence[Prediction]) -> Prediction:
    """Predictions of tensors, for one lot of points after another, as one of arrays."""

    def array(which: Sequence[Tensor]) -> NDArray[Any]:
        result: NDArray[Any] = (
            (which[0] if len(which) == 1 else torch.cat(list(which))).cpu().numpy()
        )
        return result

    def sigma(which: Sequence[Any]) -> Sigma | None:
        if which[0] is None:
            return None
        return Sigma(*(array([getattr(x, name) for x in which]) for name in STATISTICS))

    xi, omega, eta = (array([getattr(part, name) for part in parts]) for name in STATISTICS)
    aleatoric = sigma([part.aleatoric for part in parts])
    epistemic = sigma([part.epistemic for part in parts])
    return Prediction(parts[0].r.cpu().numpy(), xi, omega, eta, aleatoric, epistemic)


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
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Emulator:
        """Move to a device, such as ``"cuda"``, or to another precision; returns itself.

        Parameters
        ----------
        device : torch.device or str, optional
        dtype : torch.dtype, optional
            Of the networks. `templates` is loaded in torch.float64; in torch.float32 it takes less
            than half the time for many points, predicts in float32, and differs by less than 1e-3 of the
            noise. `paper` is loaded in torch.float32. Parameters stay float64.
        """

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
            Of arrays, shape (20,) for one point and (n, 20) for many; float64 unless `to` was told
            otherwise.

        Raises
        ------
        ValueError
            If a parameter is not finite or outside the domain; the message names it, its value
            and its range.
        """
        theta = self._checked(parameter_array(parameters, **named), extrapolate)
        # On a CPU what belongs to some points at a time stays in its cache.
        at_a_time = 1024 if theta.device.type == "cpu" else 65_536
        with torch.inference_mode():
            each = [self(part, epistemic) for part in theta.split(at_a_time)]
        return _numbers(each)

    def _checked(self, theta: NDArray[np.float64], extrapolate: bool = False) -> Tensor:
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        if not extrapolate or not (np.abs(theta[..., :2]) <= 1).all():
            self.domain.check(theta)
        return torch.as_tensor(theta, device=self._device)


class TemplatesEmulator(Emulator):
    """Networks for the templates and the moments of the noise; mu enters in closed form.

    Computes in float64 unless `to` was told otherwise. The epistemic uncertainty is the scatter between the networks of the
    ensemble, times a factor for each statistic that makes it cover 95.4 % of the errors at the
    validation points with two sigma.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        # Kept, so that nothing is lost on the way to float32 and back.
        self._loaded = {name: tensor.double() for name, tensor in tensors.items()}
        self._dtype = torch.float64
        self.to()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TemplatesEmulator:
        self._device = self._device if device is None else device
        self._dtype = self._dtype if dtype is None else dtype
        weights, biases = layers(self._loaded)
        # The scaling of the outputs is part of the last layer.
        weights[-1] = weights[-1] * self._loaded["scale"]
        biases[-1] = biases[-1] * self._loaded["scale"] + self._loaded["mean"]
        self._weights, self._biases = (
            [x.to(device=self._device, dtype=self._dtype) for x in each]
            for each in (weights, biases)
        )
        factor = self._loaded.get("epistemic_factor", torch.ones(3, dtype=torch.float64))
        self.epistemic_factor = factor.to(device=self._device, dtype=self._dtype)
        self._r = self._r.to(self._device)
        self._noise = None
        if "shape.components" in self._loaded:
            self._noise = NoiseModel(
                self._loaded, len(self.r_edges) - 1, device=self._device, dtype=self._dtype
            )
        return self

    def _unit(self, hod: Tensor) -> Tensor:
        unit: Tensor = self.domain.to_unit(hod)
        return unit.to(self._dtype)

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
        return self._templates(self._unit(hod))

    def _templates(self, unit: Tensor) -> Tensor:
        values = perceptron(unit, self._weights, self._biases).unflatten(-1, (6, -1))
        return torch.cat([torch.expm1(values[..., :1, :]), values[..., 1:, :]], dim=-2)

    def __call__(self, theta: Tensor, epistemic: bool = True) -> Prediction:
        points = torch.atleast_2d(theta)
        alignment = self._alignment(points[:, :2])
        each = template_weights(alignment.strength) @ self.templates(points[:, 2:])
        mean = _mean(each)
        shape = (*theta.shape[:-1], -1)

        def parts(x: Tensor) -> Iterator[Tensor]:
            return (part.reshape(shape) for part in x.unbind(1))

        spread, aleatoric = None, None
        if epistemic:
            # Written out, as torch's std is slow along this axis.
            variance = (each.detach() - mean.detach()).square().sum(0) / (len(each) - 1)
            spread = Sigma(*parts(self.epistemic_factor[:, None] * variance.sqrt()))
        if self._noise:
            aleatoric = Sigma(*parts(self.noise_at(points[:, 2:]).sigma(alignment)))
        xi, omega, eta = parts(mean)
        return Prediction(self._r, xi, omega, eta, aleatoric, spread)

    def _alignment(self, mu: Tensor) -> Alignment:
        return Alignment.of(mu).to(self._dtype)

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
        return self.noise_at(theta[:, 2:]).sigma(self._alignment(theta[:, :2]))

    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of one catalogue's xi, omega, eta: (n, 7) to (n, 3, n_bins)."""
        return self.noise_at(theta[:, 2:]).draw(self._alignment(theta[:, :2]), generator)

    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        points = self._checked(parameter_array(theta))
        with torch.inference_mode():
            parts = [
                self.noise_at(part[:, 2:]).covariance(self._alignment(part[:, :2]))
                for part in torch.atleast_2d(points).split(CHUNK)
            ]
        return torch.cat(parts).reshape(*points.shape[:-1], *parts[0].shape[1:]).cpu().numpy()


def _mean(ensemble: Tensor) -> Tensor:
    """Over the networks; torch's mean takes longer for few numbers."""
    return ensemble.sum(0) / len(ensemble)


class _OccupiedTemplates(Occupied):
    """Templates in which the strengths enter in closed form."""

    def __init__(self, emulator: TemplatesEmulator, hod: Tensor, statistics: Sequence[str]) -> None:
        self._emulator, self._unit = emulator, emulator._unit(hod)
        self._statistics = tuple(STATISTICS.index(name) for name in statistics)
        self._ensemble = emulator._templates(self._unit)
        self._mean = _mean(self._ensemble)
        self.xi = self._mean[:, 0]

    @cached_property
    def _noise(self) -> NoiseAt:
        return self._emulator._need_noise().at(self._unit, self._statistics)

    def __call__(
        self, mu: Tensor, errors: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        covariances = {}
        if "aleatoric" in errors:
            alignment = self._emulator._alignment(mu)
            covariances["aleatoric"] = self._noise.covariance(alignment)
            strength = alignment.strength
        else:
            strength = p2_torch(mu).to(self._mean)
        weights = template_weights(strength, self._statistics)
        if "epistemic" in errors:
            ensemble = weights @ self._ensemble
            factor = self._emulator.epistemic_factor[list(self._statistics), None]
            deviation = (factor * (ensemble - ensemble.mean(0))).flatten(2)
            covariances["epistemic"] = torch.einsum(
                "eni,enj->nij", deviation, deviation / (len(deviation) - 1)
            )
        return weights @ self._mean, covariances
