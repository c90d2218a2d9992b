r"""The emulator of kind `paper`: IAEmu's network with dropout at prediction.

It differs from arXiv:2504.05235 in one point on purpose. The paper learns the logarithm of xi and
so has to leave out catalogues with xi <= 0, which raises xi at large r. Here the network learns the
logarithm of 1 + xi = DD / RR, which is positive wherever there are pairs, and no catalogue is left
out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import ArrayOrTensor, as_array, like, unaffected
from iaemu_likelihood.emulator.models.base import Emulator, Occupied
from iaemu_likelihood.emulator.models.weights import check_tensors, entry
from iaemu_likelihood.emulator.networks.iaemu import MAX_ROWS, SCALING, PaperNetwork
from iaemu_likelihood.emulator.physics.statistics import Statistic
from numpy.typing import NDArray
from torch import Tensor

# More would not fit into memory.
MAX_PASSES = 10_000


class PaperEmulator(Emulator, kind="paper"):
    r"""The paper's network with dropout at prediction.

    Mean and aleatoric uncertainty come from the network without dropout, so they cost one
    evaluation and do not depend on `epistemic`; the paper averages over passes with dropout. The
    epistemic uncertainty is the scatter between the passes. The masks of the passes are drawn once,
    when the weights are loaded, and serve for all points. So the same parameters always give the
    same numbers, and predictions are smooth in the parameters.

    Notes
    -----
    For a statistic learned as a logarithm (xi), the network gives the mean m and variance v of
    log(1 + xi), taken as Gaussian. 1 + xi is then log-normal, with mean :math:`e^{m + v/2}` and
    variance :math:`(e^v - 1) e^{2m + v}`. The other statistics are scaled linearly.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        dropout = entry(card, "training", "network", "dropout", kind=float)
        seed, n_passes = (entry(card, "training", key, kind=int) for key in ("seed", "n_passes"))
        if not (0 <= dropout < 1 and 0 <= seed < 2**32 and 2 <= n_passes <= MAX_PASSES):
            raise ValueError(
                f"training: network: dropout is {dropout}, seed {seed} and n_passes {n_passes}; they "
                f"must be in [0, 1), in [0, 2^32) and from 2 to {MAX_PASSES}."
            )
        self._dtype = torch.float32
        sizes = n_parameters, n_statistics, n_bins = (
            len(self.space), len(self.statistics), len(self.r_edges) - 1,
        )  # fmt: skip
        self._network = PaperNetwork(*sizes, dropout)
        state, prefix = self._network.state_dict(), "network."
        scaling = [(n_parameters,)] * 2 + [(n_statistics,)] * 2
        shapes = {f"{prefix}{name}": tuple(x.shape) for name, x in state.items()}
        shapes |= dict(zip(SCALING, scaling, strict=True)) | {"r_edges": (n_bins + 1,)}
        shapes |= {k: x.shape for k, x in self.hosts.tensors().items()} if self.hosts else {}
        check_tensors(tensors, shapes)
        self._network.load_state_dict({name: tensors[f"{prefix}{name}"] for name in state})
        self._network.eval().requires_grad_(False).fold()
        generator = torch.Generator().manual_seed(seed)
        self._masks = self._network.draw_masks(n_passes, generator)
        self._scaling = {name: tensors[name].double() for name in SCALING}

    @unaffected(gradients=True)  # what is kept serves calls that need gradients, too
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> PaperEmulator:
        self._device, self._dtype = self._target(device, dtype)
        self._network.to(device=self._device, dtype=self._dtype)
        self._masks = [mask.to(device=self._device, dtype=self._dtype) for mask in self._masks]
        self._scaling = {name: x.to(self._device) for name, x in self._scaling.items()}
        return self

    def at(
        self, hod: ArrayOrTensor, statistics: Sequence[Statistic], n_fine: int | None = None
    ) -> Occupied:
        return _OccupiedNetwork(self, hod)

    def _inputs(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Scaled inputs of the network, split into batches."""
        centre, scale = self._scaling["input_mean"], self._scaling["input_scale"]
        return ((theta - centre) / scale).to(self._dtype).split(MAX_ROWS)

    def moments(self, theta: Tensor, rows: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of statistics.

        Parameters
        ----------
        theta : torch.Tensor, shape (n, n_parameters)
        rows : sequence of int, optional
            Some of the emulator's statistics, ascending; all when left out.

        Returns
        -------
        mean, variance : torch.Tensor, shape (n, m, n_bins)
        """
        parts = [self._network(part, rows) for part in self._inputs(theta)]
        mean, variance = (torch.cat(x) for x in zip(*parts, strict=True))
        return self._physical(mean, variance, rows)

    def _predict(self, theta: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        points = torch.as_tensor(theta)
        mean, variance = self.moments(points)
        spread = None
        if epistemic:
            with torch.no_grad():
                spread = self.passes(points).std(0)
        return mean, variance.sqrt(), spread

    def _covariance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Diagonal covariances, since the network gives only variances."""
        _, variance = self.moments(torch.as_tensor(points, device=self._device))
        return as_array(torch.diag_embed(variance.sqrt().square().flatten(1)))

    def _physical(
        self, mean: Tensor, variance: Tensor, rows: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of statistics from the outputs of the network, (..., m, n_bins)."""
        which = list(range(len(self.statistics)) if rows is None else rows)
        centre, scale = (self._scaling[k][which, None] for k in ("target_mean", "target_scale"))
        m, v = centre + scale * mean, scale**2 * variance
        logarithms = [i for i, k in enumerate(which) if self.statistics[k].learned_as_logarithm]
        if not logarithms:
            return m, v
        means, variances = list(m.unbind(-2)), list(v.unbind(-2))
        for i in logarithms:
            one_plus = torch.exp(means[i] + variances[i] / 2)
            means[i], variances[i] = one_plus - 1, torch.expm1(variances[i]) * one_plus**2
        return torch.stack(means, dim=-2), torch.stack(variances, dim=-2)

    def passes(self, theta: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Means by each pass with dropout, (n, n_parameters) to (n_passes, n, m, n_bins)."""
        return torch.cat([self._passes(part, rows) for part in self._inputs(theta)], dim=1)

    def _passes(self, inputs: Tensor, rows: Sequence[int] | None) -> Tensor:
        at_a_time = max(1, MAX_ROWS // len(inputs))
        passes = []
        for masks in zip(*(mask.split(at_a_time) for mask in self._masks), strict=True):
            n = len(masks[0])
            with self._network.thinned(list(masks)):
                mean, variance = self._network(inputs.repeat(n, 1), rows)
            passes.append(self._physical(mean, variance, rows)[0].unflatten(0, (n, -1)))
        return torch.cat(passes)


class _OccupiedNetwork:
    """The network at given occupation parameters; see `Occupied`.

    It has learned the statistics themselves, so it takes no responses.
    """

    @unaffected()
    def __init__(self, emulator: PaperEmulator, hod: ArrayOrTensor) -> None:
        self._emulator, self._hod = emulator, torch.as_tensor(hod)
        # The network has learned only roughly that xi does not depend on the alignment.
        random_axes = self._hod.new_zeros(len(hod), emulator.space.n_alignment)
        theta = emulator.space.join(random_axes, self._hod)
        self.excess: Any = like(emulator.moments(theta, [emulator._counting])[0][:, 0], hod)

    @unaffected()
    def __call__(
        self,
        mu: ArrayOrTensor,
        statistics: tuple[Statistic, ...],
        errors: Collection[str] = (),
        responses: Any = None,
    ) -> tuple[ArrayOrTensor, dict[str, ArrayOrTensor]]:
        theta = self._emulator.space.join(torch.as_tensor(mu), self._hod)
        rows = [self._emulator.statistics.index(statistic) for statistic in statistics]
        mean, variance = self._emulator.moments(theta, rows)
        found = {}
        if "aleatoric" in errors:
            found["aleatoric"] = torch.diag_embed(variance.flatten(1))
        if "epistemic" in errors:
            passes = self._emulator.passes(theta, rows)
            found["epistemic"] = (passes - passes.mean(0)) / (len(passes) - 1) ** 0.5
        return like(mean, mu), {kind: like(x, mu) for kind, x in found.items()}
