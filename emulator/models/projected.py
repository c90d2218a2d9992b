"""Projected statistics from an emulator's pair densities in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import ArrayOrTensor, constant, kind, namespace
from iaemu_likelihood.emulator.binned import Binned
from iaemu_likelihood.emulator.physics.alignment import Alignment
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.bins import bin_centres
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.linear_theory import (
    Cosmology,
    KaiserCorrection,
    LinearTheory,
    amplitude,
    continuation,
    farthest,
)
from iaemu_likelihood.emulator.physics.projection import projection
from iaemu_likelihood.emulator.physics.shapes import next_response
from iaemu_likelihood.emulator.physics.statistics import (
    OMEGA,
    PROJECTED,
    XI,
    PerStatistic,
    ProjectedStatistic,
    Source,
    Statistic,
)
from iaemu_likelihood.emulator.physics.templates import degrees_of
from iaemu_likelihood.emulator.results import Result
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Densities that follow linear theory at large separations, and the degree of matter's correlation
# function that they are proportional to there. Others are negligible beyond the table.
LINEAR = {XI: 0, OMEGA: 2}
# Width of the shells beyond the table, dex.
_STEP = 0.05


class ProjectedPrediction(Result, PerStatistic):
    """Expectation of projected statistics at one point or many, by name or as an attribute.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_bins,) or (n, n_bins)
        w_gg, w_gplus and w_plusplus in Mpc/h, xi_gplus_2 dimensionless; averages over the bins.
    rp_edges, r_edges : ndarray or None
        Edges of the bins of r_p and of the quadrupole's bins of r, Mpc/h.
    conventions : Conventions
    epistemic : PerStatistic or None
        One standard deviation of the emulator's own error; None unless requested.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        rp_edges: Array | None,
        r_edges: Array | None,
        conventions: Conventions,
        epistemic: PerStatistic | None = None,
    ) -> None:
        super().__init__(values)
        self.rp = None if rp_edges is None else bin_centres(rp_edges)
        self.r = None if r_edges is None else bin_centres(r_edges)
        self.conventions, self.epistemic = conventions, epistemic

    def binned(self) -> list[Binned]:
        """Statistics with their errors: those in bins of r_p, then those in bins of r."""
        found = []
        for separation, centres in (("r_p", self.rp), ("r", self.r)):
            values = {
                name: x
                for name, x in self.items()
                if PROJECTED[name].is_integrated == (separation == "r_p")
            }
            if values:
                found.append(Binned.of(separation, centres, values, epistemic=self.epistemic))
        return found


class Universe:
    """The universes of a tabulation and of data, as far as large separations need them.

    Parameters
    ----------
    cosmology : str
        Of the halo catalogue, in words; see `Cosmology.from_words`.
    redshift : float
    box : float
        Of the halo catalogue, Mpc/h.
    """

    def __init__(self, cosmology: str | None, redshift: float, box: float) -> None:
        self._cosmology, self._redshift, self.box = cosmology, redshift, box
        self._of_boxes: dict[float | None, LinearTheory] = {}

    def theory(self, box: float | None) -> LinearTheory:
        """Linear theory in a periodic box, or without one."""
        if box not in self._of_boxes:
            cosmology = Cosmology.from_words(self._cosmology)
            self._of_boxes[box] = LinearTheory(cosmology, self._redshift, box)
        return self._of_boxes[box]


