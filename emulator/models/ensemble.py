"""Ensembles of networks that map occupation parameters to templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from iaemu_likelihood.emulator.backend import like, namespace
from iaemu_likelihood.emulator.networks.perceptron import layers, perceptron
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import templates_of
from torch import Tensor

Statistics = tuple[Statistic, ...]


class Ensemble:
    """Networks of one shape; their scatter is the epistemic uncertainty.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        Weights and biases have an axis of networks in front, and maybe a second one of networks whose
        sum is one member of the ensemble.
    prefix : str
        With which the names of its tensors begin.
    statistics : tuple of Statistic
        Whose templates it gives.
    n_bins : int
    device, dtype
        Where, and in which precision, to compute.

    Attributes
    ----------
    statistics : tuple of Statistic
    n_bins : int
    epistemic_factor : torch.Tensor, shape (n_statistics,)
        By which the scatter must grow to cover the errors.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], prefix: str, statistics: Statistics, n_bins: int,
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.statistics, self.n_bins = statistics, n_bins
        weights, biases = layers(tensors, prefix)
        # The scaling of the outputs is part of the last layer.
        mean, scale = (tensors[f"{prefix}{name}"] for name in ("mean", "scale"))
        self._n_members, *summed = weights[0].shape[:-2]
        self._n_summed = summed[0] if summed else 1
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + mean / self._n_summed
        self._weights, self._biases = (
            [x.flatten(0, -3).to(device=device, dtype=dtype) for x in each]
            for each in (weights, biases)
        )
        # The last layer by what of it is needed.
        self._last: dict[tuple[Statistics, int], tuple[Tensor, Tensor]] = {}
        ones = torch.ones(len(statistics), dtype=torch.float64)  # in schema 1
        factor = tensors.get(f"{prefix}epistemic_factor", ones)
        self.epistemic_factor = factor.to(device=device, dtype=dtype)

    def templates(self, unit: Any, statistics: Statistics, n_bins: int) -> Any:
        """Templates of some statistics in the first bins, by every network.

        Parameters
        ----------
        unit : ndarray or torch.Tensor, shape (n, n_occupation)
            Occupation parameters in the unit cube.
        statistics : tuple of Statistic
            Some of its own.
        n_bins : int
            At most its own.

        Returns
        -------
        ndarray or torch.Tensor, shape (n_networks, n, n_templates, n_bins)
        """
        weight, bias = self._last_layer(statistics, n_bins)
        all_layers = [*self._weights[:-1], weight], [*self._biases[:-1], bias]
        values = like(perceptron(torch.as_tensor(unit), *all_layers), unit)
        xp = namespace(values)
        n_templates = len(templates_of(statistics))
        values = values.reshape(len(weight), len(unit), n_templates, -1)
        if self._n_summed > 1:
            values = values.reshape(self._n_members, self._n_summed, *values.shape[1:]).sum(1)
        logarithms = _logarithms(statistics)
        if torch.is_grad_enabled():
            parts = [values[..., i : i + 1, :] for i in range(n_templates)]
            for rows in logarithms:
                parts[rows.start] = xp.expm1(parts[rows.start])
            return xp.concatenate(parts, axis=-2)
        for rows in logarithms:
            logarithm = values[..., rows, :]
            xp.expm1(logarithm, out=logarithm)
        return values

    def _last_layer(self, statistics: Statistics, n_bins: int) -> tuple[Tensor, Tensor]:
        """The columns of the last layer that give some templates in the first bins."""
        key = statistics, n_bins
        if key not in self._last:
            templates = templates_of(self.statistics)
            first = [self.n_bins * templates.index(t) for t in templates_of(statistics)]
            columns = (torch.tensor(first)[:, None] + torch.arange(n_bins)).flatten()
            with torch.inference_mode(False):  # for calls that need gradients, too
                weight, bias = (
                    x[..., columns.to(x.device)].contiguous()
                    for x in (self._weights[-1], self._biases[-1])
                )
            self._last[key] = weight, bias
        return self._last[key]


def _logarithms(statistics: Statistics) -> list[slice]:
    """Places of the templates that are learned as logarithms, each as a slice."""
    # Slices, because indexing by lists is slower.
    learned = [s.learned_as_logarithm for s in statistics for _ in s.templates]
    return [slice(i, i + 1) for i, is_log in enumerate(learned) if is_log]
