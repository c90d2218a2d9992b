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
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.arrays import (
    add_product,
    at_least,
    cast,
    constant,
    kind,
    namespace,
    product,
    unbind,
)
from iaemu_likelihood.emulator.networks import affine, hidden, layers
from iaemu_likelihood.emulator.templates import (
    TEMPLATES,
    TEMPLATES_OF,
    template_weights,
    with_one,
)
from iaemu_likelihood.emulator.watson import p2_and_axis_variances_series
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


def rows_of_block(size: int) -> tuple[list[int], list[int]]:
    """Which of a block's outputs are log-variances, and which coefficients, in their order."""
    variances = [i * (i + 1) // 2 for i in range(size)]
    return variances, [row for row in range(n_outputs((size,))) if row not in variances]


def block_variance(
    residuals: Sequence[Any], coefficients: Sequence[Any], weights: Sequence[Any]
) -> Any:
    """Variance of a weighted sum of one block's variables; of tensors, or of arrays.

    Parameters
    ----------
    residuals : sequence of shape (..., n_bins)
        Variance of what is left of each of k variables by the regression on those before it.
    coefficients : sequence of shape (..., n_bins)
        Of the regressions, one after another: k (k - 1) / 2.
    weights : sequence, broadcast with shape (..., n_bins)
        Of the k variables.
    """
    on_residuals = list(weights)
    total: Any = None
    for i in reversed(range(len(residuals))):
        first = i * (i - 1) // 2
        for j in range(i):  # x_i is made of x_j
            on_residuals[j] = add_product(on_residuals[j], coefficients[first + j], on_residuals[i])
        square = on_residuals[i] * on_residuals[i]
        total = residuals[i] * square if total is None else add_product(total, residuals[i], square)
    return total


def block_stds(residuals: Sequence[Any], coefficients: Sequence[Any]) -> Any:
    """Standard deviations of a block's k variables, (..., k, n_bins); see `block_variance`."""
    xp = namespace(residuals[0])
    if len(residuals) == 1:
        return xp.sqrt(residuals[0][..., None, :])
    one = _unit_vectors(len(residuals), *kind(residuals[0]))
    each = [x[..., None, :] for x in residuals]
    return xp.sqrt(block_variance(each, [x[..., None, :] for x in coefficients], one))


@cache
def _unit_vectors(size: int, *kind: Any) -> tuple[Any, ...]:
    return tuple(constant(np.eye(size)[..., None], *kind))


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


class Alignment(NamedTuple):
    """What the noise depends on mu through; tensors, or arrays.

    Attributes
    ----------
    strength : ndarray or torch.Tensor, shape (n, 2)
        P2 of mu_cen and mu_sat.
    variances : ndarray or torch.Tensor, shape (n, 6)
        Of the axes: three of centrals, three of satellites, for |m| = 0, 1, 2.
    """

    strength: Any
    variances: Any

    @classmethod
    def of(cls, mu: Any, dtype: torch.dtype = torch.float64) -> Alignment:
        """At mu_cen and mu_sat, shape (n, 2), in some precision."""
        both = p2_and_axis_variances_series(cast(mu, dtype))
        # Not quite zero at mu = 1, where the square root has no slope.
        return cls(both[..., 0], at_least(both[..., 1:].reshape(-1, 6), 1e-30))


# Weight and bias of a layer.
Layer = tuple[Tensor, Tensor]
# Residual variances and coefficients of a block; see `block_variance`.
Block = tuple[Sequence[Any], Sequence[Any]]


@dataclass(frozen=True)
class _Layers:
    """What of the networks some statistics need: the fewer, the less memory has to be read.

    Attributes
    ----------
    templates, moments : tuple of int
        Of the statistics; moments are Q, R of centrals and R of satellites (0, 1, 2).
    of_occupation, of_shape : (list of torch.Tensor, list of torch.Tensor)
        Hidden layers, for features that the others are applied to.
    blocks, loadings : Layer
        From the occupation's features: blocks of templates, factors of their correlations.
    shapes, scores : Layer
        From the shape's: the last term of eta and blocks of moments; principal components of the
        correlations.
    components, centre : torch.Tensor
        From these to the rows of the Cholesky factors.
    """

    templates: tuple[int, ...]
    moments: tuple[int, ...]
    of_occupation: tuple[list[Tensor], list[Tensor]]
    of_shape: tuple[list[Tensor], list[Tensor]]
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
        # Log-variances first, to be exponentiated together, and then coefficients.
        blocks_of = [rows_of_block(OCCUPATION_BLOCKS[i]) for i in statistics]
        starts = np.cumsum([0, *(n_outputs((k,)) for k in OCCUPATION_BLOCKS)])
        rows = [
            starts[i] + row
            for kind in range(2)
            for i, block in zip(statistics, blocks_of, strict=True)
            for row in block[kind]
        ]
        # Likewise; of each pair i of kind and |m| the block of Q has one row, that of R has three.
        n_shape = n_outputs(SHAPE_BLOCKS)
        of_one = [0] * (1 in statistics) + [1, 2, 3] * (2 in statistics)
        pairs = range(n_shape, n_shape + len(PAIRS)) if 2 in statistics else range(0)
        shapes = [*pairs, *(4 * i + row for row in of_one for i in range(6))]
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
        return _Layers(
            templates, moments, occupation, shape,
            _columns(blocks, rows, self.n_bins),
            _columns(loadings, templates, n_loadings),
            _columns(numbers, shapes, self.n_bins),
            scores, *of_rows,
        ).to(**self._target)  # fmt: skip

    def _split(self, part: str) -> tuple[tuple[list[Tensor], list[Tensor]], Layer, Layer]:
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
        x = torch.as_tensor(x)
        self._of_occupation = hidden(x, *of.of_occupation)
        self._of_shape = hidden(x, *of.of_shape)

    def _outputs(self, features: Tensor, layer: Layer, *shape: int) -> Any:
        """Of a layer, (n, *shape)."""
        outputs: Any = affine(features, *layer)
        if self._arrays:
            outputs = outputs.numpy()
        return outputs.reshape(len(features), *shape)

    @cached_property
    def _blocks(self) -> list[Block]:
        """Of each statistic's templates, (n, b) each."""
        rows = self._outputs(self._of_occupation, self._layers.blocks, -1, self.n_bins)
        sizes = [OCCUPATION_BLOCKS[i] for i in self._statistics]
        variances, coefficients = _exponentials(rows, sum(sizes))
        return _blocks(unbind(variances), unbind(coefficients), sizes)

    @cached_property
    def _shape(self) -> tuple[Any, list[Block]]:
        """Of eta's last term, (n, 21, b); and blocks of Q and R, as far as needed, (n, i, b) each."""
        rows = self._outputs(self._of_shape, self._layers.shapes, -1, self.n_bins)
        sizes = [k for k in (1, 2) if k in self._statistics]
        n_pairs = len(PAIRS) if 2 in self._statistics else 0
        variances, coefficients = _exponentials(rows, n_pairs + 6 * sum(sizes))
        residuals, coefficients = (
            unbind(x.reshape(len(x), -1, 6, self.n_bins))
            for x in (variances[:, n_pairs:], coefficients)
        )
        return variances[:, :n_pairs], _blocks(residuals, coefficients, sizes)

    @cached_property
    def _template_factors(self) -> tuple[Any, Any]:
        """Factors of the templates' correlations, (n, t, b, k) and (n, t, b)."""
        t = len(self._layers.templates)
        return correlation_factors(
            self._outputs(self._of_occupation, self._layers.loadings, t, self.n_bins, -1)
        )

    @cached_property
    def _template_stds(self) -> Any:
        """Occupation noise of the templates, (n, t, b)."""
        return _joined([block_stds(*block) for block in self._blocks])

    @cached_property
    def _moment_stds(self) -> Any:
        """Standard deviations of the moments, (n, i, n_moments, b)."""
        return _joined([block_stds(*block) for block in self._shape[1]])

    @cached_property
    def _rows(self) -> Any:
        """Factors of correlations, (n, i, b, n_moments, 3 b)."""
        of = self._layers
        scores = affine(self._of_shape, *of.scores)
        rows = self._outputs(
            scores, (of.components, of.centre), 6, self.n_bins, len(of.moments), 3 * self.n_bins
        )
        return rows / namespace(rows).sqrt((rows * rows).sum(-1))[..., None]

    @cached_property
    def _products(self) -> Any:
        """Covariances between bins of all that a covariance is a sum of, (n, k, b b).

        Of the statistics' templates with each other, from the occupation; then of their moments
        (Q, R, R) with each other, for each i.
        """
        n, b = len(self._of_shape), self.n_bins
        t, c = len(self._layers.templates), len(self._layers.moments)
        common, own = self._template_factors
        stds = self._template_stds
        factors = (stds[..., None] * common).reshape(n, t * b, -1)
        own = stds * own
        templates = product(factors, factors.mT)
        diagonal = _diagonal(templates)
        diagonal += (own * own).reshape(n, -1)
        products = templates.reshape(n, t, b, t, b).swapaxes(2, 3).reshape(n, t * t, b * b)
        if c:
            rows = (self._moment_stds.mT[..., None] * self._rows).swapaxes(2, 3)
            rows = rows.reshape(n, 6, c * b, 3 * b)
            moments = product(rows, rows.mT).reshape(n, 6, c, b, c, b).swapaxes(3, 4)
            each = [products, moments.reshape(n, -1, b * b)]
            products = namespace(products).concatenate(each, axis=1)
        return products

    def sigma(self, at: Alignment) -> Any:
        """Standard deviations, (n, m, n_bins)."""
        xp = namespace(at.strength)
        c, s = at.strength[:, :1], at.strength[:, 1:]
        weights = ((xp.ones_like(c),), (c, s), (c * c, c * s, s * s))
        variances = []
        for i, block in zip(self._statistics, self._blocks, strict=True):
            variance = block_variance(*block, weights[i])
            if i == 1:
                (q,), _ = self._shape[1][0]
                variance = variance + _weighted(at.variances, q)
            if i == 2:
                # Of the quadrupoles of centrals and satellites around each kind of galaxy.
                r = block_variance(*self._shape[1][-1], (c[:, None], s[:, None]))
                variance = variance + _weighted(4 * at.variances, r) + self._in_pairs(at)
            variances.append(variance)
        return xp.sqrt(xp.stack(variances, axis=1))

    def _in_pairs(self, at: Alignment) -> Any:
        """Variance of eta's last term, (n, b)."""
        products = (at.variances[:, :, None] * at.variances[:, None]).reshape(-1, 36)
        return _weighted(products @ _pairs_of(*kind(products)), self._shape[0])

    def covariance(self, at: Alignment) -> Any:
        """Covariance of all bins, shape (n, m n_bins, m n_bins)."""
        m, b = len(self._statistics), self.n_bins
        xp = namespace(at.strength)
        weights = template_weights(at.strength, self._statistics, self._layers.templates)
        n = len(weights)
        combined = (weights[:, :, None, :, None] * weights[:, None, :, None]).reshape(n, m * m, -1)
        if self._layers.moments:
            # From (Q, R, R) to omega and eta, with the axes' scatter: (n, m, i, n_moments).
            moments = _moment_weights(at.strength, self._statistics)[:, :, None]
            moments = moments * xp.sqrt(at.variances)[:, None, :, None]
            of_moments = moments[:, :, None, :, :, None] * moments[:, None, :, :, None]
            combined = xp.concatenate([combined, of_moments.reshape(n, m * m, -1)], axis=-1)
        covariance = product(combined, self._products).reshape(n, m, m, b, b)
        covariance = covariance.swapaxes(2, 3).reshape(n, m * b, m * b)
        diagonal = _diagonal(covariance)
        if 2 in self._statistics:
            first = self._statistics.index(2) * b
            of_eta = diagonal[:, first : first + b]
            of_eta += self._in_pairs(at)
        # The blocks know the standard deviations better than the factors do.
        scale = self.sigma(at).reshape(n, -1) / xp.sqrt(diagonal)
        return scale[:, :, None] * covariance * scale[:, None]

    def _parts(self, at: Alignment) -> _Parts:
        """What draws are made of."""
        c, s = at.strength[:, :, None, None].unbind(1)
        q, r_cen, r_sat = self._moment_stds.unbind(2)
        each = torch.broadcast_tensors(q, 2 * c * r_cen, 2 * s * r_sat)
        to_shape = torch.stack(each, -1) * at.variances.sqrt()[..., None, None]
        return _Parts(
            self.sigma(at),
            template_weights(at.strength)[..., None] * self._template_stds[:, None],
            *self._template_factors,
            to_shape,
            self._rows,
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


def _exponentials(rows: Any, n: int) -> tuple[Any, Any]:
    """Variances from the first n of a layer's outputs (n_points, rows, b), and the other rows."""
    return namespace(rows).exp(rows[:, :n]), rows[:, n:]


def _blocks(
    residuals: Sequence[Any], coefficients: Sequence[Any], sizes: Sequence[int]
) -> list[Block]:
    """Of these sizes, from the variances of all and then the coefficients of all."""
    result, i, j = [], 0, 0
    for k in sizes:
        n_coefficients = k * (k - 1) // 2
        result.append((residuals[i : i + k], coefficients[j : j + n_coefficients]))
        i, j = i + k, j + n_coefficients
    return result


def _columns(layer: Layer, which: Sequence[int], width: int) -> Layer:
    """Some outputs of a layer, each `width` numbers: that part of weight and bias."""
    weight, bias = (
        x.unflatten(-1, (-1, width))[:, list(which)].flatten(1).contiguous() for x in layer
    )
    return weight, bias


def _weighted(weights: Any, terms: Any) -> Any:
    """Sum of terms (n, k, b) with weights (n, k)."""
    return (weights[:, None] @ terms)[:, 0]


@cache
def _pairs_of(*kind: Any) -> Any:
    """From products of the six variances with each other to those of `PAIRS`, (36, 21)."""
    selection = np.zeros((6, 6, len(PAIRS)))
    for k, (t, m, u, n) in enumerate(PAIRS):
        selection[3 * t + m, 3 * u + n, k] = 1
    return constant(selection.reshape(36, -1), *kind)


def _moment_weights(strength: Any, statistics: tuple[int, ...]) -> Any:
    """Of (Q, R of centrals, R of satellites) in omega and eta, shape (n, m, n_moments)."""
    weights = with_one(strength) @ _moments_of(statistics, *kind(strength))
    return weights.reshape(len(strength), len(statistics), -1)


@cache
def _moments_of(statistics: tuple[int, ...], *kind: Any) -> Any:
    """(1, c, s) becomes 1 in omega and (2 c, 2 s) in eta: (3, m n_moments)."""
    selection = np.zeros((3, len(statistics), 3))
    for i, statistic in enumerate(statistics):
        for moment in MOMENTS_OF[statistic]:
            selection[moment, i, moment] = (0, 1, 2)[statistic]
    return constant(selection[..., _of(statistics, MOMENTS_OF)].reshape(3, -1), *kind)
