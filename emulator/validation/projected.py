"""Projected statistics from the tabulation against those of halotools-IA's galaxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import of_populations
from iaemu_likelihood.emulator.mocks.estimators import positions_and_axes
from iaemu_likelihood.emulator.mocks.projected import along_all_sides
from iaemu_likelihood.emulator.mocks.sky_directions import WEIGHTS, along_directions, turned_lines
from iaemu_likelihood.emulator.models.exact import project_exactly
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import response
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS, W_PLUSPLUS
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation.expectation import points_table
from iaemu_likelihood.emulator.validation.points import PROJECTED_POINTS
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.table import Table as GalaxyTable

Array = NDArray[np.float64]

STATISTICS = W_GG, W_GPLUS, W_PLUSPLUS
AXIS_RATIOS = 0.5, 0.8
PI_MAX = 40.0
# Where the summary is divided, Mpc/h.
FAR = 10.0
RP_EDGES = np.append(np.logspace(-1, 1, 11), [300**0.5, 30.0])


@dataclass(frozen=True)
class ProjectedCheck:
    """Result of `projected_against_halotools`.

    Attributes
    ----------
    numbers : dict
        ``points``: per point, its parameters, its galaxies per (Mpc/h)^3, and ``compared``: for each
        statistic and axis ratio, the mean, its standard error, the expectation and z, the deviation
        as a standard normal number, in every bin. ``summary``: for each statistic, axis ratio and
        range of r_p, chi2 per bin over all points, how far it scatters about 1 if all is as expected,
        and the largest |z| with its point and bin. ``bins``: for each statistic and axis ratio, chi2
        in every bin per point. ``halotools``: largest difference between the statistics by halotools'
        estimators, along the sides, and those compared here, in units of the scatter of one
        population.
    """

    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """The points; statistics in both ranges of r_p; bins; and a row for each point."""
        numbers = self.numbers
        edges = numbers["rp_edges"]
        labels = [_label(entry) for entry in numbers["points"][0]["compared"]]
        summary = [
            [
                _label(entry),
                "{:.3g} to {:.3g}".format(*entry["range"]),
                f"{entry['chi2_per_bin']:.2f} (1 ± {entry['scatter']:.2f})",
                f"{entry['max_abs_z']:.1f}",
                f"point {entry['point']}, {_bin(edges, entry['bin'])}",
            ]
            for entry in numbers["summary"]
        ]
        bins = [
            [_bin(edges, b), *(f"{chi2[b]:.2f}" for chi2 in numbers["bins"])]
            for b in range(len(edges) - 1)
        ]
        points = [
            [
                str(i),
                f"{point['density']:.5f}",
                *(_shown(entry["z"]) for entry in point["compared"]),
            ]
            for i, point in enumerate(numbers["points"])
        ]
        return [
            points_table(numbers["points"]),
            Table(
                f"Mean of {numbers['populations']} populations over all directions against the "
                f"expectation; Pi_max = {numbers['pi_max']:g} Mpc/h. By halotools' estimators, along "
                f"the sides, one differs by {numbers['halotools']:.1e} of its scatter at most",
                ["statistic", "r_p [Mpc/h]", "chi^2 per bin", "largest |z|", "where"],
                summary,
            ),
            Table("chi^2 by bin of r_p, per point", ["r_p [Mpc/h]", *labels], bins),
            Table(
                "chi^2 per bin / largest |z| by point, of all bins; galaxies per (Mpc/h)^3",
                ["", "galaxies", *labels],
                points,
            ),
        ]


def _label(entry: dict[str, Any]) -> str:
    ratio = entry["axis_ratio"]
    return entry["statistic"] + ("" if ratio is None else f", q = {ratio:g}")


def _bin(edges: list[float], b: int) -> str:
    return f"{edges[b]:.3g}-{edges[b + 1]:.3g}"


def _shown(z: list[float]) -> str:
    return f"{np.mean(np.square(z)):.2f} / {np.abs(z).max():.1f}"


def projected_against_halotools(
    halos: HaloCatalogue,
    tabulation: Tabulation,
    n: int = 8,
    seed: int = 0,
    points: Array = PROJECTED_POINTS,
    rp_edges: Array = RP_EDGES,
    pi_max: float = PI_MAX,
    axis_ratios: tuple[float, ...] = AXIS_RATIOS,
    folder: Path | None = None,
    progress: bool = True,
    n_halotools: int = 1,
    space: ParameterSpace = DEFAULT_SPACE,
) -> ProjectedCheck:
    """Compare projected statistics of the tabulation with means of halotools-IA's galaxies.

    Every galaxy is a prolate spheroid of the same axis ratio. The expectation is a mean over all
    directions, from which the three sides of one box differ by more than populations scatter; so each
    population is seen along the lines of `iaemu_likelihood.emulator.mocks.sky_directions`, turned at
    random. The first ones are seen along the sides, too, and there measured with halotools' estimators
    as well. These leave out pairs at exactly the same depth, of which there are a few because
    halotools-IA's positions are in single precision; without such pairs both agree to rounding.

    The standard error of a mean follows from the scatter of the n populations, so that deviations
    divided by it follow Student's distribution. They are given as the standard normal numbers of the
    same probability, whose squares have the mean 1 for any n.

    Parameters
    ----------
    halos, tabulation
        The same catalogue; the tabulation has the statistics that projected ones are made of.
    n : int
        Populations per point.
    seed : int
        As in `iaemu_likelihood.emulator.mocks.checkpoints.of_populations`.
    points : ndarray, shape (n_points, n_parameters)
        Of `space`.
    rp_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    pi_max : float
        Mpc/h.
    axis_ratios : tuple of float
    folder : Path, optional
        Keep measurements in subfolders of it; a run that was stopped goes on from there.
    progress : bool
        Show a progress bar.
    n_halotools : int
        Of each point's populations, how many are measured with halotools' estimators as well.
    space : ParameterSpace

    Raises
    ------
    ValueError
        If `n` is below 2, the tabulation lacks statistics or separations, or a file in the folder is
        damaged or of other populations.
    """
    if n < 2:
        raise ValueError(f"n is {n}; a standard error takes 2 populations or more.")
    if not 1 <= n_halotools <= n:
        raise ValueError(f"n_halotools is {n_halotools}; it must be from 1 to n, {n}.")
    expected, densities = _expected(
        halos, tabulation, points, rp_edges, pi_max, axis_ratios, space, progress
    )
    found, by_halotools = (
        measured_populations(
            halos, points, number, seed, rp_edges, pi_max, axis_ratios, estimator,
            folder and folder / name, progress, space,
        )
        for name, estimator, number in (
            ("directions", over_directions, n),
            ("halotools", along_sides, n_halotools),
        )
    )  # fmt: skip
    difference = np.abs(by_halotools[:, :, 0] - by_halotools[:, :, 1]).max(axis=(1, 2))

    rows: list[dict[str, Any]] = [
        {"parameters": space.named_values(point), "density": density, "compared": []}
        for point, density in zip(points, densities.tolist(), strict=True)
    ]
    near = rp_edges[:-1] < FAR * (1 - 1e-9)
    summary, bins = [], []
    for s, statistic in enumerate(STATISTICS):
        for k, ratio in enumerate(axis_ratios if statistic.n_shapes else [None]):
            what = {"statistic": statistic.name, "axis_ratio": ratio}
            of_model, draws = (
                expected[k, s],
                found[:, :, k, s],
            )
            z, sigma, correlation = _scores(draws, of_model)
            for row, *values in zip(rows, draws.mean(axis=1), sigma, of_model, z, strict=True):
                names = "mean", "standard_error", "expected", "z"
                row["compared"].append(
                    what | {name: x.tolist() for name, x in zip(names, values, strict=True)}
                )
            summary += [
                what | _summary(z, some, rp_edges, correlation)
                for some in (near, ~near)
                if some.any()
            ]
            bins.append(np.mean(z**2, axis=0).tolist())
    numbers = {
        "populations": n,
        "seed": seed,
        "pi_max": pi_max,
        "rp_edges": rp_edges.tolist(),
        "halotools": float((difference / found.std(axis=1, ddof=1)).max()),
        "summary": summary,
        "bins": bins,
        "points": rows,
    }
    return ProjectedCheck(numbers)


def _expected(
    halos: HaloCatalogue,
    tabulation: Tabulation,
    points: Array,
    rp_edges: Array,
    pi_max: float,
    axis_ratios: tuple[float, ...],
    space: ParameterSpace,
    progress: bool,
) -> tuple[Array, Array]:
    """Expectations, (n_axis_ratios, n_statistics, n_points, n_bins), and galaxies per (Mpc/h)^3."""
    # The catalogue's own box has no longer modes than the tabulation.
    conventions = Conventions(pi_max, box=halos.box)
    universe = Universe(halos.cosmology, halos.redshift, halos.box)
    maps = [
        ProjectedMap(statistic, rp_edges, conventions, tabulation.r_edges, universe)
        for statistic in STATISTICS
    ]
    mu, hod = space.split(points)
    templates = tabulation.templates(hod, progress, space.occupation)
    expected = [
        project_exactly(
            templates, mu, maps, conventions, np.full((1, 2), response(ratio)), space.alignment
        )
        for ratio in axis_ratios
    ]
    return np.array(expected), templates.n_galaxies / halos.box**3


def measured_populations(
    halos: HaloCatalogue,
    points: Array,
    n: int,
    seed: int,
    rp_edges: Array,
    pi_max: float,
    axis_ratios: tuple[float, ...],
    estimator: Callable[..., Array],
    folder: Path | None,
    progress: bool,
    space: ParameterSpace = DEFAULT_SPACE,
) -> Array:
    """w_gg, w_g+ and w_++ of halotools-IA's galaxies as spheroids.

    Parameters
    ----------
    halos, points, n, seed, rp_edges, pi_max, axis_ratios, progress, space
        As in `projected_against_halotools`.
    estimator : callable
        `over_directions` or `along_sides`.
    folder : Path or None
        As there, without subfolders.

    Returns
    -------
    ndarray, shape (n_points, n, ..., n_axis_ratios, 3, n_bins)
        By axis ratio and statistic, Mpc/h.
    """

    def measured(galaxies: GalaxyTable, own_seed: int) -> Array:
        catalogue = *positions_and_axes(galaxies), axis_ratios, halos.box
        return estimator(*catalogue, rp_edges, pi_max, own_seed)

    origin = {"rp_edges": rp_edges, "pi_max": pi_max, "axis_ratios": axis_ratios}
    return of_populations(measured, halos, points, n, seed, origin, folder, progress, space)


def over_directions(
    positions: Array,
    axes: Array,
    axis_ratios: Sequence[float],
    box: float,
    rp_edges: Array,
    pi_max: float,
    seed: int,
) -> Array:
    """Mean over all directions, (n_axis_ratios, 3, n_bins).

    Parameters as of `iaemu_likelihood.emulator.mocks.sky_directions.along_directions`; `seed` is of the
    turn of the lines.
    """
    lines = turned_lines(seed)
    seen = along_directions(positions, axes, axis_ratios, box, rp_edges, pi_max, lines)
    return np.asarray(np.tensordot(WEIGHTS, seen, 1))


def along_sides(
    positions: Array,
    axes: Array,
    axis_ratios: Sequence[float],
    box: float,
    rp_edges: Array,
    pi_max: float,
    _: int,
) -> Array:
    """Along the sides, with halotools' estimators and as for the mean, (2, 3, n_axis_ratios, 3, n_bins)."""
    options = box, rp_edges, pi_max
    by_halotools = [
        [
            [seen.w_gg, seen.w_gplus, seen.w_plusplus]
            for seen in along_all_sides(positions, axes, ratio, *options)
        ]
        for ratio in axis_ratios
    ]
    seen = along_directions(positions, axes, axis_ratios, *options, np.eye(3))
    return np.stack([np.swapaxes(by_halotools, 0, 1), seen])