class ProjectedMap:
    """From pair densities in fine bins to one projected statistic in its own.

    Parameters
    ----------
    statistic : ProjectedStatistic
    edges : array_like, shape (m + 1,)
        Of the bins of r_p, or of r where nothing is integrated, Mpc/h.
    conventions : Conventions
    fine_edges : ndarray, shape (n + 1,)
        Mpc/h.
    universe : Universe

    Raises
    ------
    ValueError
        If bins are impossible or begin below the densities', pi_max is missing, pairs are farther
        apart than the data's box or linear theory allows, or the cosmology is not known.
    """

    def __init__(
        self,
        statistic: ProjectedStatistic,
        edges: Sequence[float] | Array,
        conventions: Conventions,
        fine_edges: Array,
        universe: Universe,
    ) -> None:
        self.statistic, self._conventions = statistic, conventions
        self._edges = np.asarray(edges, np.float64)
        self._fine, self._universe = fine_edges, universe
        reach = self._reach()
        n_beyond = max(0, int(np.ceil(np.log10(reach / fine_edges[-1]) / _STEP - 1e-6)))
        self._beyond = fine_edges[-1] * 10 ** (_STEP * np.arange(n_beyond + 1))
        self._matrices = self._maps_of_sources()
        # Of some of the sources, one above the other, by the kind of numbers.
        self._stacked: dict[tuple[Any, ...], Any] = {}
        self._kaiser = self._kaiser_correction()

    def _reach(self) -> float:
        """The largest separation of pairs that enter, Mpc/h; edges and pi_max are checked."""
        edges, conventions, statistic = self._edges, self._conventions, self.statistic
        name = "r_p" if statistic.is_integrated else "r"
        rising = edges.ndim == 1 and len(edges) > 1 and (np.diff(edges) > 0).all()
        if not rising or not edges[0] >= self._fine[0] * (1 - 1e-6) or not edges[-1] < np.inf:
            raise ValueError(
                f"Edges of the bins of {name} must be two or more increasing numbers from "
                f"{self._fine[0]:g} Mpc/h on; got {edges}."
            )
        if not statistic.is_integrated:
            reach, how = float(edges[-1]), ""
        elif conventions.pi_max is None:
            raise ValueError(
                f"{statistic.name} is integrated along the line of sight: give pi_max."
            )
        else:
            reach = float(np.hypot(edges[-1], conventions.pi_max))
            how = f" with pi_max = {conventions.pi_max:g}"
        limit = farthest(conventions.box)
        if reach > limit * (1 + 1e-6):
            where = "linear theory goes" if conventions.box is None else "the data's box has them"
            raise ValueError(
                f"Bins of {name} up to {edges[-1]:.4g} Mpc/h{how} need pairs up to {reach:.4g} Mpc/h "
                f"apart, but {where} to {limit:.4g} Mpc/h only. Take smaller bins or a smaller pi_max."
            )
        return reach

    def _maps_of_sources(self) -> dict[Source, Array]:
        """From the density of each source in the fine bins to what it adds to the statistic."""
        factor = self._conventions.shape_factor**self.statistic.n_shapes
        integrals: dict[bytes, Array] = {}
        found: dict[Source, Array] = {}
        for term in self.statistic.terms:
            key = term.angular.coef.tobytes()
            if key not in integrals:
                integrals[key] = self._integral(term.angular)
            added = factor * (self._continued(term.source) @ integrals[key])
            if term.radial is not None:
                added *= term.radial(bin_centres(self._fine))[:, None]
            found[term.source] = found.get(term.source, 0.0) + added
        return found

    def _continued(self, source: Source) -> Array:
        """From a density in the fine bins to that in the universe of the data, and farther out."""
        n, m = len(self._fine) - 1, len(self._beyond) - 1
        same = self._conventions.box == self._universe.box
        if source not in LINEAR or (same and not m):
            return np.eye(n, n + m)
        tabulated = self._universe.theory(self._universe.box)
        observed = self._universe.theory(self._conventions.box)
        return continuation(tabulated, observed, self._fine, self._beyond, LINEAR[source])

    def _integral(self, angular: Polynomial) -> Array:
        """From densities to the statistic, (n + n_beyond, m)."""
        fine = np.concatenate([self._fine, self._beyond[1:]])
        if not self.statistic.is_integrated:
            binning = PairWeightedBinning(fine, self._edges)
            # The mean of a constant is itself.
            return np.asarray(binning.of_density(np.ones(len(fine) - 1)) * angular.coef[0])
        conventions = self._conventions
        assert conventions.pi_max is not None
        return projection(fine, self._edges, conventions.pi_max, angular, conventions.line_of_sight)

    def _kaiser_correction(self) -> tuple[KaiserCorrection, Array] | None:
        """What peculiar velocities add, and the functional of xi that is b^2."""
        conventions = self._conventions
        if not conventions.redshift_space or XI not in self.statistic.sources:
            return None
        assert conventions.pi_max is not None
        correction = KaiserCorrection(
            self._universe.theory(conventions.box), self._edges, conventions.pi_max,
            conventions.line_of_sight,
        )  # fmt: skip
        return correction, amplitude(self._universe.theory(self._universe.box), self._fine)

    def __call__(self, excess: Any, values: Any, sources: tuple[Source, ...]) -> Any:
        """The statistic from xi and the means of its sources over pairs.

        Parameters
        ----------
        excess : ndarray or torch.Tensor, shape (..., n)
            xi in the fine bins.
        values : ndarray or torch.Tensor, shape (..., k, n)
            Of the sources; any for w_gg.
        sources : tuple of Statistic or Reweighted
            Those of the statistic, or some if others add nothing.

        Returns
        -------
        ndarray or torch.Tensor, shape (..., m)
        """
        key = *kind(excess), sources
        if key not in self._stacked:
            stacked = np.concatenate([self._matrices[source] for source in sources])
            self._stacked[key] = constant(stacked, *kind(excess))
        matrix = self._stacked[key]
        if XI not in self.statistic.sources:
            densities = (1 + excess)[..., None, :] * values
            return densities.reshape(*excess.shape[:-1], -1) @ matrix
        found = excess @ matrix
        if self._kaiser is not None:
            correction, functional = self._kaiser
            bias_squared = excess @ constant(functional, *kind(excess))
            added = correction(bias_squared.reshape(-1))
            found = found + added.reshape(found.shape)
        return found


