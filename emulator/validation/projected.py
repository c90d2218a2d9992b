"""Projected statistics from the tabulation against those of halotools-IA's galaxies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import of_populations
from iaemu_likelihood.emulator.mocks.estimators import positions_and_axes
from iaemu_likelihood.emulator.mocks.projected import along_all_sides
from iaemu_likelihood.emulator.models.exact import project_exactly
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import project, response
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
# From here on (Mpc/h), lines of sight through one box differ by what galaxies do not scatter.
ANISOTROPIC_FROM = 10.0
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
        range of r_p, chi2 per bin over all points, how far it scatters about 1 if all is as expected
        (null where the lines of sight differ, as all points see the same ones), and the largest |z|
        with its point and bin. ``bins``: for each statistic and axis ratio, chi2 in every bin per
        point. ``halotools``: largest difference between the statistics by halotools' estimators and
        those compared here, in units of the scatter of one population.
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
                f"{entry['chi2_per_bin']:.2f}" + _scatter(entry),
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
                f"Mean of {numbers['populations']} populations, each along three lines of sight, "
                f"against the expectation; Pi_max = {numbers['pi_max']:g} Mpc/h. Measured with "
                f"halotools' estimators, one population differs by {numbers['halotools']:.1e} of its "
                "scatter at most",
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


def _scatter(entry: dict[str, Any]) -> str:
    return "" if entry["scatter"] is None else f" (1 ± {entry['scatter']:.2f})"


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
    anisotropic_from: float = ANISOTROPIC_FROM,
    space: ParameterSpace = DEFAULT_SPACE,
) -> ProjectedCheck:
    """Compare projected statistics of the tabulation with means of halotools-IA's galaxies.

    Each population is seen along the three sides of the box, with every galaxy a prolate spheroid of
    the same axis ratio. Its pairs are counted by the loop of `iaemu measure`; the first ones are
    measured with halotools' estimators as well. These leave out pairs at exactly the same depth, of
    which there are a few because halotools-IA's positions are in single precision; without such pairs
    both agree to rounding.

    The standard error of a mean follows from the scatter of the n populations, so that deviations
    divided by it follow Student's distribution. They are given as the standard normal numbers of the
    same probability, whose squares have the mean 1 for any n. The box, too, is one draw: the mean over
    its three sides is not that over all directions. From `anisotropic_from` on, the variance between
    the sides, less what populations scatter by (an analysis of variance in two ways), is added to the
    squared standard errors, as a share of the squared expectation, which is the same for all points.

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
    anisotropic_from : float
        Mpc/h; that of the bundled catalogue by default.
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
        for name, estimator, number in (("counted", counted, n), ("halotools", estimated, n_halotools))
    )  # fmt: skip
    scatter = found.mean(axis=3).std(axis=1, ddof=1)
    difference = np.abs(by_halotools - found[:, :n_halotools]).max(axis=(1, 3)) / scatter

    far = rp_edges[:-1] >= anisotropic_from * (1 - 1e-9)
    rows: list[dict[str, Any]] = [
        {"parameters": space.named_values(point), "density": density, "compared": []}
        for point, density in zip(points, densities.tolist(), strict=True)
    ]
    summary, bins = [], []
    for s, statistic in enumerate(STATISTICS):
        for k, ratio in enumerate(axis_ratios if statistic.n_shapes else [None]):
            what = {"statistic": statistic.name, "axis_ratio": ratio}
            draws, of_model = found[:, :, k, :, s], expected[k, s]
            z, sigma, correlation = _scores(draws, of_model, far)
            for row, *values in zip(rows, draws.mean(axis=(1, 2)), sigma, of_model, z, strict=True):
                names = "mean", "standard_error", "expected", "z"
                row["compared"].append(
                    what | {name: x.tolist() for name, x in zip(names, values, strict=True)}
                )
            summary += [
                what | _summary(z, some, rp_edges, None if some is far else correlation)
                for some in (~far, far)
                if some.any()
            ]
            bins.append(np.mean(z**2, axis=0).tolist())
    numbers = {
        "populations": n,
        "seed": seed,
        "pi_max": pi_max,
        "rp_edges": rp_edges.tolist(),
        "halotools": float(difference.max()),
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
        `counted` or `estimated`.
    folder : Path or None
        As there, without subfolders.

    Returns
    -------
    ndarray, shape (n_points, n, n_axis_ratios, 3, 3, n_bins)
        By line of sight and then by statistic, Mpc/h.
    """

    def measured(galaxies: GalaxyTable) -> Array:
        position, axes = positions_and_axes(galaxies)
        return np.array(
            [estimator(position, axes, q, halos.box, rp_edges, pi_max) for q in axis_ratios]
        )

    origin = {"rp_edges": rp_edges, "pi_max": pi_max, "axis_ratios": axis_ratios}
    return of_populations(measured, halos, points, n, seed, origin, folder, progress, space)


def counted(
    position: Array, axes: Array, axis_ratio: float, box: float, rp_edges: Array, pi_max: float
) -> Array:
    """w_gg, w_g+ and w_++ along each side, (3, 3, n_bins), by the loop of `iaemu measure`.

    Parameters
    ----------
    position, axes, axis_ratio, box, rp_edges, pi_max
        As in `iaemu_likelihood.emulator.mocks.projected.along_all_sides`.
    """
    from iaemu_likelihood.emulator.mocks.sky_pairs import sky_sums

    n = len(position)
    random = n**2 / box**3 * np.pi * np.diff(rp_edges**2) * 2 * pi_max
    everywhere, found = np.zeros(n, np.int64), []
    for side in range(3):
        seen = np.roll(position, 2 - side, axis=1)
        shapes = project(axes, axis_ratio, side)
        (sums,) = sky_sums(seen, shapes, everywhere, 1, box, rp_edges, pi_max)
        pairs, carried, both, *_ = sums / random
        found.append([pairs - 1, carried, both])
    return 2 * pi_max * np.array(found)


def estimated(
    position: Array, axes: Array, axis_ratio: float, box: float, rp_edges: Array, pi_max: float
) -> Array:
    """As `counted`, with halotools' estimators."""
    seen = along_all_sides(position, axes, axis_ratio, box, rp_edges, pi_max)
    return np.array([[x.w_gg, x.w_gplus, x.w_plusplus] for x in seen])


def _scores(draws: Array, expected: Array, far: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Deviations as standard normal numbers, their standard errors, and correlations of bins.

    Parameters
    ----------
    draws : ndarray, shape (n_points, n, 3, n_bins)
        Of one statistic, by population and line of sight.
    expected : ndarray, shape (n_points, n_bins)
    far : ndarray of bool, shape (n_bins,)
        Where the lines of sight differ.

    Returns
    -------
    z, sigma : ndarray, shape (n_points, n_bins)
    correlation : ndarray, shape (n_bins, n_bins)
        Between populations, of all points.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    n = draws.shape[1]
    of_populations, of_lines = draws.mean(axis=2), draws.mean(axis=1)
    mean = of_lines.mean(axis=1)
    deviations = of_populations - mean[:, None]
    variance = (deviations**2).sum(axis=1) / (n - 1) / n
    own = draws - of_populations[:, :, None] - of_lines[:, None] + mean[:, None, None]
    own_variance = (own**2).sum(axis=(1, 2)) / (2 * (n - 1))
    between = of_lines.var(axis=1, ddof=1) - own_variance / n
    share = np.clip(between.sum(axis=0) / (expected**2).sum(axis=0), 0, None)
    of_box = far * share * expected**2 / 3
    total = variance + of_box
    # Of a sum of variances that are estimated with n - 1 and 2 degrees of freedom (Satterthwaite).
    freedom = total**2 / (variance**2 / (n - 1) + of_box**2 / 2)
    ratio = (mean - expected) / np.sqrt(total)
    z = np.sign(ratio) * norm.isf(student.sf(np.abs(ratio), freedom))
    scaled = (deviations / np.sqrt(variance * n)[:, None]).reshape(-1, len(far))
    return z, np.sqrt(total), scaled.T @ scaled / (len(draws) * (n - 1))


def _summary(
    z: Array, some: NDArray[np.bool_], rp_edges: Array, correlation: Array | None
) -> dict[str, Any]:
    """chi^2 per bin of some bins, how far it may lie from 1, and the largest deviation."""
    bins = np.flatnonzero(some)
    point, at = np.unravel_index(np.argmax(np.abs(z) * some), z.shape)
    scatter = None
    if correlation is not None:
        variance = 2 * (correlation[np.ix_(bins, bins)] ** 2).sum()
        scatter = float(np.sqrt(variance / len(z)) / len(bins))
    return {
        "range": [float(rp_edges[bins[0]]), float(rp_edges[bins[-1] + 1])],
        "chi2_per_bin": float(np.mean(z[:, bins] ** 2)),
        "scatter": scatter,
        "max_abs_z": float(np.abs(z[point, at])),
        "point": int(point),
        "bin": int(at),
    }
