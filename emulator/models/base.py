"""The trained emulators: from parameters to correlation functions and their noise, with gradients."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from iaemu_likelihood.data import FOLDER, sha256
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS, bin_centres
from iaemu_likelihood.emulator.backend import cast, like, namespace, product, silent
from iaemu_likelihood.emulator.networks.perceptron import MANY, layers, perceptron
from iaemu_likelihood.emulator.noise.learned import Alignment, NoiseAt, NoiseModel
from iaemu_likelihood.emulator.physics.parameters import PARAMETERS, Domain, parameter_array
from iaemu_likelihood.emulator.physics.templates import (
    bilinear,
    strengths,
    template_weights,
    weighted_templates,
)
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
# Points whose covariance is computed at a time: what fits in the cache.
CHUNK = 32


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

    @staticmethod
    def each(function: Callable[..., Any], *parts: Prediction) -> Prediction:
        """A function of each field of one or several predictions; of r it is that of the first."""

        def three(which: Sequence[Any]) -> Iterator[Any]:
            return (function(*(getattr(x, name) for x in which)) for name in STATISTICS)

        def sigma(which: Sequence[Sigma | None]) -> Sigma | None:
            return None if which[0] is None else Sigma(*three(which))

        aleatoric = sigma([part.aleatoric for part in parts])
        epistemic = sigma([part.epistemic for part in parts])
        xi, omega, eta = three(parts)
        return Prediction(function(parts[0].r), xi, omega, eta, aleatoric, epistemic)


def _joined(*parts: Any) -> NDArray[Any]:
    arrays = [part if isinstance(part, np.ndarray) else part.cpu().numpy() for part in parts]
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


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
        self._device = torch.device("cpu")
        self._r = bin_centres(self.r_edges)

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
            from iaemu_likelihood.emulator.models.paper import PaperEmulator

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
        to_tensor = partial(torch.as_tensor, device=self._device)
        return Prediction.each(
            to_tensor, self._predict(theta, self.domain.to_unit(theta), epistemic)
        )

    @abstractmethod
    def _predict(self, theta: Any, unit: Any, epistemic: bool) -> Prediction:
        """As `__call__`; of tensors, or of arrays.

        Parameters
        ----------
        theta, unit : ndarray or torch.Tensor
            The parameters, and in the cube of `Domain.to_unit`.
        epistemic : bool
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
        theta = parameter_array(parameters, **named)
        unit = self._checked_unit(theta, extrapolate)
        few = are_few(theta.size // len(PARAMETERS), self._device)
        with torch.inference_mode():
            if few:
                parts = [self._predict(theta, unit, epistemic)]
            else:
                # On a CPU what belongs to some points at a time stays in its cache.
                at_a_time = 2048 if self._device.type == "cpu" else 65_536
                lots = (
                    torch.as_tensor(x, device=self._device).split(at_a_time) for x in (theta, unit)
                )
                parts = [self._predict(a, b, epistemic) for a, b in zip(*lots, strict=True)]
        if few and isinstance(parts[0].xi, np.ndarray):
            return parts[0]
        return Prediction.each(_joined, *parts)

    def _checked_unit(self, theta: NDArray[np.float64], extrapolate: bool = False) -> Any:
        """Parameters in the cube of the domain, if they may be evaluated."""
        unit = self.domain.to_unit(theta)
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        must_be_inside = unit[..., :2] if extrapolate else unit
        if not (np.abs(must_be_inside) <= 1).all():
            self.domain.check(theta)  # in doubt by rounding only, it knows better
        return unit


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
        self._device = self._device if device is None else torch.device(device)
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
        self._noise = None
        if "shape.components" in self._loaded:
            self._noise = NoiseModel(
                self._loaded, len(self.r_edges) - 1, device=self._device, dtype=self._dtype
            )
        return self

    def _unit(self, hod: Any) -> Any:
        return cast(self.domain.to_unit(hod), self._dtype)

    def templates(self, hod: Tensor) -> Tensor:
        """Templates by every network of the ensemble.

        Parameters
        ----------
        hod : torch.Tensor, shape (n, 5), float64
            logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).

        Returns
        -------
        torch.Tensor, shape (n_networks, n, 6, n_bins)
            In the order of `iaemu_likelihood.emulator.physics.templates.TEMPLATES`.
        """
        result: Tensor = self._templates(self._unit(hod))
        return result

    def _templates(self, unit: Any) -> Any:
        values = like(perceptron(torch.as_tensor(unit), self._weights, self._biases), unit)
        xp = namespace(values)
        values = values.reshape(len(self._weights[0]), len(unit), 6, -1)
        log_one_plus_xi = values[..., :1, :]
        if torch.is_grad_enabled():
            return xp.concatenate([xp.expm1(log_one_plus_xi), values[..., 1:, :]], axis=-2)
        xp.expm1(log_one_plus_xi, out=log_one_plus_xi)
        return values

    @silent
    def _predict(self, theta: Any, unit: Any, epistemic: bool) -> Prediction:
        points = arrays_if_few(unit.reshape(-1, 7))
        alignment, unit = self._alignment(points[:, :2]), cast(points[:, 2:], self._dtype)
        weights = template_weights(alignment.of_strengths)
        ensemble = weighted_templates(weights, self._templates(unit))
        shape = (*theta.shape[:-1], 3, -1)

        def parts(x: Any) -> Iterator[Any]:
            each = x.reshape(shape)
            return (each[..., i, :] for i in range(3))

        spread, aleatoric = None, None
        if epistemic:
            factor = like(self.epistemic_factor[:, None], points)
            spread = Sigma(*parts(factor * _spread(ensemble)))
        if self._noise:
            aleatoric = Sigma(*parts(self._noise.at(unit).sigma(alignment)))
        xi, omega, eta = parts(_mean(ensemble))
        return Prediction(self._r.copy(), xi, omega, eta, aleatoric, spread)

    def _alignment(self, mu: Any) -> Alignment:
        return Alignment.of(mu, self._dtype)

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

    def noise_at(self, hod: Any) -> NoiseAt:
        """Aleatoric noise at occupation parameters (n, 5), tensor or array, as a function of mu.

        Raises
        ------
        ValueError
            If the weights have none.
        """
        return self._need_noise().at(self._unit(hod))

    @silent
    def sigma(self, theta: Tensor) -> Tensor:
        """Aleatoric standard deviations of xi, omega, eta: (n, 7) to (n, 3, n_bins)."""
        points = arrays_if_few(theta)
        return torch.as_tensor(self.noise_at(points[:, 2:]).sigma(self._alignment(points[:, :2])))

    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of one catalogue's xi, omega, eta: (n, 7) to (n, 3, n_bins)."""
        return self.noise_at(theta[:, 2:]).draw(self._alignment(theta[:, :2]), generator)

    @silent
    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        unit = self._checked_unit(parameter_array(theta))
        points = torch.as_tensor(unit.reshape(-1, 7), device=self._device)
        noise = self._need_noise()
        with torch.inference_mode():
            parts = [
                noise.at(cast(part[:, 2:], self._dtype)).covariance(self._alignment(part[:, :2]))
                for part in map(arrays_if_few, points.split(CHUNK))
            ]
        return _joined(*parts).reshape(*unit.shape[:-1], *parts[0].shape[1:])


def are_few(n: int, device: torch.device) -> bool:
    """Whether so many points are the fastest as arrays; see `iaemu_likelihood.emulator.backend`."""
    return n < MANY and device.type == "cpu"


def arrays_if_few(points: Any) -> Any:
    """Points as an array where that is the fastest, and no gradient is wanted."""
    if isinstance(points, np.ndarray):
        return points
    few = are_few(points.shape[0], points.device) and not points.requires_grad
    return points.numpy() if few else points


def _mean(ensemble: Any) -> Any:
    """Over the networks; faster for few numbers than what the libraries call so."""
    return ensemble.sum(0) / len(ensemble)


def _spread(ensemble: Any) -> Any:
    """Standard deviation between the networks, without a gradient."""
    values = ensemble if isinstance(ensemble, np.ndarray) else ensemble.detach()
    deviation = values - _mean(values)
    deviation *= deviation
    return namespace(values).sqrt(deviation.sum(0) / (len(values) - 1))


class _OccupiedTemplates(Occupied):
    """Templates in which the strengths enter in closed form."""

    @silent
    def __init__(self, emulator: TemplatesEmulator, hod: Tensor, statistics: Sequence[str]) -> None:
        self._emulator = emulator
        self._statistics = tuple(STATISTICS.index(name) for name in statistics)
        self._unit = emulator._unit(arrays_if_few(hod))
        self._ensemble = emulator._templates(self._unit)
        self._mean = _mean(self._ensemble)
        self.xi = torch.as_tensor(self._mean[:, 0])

    @cached_property
    def _noise(self) -> NoiseAt:
        return self._emulator._need_noise().at(self._unit, self._statistics)

    @cached_property
    def _of_tensors(self) -> _OccupiedTemplates:
        """The same for strengths that are many or have gradients."""
        result = copy(self)
        result.__dict__.pop("_noise", None)
        result._unit, result._ensemble, result._mean = map(
            torch.as_tensor, (self._unit, self._ensemble, self._mean)
        )
        return result

    def __call__(
        self, mu: Tensor, errors: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if isinstance(self._unit, Tensor):
            return self._moments(mu, errors)
        few = arrays_if_few(mu)
        if isinstance(few, Tensor):
            return self._of_tensors._moments(mu, errors)
        mean, covariances = self._moments(few, errors)
        return torch.from_numpy(mean), {k: torch.from_numpy(x) for k, x in covariances.items()}

    @silent
    def _moments(self, mu: Any, errors: Collection[str]) -> tuple[Any, dict[str, Any]]:
        covariances = {}
        if "aleatoric" in errors:
            alignment = self._emulator._alignment(mu)
            covariances["aleatoric"] = self._noise.covariance(alignment)
            products = alignment.of_strengths
        else:
            products = bilinear(strengths(cast(mu, self._emulator._dtype)))
        weights = template_weights(products, self._statistics)
        if "epistemic" in errors:
            ensemble = weighted_templates(weights, self._ensemble)
            factor = like(self._emulator.epistemic_factor, weights)[list(self._statistics), None]
            deviation = factor * (ensemble - _mean(ensemble))
            deviation = deviation.reshape(*deviation.shape[:2], -1).swapaxes(0, 1)
            covariances["epistemic"] = product(deviation.mT, deviation / (deviation.shape[1] - 1))
        return weights @ self._mean, covariances
