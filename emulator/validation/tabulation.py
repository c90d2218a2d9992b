"""What a tabulation's functions, cells and intervals of mass leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.noise import noise_at
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, named
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation.points import CHECK_POINTS

# Of the intervals of host mass, in the tabulation that is compared with.
NARROW_DEX = 0.0005


@dataclass(frozen=True)
class TabulationCheck:
    """Result of `tabulation_against_exact`.

    Attributes
    ----------
    numbers : dict
        By template, ``median``, ``percentile_95`` and ``largest`` of all points and bins, and the
        largest of each of the check points, in units of one catalogue's scatter; ``n_points``,
        ``n_catalogues`` and ``seed``.
    """

    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """A row for each template."""
        keys = ("median", "percentile_95", "largest")
        n_check = len(CHECK_POINTS)
        return [
            Table(
                f"Tabulation less exact sums, at {self.numbers['n_points']} points: in units of the "
                "scatter of one catalogue's templates; the last columns are the largest of the check "
                "points",
                ["", "median", "95 %", "largest", *map(str, range(n_check))],
                [
                    [name, *(f"{row[key]:.2g}" for key in keys)]
                    + [f"{x:.2g}" for x in row["check_points"]]
                    for name, row in self.numbers["templates"].items()
                ],
            )
        ]


def tabulation_against_exact(
    halos: HaloCatalogue,
    tabulation: Tabulation,
    n: int = 24,
    seed: int = 0,
    n_catalogues: int = 12,
    progress: bool = True,
) -> TabulationCheck:
    """Compare a tabulation with one for certain occupations alone, on far narrower intervals of mass.

    Parameters
    ----------
    halos, tabulation
        The same catalogue.
    n : int
        Points that fill the default domain; `CHECK_POINTS` are added to them.
    seed : int
        Of the points and the catalogues.
    n_catalogues : int
        Fast mocks at each point, for the scatter of one.
    progress : bool
        Show progress bars.
    """
    unit = np.random.default_rng(seed).uniform(-1, 1, (n, len(DEFAULT_SPACE.occupation.parameters)))
    hod = np.concatenate([DEFAULT_SPACE.split(CHECK_POINTS)[1], Domain.of().from_unit(unit)])
    exact = Tabulation.build(
        halos, R_EDGES, tabulation.seed, progress, interval_dex=NARROW_DEX, only=hod
    ).templates(hod)
    found = tabulation.coarser(R_EDGES, DEFAULT_STATISTICS).templates(hod)
    sites = GalaxySites.of(halos)
    scatter = np.array(
        [
            noise_at(sites, point, seed + i, n_catalogues).templates.std(axis=0, ddof=1)
            for i, point in enumerate(hod)
        ]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.abs(found.values - exact.values) / scatter
    errors[~np.isfinite(errors)] = np.nan  # in bins without pairs
    rows = {}
    for t, template in enumerate(templates_of(named(DEFAULT_STATISTICS))):
        own = errors[:, t]
        rows[template.name] = {
            "median": float(np.nanmedian(own)),
            "percentile_95": float(np.nanquantile(own, 0.95)),
            "largest": float(np.nanmax(own)),
            "check_points": np.nanmax(own[: len(CHECK_POINTS)], axis=1).round(5).tolist(),
        }
    numbers = {
        "n_points": len(hod),
        "n_catalogues": n_catalogues,
        "seed": seed,
        "templates": rows,
    }
    return TabulationCheck(numbers)
