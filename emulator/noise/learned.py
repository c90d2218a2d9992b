r"""The learned noise: aleatoric covariance of single catalogues as a function of all parameters.

`iaemu_likelihood.emulator.noise.measured` computes the covariance at one occupation and any
alignment from second moments of the quadrupoles and templates of a few catalogues. Here two
networks learn these moments as functions of the occupation parameters, from a data set of
realisations, and `NoiseModel` combines them in closed form in the alignment strengths. In every
bin, the moments are the blocks of `iaemu_likelihood.emulator.noise.blocks`. Correlations between
bins enter the covariance but not the standard deviations. For the occupation noise they are a
factor model (k common factors, the rest independent), for the shape noise Cholesky factors in few
principal components.

Statistics are in the order of the weights everywhere, and so are their templates.
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
from iaemu_likelihood.emulator.networks.perceptron import shapes as layer_shapes
from iaemu_likelihood.emulator.noise.blocks import (
    N_COMPONENTS,
    N_NEIGHBOURHOODS,
    NEIGHBOURHOODS,
    PAIRS,
    SHAPE_BLOCKS,
    block_stds,
    correlation_factors,
    n_outputs,
    occupation_blocks,
    rows_of_block,
)
from iaemu_likelihood.emulator.physics.alignment import WATSON, Alignment
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import (
    ONE,
    bilinear,
    factors,
    template_weights,
    templates_of,
)
from torch import Tensor, nn

Statistics = tuple[Statistic, ...]
# With these begin the names of the tensors of its networks.
PREFIXES = "occupation.", "shape."
# The shape noise is known for kernels of this degree only.
DEGREES = (2,)
# Places in `Alignment.strengths_and_variances` of the variances by kind of galaxy and |m|, number
# of all its values and of the strengths among them, and places of the two amplitudes.
VARIANCE = [[4 + 2 * m + t for m in range(3)] for t in range(2)]
N_VALUES = 10
N_STRENGTHS = 4
OF_CENTRALS, OF_SATELLITES = 2, 3


class Strengths(NamedTuple):
    """The numbers through which the noise depends on the alignment; tensors or arrays.

    Attributes
    ----------
    values : ndarray or torch.Tensor, shape (n, 10)
        From `Alignment.strengths_and_variances`.
    products : ndarray or torch.Tensor, shape (n, 100)
        All products of two of `values`.
    of_strengths : ndarray or torch.Tensor, shape (n, 16)
        Products of strengths only, for `template_weights`.
    """

    values: Any
    products: Any
    of_strengths: Any

    @classmethod
    def of(
        cls, mu: Any, dtype: torch.dtype = torch.float64, alignment: Alignment = WATSON
    ) -> Strengths:
        """Strengths at alignment parameters, shape (n, 2), in a given precision."""
        values = alignment.strengths_and_variances(cast(mu, dtype))
        products = bilinear(values)
        square = products.reshape(-1, N_VALUES, N_VALUES)[:, :N_STRENGTHS, :N_STRENGTHS]
        return cls(values, products, square.reshape(values.shape[0], -1))

    @property
    def amplitudes(self) -> Any:
        """Amplitudes of centrals and of satellites, (n, 2)."""
        return self.values[:, OF_CENTRALS : OF_SATELLITES + 1]

    @property
    def variances(self) -> Any:
        """Variances of the axes: three of centrals, three of satellites, (n, 6)."""
        by_kind = self.values[:, N_STRENGTHS:].reshape(-1, 3, 2).swapaxes(1, 2)
        by_kind = by_kind.reshape(-1, N_COMPONENTS)
        # The square root has no slope at zero, which the variances reach at mu = 1.
        return at_least(by_kind, 1e-30)


# Weight and bias of a layer.
Layer = tuple[Tensor, Tensor]
# Residual variances and coefficients of a block; see `block_stds`.
Block = tuple[Sequence[Any], Sequence[Any]]


@dataclass(frozen=True)
class _Layers:
    """The outputs of the networks that some statistics need; fewer mean less memory to read.

    Attributes
    ----------
    neighbourhoods : tuple of int
        Those that the statistics need: Q, R of centrals and R of satellites (0, 1, 2).
    hidden : (list of torch.Tensor, list of torch.Tensor)
        Hidden layers of both networks, side by side; their outputs are the features.
    width : int
        Number of features of the occupation's network; the others are of the shape's.
    blocks, loadings : Layer
        From the occupation's features: 1, regressions and log2 of variances of the templates;
        factors of their correlations.
    shapes, scores : Layer
        From the shape's features: log2 of variances of R, of Q and of the last term of two axes,
        and regressions of R; principal components of the correlations.
    components, centre : torch.Tensor
        From principal components to the rows of the Cholesky factors.
    """

    neighbourhoods: tuple[int, ...]
    hidden: Hidden
    width: int
    blocks: Layer
    loadings: Layer
    shapes: Layer
    scores: Layer
    components: Tensor
    centre: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> _Layers:
        """Move to a device and a precision."""

        def moved(x: Any) -> Any:
            if isinstance(x, (list, tuple)):
                return type(x)(moved(y) for y in x)
            return x.to(device=device, dtype=dtype) if isinstance(x, Tensor) else x

        return _Layers(**{f.name: moved(getattr(self, f.name)) for f in fields(self)})


def is_known(tensors: dict[str, Tensor]) -> bool:
    """Whether a weights file holds the noise."""
    return "shape.components" in tensors


def shapes(
    statistics: Statistics,
    n_bins: int,
    n_in: int,
    occupation: tuple[int, int, int],
    shape: tuple[int, int, int],
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that a `NoiseModel` takes, by name.

    Parameters
    ----------
    statistics : tuple of Statistic
    n_bins, n_in : int
        Numbers of bins and of occupation parameters.
    occupation, shape : tuple of int
        Width and depth of the hidden layers of a network, then number of common factors and of
        principal components.
    """
    n_moments = n_outputs(occupation_blocks(statistics)), n_outputs(SHAPE_BLOCKS) + len(PAIRS)
    n_numbers = len(templates_of(statistics)) * n_bins
    size = N_NEIGHBOURHOODS * n_bins
    n_factors = N_COMPONENTS * size * (size + 1) // 2
    found: dict[str, tuple[int, ...]] = {}
    for prefix, (width, depth, n_others), n, others in (
        ("occupation.", occupation, n_moments[0] * n_bins, n_numbers),
        ("shape.", shape, n_moments[1] * n_bins, 1),
    ):
        found |= layer_shapes(n_in, n + others * n_others, width, depth, prefix)
        found |= {f"{prefix}scale": (n,), f"{prefix}offset": (n,)}
    *_, n_components = shape
    return found | {"shape.components": (n_components, n_factors), "shape.centre": (n_factors,)}


