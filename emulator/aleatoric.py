r"""The learned noise: aleatoric covariance of one catalogue as a function of all seven parameters.

`iaemu_likelihood.emulator.noise` gives the covariance at one HOD point, at any mu, from second
moments of quadrupoles and of the templates of a few catalogues. Here two networks learn these
moments as functions of the five occupation parameters, from a data set of realisations, and
`NoiseModel` puts them together in closed form in mu_cen and mu_sat. In every bin,

- moments between templates of the same statistic are blocks B of at most 3 x 3, positive definite
  by construction: with x the moment's variables in their order, B follows from the regression of
  each on those before it, :math:`x_i = \sum_{j<i} t_{ij} x_j + \epsilon_i`, whose coefficients and
  log-variances the networks give;
- correlations between bins, which enter the covariance but not the standard deviations, are a
  factor model (k common factors and the rest independent) for the occupation noise, and Cholesky
  factors, in few principal components, for the shape noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.networks import layers, perceptron
from iaemu_likelihood.emulator.templates import TEMPLATES_OF, eta_weights, template_weights
from iaemu_likelihood.emulator.watson import axis_variances_torch, p2_torch
from torch import Tensor

# Blocks of moments in every bin, and their sizes. Occupation: the templates of each statistic.
OCCUPATION_BLOCKS = (1, 2, 3)
# Shape, for each kind of galaxy and |m|: Q; and R of centrals, R of satellites.
SHAPE_BLOCKS = (1, 2) * 6
# Pairs of kinds and of |m|, |m'| in the last term of eta's shape noise: each is a positive number.
PAIRS = tuple(
    (t, m, u, n) for t in range(2) for u in range(t, 2) for m in range(3) for n in range(m if t == u else 0, 3)
)  # fmt: skip

# Moments (Q, R of centrals, R of satellites) that make up the shape noise of xi, omega and eta.
MOMENTS_OF = ((), (0,), (1, 2))


def n_outputs(sizes: tuple[int, ...]) -> int:
    """Numbers per bin that blocks of these sizes take."""
    return sum(k * (k + 1) // 2 for k in sizes)


def build_blocks(outputs: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """Positive definite blocks from log-variances and regression coefficients.

    Parameters
    ----------
    outputs : torch.Tensor, shape (..., n_outputs(sizes), n_bins)
    sizes : tuple of int

    Returns
    -------
    list of torch.Tensor, shape (..., size, size, n_bins)
    """
    blocks, at = [], 0
    for size in sizes:
        rows: list[list[Tensor]] = []
        for i in range(size):
            residual = outputs[..., at, :].exp()
            coefficients = [outputs[..., at + 1 + j, :] for j in range(i)]
            at += 1 + i
            # <x_i x_k> for k < i, then <x_i x_i>.
            cross = [
                sum(
                    (t * rows[max(j, k)][min(j, k)] for j, t in enumerate(coefficients)),
                    torch.zeros_like(residual),
                )
                for k in range(i)
            ]
            own = sum((t * c for t, c in zip(coefficients, cross, strict=True)), residual)
            rows.append([*cross, own])
        full = [torch.stack([rows[max(i, j)][min(i, j)] for j in range(size)], -2) for i in range(size)]  # fmt: skip
        blocks.append(torch.stack(full, -3))
    return blocks


def block_loss(outputs: Tensor, moments: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Twice the negative Gaussian log-likelihood of second moments, per block and bin.

    Parameters
    ----------
    outputs : torch.Tensor, shape (n, n_outputs(sizes), n_bins)
    moments : torch.Tensor, shape (n, n_outputs(sizes), n_bins)
        Lower triangles of the measured blocks, row after row, the diagonal first in its row.
    sizes : tuple of int

    Returns
    -------
    torch.Tensor, shape (n, sum(sizes), n_bins)
    """
    terms, at = [], 0
    for size in sizes:
        first = at
        for i in range(size):
            own = moments[:, at]
            t = [outputs[:, at + 1 + j] for j in range(i)]
            residual = own
            for j in range(i):
                residual = residual - 2 * t[j] * moments[:, at + 1 + j]
                for k in range(i):
                    high, low = max(j, k), min(j, k)
                    start = first + high * (high + 1) // 2
                    residual = residual + t[j] * t[k] * moments[:, start + (0 if high == low else 1 + low)]  # fmt: skip
            terms.append(outputs[:, at] + residual * torch.exp(-outputs[:, at]))
            at += 1 + i
    return torch.stack(terms, 1)


