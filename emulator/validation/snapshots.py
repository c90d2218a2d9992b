"""How well snapshots predict one that is left out: templates between redshifts against its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.expectation.snapshots import templates_between
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.halos.redrawing import redrawn
from iaemu_likelihood.emulator.noise import noise_at
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology, LinearTheory
from iaemu_likelihood.emulator.physics.redshift import coordinate
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from iaemu_likelihood.emulator.physics.templates import Templates, combine_templates
from iaemu_likelihood.emulator.tables import Table
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Number densities of the samples, (h/Mpc)^3.
DENSITIES = (0.0005, 0.015)
# Median and 95th percentile of the relative error of 1 + xi, and of omega's error over the scatter of
# one catalogue, that are to be met.
TARGETS = {XI.name: (0.01, 0.05), OMEGA.name: (None, 0.3)}
# Of the snapshot's own noise: how much it scatters is this over the root of two.
TWO_DRAWS = "two draws of subhalos"


class Snapshot(NamedTuple):
    """A tabulated snapshot."""

    redshift: float
    abundance: HostAbundance
    tabulation: Tabulation


@dataclass(frozen=True)
class LeftOut:
    """Result of `left_out`.

    Attributes
    ----------
    numbers : dict
        ``methods``, by what is linear between snapshots: of xi the median and the 95th percentile of
        |relative error|, and of omega those of |error| over the scatter of one catalogue; the
        redshifts; ``n_points``, ``densities``, ``n_catalogues``, ``seed``; and ``noise``, the same
        between two draws of the subhalos of the snapshot that is left out, if it has any.
    """

    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """A row for each way between the snapshots."""
        numbers = self.numbers
        z = numbers["left_out"]
        others = ", ".join(f"{x:g}" for x in numbers["snapshots"])
        rows = [
            [name, *(f"{row[k][key]:.3g}" for k in TARGETS for key in ("median", "percentile_95"))]
            for name, row in (numbers["methods"] | numbers["noise"]).items()
        ]
        rows.append(
            ["target", *("" if x is None else f"{x:g}" for pair in TARGETS.values() for x in pair)]
        )
        return [
            Table(
                f"z = {z:g} from {others}, {numbers['n_points']} samples: |error| of xi over 1 + xi, and of "
                "omega over the scatter of one catalogue",
                ["linear in", "xi: median", "95 %", "omega: median", "95 %"],
                rows,
            )
        ]


def left_out(
    halos: HaloCatalogue,
    others: Sequence[Snapshot],
    tabulation: Tabulation,
    n: int = 28,
    seed: int = 0,
    n_catalogues: int = 3,
) -> LeftOut:
    """Predict a snapshot from others of its simulation, and compare with its own tabulation.

    Parameters
    ----------
    halos : HaloCatalogue
        Of the snapshot that is left out.
    others : sequence of Snapshot
        Of the same simulation.
    tabulation : Tabulation
        Of the snapshot that is left out.
    n : int
        Occupations from the default domain, their number densities between `DENSITIES`.
    seed : int
        Of these and of the catalogues.
    n_catalogues : int
        Fast mocks at each point, for the scatter of one catalogue at strengths drawn uniformly.

    Raises
    ------
    ValueError
        If the redshift is not between those of others.
    """
    ordered = sorted(others, key=lambda each: each.redshift)
    values = [each.redshift for each in ordered]
    if not min(values, default=np.inf) < halos.redshift < max(values, default=np.inf):
        raise ValueError(
            f"Redshift {halos.redshift:g} is to be predicted from others below and above; they are at "
            f"{', '.join(f'{z:g}' for z in values)}."
        )
    hod = _samples(halos, n, seed)
    statistics = (XI, OMEGA)
    names = [statistic.name for statistic in statistics]
    mu = np.random.default_rng([seed, 1]).uniform(*DEFAULT_SPACE.alignment.limits, (n, 2))
    sites = GalaxySites.of(halos)
    scatter = np.array(
        [
            noise_at(sites, point, seed + i, n_catalogues).sigma(*mu[i])[OMEGA.name]
            for i, point in enumerate(hod)
        ]
    )
    tables = [[each.tabulation.coarser(R_EDGES, names)] for each in ordered]
    hosts = [each.abundance for each in ordered]

    def correlations(templates: Templates) -> Array:
        found: Array = combine_templates(templates.values, mu, statistics)
        return found

    truth = correlations(tabulation.coarser(R_EDGES, names).templates(hod))

    def differences(found: Array, truth: Array) -> dict[str, dict[str, float]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            of_xi = np.abs((1 + found[:, 0]) / (1 + truth[:, 0]) - 1)
            of_omega = np.abs(found[:, 1] - truth[:, 1]) / scatter
        return {
            key: {
                "median": float(np.median(x[np.isfinite(x)])),
                "percentile_95": float(np.quantile(x[np.isfinite(x)], 0.95)),
            }
            for key, x in ((XI.name, of_xi), (OMEGA.name, of_omega))
        }

    methods = {
        name: differences(
            correlations(
                templates_between(
                    tables, hosts, np.tile(weights, (n, 1)), hod, DEFAULT_SPACE.occupation
                )
            ),
            truth,
        )
        for name, weights in _ways(halos, values).items()
    }
    noise = {}
    if halos.satellites == "subhalos":
        # Sums at these occupations only, of either draw.
        draws = [
            correlations(
                Tabulation.build(
                    each, R_EDGES, tabulation.seed, progress=False, statistics=names, only=hod
                ).templates(hod)
            )
            for each in (halos, redrawn(halos, seed))
        ]
        noise[TWO_DRAWS] = differences(*draws)
    return LeftOut(
        {
            "left_out": halos.redshift, "snapshots": values, "n_points": n, "densities": DENSITIES,
            "n_catalogues": n_catalogues, "seed": seed, "methods": methods,
            "noise": noise,
        }
    )  # fmt: skip


def _ways(halos: HaloCatalogue, values: Sequence[float]) -> dict[str, Array]:
    """Weights of the other snapshots, by what is linear, or a parabola, between them."""
    z = halos.redshift
    cosmology = Cosmology.from_words(halos.cosmology)
    axes: dict[str, Callable[[Any], Array]] = {
        "ln(1 + z)": coordinate,
        "ln D": lambda at: -np.log([LinearTheory(cosmology, x).growth for x in np.atleast_1d(at)]),
    }
    found = {}
    for name, axis in axes.items():
        nodes, at = axis(values), float(np.squeeze(axis(z)))
        found[name] = np.array([np.interp(at, nodes, row) for row in np.eye(len(nodes))])
        if len(nodes) > 2:
            near = np.sort(np.argsort(np.abs(nodes - at))[:3])
            weights = np.zeros(len(nodes))
            for i in near:
                rest = [j for j in near if j != i]
                weights[i] = np.prod([(at - nodes[j]) / (nodes[i] - nodes[j]) for j in rest])
            found[f"parabola in {name}"] = weights
    return found


def _samples(halos: HaloCatalogue, n: int, seed: int) -> Array:
    """Occupations whose number densities are spread evenly over the logarithm of `DENSITIES`."""
    domain, occupation = Domain.of(), DEFAULT_SPACE.occupation
    rng = np.random.default_rng(seed)
    hod = domain.from_unit(rng.uniform(-1, 1, (200 * n, len(occupation.parameters))))
    density = halos.abundance.galaxies(occupation, hod).sum(axis=1)
    wanted = np.geomspace(*DENSITIES, n)
    result: Array = hod[np.abs(np.log(density[:, None] / wanted)).argmin(axis=0)]
    return result