def strength_responses(
    responses: ArrayOrTensor, degrees: Sequence[int], ellipticity: str
) -> ArrayOrTensor:
    """By which strengths are multiplied when shapes on the sky take the place of axes.

    Parameters
    ----------
    responses : ndarray or torch.Tensor, shape (n, 2)
        a_2 of centrals and of satellites.
    degrees : sequence of int
        Of the strengths: 2, 4 or both.
    ellipticity : str
        One of `iaemu_likelihood.emulator.physics.shapes.DEFINITIONS`.

    Returns
    -------
    ndarray or torch.Tensor, shape (n, 2 + 2 n_degrees)
        As `Alignment.strengths`: 1, 1, then a_l of centrals and of satellites for each degree.
    """
    of_degree = {2: responses}
    if 4 in degrees:
        of_degree[4] = next_response(responses, ellipticity)
    ones = responses * 0 + 1
    return namespace(responses).concatenate([ones, *(of_degree[d] for d in degrees)], axis=1)


def sources_of(
    projected: Sequence[ProjectedStatistic], among: Sequence[Statistic], alignment: Alignment
) -> tuple[Source, ...]:
    """What statistics are made of: statistics in a given order, and then what is made of these.

    xi, by which pairs are counted, is included. Terms of degree 4 of correlations of two shapes take
    other amplitudes of the same templates, so that they are left out where amplitudes are no factors
    of templates.
    """
    wanted = {XI, *(statistic for each in projected for statistic in each.learned)}
    found: list[Source] = [s for s in among if s in wanted]
    if alignment.gives_factors:
        found += dict.fromkeys(s for each in projected for s in _of_others(each))
    return tuple(found)


def incomplete(projected: Sequence[ProjectedStatistic], alignment: Alignment) -> list[str]:
    """Names of statistics whose terms of degree 4 are left out with an alignment; see `sources_of`."""
    return [s.name for s in projected if _of_others(s) and not alignment.gives_factors]


