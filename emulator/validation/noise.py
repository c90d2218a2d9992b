"""The noise model against the scatter of catalogues that are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints, realisations
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise import noise_at
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation.expectation import points_table
from iaemu_likelihood.emulator.validation.points import HALOTOOLS_POINT, NOISE_MU, NOISE_POINTS
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseCheck:
    """Result of `noise_against_realisations`.

    Attributes
    ----------
    statistics : tuple of Statistic
    numbers : dict
        ``points``: per HOD point and mu, for each statistic, the ratio of the modelled to the
        measured standard deviation in every bin, and the rms difference of correlation coefficients
        off the diagonal, within each statistic and over all. ``expected_scatter``: that of such a
        ratio from the finite number of catalogues alone, of Gaussian numbers, if they are all
        occupation noise. ``halotools``: a point of `noise_against_halotools`, if asked for.
    """

    statistics: tuple[Statistic, ...]
    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """The points, with every mu, and a row for each of them."""
        by = ["fast mocks"] * len(self.numbers["points"])
        points = [*self.numbers["points"]]
        if "halotools" in self.numbers:
            by.append("halotools-IA")
            points.append(self.numbers["halotools"])
        names = [statistic.name for statistic in self.statistics]
        rows = [
            [
                str(i),
                against,
                f"{point['n_galaxies']:.0f}",
                *(f"{point[s]['mean_ratio']:.3f}, {point[s]['max_deviation']:.3f}" for s in names),
                f"{point['rms_correlation_difference']:.3f}",
            ]
            for i, (against, point) in enumerate(zip(by, points, strict=True))
        ]
        return [
            points_table(points),
            Table(
                "Standard deviation, model / realisations: mean over bins, largest deviation; and rms "
                "difference of correlations (last). Expected scatter of one ratio: "
                f"{self.numbers['expected_scatter']:.3f}",
                ["", "against", "galaxies", *names, "rms"],
                rows,
            ),
        ]


def noise_against_realisations(
    halos: HaloCatalogue,
    n: int,
    n_model: int,
    seed: int,
    hod: Array = NOISE_POINTS,
    mu: Array = NOISE_MU,
    r_edges: Array = R_EDGES,
    folder: Path | None = None,
    progress: bool = True,
    n_halotools: int = 0,
    space: ParameterSpace = DEFAULT_SPACE,
    statistics: tuple[Statistic, ...] = named(DEFAULT_STATISTICS),
) -> NoiseCheck:
    """Compare the noise model with the scatter of catalogues whose axes are drawn.

    Parameters
    ----------
    halos : HaloCatalogue
    n : int
        Catalogues per HOD point; axes are drawn for every mu on each.
    n_model : int
        Catalogues from which the noise model is made, other ones; one model serves every mu.
    seed : int
    hod : ndarray, shape (n_points, n_occupation)
    mu : ndarray, shape (n_mu, n_alignment)
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    folder : Path, optional
        Keep results in subfolders of it; a run that was stopped goes on from there.
    progress : bool
        Show a progress bar.
    n_halotools : int
        Add the comparison with so many halotools-IA catalogues at one point; none if 0.
    space : ParameterSpace
    statistics : tuple of Statistic

    Raises
    ------
    ValueError
        If a number of catalogues or the seed is impossible, or a file in the folder is damaged or of
        other catalogues.
    """
    for name, value, allowed in (
        ("n", n, n >= 2),
        ("n_model", n_model, n_model >= 2),
        ("n_halotools", n_halotools, n_halotools == 0 or n_halotools >= 2),
    ):
        if not allowed:
            raise ValueError(f"{name} is {value}; a standard deviation takes 2 catalogues or more.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative.")
    sites = GalaxySites.of(halos)

    def catalogue(index: int, i: int) -> Array:
        rng = np.random.default_rng([seed, index, i])
        galaxies = populate(sites, hod[index], rng, space.occupation)
        found = (measure(galaxies, x, sites.box, r_edges, rng, statistics) for x in mu)
        return np.array([one.correlations for one in found])

    names = [statistic.name for statistic in statistics]
    origins = [
        {
            "point": point,
            "mu": mu,
            "seed": [seed, index],
            "halos": halos.sha256,
            "r_edges": r_edges,
            "statistics": names,
        }
        for index, point in enumerate(hod)
    ]
    kept = None if folder is None else folder / "fast_mocks"
    draws = draw_with_checkpoints(catalogue, n, origins, kept, "catalogues", progress)
    rows = []
    for index, point in enumerate(hod):
        noise = noise_at(
            sites, point, seed + 1 + index, n_model, r_edges=r_edges, occupation=space.occupation,
            statistics=statistics,
        )  # fmt: skip
        for k, strengths in enumerate(mu):
            rows.append(
                {
                    "parameters": space.named_values(space.join(strengths, point)),
                    "n_galaxies": sites.mean_number(point, space.occupation),
                    **_compare(noise.covariance(*strengths), draws[index, :, k], names),
                }
            )
    numbers = {
        "realisations": n,
        "catalogues_of_the_model": n_model,
        "seed": seed,
        "expected_scatter": float(np.sqrt(0.5 / (n - 1) + 0.5 / (n_model - 1))),
        "points": rows,
    }
    if n_halotools:
        kept = None if folder is None else folder / "halotools"
        numbers["halotools"] = noise_against_halotools(
            halos, n_halotools, n_model, seed, folder=kept, progress=progress, space=space,
            statistics=statistics,
        )  # fmt: skip
    return NoiseCheck(statistics, numbers)


def noise_against_halotools(
    halos: HaloCatalogue,
    n: int,
    n_model: int,
    seed: int,
    point: Array = HALOTOOLS_POINT,
    folder: Path | None = None,
    progress: bool = True,
    space: ParameterSpace = DEFAULT_SPACE,
    statistics: tuple[Statistic, ...] = named(DEFAULT_STATISTICS),
) -> dict[str, Any]:
    """Compare the noise model with the scatter of halotools-IA itself at one point.

    Parameters as in `noise_against_realisations`, for a `point` of shape (n_parameters,); the result
    is as one of its points.
    """
    names = [statistic.name for statistic in statistics]
    (draws,) = realisations(halos, point[None], n, seed, R_EDGES, folder, progress, space, names)
    sites = GalaxySites.of(halos)
    mu, hod = space.split(point)
    noise = noise_at(
        sites, hod, seed, n_model, r_edges=R_EDGES, occupation=space.occupation,
        statistics=statistics,
    )  # fmt: skip
    return {
        "parameters": space.named_values(point),
        "n_galaxies": sites.mean_number(hod, space.occupation),
        "realisations": n,
        "catalogues_of_the_model": n_model,
        **_compare(noise.covariance(*mu), draws, names),
    }


def _compare(model: Array, draws: Array, names: list[str]) -> dict[str, Any]:
    """Standard deviations and correlations of a covariance against those of draws.

    Parameters
    ----------
    model : ndarray, shape (n_statistics n_bins, n_statistics n_bins)
    draws : ndarray, shape (n, n_statistics, n_bins)
    names : list of str
        Of the statistics.
    """
    n_bins = draws.shape[-1]
    flat = draws.reshape(len(draws), -1)
    usable = np.isfinite(flat).all(axis=0) & np.isfinite(np.diag(model))
    report: dict[str, Any] = {}
    sigma, measured = np.sqrt(np.diag(model)), flat.std(axis=0, ddof=1)
    ratio = np.where(usable, sigma / measured, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = model / np.outer(sigma, sigma) - np.corrcoef(flat.T)
    difference[~usable] = difference[:, ~usable] = np.nan
    np.fill_diagonal(difference, np.nan)
    for i, name in enumerate(names):
        block = slice(i * n_bins, (i + 1) * n_bins)
        report[name] = {
            "sigma_ratio": ratio[block].tolist(),
            "max_deviation": float(np.nanmax(np.abs(ratio[block] - 1))),
            "mean_ratio": float(np.nanmean(ratio[block])),
            "rms_correlation_difference": _rms(difference[block, block]),
        }
    report["rms_correlation_difference"] = _rms(difference)
    return report


def _rms(values: Array) -> float:
    return float(np.sqrt(np.nanmean(values**2)))