class NoiseModel:
    """Aleatoric noise of single catalogues at any parameters, from learned moments.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
        Tensors of a weights file; only names that begin with ``occupation.`` or ``shape.`` are
        used.
    statistics : tuple of Statistic
        All statistics of the weights; each must have shape noise.
    n_bins : int
    device : torch.device or str
    dtype : torch.dtype
        Precision of the computation.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        statistics: Statistics,
        n_bins: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.n_bins, self._statistics = n_bins, statistics
        self._tensors = {k: v for k, v in tensors.items() if k.startswith(PREFIXES)}
        self._target: dict[str, Any] = {"device": device, "dtype": dtype}
        self._layers: dict[Statistics, _Layers] = {}

    def at(self, x: Any, statistics: Statistics | None = None) -> NoiseAt:
        """The noise of statistics at given occupation parameters.

        Parameters
        ----------
        x : ndarray or torch.Tensor, shape (n, n_occupation)
            Occupation parameters in the unit cube of the domain.
        statistics : tuple of Statistic, optional
            Some of those of the weights, all when left out. Results are in the order of the
            weights.
        """
        wanted = self._statistics
        if statistics is not None:
            wanted = tuple(s for s in wanted if s in statistics)
        if wanted not in self._layers:
            self._layers[wanted] = self._layers_of(wanted)
        return NoiseAt(x, self._layers[wanted], wanted, self.n_bins)

    @torch.inference_mode(False)  # the layers are kept, also for calls that need gradients
    def _layers_of(self, statistics: Statistics) -> _Layers:
        every = templates_of(self._statistics)
        templates = [every.index(template) for template in templates_of(statistics)]
        neighbourhoods = _neighbourhoods_of(statistics)
        occupation, blocks, loadings = self._split("occupation")
        shape, numbers, scores = self._split("shape")
        sizes = occupation_blocks(self._statistics)
        starts = np.cumsum([0, *(n_outputs((k,)) for k in sizes)])
        chosen = [self._statistics.index(statistic) for statistic in statistics]
        log_variances, regressions = (
            [starts[i] + row for i in chosen for row in rows_of_block(sizes[i])[part]]
            for part in range(2)
        )
        # For each component, the block of Q has one row, and that of R has three.
        n_shape = n_outputs(SHAPE_BLOCKS)
        q, r_cen, r_sat, r_coefficient = (
            [4 * i + row for i in range(N_COMPONENTS)] for row in range(4)
        )
        pairs = [*range(n_shape, n_shape + len(PAIRS))]
        one_axis, two_axes = (_place(statistics, n) is not None for n in (1, 2))
        shapes = (r_cen + r_sat) * two_axes + q * one_axis + pairs * two_axes
        n_loadings = loadings[0].shape[1] // len(every)
        # Rows of the Cholesky factors: zero above the diagonal.
        size = N_NEIGHBOURHOODS * self.n_bins
        row, column = np.tril_indices(size)
        components, centre = self._tensors["shape.components"], self._tensors["shape.centre"][None]
        of_rows = []
        for x in (components, centre):
            square = x.new_zeros(len(x), N_COMPONENTS, size, size)
            square[..., row, column] = x.unflatten(-1, (N_COMPONENTS, -1))
            by_bin = square.unflatten(2, (self.n_bins, N_NEIGHBOURHOODS))
            of_rows.append(by_bin[:, :, :, list(neighbourhoods)].flatten(1))
        weight, bias = _columns(blocks, [0], self.n_bins)
        ones = 0 * weight, torch.ones_like(bias)
        # Log-variances come last here and first there, so that all of them are neighbours when the
        # two are joined, and are exponentiated in one call.
        of_templates = _beside(
            ones,
            _columns(blocks, regressions, self.n_bins),
            _in_octaves(_columns(blocks, log_variances, self.n_bins)),
        )
        of_shapes = _beside(
            _in_octaves(_columns(numbers, shapes, self.n_bins)),
            _columns(numbers, r_coefficient * two_axes, self.n_bins),
        )
        return _Layers(
            neighbourhoods, side_by_side(occupation, shape), occupation[0][-1].shape[1],
            of_templates, _columns(loadings, templates, n_loadings), of_shapes, scores, *of_rows,
        ).to(**self._target)  # fmt: skip

    def _split(self, part: str) -> tuple[Hidden, Layer, Layer]:
        """Hidden layers of a network, then its last in two: scaled numbers in bins, and the rest."""
        weights, biases = layers(self._tensors, f"{part}.")
        scale, offset = (self._tensors[f"{part}.{name}"] for name in ("scale", "offset"))
        weight, bias, n = weights[-1], biases[-1], len(scale)
        in_bins = weight[:, :n] * scale, bias[:, :n] * scale + offset
        return (weights[:-1], biases[:-1]), in_bins, (weight[:, n:].contiguous(), bias[:, n:])


class NoiseAt:
    """Noise at given occupation parameters, as a function of the alignment strengths.

    Parts that depend on the occupation alone are computed once. All methods take `Strengths` of as
    many points as there are occupation parameters, or of any number if these are of one point. All
    arguments and results are tensors, or all are arrays; the networks are torch's.

    Parameters
    ----------
    x : ndarray or torch.Tensor, shape (n, n_occupation)
        Occupation parameters in the unit cube of the domain.
    of : _Layers
    statistics : tuple of Statistic
        Statistics of all results, in this order.
    n_bins : int
    """

    def __init__(self, x: Any, of: _Layers, statistics: Statistics, n_bins: int) -> None:
        self._layers, self._statistics, self.n_bins = of, statistics, n_bins
        self._arrays = not isinstance(x, Tensor)
        features = hidden(torch.as_tensor(x), *of.hidden)
        self._of_occupation, self._of_shape = features[:, : of.width], features[:, of.width :]

    def _outputs(self, outputs: Tensor, *shape: int) -> Any:
        """Outputs of a layer in the type of the arguments, as (n, *shape)."""
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
        if n.two_axes is not None:
            second, third = (rows[:, i : i + 1] for i in (n.two_axes, n.two_axes + 2))
            regressions.append(second * third)
        return _Rows(
            xp.concatenate(regressions, axis=1),
            variances[:, : n.residuals],
            variances[:, n.residuals :],
        )

    @cached_property
    def _blocks(self) -> list[Block]:
        """Blocks of the templates of each statistic, of arrays (n, b)."""
        residuals, coefficients = (
            unbind(x) for x in (self._rows.residuals, self._rows.regressions)
        )
        result, i, j = [], 0, 1
        for k in occupation_blocks(self._statistics):
            n_coefficients = k * (k - 1) // 2
            result.append((residuals[i : i + k], coefficients[j : j + n_coefficients]))
            i, j = i + k, j + n_coefficients
        return result

    @cached_property
    def _shape_blocks(self) -> list[Block]:
        """Blocks of Q and R, as far as they are needed, of arrays (n, i, b)."""
        regressions, residuals, direct = self._rows
        n = _Counts.of(self._statistics)
        result: list[Block] = []
        if _place(self._statistics, 1) is not None:
            result.append(([direct[:, :N_COMPONENTS]], []))
        if n.two_axes is not None:
            r = residuals[:, -2 * N_COMPONENTS : -N_COMPONENTS], residuals[:, -N_COMPONENTS:]
            coefficients = regressions[:, n.regressions : n.regressions + N_COMPONENTS]
            result.append((r, [coefficients]))
        return result

    @cached_property
    def _loadings(self) -> Any:
        """Loadings of the templates' correlations, (n, t, b, k); see `correlation_factors`."""
        outputs = affine(self._of_occupation, *self._layers.loadings)
        return self._outputs(outputs, len(templates_of(self._statistics)), self.n_bins, -1)

    @cached_property
    def _template_stds(self) -> Any:
        """Occupation noise of the templates, (n, t, b)."""
        return _joined([block_stds(*block) for block in self._blocks])

    @cached_property
    def _neighbourhood_stds(self) -> Any:
        """Standard deviations of the neighbourhoods, (n, i, n_neighbourhoods, b)."""
        return _joined([block_stds(*block) for block in self._shape_blocks])

    @cached_property
    def _factors(self) -> Any:
        """Factors of the correlations of the neighbourhoods, with rows that are not normalised.

        Shape (n, i, b, n_neighbourhoods, N_NEIGHBOURHOODS b).
        """
        of, b = self._layers, self.n_bins
        rows = affine(affine(self._of_shape, *of.scores), of.components, of.centre)
        return self._outputs(rows, N_COMPONENTS, b, len(of.neighbourhoods), N_NEIGHBOURHOODS * b)

    @cached_property
    def _products(self) -> Any:
        """Covariances between bins, of which the result is a weighted sum, (n, k, b b).

        First those of the templates with each other, from the occupation; then, for each component
        i, those of the neighbourhoods (Q, R, R) with each other.
        """
        n, b, i = len(self._of_shape), self.n_bins, N_COMPONENTS
        t, c = len(templates_of(self._statistics)), len(self._layers.neighbourhoods)
        factors = self._loadings.reshape(n, t * b, -1)
        templates = product(factors, factors.mT)
        diagonal = _diagonal(templates)
        diagonal += 1
        templates = _scaled(templates, self._template_stds.reshape(n, -1))
        products = templates.reshape(n, t, b, t, b).swapaxes(2, 3).reshape(n, t * t, b * b)
        if c:
            rows = self._factors.swapaxes(2, 3).reshape(n * i, c * b, -1)
            moments = product(rows, rows.mT)
            moments = _scaled(moments, self._neighbourhood_stds.reshape(n * i, -1))
            moments = moments.reshape(n, i, c, b, c, b).swapaxes(3, 4)
            each = [products, moments.reshape(n, -1, b * b)]
            products = namespace(products).concatenate(each, axis=1)
        return products

    def sigma(self, at: Strengths) -> Any:
        """Standard deviations, (n, m, n_bins)."""
        regressions, residuals, direct = self._rows
        to_linear, _ = _variance_weights(self._statistics, *kind(at.products))
        linear = at.of_strengths @ to_linear
        factors = linear.reshape(len(linear), residuals.shape[1], -1) @ regressions
        of_squares, of_direct = self._sums(at)
        variance = of_squares @ (factors * factors * residuals) + of_direct @ direct
        return namespace(variance).sqrt(variance)

    def _sums(self, at: Strengths) -> tuple[Any, Any]:
        """Weights, in each variance, of squares of factors and of direct variances, (n, m, k)."""
        _, to_sums = _variance_weights(self._statistics, *kind(at.products))
        sums = (at.products @ to_sums).reshape(len(at.products), len(self._statistics), -1)
        n = self._rows.residuals.shape[1]
        return sums[..., :n], sums[..., n:]

    def _in_pairs(self, at: Strengths) -> Any:
        """Variance of the last term of the statistic with two axes, (n, b)."""
        _, of_direct = self._sums(at)
        pairs = slice(-len(PAIRS), None)
        weights = of_direct[:, _place(self._statistics, 2), None, pairs]
        return (weights @ self._rows.direct[:, pairs])[:, 0]

    def covariance(self, at: Strengths) -> Any:
        """Covariance of all bins, shape (n, m n_bins, m n_bins)."""
        m, b = len(self._statistics), self.n_bins
        xp = namespace(at.values)
        weights = self._template_weights(at)
        n = len(weights)
        combined = (weights[:, :, None, :, None] * weights[:, None, :, None]).reshape(n, m * m, -1)
        if self._layers.neighbourhoods:
            # From (Q, R, R) to statistics, with the axes' scatter: (n, m, i, n_neighbourhoods).
            moments = _neighbourhood_weights(at.values, self._statistics)[:, :, None]
            moments = moments * xp.sqrt(at.variances)[:, None, :, None]
            of_moments = moments[:, :, None, :, :, None] * moments[:, None, :, :, None]
            combined = xp.concatenate([combined, of_moments.reshape(n, m * m, -1)], axis=-1)
        covariance = product(combined, self._products).reshape(n, m, m, b, b)
        covariance = covariance.swapaxes(2, 3).reshape(n, m * b, m * b)
        two_axes = _place(self._statistics, 2)
        if two_axes is not None:
            diagonal = _diagonal(covariance)[:, two_axes * b : (two_axes + 1) * b]
            diagonal += self._in_pairs(at)
        # The blocks give better standard deviations than the factors.
        return _scaled(covariance, self.sigma(at).reshape(n, -1))

    def _template_weights(self, at: Strengths) -> Any:
        return template_weights(at.of_strengths, self._statistics, self._statistics, DEGREES)

    def draw(self, at: Strengths, generator: torch.Generator) -> Tensor:
        """Gaussian deviations of single catalogues from the mean, (n, n_statistics, n_bins).

        In the names of dimensions below, t counts templates, i components, s statistics.
        """
        n, values, neighbourhoods = len(at.values), at.values, self._layers.neighbourhoods

        def normal(*shape: int) -> Tensor:
            return torch.randn(
                *shape, generator=generator, dtype=values.dtype, device=values.device
            )

        to_statistics = self._template_weights(at)[..., None] * self._template_stds[:, None]
        common, own = correlation_factors(self._loadings)
        templates = (common @ normal(n, 1, common.shape[-1], 1))[..., 0]
        templates = templates + own * normal(n, *own.shape[1:])
        parts = list(torch.einsum("nstb,ntb->nsb", to_statistics, templates).unbind(1))
        # Variances of the parts, whose sum is rescaled to the standard deviations.
        by_common = torch.einsum("nstb,ntbk->nsbk", to_statistics, common).square().sum(-1)
        by_own = torch.einsum("nstb,ntb->nsb", to_statistics.square(), own.square())
        variances = list((by_common + by_own).unbind(1))
        if neighbourhoods:
            # Q has weight 1, each R twice the amplitude of the axes that it sums.
            factor = torch.cat([torch.ones_like(at.amplitudes[:, :1]), 2 * at.amplitudes], dim=1)
            factor = factor[:, list(neighbourhoods)]
            to_shape = (factor[:, None, :, None] * self._neighbourhood_stds).swapaxes(2, 3)
            to_shape = to_shape * at.variances.sqrt()[..., None, None]
            rows = nn.functional.normalize(self._factors, dim=-1)
            shape = (rows.flatten(2, 3) @ normal(n, N_COMPONENTS, rows.shape[-1], 1))[..., 0]
            shape = (to_shape * shape.unflatten(-1, (rows.shape[2], -1))).sum(1)
            scaled = to_shape[..., None] * rows
        for s, statistic in enumerate(self._statistics):
            n_axes = statistic.kernel.n_axes
            if n_axes:
                which = [neighbourhoods.index(k) for k in NEIGHBOURHOODS[n_axes]]
                parts[s] = parts[s] + shape[..., which].sum(-1)
                total = scaled[..., which, :].sum(-2)
                variances[s] = variances[s] + total.square().sum(-1).sum(1)
            if n_axes == 2:
                in_pairs = self._in_pairs(at)
                parts[s] = parts[s] + in_pairs.sqrt() * normal(*in_pairs.shape)
                variances[s] = variances[s] + in_pairs
        scale = self.sigma(at) * torch.stack(variances, dim=1).rsqrt()
        return torch.stack(parts, dim=1) * scale


