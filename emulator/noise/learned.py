r"""The learned noise: aleatoric covariance of one catalogue as a function of all seven parameters.

`iaemu_likelihood.emulator.noise.measured` gives the covariance at one HOD point, at any mu, from second
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
from dataclasses import dataclass, fields
from functools import cache, cached_property
from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import (
    add_product,
    at_least,
    cast,
    constant,
    kind,
    namespace,
    product,
    unbind,
)
from iaemu_likelihood.emulator.networks.perceptron import (
    Hidden,
    affine,
    hidden,
    layers,
    side_by_side,
)
from iaemu_likelihood.emulator.physics.templates import (
    FACTORS_OF,
    STRENGTHS,
    TEMPLATES,
    TEMPLATES_OF,
    bilinear,
    template_weights,
)
from iaemu_likelihood.emulator.physics.watson import one_p2_and_axis_variances_series
from torch import Tensor, nn

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


def rows_of_block(size: int) -> tuple[list[int], list[int]]:
    """Which of a block's outputs are log-variances, and which coefficients, in their order."""
    variances = [i * (i + 1) // 2 for i in range(size)]
    return variances, [row for row in range(n_outputs((size,))) if row not in variances]


def block_stds(residuals: Sequence[Any], coefficients: Sequence[Any]) -> Any:
    """Standard deviations of one block's variables; of tensors, or of arrays.

    Parameters
    ----------
    residuals : sequence of shape (..., n_bins)
        Variance of what is left of each of k variables by the regression on those before it.
    coefficients : sequence of shape (..., n_bins)
        Of the regressions, one after another: k (k - 1) / 2.

    Returns
    -------
    ndarray or torch.Tensor, shape (..., k, n_bins)
    """
    variances: list[Any] = []
    # Of each variable so far, what multiplies the residuals of those before it.
    factors: list[list[Any]] = []
    for i, variance in enumerate(residuals):
        row = list(coefficients[i * (i - 1) // 2 :][:i])
        for j in range(i):
            for k in range(j + 1, i):
                row[j] = add_product(row[j], row[k], factors[k][j])
            variance = add_product(variance, row[j] * row[j], residuals[j])
        factors.append(row)
        variances.append(variance)
    xp = namespace(variances[0])
    return xp.sqrt(xp.stack(variances, axis=-2))


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


def correlation_factors(loadings: Any) -> tuple[Any, Any]:
    """Factors of a correlation matrix, (..., n, k), and its independent part, (..., n).

    Both are the square roots that add up to 1: factors**2 summed + independent**2 = 1.
    """
    independent = 1 / namespace(loadings).sqrt(1 + (loadings * loadings).sum(-1))
    return loadings * independent[..., None], independent


# Where the variances by kind of galaxy and |m| are in `Alignment.values`; P2 as in `STRENGTHS`.
VARIANCE = [[4 + 2 * m + t for m in range(3)] for t in range(2)]
N_VALUES = 10


class Alignment(NamedTuple):
    """What the noise depends on mu through; tensors, or arrays.

    Attributes
    ----------
    values : ndarray or torch.Tensor, shape (n, 10)
        1, P2, and the variances of the axes for |m| = 0, 1, 2: each of mu_cen and then of mu_sat.
    products : ndarray or torch.Tensor, shape (n, 100)
        Of these with each other.
    of_strengths : ndarray or torch.Tensor, shape (n, 16)
        Of these only those of 1 and P2; for `template_weights`.
    """

    values: Any
    products: Any
    of_strengths: Any

    @classmethod
    def of(cls, mu: Any, dtype: torch.dtype = torch.float64) -> Alignment:
        """At mu_cen and mu_sat, shape (n, 2), in some precision."""
        values = one_p2_and_axis_variances_series(cast(mu, dtype))
        values = values.swapaxes(1, 2).reshape(-1, N_VALUES)
        products = bilinear(values)
        of_strengths = products.reshape(-1, N_VALUES, N_VALUES)[:, :4, :4].reshape(-1, 16)
        return cls(values, products, of_strengths)

    @property
    def strength(self) -> Any:
        """P2 of mu_cen and mu_sat, (n, 2)."""
        return self.values[:, 2:4]

    @property
    def variances(self) -> Any:
        """Of the axes: three of centrals, three of satellites, (n, 6)."""
        by_kind = self.values[:, 4:].reshape(-1, 3, 2).swapaxes(1, 2).reshape(-1, 6)
        # Not quite zero at mu = 1, where the square root has no slope.
        return at_least(by_kind, 1e-30)


# Weight and bias of a layer.
Layer = tuple[Tensor, Tensor]
# Residual variances and coefficients of a block; see `block_stds`.
Block = tuple[Sequence[Any], Sequence[Any]]


@dataclass(frozen=True)
class _Layers:
    """What of the networks some statistics need: the fewer, the less memory has to be read.

    Attributes
    ----------
    templates, moments : tuple of int
        Of the statistics; moments are Q, R of centrals and R of satellites (0, 1, 2).
    hidden : (list of torch.Tensor, list of torch.Tensor)
        Hidden layers of both networks, side by side, for features that the others are applied to.
    width : int
        How many of the features are the occupation's; the others are the shape's.
    blocks, loadings : Layer
        From the occupation's features: 1, regressions and log2 of variances of the templates;
        factors of their correlations.
    shapes, scores : Layer
        From the shape's: log2 of variances of R, Q and eta's last term, and regressions of R;
        principal components of the correlations.
    components, centre : torch.Tensor
        From these to the rows of the Cholesky factors.
    """

    templates: tuple[int, ...]
    moments: tuple[int, ...]
    hidden: Hidden
    width: int
    blocks: Layer
    loadings: Layer
    shapes: Layer
    scores: Layer
    components: Tensor
    centre: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> _Layers:
        """On a device, in a precision."""

        def moved(x: Any) -> Any:
            if isinstance(x, (list, tuple)):
                return type(x)(moved(y) for y in x)
            if not isinstance(x, Tensor):
                return x
            return x.to(device=device, dtype=dtype)

        return _Layers(**{f.name: moved(getattr(self, f.name)) for f in fields(self)})


class NoiseModel:
    """Aleatoric noise of one catalogue at any of the seven parameters, from learned moments.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
        The part of a weights file whose names begin with ``occupation.`` and ``shape.``.
    n_bins : int
    device : torch.device or str
    dtype : torch.dtype
        To compute in.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        n_bins: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.n_bins = n_bins
        self._tensors = {
            k: v for k, v in tensors.items() if k.startswith(("occupation.", "shape."))
        }
        self._target: dict[str, Any] = {"device": device, "dtype": dtype}
        self._layers: dict[tuple[int, ...], _Layers] = {}

    def at(self, x: Any, statistics: Sequence[int] = (0, 1, 2)) -> NoiseAt:
        """The noise of some of xi, omega, eta (0, 1, 2) at given occupation.

        Parameters
        ----------
        x : ndarray or torch.Tensor, shape (n, 5)
            Occupation parameters in the unit cube of the domain.
        statistics : sequence of int
        """
        wanted = tuple(statistics)
        if wanted not in self._layers:
            self._layers[wanted] = self._layers_of(wanted)
        return NoiseAt(x, self._layers[wanted], wanted, self.n_bins)

    @torch.inference_mode(False)  # kept, and used where gradients are wanted
    def _layers_of(self, statistics: tuple[int, ...]) -> _Layers:
        templates, moments = (_of(statistics, which) for which in (TEMPLATES_OF, MOMENTS_OF))
        occupation, blocks, loadings = self._split("occupation")
        shape, numbers, scores = self._split("shape")
        blocks_of = [rows_of_block(OCCUPATION_BLOCKS[i]) for i in statistics]
        starts = np.cumsum([0, *(n_outputs((k,)) for k in OCCUPATION_BLOCKS)])
        log_variances, regressions = (
            [
                starts[i] + row
                for i, block in zip(statistics, blocks_of, strict=True)
                for row in block[part]
            ]
            for part in range(2)
        )
        # Of each kind and |m| the block of Q has one row, that of R has three.
        n_shape = n_outputs(SHAPE_BLOCKS)
        q, r_cen, r_sat, r_coefficient = ([4 * i + row for i in range(6)] for row in range(4))
        pairs = [*range(n_shape, n_shape + len(PAIRS))]
        of_omega, of_eta = 1 in statistics, 2 in statistics
        shapes = (r_cen + r_sat) * of_eta + q * of_omega + pairs * of_eta
        n_loadings = loadings[0].shape[1] // len(TEMPLATES)
        # Rows of the Cholesky factors: zero above the diagonal.
        row, column = np.tril_indices(3 * self.n_bins)
        components, centre = self._tensors["shape.components"], self._tensors["shape.centre"][None]
        of_rows = []
        for x in (components, centre):
            square = x.new_zeros(len(x), 6, 3 * self.n_bins, 3 * self.n_bins)
            square[..., row, column] = x.unflatten(-1, (6, -1))
            by_moment = square.unflatten(2, (self.n_bins, 3))[:, :, :, list(moments)]
            of_rows.append(by_moment.flatten(1))
        weight, bias = _columns(blocks, [0], self.n_bins)
        ones = 0 * weight, torch.ones_like(bias)
        # Regressions before log-variances here, and after them there: of both in a row, what is
        # exponentiated is in one piece.
        of_templates = _beside(
            ones,
            _columns(blocks, regressions, self.n_bins),
            _in_octaves(_columns(blocks, log_variances, self.n_bins)),
        )
        of_shapes = _beside(
            _in_octaves(_columns(numbers, shapes, self.n_bins)),
            _columns(numbers, r_coefficient * of_eta, self.n_bins),
        )
        return _Layers(
            templates, moments, side_by_side(occupation, shape), occupation[0][-1].shape[1],
            of_templates, _columns(loadings, templates, n_loadings), of_shapes, scores, *of_rows,
        ).to(**self._target)  # fmt: skip

    def _split(self, part: str) -> tuple[Hidden, Layer, Layer]:
        """Hidden layers of a network; its last one to numbers in every bin, scaled; and the rest."""
        weights, biases = layers(self._tensors, f"{part}.")
        scale, offset = (self._tensors[f"{part}.{name}"] for name in ("scale", "offset"))
        weight, bias, n = weights[-1], biases[-1], len(scale)
        in_bins = weight[:, :n] * scale, bias[:, :n] * scale + offset
        return (weights[:-1], biases[:-1]), in_bins, (weight[:, n:].contiguous(), bias[:, n:])


class NoiseAt:
    """Noise at given occupation parameters, as a function of the alignment strengths.

    What depends on the occupation alone is computed once. An `Alignment` is of n points everywhere,
    with the n of the occupation parameters, unless these are of one point only. All that comes in
    and goes out is tensors, or all is arrays; the networks are torch's.

    Parameters
    ----------
    x : ndarray or torch.Tensor, shape (n, 5)
        Occupation parameters in the unit cube of the domain.
    of : _Layers
    statistics : tuple of int
        Those that it is of; all methods give these, in this order.
    n_bins : int
    """

    def __init__(self, x: Any, of: _Layers, statistics: tuple[int, ...], n_bins: int) -> None:
        self._layers, self._statistics, self.n_bins = of, statistics, n_bins
        self._arrays = not isinstance(x, Tensor)
        features = hidden(torch.as_tensor(x), *of.hidden)
        self._of_occupation, self._of_shape = features[:, : of.width], features[:, of.width :]

    def _outputs(self, outputs: Tensor, *shape: int) -> Any:
        """Of a layer, as (n, *shape)."""
        return (outputs.numpy() if self._arrays else outputs).reshape(len(outputs), *shape)

    @cached_property
    def _rows(self) -> _Rows:
        of, statistics = self._layers, self._statistics
        outputs = (affine(self._of_occupation, *of.blocks), affine(self._of_shape, *of.shapes))
        rows = self._outputs(torch.cat(outputs, 1), -1, self.n_bins)
        n = _Counts.of(statistics)
        xp = namespace(rows)
        last = n.regressions + n.residuals + n.direct
        variances = xp.exp2(rows[:, n.regressions : last])
        regressions = [rows[:, : n.regressions], rows[:, last:]]
        if 2 in statistics:
            second, third = (rows[:, i : i + 1] for i in (n.eta, n.eta + 2))
            regressions.append(second * third)
        return _Rows(
            xp.concatenate(regressions, axis=1),
            variances[:, : n.residuals],
            variances[:, n.residuals :],
        )

    @cached_property
    def _blocks(self) -> list[Block]:
        """Of each statistic's templates, (n, b) each."""
        sizes = [OCCUPATION_BLOCKS[i] for i in self._statistics]
        residuals, coefficients = (
            unbind(x) for x in (self._rows.residuals, self._rows.regressions)
        )
        result, i, j = [], 0, 1
        for k in sizes:
            n_coefficients = k * (k - 1) // 2
            result.append((residuals[i : i + k], coefficients[j : j + n_coefficients]))
            i, j = i + k, j + n_coefficients
        return result

    @cached_property
    def _shape_blocks(self) -> list[Block]:
        """Of Q and R, as far as needed, (n, i, b) each."""
        regressions, residuals, direct = self._rows
        n = _Counts.of(self._statistics)
        result: list[Block] = []
        if 1 in self._statistics:
            result.append(([direct[:, :6]], []))
        if 2 in self._statistics:
            r = residuals[:, -12:-6], residuals[:, -6:]
            result.append((r, [regressions[:, n.regressions : n.regressions + 6]]))
        return result

    @cached_property
    def _loadings(self) -> Any:
        """Of the templates' correlations, (n, t, b, k); see `correlation_factors`."""
        outputs = affine(self._of_occupation, *self._layers.loadings)
        return self._outputs(outputs, len(self._layers.templates), self.n_bins, -1)

    @cached_property
    def _template_stds(self) -> Any:
        """Occupation noise of the templates, (n, t, b)."""
        return _joined([block_stds(*block) for block in self._blocks])

    @cached_property
    def _moment_stds(self) -> Any:
        """Standard deviations of the moments, (n, i, n_moments, b)."""
        return _joined([block_stds(*block) for block in self._shape_blocks])

    @cached_property
    def _factors(self) -> Any:
        """Of the moments' correlations, but for a factor of each row, (n, i, b, n_moments, 3 b)."""
        of, b = self._layers, self.n_bins
        rows = affine(affine(self._of_shape, *of.scores), of.components, of.centre)
        return self._outputs(rows, 6, b, len(of.moments), 3 * b)

    @cached_property
    def _products(self) -> Any:
        """Covariances between bins of all that a covariance is a sum of, (n, k, b b).

        Of the statistics' templates with each other, from the occupation; then of their moments
        (Q, R, R) with each other, for each i.
        """
        n, b = len(self._of_shape), self.n_bins
        t, c = len(self._layers.templates), len(self._layers.moments)
        factors = self._loadings.reshape(n, t * b, -1)
        templates = product(factors, factors.mT)
        diagonal = _diagonal(templates)
        diagonal += 1
        templates = _scaled(templates, self._template_stds.reshape(n, -1))
        products = templates.reshape(n, t, b, t, b).swapaxes(2, 3).reshape(n, t * t, b * b)
        if c:
            rows = self._factors.swapaxes(2, 3).reshape(n * 6, c * b, 3 * b)
            moments = product(rows, rows.mT)
            moments = _scaled(moments, self._moment_stds.reshape(n * 6, -1))
            moments = moments.reshape(n, 6, c, b, c, b).swapaxes(3, 4)
            each = [products, moments.reshape(n, -1, b * b)]
            products = namespace(products).concatenate(each, axis=1)
        return products

    def sigma(self, at: Alignment) -> Any:
        """Standard deviations, (n, m, n_bins)."""
        regressions, residuals, direct = self._rows
        to_linear, _ = _variance_weights(self._statistics, *kind(at.products))
        linear = at.of_strengths @ to_linear
        factors = linear.reshape(len(linear), residuals.shape[1], -1) @ regressions
        of_squares, of_direct = self._sums(at)
        variance = of_squares @ (factors * factors * residuals) + of_direct @ direct
        return namespace(variance).sqrt(variance)

    def _sums(self, at: Alignment) -> tuple[Any, Any]:
        """What squares of factors, and what enters directly, count in each variance, (n, m, k)."""
        _, to_sums = _variance_weights(self._statistics, *kind(at.products))
        sums = (at.products @ to_sums).reshape(len(at.products), len(self._statistics), -1)
        n = self._rows.residuals.shape[1]
        return sums[..., :n], sums[..., n:]

    def _in_pairs(self, at: Alignment) -> Any:
        """Variance of eta's last term, (n, b)."""
        _, of_direct = self._sums(at)
        pairs = slice(-len(PAIRS), None)
        of_eta = of_direct[:, self._statistics.index(2), None, pairs]
        return (of_eta @ self._rows.direct[:, pairs])[:, 0]

    def covariance(self, at: Alignment) -> Any:
        """Covariance of all bins, shape (n, m n_bins, m n_bins)."""
        m, b = len(self._statistics), self.n_bins
        xp = namespace(at.values)
        weights = template_weights(at.of_strengths, self._statistics, self._layers.templates)
        n = len(weights)
        combined = (weights[:, :, None, :, None] * weights[:, None, :, None]).reshape(n, m * m, -1)
        if self._layers.moments:
            # From (Q, R, R) to omega and eta, with the axes' scatter: (n, m, i, n_moments).
            moments = _moment_weights(at.values, self._statistics)[:, :, None]
            moments = moments * xp.sqrt(at.variances)[:, None, :, None]
            of_moments = moments[:, :, None, :, :, None] * moments[:, None, :, :, None]
            combined = xp.concatenate([combined, of_moments.reshape(n, m * m, -1)], axis=-1)
        covariance = product(combined, self._products).reshape(n, m, m, b, b)
        covariance = covariance.swapaxes(2, 3).reshape(n, m * b, m * b)
        if 2 in self._statistics:
            first = self._statistics.index(2) * b
            of_eta = _diagonal(covariance)[:, first : first + b]
            of_eta += self._in_pairs(at)
        # The blocks know the standard deviations better than the factors do.
        return _scaled(covariance, self.sigma(at).reshape(n, -1))

    def _parts(self, at: Alignment) -> _Parts:
        """What draws are made of."""
        c, s = at.strength[:, :, None, None].unbind(1)
        q, r_cen, r_sat = self._moment_stds.unbind(2)
        each = torch.broadcast_tensors(q, 2 * c * r_cen, 2 * s * r_sat)
        to_shape = torch.stack(each, -1) * at.variances.sqrt()[..., None, None]
        return _Parts(
            self.sigma(at),
            template_weights(at.of_strengths)[..., None] * self._template_stds[:, None],
            *correlation_factors(self._loadings),
            to_shape,
            nn.functional.normalize(self._factors, dim=-1),
            self._in_pairs(at),
        )

    def draw(self, at: Alignment, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of one catalogue from the mean, (n, 3, n_bins); of all statistics."""
        p, mu = self._parts(at), at.strength

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


def _joined(parts: list[Any]) -> Any:
    """Along the last axis but one."""
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concatenate(parts, axis=-2)


def _diagonal(square: Any) -> Any:
    """View of the diagonals of matrices (n, d, d), (n, d)."""
    return square.reshape(len(square), -1)[:, :: square.shape[-1] + 1]


def _scaled(square: Any, stds: Any) -> Any:
    """Covariances (n, d, d) with the correlations of others, and these standard deviations, (n, d)."""
    scale = stds / namespace(stds).sqrt(_diagonal(square))
    return scale[:, :, None] * square * scale[:, None]


def _columns(layer: Layer, which: Sequence[int], width: int) -> Layer:
    """Some outputs of a layer, each `width` numbers: that part of weight and bias."""
    weight, bias = (
        x.unflatten(-1, (-1, width))[:, list(which)].flatten(1).contiguous() for x in layer
    )
    return weight, bias


def _beside(*parts: Layer) -> Layer:
    """One layer with the outputs of several."""
    weight, bias = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    return weight, bias


def _in_octaves(layer: Layer) -> Layer:
    """Logarithms to the base of 2, whose powers both libraries compute faster than those of e."""
    weight, bias = layer
    return weight / log(2), bias / log(2)


class _Counts(NamedTuple):
    """How many rows `_Rows` has for some statistics.

    Attributes
    ----------
    regressions : int
        Of the templates, and the 1 before them.
    residuals, direct : int
    eta : int
        The first of eta's among the regressions.
    """

    regressions: int
    residuals: int
    direct: int
    eta: int

    @staticmethod
    @cache
    def of(statistics: tuple[int, ...]) -> _Counts:
        sizes = [OCCUPATION_BLOCKS[i] for i in statistics]
        n_regressions = [k * (k - 1) // 2 for k in sizes]
        of_omega, of_eta = 1 in statistics, 2 in statistics
        before_eta = n_regressions[: statistics.index(2)] if of_eta else n_regressions
        return _Counts(
            1 + sum(n_regressions),
            sum(sizes) + 12 * of_eta,
            6 * of_omega + len(PAIRS) * of_eta,
            1 + sum(before_eta),
        )


class _Rows(NamedTuple):
    """Numbers in every bin that variances are made of.

    Each variable of a block is a sum of independent residuals, whose factors are regressions.

    Attributes
    ----------
    regressions : ndarray or torch.Tensor, shape (n, k, b)
        1; of the templates, statistic after statistic; six of R; and the product of the first and
        the last of eta's templates.
    residuals : ndarray or torch.Tensor, shape (n, k, b)
        Their variances: of the templates; of six R of centrals and six of satellites.
    direct : ndarray or torch.Tensor, shape (n, k, b)
        Variances of six Q, and of `PAIRS`.
    """

    regressions: Any
    residuals: Any
    direct: Any


@cache
def _variance_weights(statistics: tuple[int, ...], *kind: Any) -> tuple[Any, Any]:
    """Weights that variances of statistics are sums with, from `Alignment.of_strengths` and `products`.

    The former of regressions in each residual's factor; the latter, for each statistic, of the squares
    of these and of what enters directly.
    """
    n = _Counts.of(statistics)
    one, c, s = STRENGTHS
    of_eta = 2 in statistics
    linear = np.zeros((4, 4, n.residuals, n.regressions + 7 * of_eta))
    sums = np.zeros((N_VALUES, N_VALUES, len(statistics), n.residuals + n.direct))
    i, k = 0, 1
    for row, statistic in enumerate(statistics):
        weights = [FACTORS_OF[template] for template in TEMPLATES_OF[statistic]]
        sums[one, one, row, i : i + len(weights)] = 1
        # A variable's weight counts for its own residual and, by regression, for those before it.
        for j, (a, b) in enumerate(weights):
            linear[STRENGTHS[a], STRENGTHS[b], i + j, 0] = 1
            linear[STRENGTHS[a], STRENGTHS[b], range(i, i + j), range(k, k + j)] = 1
            k += j
        if statistic == 2:
            linear[s, s, i, -1] = 1
        i += len(weights)
    axes = [VARIANCE[t][m] for t in range(2) for m in range(3)]
    if 1 in statistics:
        sums[one, axes, statistics.index(1), range(n.residuals, n.residuals + 6)] = 1
    if of_eta:
        row = statistics.index(2)
        r_cen, r_sat = range(i, i + 6), range(i + 6, i + 12)
        linear[one, c, r_cen, 0] = linear[one, s, r_sat, 0] = 1
        linear[one, s, r_cen, range(k, k + 6)] = 1
        # Of the quadrupoles of centrals and satellites around each kind of galaxy.
        sums[one, axes, row, r_cen] = sums[one, axes, row, r_sat] = 4
        pairs = [(VARIANCE[t][m], VARIANCE[u][n]) for t, m, u, n in PAIRS]
        sums[(*np.transpose(pairs), row, range(-len(PAIRS), 0))] = 1
    return constant(linear.reshape(16, -1), *kind), constant(sums.reshape(N_VALUES**2, -1), *kind)


def _moment_weights(values: Any, statistics: tuple[int, ...]) -> Any:
    """Of (Q, R of centrals, R of satellites) in omega and eta, shape (n, m, n_moments)."""
    weights = values @ _moments_of(statistics, *kind(values))
    return weights.reshape(len(values), len(statistics), -1)


@cache
def _moments_of(statistics: tuple[int, ...], *kind: Any) -> Any:
    """(1, c, s) becomes 1 in omega and (2 c, 2 s) in eta: (10, m n_moments)."""
    selection = np.zeros((N_VALUES, len(statistics), 3))
    for i, statistic in enumerate(statistics):
        for moment in MOMENTS_OF[statistic]:
            selection[STRENGTHS[moment], i, moment] = (0, 1, 2)[statistic]
    return constant(selection[..., _of(statistics, MOMENTS_OF)].reshape(N_VALUES, -1), *kind)