def _scores(draws: Array, expected: Array) -> tuple[Array, Array, Array]:
    """Deviations as standard normal numbers, their standard errors, and correlations of bins.

    Parameters
    ----------
    draws : ndarray, shape (n_points, n, n_bins)
        Of one statistic, by population.
    expected : ndarray, shape (n_points, n_bins)

    Returns
    -------
    z, sigma : ndarray, shape (n_points, n_bins)
    correlation : ndarray, shape (n_bins, n_bins)
        Between populations, of all points.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    n_points, n, n_bins = draws.shape
    mean, scatter = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    sigma = scatter / np.sqrt(n)
    ratio = (mean - expected) / sigma
    z = np.sign(ratio) * norm.isf(student.sf(np.abs(ratio), n - 1))
    scaled = ((draws - mean[:, None]) / scatter[:, None]).reshape(-1, n_bins)
    return z, sigma, scaled.T @ scaled / (n_points * (n - 1))


def _summary(
    z: Array, some: NDArray[np.bool_], rp_edges: Array, correlation: Array
) -> dict[str, Any]:
    """chi^2 per bin of some bins, how far it may lie from 1, and the largest deviation."""
    bins = np.flatnonzero(some)
    point, at = np.unravel_index(np.argmax(np.abs(z) * some), z.shape)
    variance = 2 * (correlation[np.ix_(bins, bins)] ** 2).sum() / len(z)
    return {
        "range": [float(rp_edges[bins[0]]), float(rp_edges[bins[-1] + 1])],
        "chi2_per_bin": float(np.mean(z[:, bins] ** 2)),
        "scatter": float(np.sqrt(variance) / len(bins)),
        "max_abs_z": float(np.abs(z[point, at])),
        "point": int(point),
        "bin": int(at),
    }