def _place(statistics: Statistics, n_axes: int) -> int | None:
    """Place of the statistic whose kernel has so many axes; there is at most one."""
    found = [i for i, s in enumerate(statistics) if s.kernel.n_axes == n_axes]
    return found[0] if found else None


def _neighbourhoods_of(statistics: Statistics) -> tuple[int, ...]:
    """Which of Q, R of centrals and R of satellites (0, 1, 2) make up statistics' shape noise."""
    return tuple(sorted(k for s in statistics for k in NEIGHBOURHOODS[s.kernel.n_axes]))


def _joined(parts: list[Any]) -> Any:
    """Concatenate along the last axis but one."""
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concatenate(parts, axis=-2)


def _diagonal(square: Any) -> Any:
    """View of the diagonals of matrices (n, d, d), (n, d)."""
    return square.reshape(len(square), -1)[:, :: square.shape[-1] + 1]


def _scaled(square: Any, stds: Any) -> Any:
    """Rescale covariances (n, d, d) to these standard deviations, (n, d)."""
    scale = stds / namespace(stds).sqrt(_diagonal(square))
    return scale[:, :, None] * square * scale[:, None]


def _columns(layer: Layer, which: Sequence[int], width: int) -> Layer:
    """The part of a layer that gives some of its outputs, each of `width` numbers."""
    weight, bias = (
        x.unflatten(-1, (-1, width))[:, list(which)].flatten(1).contiguous() for x in layer
    )
    return weight, bias


