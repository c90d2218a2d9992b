"""The emulator of kind `templates`: networks, and a closed form for the alignment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import (
    ArrayOrTensor,
    as_array,
    cast,
    enter,
    like,
    namespace,
    unaffected,
)
from iaemu_likelihood.emulator.models.base import Emulator, Occupied
from iaemu_likelihood.emulator.models.ensemble import Ensemble, Statistics
from iaemu_likelihood.emulator.models.weights import (
    FIRST_WITH_NOISE,
    SCHEMA,
    check_tensors,
    entry,
    redshifts_of,
)
from iaemu_likelihood.emulator.networks import perceptron as networks
from iaemu_likelihood.emulator.noise import learned as noise
from iaemu_likelihood.emulator.noise.learned import (
    DEGREES,
    NoiseAt,
    NoiseModel,
    Strengths,
    is_known,
)
from iaemu_likelihood.emulator.physics.abundance import HOST_TENSORS, HostAbundance
from iaemu_likelihood.emulator.physics.redshift import Redshifts
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

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.halos.snapshots import Snapshots

# With these begin the names of the tensors of the hosts at each redshift, if there are several.
OF_REDSHIFT = "redshift{}."
# With this begin the names of the tensors of the networks for projected statistics.
PROJECTED = "projected."
# Number of other redshifts that an emulator remembers: to prepare networks takes longer than to use them.
N_OTHERS = 4
# Number of points whose covariances are computed at a time; so many fit into the cache.
CHUNK = 32


class TemplatesEmulator(Emulator, kind="templates"):
    """Networks for the templates and the moments of the noise; the alignment enters in closed form.

    One ensemble knows the templates of statistics in three dimensions. Another one, if there is, knows
    all that projected statistics are made of, in more bins.

    It computes in float64 unless `to` sets another precision. The epistemic uncertainty is the
    scatter between the networks of the ensemble, times a factor per statistic, chosen so that two
    sigma cover 95.4 % of the errors at the validation points.
    """

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        super().__init__(tensors, card)
        self._tensors = tensors
        self._all_redshifts = redshifts_of(card)
        # The region of all redshifts, whose cube networks know.
        self._region = self.domain
        self._set_redshift()
        check_tensors(tensors, self._shapes(len(tensors)))
        # Kept, so that going to float32 and back loses no digits.
        self._loaded = {name: tensor.double() for name, tensor in tensors.items()}
        # Where there is noise, its strengths serve for the means as well.
        self._degrees = DEGREES if is_known(tensors) else degrees_of(self.statistics)
        self.to()

    def _shapes(self, n_tensors: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors, by name, that the card describes."""
        card, n_bins = self.card, len(self.r_edges) - 1
        several = self._all_redshifts.are_several
        n_in = self.space.n_occupation + several
        # Of each member of an ensemble, a network for each snapshot.
        snapshots = (len(self._all_redshifts.values),) if several else ()
        n_fine = len(self.fine_edges) - 1

        def size(*keys: str) -> int:
            value: int = entry(card, "training", *keys, kind=int)
            if keys[-1] == "depth" and value > n_tensors:
                raise ValueError(f"training: {': '.join(keys)} is {value}, more than the tensors.")
            return value

        def ensemble(prefix: str, key: str, statistics: Statistics, n: int) -> dict[str, Any]:
            n_out, sizes = (
                len(templates_of(statistics)) * n,
                (size(key, "width"), size(key, "depth")),
            )
            of_each = size("n_networks"), *snapshots
            each = networks.shapes(n_in, n_out, *sizes, prefix, of_each)
            each |= {f"{prefix}mean": (n_out,), f"{prefix}scale": (n_out,)}
            if card.get("schema", SCHEMA) >= FIRST_WITH_NOISE:
                each[f"{prefix}epistemic_factor"] = (len(statistics),)
            return each

        of_means = "means" if "means" in card["training"] else "network"  # as in schema 1
        found: dict[str, tuple[int, ...]] = {"r_edges": (n_bins + 1,)}
        found |= {name: x.shape for name, x in self._tensors.items() if name.endswith(HOST_TENSORS)}
        found |= ensemble("", of_means, self.statistics, self.n_fine())
        if self.fine_edges is not self.r_edges:
            found["fine_edges"] = (n_fine + 1,)
        if self.learned != self.statistics:
            found |= ensemble(PROJECTED, "projected", self.learned, n_fine)
        if card.get("schema", SCHEMA) < FIRST_WITH_NOISE:
            return found
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
        self._others: dict[float, TemplatesEmulator] = {}
        target: dict[str, Any] = {"device": self._device, "dtype": self._dtype}
        tensors = self._loaded
        if self._all_redshifts.are_several:
            tensors = at_redshift(tensors, self._all_redshifts, self.redshift)
        self._means = Ensemble(tensors, "", self.statistics, self.n_fine(), **target)
        self._of_projected = None
        if self.learned != self.statistics:
            n_fine = len(self.fine_edges) - 1
            self._of_projected = Ensemble(tensors, PROJECTED, self.learned, n_fine, **target)
        self._noise = None
        if is_known(tensors):
            n_bins = len(self.r_edges) - 1
            self._noise = NoiseModel(tensors, self.statistics, n_bins, **target)
        return self

    def _at_redshift(self, redshift: float) -> TemplatesEmulator:
        if redshift not in self._others:
            found = copy(self)
            found.redshift = redshift
            vars(found).pop("universe", None)  # which depends on it
            found._set_redshift()
            latest = list(self._others.items())[-N_OTHERS + 1 :]
            self._others = dict([*latest, (redshift, found.to(self._device, self._dtype))])
        return self._others[redshift]

    def _set_redshift(self) -> None:
        """Domain and hosts at the redshift of this emulator."""
        known, tensors = self._all_redshifts, self._tensors
        self.redshifts = known.ends
        self.domain = known.domain(self._region, self.redshift)
        if not known.are_several:
            return
        snapshots = [
            HostAbundance.from_tensors(tensors, OF_REDSHIFT.format(i))
            for i in range(len(known.values))
        ]
        there = [hosts for hosts in snapshots if hosts is not None]
        if len(there) < len(snapshots):
            raise ValueError("the tensors of the hosts at each redshift are missing.")
        self.hosts = HostAbundance.between(there, known.weights(self.redshift)[0])

    def inputs(self, hod: Any) -> Any:
        """Inputs of the networks, the occupation parameters in the unit cube, (n, n_occupation)."""
        return cast(self._region.to_unit(hod), self._dtype)

    @unaffected()
    def templates(self, hod: Tensor) -> Tensor:
        """Templates by every network of the ensemble.

        Parameters
        ----------
        hod : torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.

        Returns
        -------
        torch.Tensor, shape (n_networks, n, n_templates, n_fine)
            Those of `statistics`, in the order of
            `iaemu_likelihood.emulator.physics.templates.templates_of`, in the fine bins up to the
            last of `r_edges`.
        """
        found: Tensor = self._means.templates(self.inputs(hod), self.statistics, self.n_fine())
        return found

    def ensemble(self, statistics: Statistics, n_fine: int) -> Ensemble:
        """The networks that know some statistics in the first fine bins best."""
        near = n_fine <= self._means.n_bins and all(s in self.statistics for s in statistics)
        return self._means if near or self._of_projected is None else self._of_projected

    def _predict(self, theta: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        mu, hod = self.space.split(theta)
        inputs = self.inputs(hod)
        strengths = self._strengths(mu) if self._noise else None
        products = strengths.of_strengths if strengths else self._products(mu)
        weights = template_weights(products, self.statistics, self.statistics, self._degrees)
        templates = self._means.templates(inputs, self.statistics, self.n_fine())
        ensemble = weighted_templates(weights, templates)
        mean, spread = _mean(ensemble), None
        excess = mean[:, self._counting]
        if epistemic:
            factor = like(self._means.epistemic_factor[:, None], inputs)
            spread = factor * _spread(self._own_bins(ensemble, excess))
        aleatoric = None
        if self._noise and strengths:
            aleatoric = self._noise.at(inputs).sigma(strengths)
        return self._own_bins(mean, excess), aleatoric, spread

    def _own_bins(self, values: Any, excess: Any) -> Any:
        """Statistics in the bins between `r_edges`, from the fine ones; (..., n_statistics, n).

        All networks count the pairs of one xi, `excess`, as they do in a likelihood.
        """
        if self.binning.is_identity:
            return values
        parts, first = [], 0
        for is_ratio, some in groupby(self.statistics, lambda s: s.is_ratio):
            last = first + len(list(some))
            rows = values[..., first:last, :]
            if is_ratio:
                parts.append(self.binning.means(excess, rows))
            else:
                parts.append(rows @ self.binning.of_density(excess))
            first = last
        return namespace(values).concatenate(parts, axis=-2)

    def _strengths(self, mu: Any) -> Strengths:
        return Strengths.of(mu, self._dtype, self.space.alignment)

    def _products(self, mu: Any) -> Any:
        """Products of strengths, of which the weights of templates are sums."""
        return bilinear(self.space.alignment.strengths(cast(mu, self._dtype), self._degrees))

    def at(
        self, hod: ArrayOrTensor, statistics: Sequence[Statistic], n_fine: int | None = None
    ) -> Occupied:
        inputs = self.inputs(hod)
        return _OccupiedTemplates(self, inputs, tuple(statistics), n_fine or self.n_fine())

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
        return self._need_noise().at(self.inputs(hod))

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


def at_redshift(
    tensors: dict[str, Tensor], redshifts: Redshifts, redshift: float
) -> dict[str, Tensor]:
    """Tensors of networks that know a redshift alone, from those that know several.

    The networks take a coordinate of redshift besides the occupation parameters. Of mean templates
    there is one for each snapshot, and what they give is interpolated between the neighbouring ones as
    the templates are that they were trained on.
    """
    (coordinate,) = redshifts.unit([redshift]).tolist()
    (shares,) = redshifts.weights(redshift)
    there = np.flatnonzero(shares).tolist()
    found = dict(tensors)
    for prefix in ("", PROJECTED, *noise.PREFIXES):
        if f"{prefix}weights.0" not in tensors:
            continue
        weights, biases = networks.at_input(*networks.layers(tensors, prefix), coordinate)
        if prefix not in noise.PREFIXES:
            weights, biases = ([x[:, there] for x in each] for each in (weights, biases))
            of_each = torch.as_tensor(shares[there])[:, None, None]
            weights[-1], biases[-1] = weights[-1] * of_each, biases[-1] * of_each
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            found |= {f"{prefix}weights.{i}": weight, f"{prefix}biases.{i}": bias}
    return found


def hosts_of(snapshots: Snapshots) -> dict[str, Tensor]:
    """Tensors of the hosts of halo catalogues, for a file of weights."""
    several = snapshots.abundances
    found: dict[str, Tensor] = {}
    for i, hosts in enumerate(several):
        found |= hosts.tensors(OF_REDSHIFT.format(i) if len(several) > 1 else "")
    return found


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
        self, emulator: TemplatesEmulator, inputs: Any, statistics: Statistics, n_fine: int
    ) -> None:
        self._emulator = emulator
        self._noises: dict[Statistics, NoiseAt] = {}
        # xi comes along, as pairs are counted by it.
        counting = emulator.statistics[emulator._counting]
        self._all = tuple(s for s in emulator.learned if s in statistics or s is counting)
        self._inputs, self._networks = inputs, emulator.ensemble(self._all, n_fine)
        self._ensemble = self._networks.templates(inputs, self._all, n_fine)
        self._mean = _mean(self._ensemble)
        (template,) = counting.templates
        self.excess = self._mean[:, templates_of(self._all).index(template)]

    @unaffected()
    def __call__(
        self, mu: Any, statistics: Statistics, errors: Collection[str] = (), responses: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        emulator, found = self._emulator, {}
        degrees = emulator._degrees
        if "aleatoric" in errors:
            strengths = emulator._strengths(mu)
            found["aleatoric"] = self._noise(statistics).covariance(strengths)
            products = strengths.of_strengths
        else:
            if responses is not None or not set(degrees_of(statistics)) <= set(degrees):
                degrees = degrees_of(statistics)
            of_mu = emulator.space.alignment.strengths(cast(mu, emulator._dtype), degrees)
            if responses is not None:
                of_mu = of_mu * cast(responses, emulator._dtype)
            products = bilinear(of_mu)
        weights = template_weights(products, statistics, self._all, degrees)
        if "epistemic" in errors:
            ensemble = weighted_templates(weights, self._ensemble)
            rows = [self._networks.statistics.index(statistic.of) for statistic in statistics]
            factor = like(self._networks.epistemic_factor, weights)[rows, None]
            found["epistemic"] = factor * (ensemble - _mean(ensemble)) / (len(ensemble) - 1) ** 0.5
        return weights @ self._mean, found

    def _noise(self, statistics: Statistics) -> NoiseAt:
        if statistics not in self._noises:
            self._noises[statistics] = self._emulator._need_noise().at(self._inputs, statistics)
        return self._noises[statistics]
