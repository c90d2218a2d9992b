"""Expected shapes of one sample about positions of another, against halotools-IA's galaxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation import Population, Sample, Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints
from iaemu_likelihood.emulator.mocks.estimators import cross_correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import drawn_axes, populate
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.physics.alignment import WATSON_MASS
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import OMEGA, SATELLITE, XI
from iaemu_likelihood.emulator.validation.expectation import (
    ExpectationCheck,
    compared,
    scatter,
    summary_of,
)
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPACE = ParameterSpace(WATSON_MASS, ZHENG07)
STATISTICS = (XI, OMEGA)
# Where fractions change, and over how many decades of host mass.
MIDDLE, WIDTH = 13.0, 0.5


class Fraction:
    """Goes from one number at small host masses to another at large ones.

    Parameters
    ----------
    low, high : float
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, logM: Array) -> Array:
        share = (1 + np.tanh((logM - MIDDLE) / WIDTH)) / 2
        return self._low + (self._high - self._low) * share


@dataclass(frozen=True)
class Drawn:
    """Galaxies of one population, whoever drew them: with unit axes, by the mass of their host."""

    position: Array
    axis: Array
    logM: Array
    is_satellite: NDArray[np.bool_]

    def taken(self, sample: Sample, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which of them a sample takes."""
        centrals, satellites = sample.fractions(self.logM)
        fraction = np.where(self.is_satellite, satellites, centrals)
        return rng.random(len(fraction)) < fraction


@dataclass(frozen=True)
class TwoSamples:
    """Shapes of a sample, with their alignment, and positions of another.

    Attributes
    ----------
    content : mapping
        An entry of `points.yaml`.
    mu : ndarray, shape (n_alignment,)
        Of the shapes, parameters of `WATSON_MASS`.
    shapes, positions : Sample
    """

    content: Mapping[str, Any]
    mu: Array
    shapes: Sample
    positions: Sample

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TwoSamples:
        """From an entry of `points.yaml`."""

        def hod(key: str) -> Array:
            return np.array([content[key][name] for name in ZHENG07.names])

        def sample(population: Population, part: str) -> Sample:
            fractions = content[part]
            return Sample(
                population, Fraction(*fractions["centrals"]), Fraction(*fractions["satellites"])
            )

        shared = Population(hod("occupation"))
        other = Population(hod("of_positions")) if "of_positions" in content else shared
        mu = np.array([content["alignment"][name] for name in WATSON_MASS.names])
        return cls(content, mu, sample(shared, "shapes"), sample(other, "positions"))

    @property
    def populations(self) -> list[Population]:
        """One or two."""
        return list(dict.fromkeys((self.shapes.population, self.positions.population)))

    def named_values(self) -> dict[str, float]:
        """Numbers of the alignment and of the occupations."""
        found = dict(self.content["alignment"] | self.content["occupation"])
        others = self.content.get("of_positions", {})
        return found | {f"{name} (positions)": x for name, x in others.items()}

    def expected(self, tabulation: Tabulation) -> Array:
        """The expectation, (n_statistics, n_bins)."""
        names = [statistic.name for statistic in STATISTICS]
        found = tabulation.cross_templates(self.shapes, self.positions, names, self.mu)
        return np.concatenate(found.correlations())

    def fast(self, sites: GalaxySites, rng: np.random.Generator) -> list[Drawn]:
        """Fast mocks of the populations."""
        drawn = []
        for population in self.populations:
            galaxies = populate(sites, population.hod, rng, population.occupation)
            axes = drawn_axes(galaxies, self.mu, rng, WATSON_MASS, sites.logM)
            is_satellite = galaxies.kind == SATELLITE
            drawn.append(Drawn(galaxies.position, axes, sites.logM[galaxies.host], is_satellite))
        return drawn

    def measured(
        self, drawn: Sequence[Drawn], box: float, r_edges: Array, rng: np.random.Generator
    ) -> Array:
        """What catalogues of the populations measure, (n_statistics, n_bins)."""
        shapes, positions = drawn[0], drawn[-1]
        with_shape, with_position = (
            shapes.taken(self.shapes, rng),
            positions.taken(self.positions, rng),
        )
        position, axis = shapes.position, shapes.axis
        if len(drawn) > 1:
            position = np.concatenate([position, positions.position])
            axis = np.concatenate([axis, positions.axis])
            n, m = len(with_shape), len(with_position)
            with_shape = np.concatenate([with_shape, np.zeros(m, bool)])
            with_position = np.concatenate([np.zeros(n, bool), with_position])
        names = [statistic.name for statistic in STATISTICS]
        return cross_correlations(position, axis, with_shape, with_position, box, r_edges, names)


def samples_against_halotools(
    halos: HaloCatalogue,
    tabulation: Tabulation,
    cases: Sequence[TwoSamples],
    n: int = 20,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
    n_noise: int = 60,
) -> ExpectationCheck:
    """Compare expected correlations of two samples with the mean of halotools-IA's galaxies.

    Galaxies are drawn by halotools, populations independently of each other, and taken by the samples
    at random. Standard errors are those of fast mocks.

    Parameters
    ----------
    halos, tabulation
        The same catalogue.
    cases : sequence of TwoSamples
    n : int
        Realisations of each case.
    seed : int
        Populations of realisation i of case k are drawn with seed + 10,000 k + 2 i and the next.
    folder : Path, optional
        Keep results here, a file per case; a run that was stopped goes on from there.
    progress : bool
    n_noise : int
        Fast mocks of each case.
    """
    sites, edges, model = GalaxySites.of(halos), tabulation.r_edges, HalotoolsIA(halos, SPACE)
    names = [statistic.name for statistic in STATISTICS]

    def by_halotools(index: int, i: int) -> Array:
        case, own_seed = cases[index], seed + 10_000 * index + 2 * i
        drawn = []
        for k, population in enumerate(case.populations):
            theta = SPACE.join(case.mu, np.asarray(population.hod))
            galaxies = model.populate(theta, own_seed + k)
            position, axis = positions_and_axes(galaxies)
            drawn.append(
                Drawn(
                    position,
                    axis / np.linalg.norm(axis, axis=1, keepdims=True),
                    np.log10(np.asarray(galaxies["halo_mvir"], np.float64)),
                    np.asarray(galaxies["gal_type"] == "satellites"),
                )
            )
        return case.measured(drawn, halos.box, edges, np.random.default_rng([own_seed, 2]))

    origins = [
        {
            "case": str(case.content), "seed": seed + 10_000 * index, "halos": halos.sha256,
            "r_edges": edges, "statistics": names,
        }
        for index, case in enumerate(cases)
    ]  # fmt: skip
    draws = draw_with_checkpoints(
        by_halotools, n, origins, folder, "halotools-IA catalogues", progress
    )
    rows: list[dict[str, Any]] = []
    for index, (case, of_case) in enumerate(zip(cases, draws, strict=True)):
        rng = np.random.default_rng([seed + index, 1])
        mocks = (
            case.measured(case.fast(sites, rng), halos.box, edges, rng) for _ in range(n_noise)
        )
        found = compared(of_case, case.expected(tabulation), scatter(mocks), names, seed)
        rows.append({"parameters": case.named_values()} | found)
    return ExpectationCheck(
        {"realisations": n, "seed": seed, "points": rows, "summary": summary_of(rows, names)}
    )