def _beside(*parts: Layer) -> Layer:
    """One layer with the outputs of several."""
    weight, bias = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    return weight, bias


def _in_octaves(layer: Layer) -> Layer:
    """Turn logarithms into those of base 2, because powers of 2 are faster than those of e."""
    weight, bias = layer
    return weight / log(2), bias / log(2)


class _Counts(NamedTuple):
    """Numbers of rows in `_Rows` for some statistics.

    Attributes
    ----------
    regressions : int
        Regressions of the templates, and the 1 before them.
    residuals, direct : int
    two_axes : int or None
        Row of the first regression of the statistic with two axes.
    """

    regressions: int
    residuals: int
    direct: int
    two_axes: int | None

    @staticmethod
    @cache
    def of(statistics: Statistics) -> _Counts:
        sizes = occupation_blocks(statistics)
        n_regressions = [k * (k - 1) // 2 for k in sizes]
        one_axis, two_axes = (_place(statistics, n) for n in (1, 2))
        has_two = two_axes is not None
        return _Counts(
            1 + sum(n_regressions),
            sum(sizes) + 2 * N_COMPONENTS * has_two,
            N_COMPONENTS * (one_axis is not None) + len(PAIRS) * has_two,
            1 + sum(n_regressions[:two_axes]) if has_two else None,
        )


class _Rows(NamedTuple):
    """Numbers in every bin from which variances are computed.

    Each variable of a block is a sum of independent residuals; the factors in this sum are products
    of regression coefficients.

    Attributes
    ----------
    regressions : ndarray or torch.Tensor, shape (n, k, b)
        1; coefficients of the templates, statistic after statistic; six of R; and the product of
        the first and the last coefficient of the statistic with two axes.
    residuals : ndarray or torch.Tensor, shape (n, k, b)
        Variances of the residuals of the templates, of six R of centrals and of six of satellites.
    direct : ndarray or torch.Tensor, shape (n, k, b)
        Variances of six Q, and of `PAIRS`.
    """

    regressions: Any
    residuals: Any
    direct: Any


@cache
def _variance_weights(statistics: Statistics, *kind: Any) -> tuple[Any, Any]:
    """Matrices from products of strengths to the weights in the variances of statistics.

    The first takes `Strengths.of_strengths` and gives the weights of regressions in the factor of
    each residual. The second takes `Strengths.products` and gives, for each statistic, the weights
    of the squares of these factors and of the direct variances.
    """
    n = _Counts.of(statistics)
    one_axis, two_axes = (_place(statistics, m) for m in (1, 2))
    # After the regressions of the templates come six of R, and the product.
    n_linear = n.regressions + (N_COMPONENTS + 1) * (two_axes is not None)
    linear = np.zeros((N_STRENGTHS, N_STRENGTHS, n.residuals, n_linear))
    sums = np.zeros((N_VALUES, N_VALUES, len(statistics), n.residuals + n.direct))
    i, k = 0, 1
    for row, statistic in enumerate(statistics):
        weights = [factors(template, DEGREES) for template in statistic.templates]
        sums[ONE, ONE, row, i : i + len(weights)] = 1
        # The weight of a variable applies to its own residual and, by regression, to those before.
        for j, (a, b) in enumerate(weights):
            linear[a, b, i + j, 0] = 1
            linear[a, b, range(i, i + j), range(k, k + j)] = 1
            k += j
        if row == two_axes:
            linear[OF_SATELLITES, OF_SATELLITES, i, -1] = 1
        i += len(weights)
    axes = [VARIANCE[t][m] for t in range(2) for m in range(3)]
    if one_axis is not None:
        sums[ONE, axes, one_axis, range(n.residuals, n.residuals + N_COMPONENTS)] = 1
    if two_axes is not None:
        r_cen, r_sat = range(i, i + N_COMPONENTS), range(i + N_COMPONENTS, n.residuals)
        linear[ONE, OF_CENTRALS, r_cen, 0] = linear[ONE, OF_SATELLITES, r_sat, 0] = 1
        linear[ONE, OF_SATELLITES, r_cen, range(k, k + N_COMPONENTS)] = 1
        # The sums over neighbours enter twice, so their variances four times.
        sums[ONE, axes, two_axes, r_cen] = sums[ONE, axes, two_axes, r_sat] = 4
        pairs = [(VARIANCE[t][m], VARIANCE[u][n]) for t, m, u, n in PAIRS]
        sums[(*np.transpose(pairs), two_axes, range(-len(PAIRS), 0))] = 1
    return (
        constant(linear.reshape(N_STRENGTHS**2, -1), *kind),
        constant(sums.reshape(N_VALUES**2, -1), *kind),
    )


def _neighbourhood_weights(values: Any, statistics: Statistics) -> Any:
    """Weights of Q, R of centrals and R of satellites in statistics, (n, m, n_neighbourhoods)."""
    weights = values @ _neighbourhood_selection(statistics, *kind(values))
    return weights.reshape(len(values), len(statistics), -1)


@cache
def _neighbourhood_selection(statistics: Statistics, *kind: Any) -> Any:
    """Matrix from strengths to weights: Q has weight 1, each R twice an amplitude."""
    selection = np.zeros((N_VALUES, len(statistics), N_NEIGHBOURHOODS))
    by_neighbourhood = ((ONE, 1), (OF_CENTRALS, 2), (OF_SATELLITES, 2))
    for i, statistic in enumerate(statistics):
        for k in NEIGHBOURHOODS[statistic.kernel.n_axes]:
            place, weight = by_neighbourhood[k]
            selection[place, i, k] = weight
    selection = selection[..., _neighbourhoods_of(statistics)]
    return constant(selection.reshape(N_VALUES, -1), *kind)