def factor_loss(loadings: Tensor, z: Tensor) -> Tensor:
    """Twice the negative log-likelihood, per number, of standardised draws under a factor model.

    Parameters
    ----------
    loadings : torch.Tensor, shape (n, n_numbers, k)
        Of numbers with unit residual variance; see `correlation_factors`.
    z : torch.Tensor, shape (n, n_draws, n_numbers)
        Of unit variance; NaN where there is nothing.
    """
    counted = torch.isfinite(z).all(1)  # numbers of a point that all its draws have
    loadings = loadings * counted[..., None]
    residual = 1 / (1 + loadings.square().sum(-1))
    y = torch.where(counted[:, None], z, 0) / residual.sqrt()[:, None]
    inner = torch.eye(loadings.shape[-1]) + loadings.mT @ loadings
    cholesky = torch.linalg.cholesky(inner)
    solved = torch.linalg.solve_triangular(cholesky, loadings.mT @ y.mT, upper=False)
    quadratic = y.square().sum(-1) - solved.square().sum(1)
    log_determinant = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1) + residual.log().sum(-1)
    return (log_determinant[:, None] + quadratic).mean(1) / counted.sum(-1).clamp(min=1)


def correlation_factors(loadings: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of a correlation matrix, (..., n, k), and its independent part, (..., n).

    Both are the square roots that add up to 1: factors**2 summed + independent**2 = 1.
    """
    residual = torch.rsqrt(1 + loadings.square().sum(-1))
    return loadings * residual[..., None], residual


class NoiseModel:
    """Aleatoric noise of one catalogue at any of the seven parameters, from learned moments.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
        The part of a weights file whose names begin with ``occupation.`` and ``shape.``.
    n_bins : int
    """

    def __init__(self, tensors: dict[str, Tensor], n_bins: int) -> None:
        self.n_bins = n_bins
        self._tensors = {
            k: v for k, v in tensors.items() if k.startswith(("occupation.", "shape."))
        }
        self._triangles: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor]] = {}

    def to(self, device: Any) -> None:
        """Move to a device."""
        self._tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        self._triangles.clear()

    def at(self, x: Tensor) -> NoiseAt:
        """The noise at occupation parameters in the unit cube of the domain, shape (n, 5)."""
        return NoiseAt(x, self)

    def outputs(self, part: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the network of a part, occupation or shape, gives: scaled numbers and the rest."""
        out = perceptron(x, *layers(self._tensors, f"{part}."))
        scale, offset = self._tensors[f"{part}.scale"], self._tensors[f"{part}.offset"]
        values = out[:, : len(scale)] * scale + offset
        return values.unflatten(-1, (-1, self.n_bins)), out[:, len(scale) :]

    def triangle(self, moments: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Components, centre and places of those rows of the Cholesky factors that belong to moments.

        Of Q, R of centrals and R of satellites (0, 1, 2), in every bin.
        """
        if moments not in self._triangles:
            size = 3 * self.n_bins
            row, column = np.tril_indices(size)
            (used,) = np.isin(row % 3, moments).nonzero()
            order = np.searchsorted(moments, row[used] % 3)
            place = ((row[used] // 3) * len(moments) + order) * size + column[used]
            components, centre = (
                self._tensors[f"shape.{name}"].unflatten(-1, (6, -1))[..., used].flatten(-2)
                for name in ("components", "centre")
            )
            self._triangles[moments] = (
                components,
                centre,
                torch.as_tensor(place, device=centre.device),
            )
        return self._triangles[moments]


class NoiseAt:
    """Noise at given occupation parameters, as a function of the alignment strengths.

    What depends on the occupation alone is computed once. `mu` has shape (n, 2) everywhere, with
    the n of the occupation parameters, unless these are of one point only.

    Parameters
    ----------
    x : torch.Tensor, shape (n, 5)
        Occupation parameters in the unit cube of the domain.
    model : NoiseModel
    """

    def __init__(self, x: Tensor, model: NoiseModel) -> None:
        self.n_bins, self._model = model.n_bins, model
        occupation, self._loadings = model.outputs("occupation", x)
        shape, self._components = model.outputs("shape", x)
        n_shape = n_outputs(SHAPE_BLOCKS)
        self._pairs = shape[:, n_shape:].exp()
        self._occupation = build_blocks(occupation, OCCUPATION_BLOCKS)
        # The six pairs of kind and |m| at once: (n, i, 1, 1, b) and (n, i, 2, 2, b).
        self._q, self._r = build_blocks(shape[:, :n_shape].unflatten(1, (6, -1)), SHAPE_BLOCKS[:2])
        self._products: dict[tuple[int, ...], Tensor] = {}

    @cached_property
    def _template_std(self) -> Tensor:
        """Occupation noise of the six templates, (n, t, b)."""
        return torch.cat(
            [block.diagonal(dim1=1, dim2=2).mT.sqrt() for block in self._occupation], 1
        )

    @cached_property
    def _template_factors(self) -> tuple[Tensor, Tensor]:
        """Factors of the templates' correlations, (n, t, b, k) and (n, t, b)."""
        return correlation_factors(self._loadings.unflatten(-1, (6, self.n_bins, -1)))

    @cached_property
    def _moment_std(self) -> Tensor:
        """Standard deviations of Q and both R, (n, i, b, 3)."""
        of_r = self._r.diagonal(dim1=2, dim2=3)
        return torch.cat([self._q[:, :, 0, 0, :, None], of_r], dim=-1).sqrt()

    def _rows(self, moments: tuple[int, ...] = (0, 1, 2)) -> Tensor:
        """Factors of correlations, (n, i, b, n_moments, 3 b); moments as `NoiseModel.triangle`."""
        components, centre, place = self._model.triangle(moments)
        triangle = (self._components @ components + centre).unflatten(-1, (6, -1))
        rows = triangle.new_zeros(len(triangle), 6, self.n_bins * len(moments) * 3 * self.n_bins)
        rows[..., place] = triangle
        rows = rows.unflatten(-1, (self.n_bins, len(moments), -1))
        return torch.nn.functional.normalize(rows, dim=-1)

    def _products_of(self, statistics: tuple[int, ...]) -> Tensor:
        """Covariances between bins of all that a covariance is a sum of, (n, k, b b).

        Of the statistics' templates with each other, from the occupation; then of their moments
        (Q, R, R) with each other, for each i.
        """
        if statistics not in self._products:
            t, c = (list(_of(statistics, which)) for which in (TEMPLATES_OF, MOMENTS_OF))
            std, (common, own) = self._template_std[:, t], self._template_factors
            factors = (std[..., None] * common[:, t]).flatten(1, 2)
            own = (std * own[:, t]).square().flatten(1)
            templates = factors @ factors.mT + torch.diag_embed(own)
            templates = templates.unflatten(1, (len(t), -1)).unflatten(-1, (len(t), -1))
            products = templates.transpose(2, 3).flatten(1, 2)
            if c:
                rows = self._moment_std[..., c, None] * self._rows(tuple(c))
                rows = rows.transpose(2, 3).flatten(2, 3)
                moments = (rows @ rows.mT).unflatten(2, (len(c), -1)).unflatten(-1, (len(c), -1))
                products = torch.cat([products, moments.transpose(3, 4).flatten(1, 3)], dim=1)
            self._products[statistics] = products.flatten(2)
        return self._products[statistics]

    def sigma(self, mu: Tensor) -> Tensor:
        """Standard deviations of xi, omega and eta, (n, 3, n_bins)."""
        strength, variances = p2_torch(mu), _axis_variances(mu)
        of_omega, of_eta = _products(strength), _products(eta_weights(strength))
        v = variances.flatten(1)
        xi = self._occupation[0][:, 0, 0].expand(len(mu), -1)
        omega = _weighted(of_omega, self._occupation[1].flatten(1, 2))
        omega = omega + _weighted(v, self._q[:, :, 0, 0])
        eta = _weighted(of_eta, self._occupation[2].flatten(1, 2))
        eta = eta + _weighted(
            (4 * v[..., None] * of_omega[:, None]).flatten(1), self._r.flatten(1, 3)
        )
        eta = eta + _weighted(_pair_products(variances), self._pairs)
        xi, omega, eta = torch.broadcast_tensors(xi, omega, eta)
        return torch.stack([xi, omega, eta], dim=1).sqrt()

    def _parts(self, mu: Tensor) -> _Parts:
        """What covariance and draws are made of."""
        c, s = p2_torch(mu).unbind(-1)
        variances = _axis_variances(mu)
        std = self._moment_std
        c, s = c[:, None, None], s[:, None, None]
        each = torch.broadcast_tensors(std[..., 0], 2 * c * std[..., 1], 2 * s * std[..., 2])
        to_shape = torch.stack(each, -1) * variances.flatten(1).sqrt()[..., None, None]
        return _Parts(
            self.sigma(mu),
            template_weights(p2_torch(mu))[..., None] * self._template_std[:, None],
            *self._template_factors,
            to_shape,
            self._rows(),
            _weighted(_pair_products(variances), self._pairs),
        )

    def covariance(self, mu: Tensor, statistics: Sequence[int] = (0, 1, 2)) -> Tensor:
        """Covariance of some of xi, omega, eta (0, 1, 2), shape (n, m n_bins, m n_bins)."""
        wanted = tuple(statistics)
        strength, variances = p2_torch(mu), _axis_variances(mu)
        weights = template_weights(strength, wanted)[..., _of(wanted, TEMPLATES_OF)]
        # From (Q, R, R) to omega and eta, with the axes' scatter: (n, m, i, n_moments).
        moments = strength.new_zeros(len(mu), 3, 3)
        moments[:, 1, 0] = 1
        moments[:, 2, 1:] = 2 * strength
        moments = moments[:, wanted][..., _of(wanted, MOMENTS_OF)]
        moments = moments[:, :, None] * variances.flatten(1).sqrt()[:, None, :, None]
        m = len(wanted)
        of_templates = weights[:, :, None, :, None] * weights[:, None, :, None, :]
        of_moments = moments[:, :, None, :, :, None] * moments[:, None, :, :, None, :]
        combined = torch.cat([of_templates.flatten(3), of_moments.flatten(3)], dim=-1).flatten(1, 2)
        covariance = (combined @ self._products_of(wanted)).unflatten(-1, (self.n_bins, -1))
        covariance = covariance.unflatten(1, (m, m)).transpose(2, 3).flatten(3).flatten(1, 2)
        if 2 in wanted:
            in_pairs = _weighted(_pair_products(variances), self._pairs)
            own = [in_pairs if i == 2 else torch.zeros_like(in_pairs) for i in wanted]
            covariance = covariance + torch.diag_embed(torch.cat(own, dim=-1))
        # The blocks know the standard deviations better than the factors do.
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        scale = self.sigma(mu)[:, wanted].flatten(1) * diagonal.rsqrt()
        return scale[:, :, None] * covariance * scale[:, None]

    def draw(self, mu: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of (xi, omega, eta) from their mean, (n, 3, n_bins)."""
        p = self._parts(mu)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=mu.dtype, device=mu.device)

        templates = (p.common @ normal(len(mu), 1, p.common.shape[-1], 1))[..., 0]
        templates = templates + p.own * normal(len(mu), *p.own.shape[1:])
        deviation = torch.einsum("nstb,ntb->nsb", p.to_statistics, templates)
        moments = (p.rows.flatten(2, 3) @ normal(len(mu), 6, p.rows.shape[-1], 1))[..., 0]
        moments = (p.to_shape * moments.unflatten(-1, (-1, 3))).sum(1)
        omega = deviation[:, 1] + moments[..., 0]
        eta = deviation[:, 2] + moments[..., 1:].sum(-1) + p.in_pairs.sqrt() * normal(*omega.shape)
        return torch.stack([deviation[:, 0], omega, eta], dim=1) * p.scale


@dataclass(frozen=True)
class _Parts:
    """Of the noise at n points; t counts the six templates, i the six pairs of kind and |m|.

    Attributes
    ----------
    sigma : torch.Tensor, shape (n, 3, b)
    to_statistics : torch.Tensor, shape (n, 3, t, b)
        From standardised templates.
    common, own : torch.Tensor, shapes (n, t, b, k) and (n, t, b)
        Factors of their correlations.
    to_shape : torch.Tensor, shape (n, i, b, 3)
        Scales of Q, which adds to omega, and of the two R, which add to eta.
    rows : torch.Tensor, shape (n, i, b, 3, 3 b)
        Factors of their correlations.
    in_pairs : torch.Tensor, shape (n, b)
        Variance of eta's last term.
    """

    sigma: Tensor
    to_statistics: Tensor
    common: Tensor
    own: Tensor
    to_shape: Tensor
    rows: Tensor
    in_pairs: Tensor

    @property
    def independent(self) -> Tensor:
        """Variance that bins do not share, (n, 3, b)."""
        own = torch.einsum("nstb,ntb->nsb", self.to_statistics.square(), self.own.square())
        return own + torch.stack([0 * self.in_pairs, 0 * self.in_pairs, self.in_pairs], dim=1)

    @property
    def scale(self) -> Tensor:
        """By which the sum of all parts is multiplied to have the standard deviation sigma."""
        common = torch.einsum("nstb,ntbk->nsbk", self.to_statistics, self.common).square().sum(-1)
        omega, r_cen, r_sat = self.to_shape.unbind(-1)
        cross = (self.rows[..., 1, :] * self.rows[..., 2, :]).sum(-1)
        eta = r_cen.square() + r_sat.square() + 2 * r_cen * r_sat * cross
        shape = torch.stack([0 * self.in_pairs, omega.square().sum(1), eta.sum(1)], dim=1)
        return self.sigma * (common + shape + self.independent).rsqrt()


def _of(statistics: Sequence[int], which: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Templates or moments of some statistics, in their order."""
    return tuple(sorted(k for i in statistics for k in which[i]))


def _axis_variances(mu: Tensor) -> Tensor:
    """Of the axes, (n, kind, |m|); not quite zero at mu = 1, where the square root has no slope."""
    return axis_variances_torch(mu).clamp(min=1e-30)


def _weighted(weights: Tensor, terms: Tensor) -> Tensor:
    """Sum of terms (n, k, b) with weights (n, k)."""
    return (weights[:, None] @ terms)[:, 0]


def _products(x: Tensor) -> Tensor:
    """All products of two, (n, k) to (n, k k)."""
    return (x[:, :, None] * x[:, None]).flatten(1)


def _pair_products(variances: Tensor) -> Tensor:
    """Of the axes' variances (n, 2, 3) for the last term of eta's shape noise, (n, 21)."""
    flat = variances.flatten(1)
    first, second = ([3 * pair[i] + pair[i + 1] for pair in PAIRS] for i in (0, 2))
    return flat[:, first] * flat[:, second]
