"""The emulator of kind `templates`: networks, and a closed form for the alignment."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import (
    ArrayOrTensor,
    as_array,
    cast,
    enter,
    like,
    namespace,
    product,
    unaffected,
)
from iaemu_likelihood.emulator.models.base import Emulator, Occupied
from iaemu_likelihood.emulator.models.weights import FIRST_WITH_NOISE, SCHEMA, check_tensors, entry
from iaemu_likelihood.emulator.networks import perceptron as networks
from iaemu_likelihood.emulator.networks.perceptron import layers, perceptron
from iaemu_likelihood.emulator.noise import learned as noise
from iaemu_likelihood.emulator.noise.learned import (
    DEGREES,
    NoiseAt,
    NoiseModel,
    Strengths,
    is_known,
)
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import (
    bilinear,
    degrees_of,
    template_weights,
    templates_of,
    weighted_templates,
)
from numpy.typing import NDArray
from torch import Tensor

# Number of points whose covariances are computed at a time; so many fit into the cache.
CHUNK = 32


class TemplatesEmulator(Emulator, kind="templates"):
    """Networks for the templates and the moments of the noise; the alignment enters in closed form.

    It computes in float64 unless `to` sets another precision. The epistemic uncertainty is the
    scatter between the networks of the ensemble, times a factor per statistic, chosen so that two
    sigma cover 95.4 % of the errors at the validation points.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        check_tensors(tensors, self._shapes(len(tensors)))
        # Kept, so that going to float32 and back loses no digits.
        self._loaded = {name: tensor.double() for name, tensor in tensors.items()}
        # Where there is noise, its strengths serve for the means as well.
        self._degrees = DEGREES if is_known(tensors) else degrees_of(self.statistics)
        learned = [s.learned_as_logarithm for s in self.statistics for _ in s.templates]
        # Slices, because indexing by lists is slower.
        self._logarithms = [slice(i, i + 1) for i, is_log in enumerate(learned) if is_log]
        self.to()

    def _shapes(self, n_tensors: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors, by name, that the card describes."""
        card, n_in, n_bins = self.card, self.space.n_occupation, len(self.r_edges) - 1

        def size(*keys: str) -> int:
            value: int = entry(card, "training", *keys, kind=int)
            if keys[-1] == "depth" and value > n_tensors:
                raise ValueError(f"training: {': '.join(keys)} is {value}, more than the tensors.")
            return value

        n_out = len(templates_of(self.statistics)) * n_bins
        of_means = "means" if "means" in card["training"] else "network"  # as in schema 1
        means = size(of_means, "width"), size(of_means, "depth")
        found = networks.shapes(n_in, n_out, *means, networks=(size("n_networks"),))
        found |= {"r_edges": (n_bins + 1,), "mean": (n_out,), "scale": (n_out,)}
        if card.get("schema", SCHEMA) < FIRST_WITH_NOISE:
            return found
        found["epistemic_factor"] = (len(self.statistics),)
        if size("n_noise_points"):
            each = [
                (size(part, "width"), size(part, "depth"), size(number))
                for part, number in (("occupation", "n_factors"), ("shape", "n_components"))
            ]
            found |= noise.shapes(self.statistics, n_bins, n_in, *each)
        return found

    @unaffected(gradients=True)  # what is kept serves calls that need gradients, too
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TemplatesEmulator:
        self._device, self._dtype = self._target(device, dtype)
        weights, biases = layers(self._loaded)
        # The scaling of the outputs is part of the last layer.
        weights[-1] = weights[-1] * self._loaded["scale"]
        biases[-1] = biases[-1] * self._loaded["scale"] + self._loaded["mean"]
        target: dict[str, Any] = {"device": self._device, "dtype": self._dtype}
        self._weights, self._biases = ([x.to(**target) for x in each] for each in (weights, biases))
        ones = torch.ones(len(self.statistics), dtype=torch.float64)  # in schema 1
        self.epistemic_factor = self._loaded.get("epistemic_factor", ones).to(**target)
        self._noise = None
        if is_known(self._loaded):
            n_bins = len(self.r_edges) - 1
            self._noise = NoiseModel(self._loaded, self.statistics, n_bins, **target)
        return self

    def _unit(self, hod: Any) -> Any:
        return cast(self.domain.to_unit(hod), self._dtype)

    @unaffected()
    def templates(self, hod: Tensor) -> Tensor:
        """Templates by every network of the ensemble.

        Parameters
        ----------
        hod : torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.

        Returns
        -------
        torch.Tensor, shape (n_networks, n, n_templates, n_bins)
            In the order of `iaemu_likelihood.emulator.physics.templates.templates_of`.
        """
        return self._templates(self._unit(hod))

    def _templates(self, unit: Any) -> Any:
        values = like(perceptron(torch.as_tensor(unit), self._weights, self._biases), unit)
        xp = namespace(values)
        n_templates = len(templates_of(self.statistics))
        values = values.reshape(len(self._weights[0]), len(unit), n_templates, -1)
        if torch.is_grad_enabled():
            parts = [values[..., i : i + 1, :] for i in range(n_templates)]
            for rows in self._logarithms:
                parts[rows.start] = xp.expm1(parts[rows.start])
            return xp.concatenate(parts, axis=-2)
        for rows in self._logarithms:
            logarithm = values[..., rows, :]
            xp.expm1(logarithm, out=logarithm)
        return values

    def _predict(self, theta: Any, unit: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        mu, _ = self.space.split(theta)
        hod = cast(self.space.split(unit)[1], self._dtype)
        strengths = self._strengths(mu) if self._noise else None
        products = strengths.of_strengths if strengths else self._products(mu)
        weights = template_weights(products, self.statistics, self.statistics, self._degrees)
        ensemble = weighted_templates(weights, self._templates(hod))
        spread = None
        if epistemic:
            spread = like(self.epistemic_factor[:, None], unit) * _spread(ensemble)
        aleatoric = None
        if self._noise and strengths:
            aleatoric = self._noise.at(hod).sigma(strengths)
        return _mean(ensemble), aleatoric, spread

    def _strengths(self, mu: Any) -> Strengths:
        return Strengths.of(mu, self._dtype, self.space.alignment)

    def _products(self, mu: Any) -> Any:
        """Products of strengths, of which the weights of templates are sums."""
        return bilinear(self.space.alignment.strengths(cast(mu, self._dtype), self._degrees))

    def at(self, hod: ArrayOrTensor, statistics: Collection[str] | None = None) -> Occupied:
        return _OccupiedTemplates(self, hod, self.chosen(statistics))

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

    @unaffected()
    def noise_at(self, hod: Any) -> NoiseAt:
        """Aleatoric noise at occupation parameters, (n, n_occupation), as a function of strengths.

        Raises
        ------
        ValueError
            If the weights have no noise.
        """
        return self._need_noise().at(self._unit(hod))

    @unaffected()
    def sigma(self, theta: Tensor) -> Tensor:
        """Aleatoric standard deviations: (n, n_parameters) to (n, n_statistics, n_bins)."""
        mu, hod = self.space.split(theta)
        return torch.as_tensor(self.noise_at(hod).sigma(self._strengths(mu)))

    @unaffected()
    def draw_noise(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of catalogues: (n, n_parameters) to (n, n_statistics, n_bins)."""
        mu, hod = self.space.split(theta)
        return self.noise_at(hod).draw(self._strengths(mu), generator)

    def _covariance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = []
        for some in torch.as_tensor(points, device=self._device).split(CHUNK):
            mu, hod = self.space.split(*enter(some))
            parts.append(as_array(self.noise_at(hod).covariance(self._strengths(mu))))
        return np.concatenate(parts)


def _mean(ensemble: Any) -> Any:
    """Mean over the networks; for few numbers faster than the libraries' own."""
    return ensemble.sum(0) / len(ensemble)


def _spread(ensemble: Any) -> Any:
    """Standard deviation between the networks, without a gradient."""
    values = ensemble if isinstance(ensemble, np.ndarray) else ensemble.detach()
    deviation = values - _mean(values)
    deviation *= deviation
    return namespace(values).sqrt(deviation.sum(0) / (len(values) - 1))


class _OccupiedTemplates:
    """Templates at given occupation parameters; see `Occupied`."""

    @unaffected()
    def __init__(
        self, emulator: TemplatesEmulator, hod: Any, statistics: tuple[Statistic, ...]
    ) -> None:
        self._emulator, self._statistics = emulator, statistics
        self._rows = [emulator.statistics.index(statistic) for statistic in statistics]
        self._unit = emulator._unit(hod)
        self._ensemble = emulator._templates(self._unit)
        self._mean = _mean(self._ensemble)
        counting = emulator.statistics[emulator._counting]
        (template,) = counting.templates
        self.excess = self._mean[:, templates_of(emulator.statistics).index(template)]

    @cached_property
    def _noise(self) -> NoiseAt:
        return self._emulator._need_noise().at(self._unit, self._statistics)

    @unaffected()
    def __call__(self, mu: Any, errors: Collection[str] = ()) -> tuple[Any, dict[str, Any]]:
        emulator = self._emulator
        covariances = {}
        if "aleatoric" in errors:
            strengths = emulator._strengths(mu)
            covariances["aleatoric"] = self._noise.covariance(strengths)
            products = strengths.of_strengths
        else:
            products = emulator._products(mu)
        weights = template_weights(
            products, self._statistics, emulator.statistics, emulator._degrees
        )
        if "epistemic" in errors:
            ensemble = weighted_templates(weights, self._ensemble)
            factor = like(emulator.epistemic_factor, weights)[self._rows, None]
            deviation = factor * (ensemble - _mean(ensemble))
            deviation = deviation.reshape(*deviation.shape[:2], -1).swapaxes(0, 1)
            covariances["epistemic"] = product(deviation.mT, deviation / (deviation.shape[1] - 1))
        return weights @ self._mean, covariances
