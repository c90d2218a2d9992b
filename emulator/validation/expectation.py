"""The tabulated expectation against means of catalogues by halotools-IA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import realisations
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise import noise_at
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation.points import CHECK_POINTS
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExpectationCheck:
    """Result of `expectation_against_halotools`.

    Attributes
    ----------
    numbers : dict
        ``points``: per point and statistic, z = (mean - expectation) / standard error in every bin,
        chi2 per bin, max |z|, and the probability of so large a chi2 given the noise model's
        correlations between bins. ``summary``: per statistic over all points, with the smallest
        probability. ``realisations`` and ``seed``.
    """

    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """The points, and a row for each of them and one for all."""
        points, summary = self.numbers["points"], self.numbers["summary"]
        rows = [
            [str(i), *(_shown(point[name], "probability") for name in summary)]
            for i, point in enumerate(points)
        ]
        together = (_shown(entry, "smallest_probability") for entry in summary.values())
        return [
            points_table(points),
            Table(
                f"Mean of {self.numbers['realisations']} realisations against the expectation: "
                "chi^2 per bin / largest |z| / probability, with the bins' correlations, of a larger "
                "chi^2 (all points: the smallest)",
                ["", *summary],
                [*rows, ["all", *together]],
            ),
        ]


def points_table(points: Sequence[Mapping[str, Any]]) -> Table:
    """Table of the parameters of points, by their numbers."""
    rows = [[f"{x:g}" for x in point["parameters"].values()] for point in points]
    return Table(
        "Points",
        ["", *points[0]["parameters"]],
        [[str(i), *row] for i, row in enumerate(rows)],
    )


def _shown(entry: dict[str, Any], probability: str) -> str:
    return f"{entry['chi2_per_bin']:.2f} / {entry['max_abs_z']:.1f} / {entry[probability]:.2g}"


def expectation_against_halotools(
    halos: HaloCatalogue,
    tabulation: Tabulation,
    n: int = 60,
    seed: int = 0,
    points: Array = CHECK_POINTS,
    folder: Path | None = None,
    progress: bool = True,
    n_noise: int = 60,
    space: ParameterSpace = DEFAULT_SPACE,
) -> ExpectationCheck:
    """Compare the tabulated expectation with the mean of halotools-IA realisations.

    Parameters
    ----------
    halos, tabulation
        The same catalogue.
    n : int
        Realisations per point.
    seed : int
        As in `iaemu_likelihood.emulator.mocks.checkpoints.realisations`.
    points : ndarray, shape (n_points, n_parameters)
        Of `space`.
    folder, progress
        As `seed`.
    n_noise : int
        Catalogues for the noise model that gives the standard errors; or, with strengths that depend
        on host mass, which it does not know, fast mocks whose scatter gives them.
    space : ParameterSpace
    """
    sites, statistics, edges = GalaxySites.of(halos), tabulation.statistics, tabulation.r_edges
    names = [statistic.name for statistic in statistics]
    every_draw = realisations(halos, points, n, seed, edges, folder, progress, space, names)
    rows: list[dict[str, Any]] = []
    for index, (point, draws) in enumerate(zip(points, every_draw, strict=True)):
        mu, hod = space.split(point)
        if space.alignment.depends_on_mass:
            templates = tabulation.aligned_templates(mu, hod, space.alignment, space.occupation)
            expected = np.concatenate(templates.correlations())
            rng = np.random.default_rng([seed + index, 1])
            mocks = (
                measure(
                    populate(sites, hod, rng, space.occupation), mu, sites.box, edges, rng, statistics,
                    space.alignment, sites.logM,
                ).correlations
                for _ in range(n_noise)
            )  # fmt: skip
            covariance = scatter(mocks)
        else:
            templates = tabulation.templates(hod, occupation=space.occupation)
            expected = np.concatenate(templates.correlations(*mu))
            covariance = noise_at(
                sites, hod, seed + index, n_noise, r_edges=edges, occupation=space.occupation,
                statistics=statistics,
            ).covariance(*mu)  # fmt: skip
        rows.append(
            {"parameters": space.named_values(point)}
            | compared(draws, expected, covariance, names, seed)
        )
    return ExpectationCheck(
        {"realisations": n, "seed": seed, "points": rows, "summary": summary_of(rows, names)}
    )


def scatter(measured: Iterable[Array]) -> Array:
    """Covariance of what catalogues measure.

    Parameters
    ----------
    measured : iterable of ndarray, shape (n_statistics, n_bins)
        Of one catalogue after the other.

    Returns
    -------
    ndarray, shape (n_statistics n_bins, n_statistics n_bins)
    """
    return np.cov(np.array([values.ravel() for values in measured]), rowvar=False)


def compared(
    draws: Array, expected: Array, covariance: Array, names: Sequence[str], seed: int
) -> dict[str, Any]:
    """How far the mean of catalogues is from what is expected, by statistic.

    Parameters
    ----------
    draws : ndarray, shape (n, n_statistics, n_bins)
    expected : ndarray, shape (n_statistics, n_bins)
    covariance : ndarray, shape (n_statistics n_bins, n_statistics n_bins)
        Of one catalogue.
    names : sequence of str
        Of the statistics.
    seed : int
        Of the probabilities, which are of a drawn distribution.

    Returns
    -------
    dict
        As a point of `ExpectationCheck`.
    """
    of_mean = covariance / len(draws)
    sigma = np.sqrt(np.diag(of_mean))
    z = (draws.mean(axis=0) - expected) / sigma.reshape(expected.shape)
    correlation = of_mean / np.outer(sigma, sigma)
    row = {}
    for i, name in enumerate(names):
        block = slice(i * z.shape[1], (i + 1) * z.shape[1])
        row[name] = {
            "chi2_per_bin": float(np.mean(z[i] ** 2)),
            "max_abs_z": float(np.abs(z[i]).max()),
            "probability": _probability(z[i], correlation[block, block], seed),
            "z": z[i].round(3).tolist(),
        }
    return row


def summary_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Of each statistic at all points."""
    return {
        name: {
            "chi2_per_bin": float(np.mean([row[name]["chi2_per_bin"] for row in rows])),
            "max_abs_z": max(row[name]["max_abs_z"] for row in rows),
            "smallest_probability": min(row[name]["probability"] for row in rows),
        }
        for name in names
    }


def _probability(z: Array, correlation: Array, seed: int, n_draws: int = 100_000) -> float:
    """Probability that correlated standard normal numbers have a larger sum of squares than z."""
    # In the frame of the eigenvectors the sum is one of independent chi^2 of one degree each.
    weights = np.clip(np.linalg.eigvalsh(correlation), 0, None)
    null = np.random.default_rng(seed).chisquare(1, (n_draws, len(z))) @ weights
    return float((1 + np.sum(null >= np.sum(z**2))) / (1 + n_draws))