def _of_others(statistic: ProjectedStatistic) -> list[Source]:
    """Sources that are templates of other statistics with other amplitudes."""
    return [source for source in statistic.sources if source.of is not source]


def learned_of(sources: Sequence[Source]) -> tuple[Statistic, ...]:
    """The statistics among sources, of whose templates the others are made."""
    return tuple(source for source in sources if isinstance(source, Statistic))


class ProjectedMoments:
    """Projected statistics at given parameters, with the error of the emulator.

    Parameters
    ----------
    occupied : iaemu_likelihood.emulator.models.base.Occupied
    mu : ndarray or torch.Tensor, shape (n, n_alignment)
    sources : tuple of Statistic or Reweighted
        What the statistics are made of, from `sources_of`.
    conventions : Conventions
    responses : ndarray or torch.Tensor, shape (n, 2) or (1, 2), optional
        a_2 of centrals and of satellites; not needed for positions alone.

    Raises
    ------
    ValueError
        If shapes enter without responses.
    """

    def __init__(
        self, occupied: Any, mu: Any, sources: tuple[Source, ...], conventions: Conventions,
        responses: Any = None,
    ) -> None:  # fmt: skip
        self._occupied, self._mu, self._sources = occupied, mu, sources
        self._factors, degrees = None, degrees_of(sources)
        if responses is not None:
            self._factors = strength_responses(responses, degrees, conventions.ellipticity)
        elif degrees:
            raise ValueError("Correlations of shapes need the responses a_2 of the galaxies.")

    @cached_property
    def _mean(self) -> Any:
        return self._occupied(self._mu, self._sources, (), self._factors)[0]

    @cached_property
    def _members(self) -> Any:
        """Means by each member of the ensemble, as far from their mean as the error is large."""
        mean, errors = self._occupied(self._mu, self._sources, ("epistemic",), self._factors)
        deviations = errors["epistemic"]
        return mean + deviations * (len(deviations) - 1) ** 0.5

    def mean(self, projected: ProjectedMap) -> Any:
        """A statistic, (n, m)."""
        return self._of(projected, self._mean)

    def deviations(self, projected: ProjectedMap) -> Any:
        """Deviations whose products add up to the epistemic covariance, (n_members, n, m)."""
        members = self._of(projected, self._members)
        return (members - members.sum(0) / len(members)) / (len(members) - 1) ** 0.5

    def _of(self, projected: ProjectedMap, values: Any) -> Any:
        own = projected.statistic.sources
        rows = [i for i, source in enumerate(self._sources) if source in own]
        sources = tuple(self._sources[i] for i in rows)
        # The number of pairs is as uncertain in a density of shapes as it is in xi.
        return projected(values[..., self._sources.index(XI), :], values[..., rows, :], sources)


def project(
    emulator: Any, maps: Sequence[ProjectedMap], conventions: Conventions, epistemic: bool,
    mu: Any, hod: Any, responses: Any = None,
) -> list[Any]:  # fmt: skip
    """Projected statistics at points, and then, if they are wanted, their epistemic errors.

    Parameters
    ----------
    emulator : iaemu_likelihood.emulator.models.base.Emulator
    maps : sequence of ProjectedMap
        One for each statistic.
    conventions : Conventions
    epistemic : bool
    mu, hod : ndarray or torch.Tensor, shape (n, n_alignment) and (n, n_occupation)
    responses : ndarray or torch.Tensor, shape (n, 2), optional

    Returns
    -------
    list of ndarray or torch.Tensor, shape (n, m)
    """
    statistics, alignment = [each.statistic for each in maps], emulator.space.alignment
    sources = sources_of(statistics, emulator.learned, alignment)
    occupied = emulator.at(hod, learned_of(sources), len(emulator.fine_edges) - 1)
    at = ProjectedMoments(occupied, mu, sources, conventions, responses)
    found = [at.mean(each) for each in maps]
    if epistemic:
        deviations = (at.deviations(each) for each in maps)
        found += [(x * x).sum(0) ** 0.5 for x in deviations]
    return found
