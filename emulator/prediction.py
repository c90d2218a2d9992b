"""The trained emulator: from parameters to correlation functions, with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from iaemu_likelihood.data import FOLDER, sha256
from iaemu_likelihood.emulator.estimators import bin_centres
from iaemu_likelihood.emulator.networks import perceptron
from iaemu_likelihood.emulator.parameters import Domain, parameter_array
from iaemu_likelihood.emulator.templates import combine_templates
from iaemu_likelihood.emulator.watson import p2_torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

SCHEMA = 1
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.yaml"


@dataclass(frozen=True)
class Sigma:
    """One standard deviation of xi, omega and eta, of the same shapes as they have."""

    xi: Any
    omega: Any
    eta: Any


@dataclass(frozen=True)
class Prediction:
    """Expected correlation functions at one point or many.

    Attributes
    ----------
    r : ndarray or torch.Tensor, shape (20,)
        Arithmetic centres of the bins, Mpc/h.
    xi, omega, eta : ndarray or torch.Tensor, shape (20,) or (n, 20)
        Dimensionless averages over the bins.
    epistemic : Sigma
        Scatter between the networks of the ensemble: what training left uncertain.
    """

    r: Any
    xi: Any
    omega: Any
    eta: Any
    epistemic: Sigma


def bundled_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.parent.name for path in (FOLDER / "weights").glob(f"*/{CARD_FILE}"))


def weights_folder(source: str | Path) -> Path:
    """Folder of weights given by bundled name or by path.

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the bundled names.
    """
    if str(source) in bundled_weights():
        return FOLDER / "weights" / str(source)
    if (Path(source) / CARD_FILE).is_file():
        return Path(source)
    raise FileNotFoundError(
        f"No weights {str(source)!r}: neither bundled ({', '.join(bundled_weights())}) nor a "
        f"folder with {CARD_FILE}."
    )


def weights_sha256(source: str | Path) -> str:
    """SHA-256 of a weights file; empty if there is none."""
    try:
        return sha256(weights_folder(source) / WEIGHTS_FILE)
    except FileNotFoundError:
        return ""


class Emulator:
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
        self.r_edges: NDArray[np.float64] = tensors["r_edges"].numpy()
        self._device: torch.device | str = "cpu"
        n_layers = card["network"]["depth"] + 1
        self._weights = [tensors[f"weights.{i}"] for i in range(n_layers)]
        self._biases = [tensors[f"biases.{i}"] for i in range(n_layers)]
        self._mean, self._scale = tensors["mean"], tensors["scale"]
        self._r = torch.as_tensor(bin_centres(self.r_edges))

    @classmethod
    def load(cls, source: str | Path = "templates") -> Emulator:
        """Load weights.

        Parameters
        ----------
        source : str or Path
            Name of bundled weights (``iaemu info`` lists them), or a folder that holds
            weights.safetensors and card.yaml.

        Returns
        -------
        Emulator
            Computing in float64 on the CPU; see `to`.

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If a file is damaged, of another schema, or not the one that the card describes.
        """
        folder = weights_folder(source)
        try:
            card = yaml.safe_load((folder / CARD_FILE).read_text())
            schema = card["schema"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / CARD_FILE} is not a readable card: {error}") from error
        if schema != SCHEMA:
            raise ValueError(
                f"{folder} has schema {schema}, this version of iaemu_likelihood reads {SCHEMA}. "
                "Install the version named in the card, or train again with `iaemu train`."
            )
        path = folder / WEIGHTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing beside its card.")
        found = sha256(path)
        if found != card["weights_sha256"]:
            raise ValueError(
                f"{path} is not the file that its card describes: SHA-256 {found[:12]}..., the card "
                f"says {card['weights_sha256'][:12]}.... It was changed or truncated."
            )
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        return cls({name: tensor.double() for name, tensor in tensors.items()}, card)

    def to(self, device: torch.device | str) -> Emulator:
        """Move to a device, such as ``"cuda"``; returns itself."""
        self._device = device
        self._weights = [w.to(device) for w in self._weights]
        self._biases = [b.to(device) for b in self._biases]
        self._mean, self._scale = self._mean.to(device), self._scale.to(device)
        self._r = self._r.to(device)
        return self

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
        x = torch.cat(self.domain.to_unit(hod), dim=-1)
        scaled = perceptron(x, self._weights, self._biases)
        values = (scaled * self._scale + self._mean).unflatten(-1, (6, -1))
        return torch.cat([torch.expm1(values[..., :1, :]), values[..., 1:, :]], dim=-2)

    def __call__(self, theta: Tensor) -> Prediction:
        """Predict from a tensor, differentiably. No check of the domain.

        Parameters
        ----------
        theta : torch.Tensor, shape (7,) or (n, 7), float64
            mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha.

        Returns
        -------
        Prediction
            Of tensors.
        """
        points = torch.atleast_2d(theta)
        strength = p2_torch(points[:, :2])
        templates = self.templates(points[:, 2:])
        each = combine_templates(templates, strength[:, :1], strength[:, 1:])
        shape = (*theta.shape[:-1], -1)
        xi, omega, eta = (x.mean(0).reshape(shape) for x in each)
        sigma = (x.detach().std(0).reshape(shape) for x in each)
        return Prediction(self._r, xi, omega, eta, Sigma(*sigma))

    def predict(
        self, parameters: Any = None, *, extrapolate: bool = False, **named: ArrayLike
    ) -> Prediction:
        """Predict xi, omega and eta.

        Parameters
        ----------
        parameters : array_like, shape (7,) or (n, 7), or mapping, optional
            mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
        extrapolate : bool
            Evaluate outside the domain of the training, too (mu_cen and mu_sat stay in [-1, 1]).
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
        theta = parameter_array(parameters, **named)
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        if not extrapolate or not (np.abs(theta[..., :2]) <= 1).all():
            self.domain.check(theta)
        with torch.inference_mode():
            p = self(torch.as_tensor(theta, device=self._device))
        r, xi, omega, eta = (x.cpu().numpy() for x in (p.r, p.xi, p.omega, p.eta))
        sigma = (p.epistemic.xi, p.epistemic.omega, p.epistemic.eta)
        return Prediction(r, xi, omega, eta, Sigma(*(x.cpu().numpy() for x in sigma)))
