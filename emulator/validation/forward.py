"""Measured agreement of the forward model: expectation and noise with catalogues drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.mocks.estimators import (
    R_EDGES,
    STATISTICS,
    correlations,
    positions_and_axes,
)
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.physics.parameters import PARAMETERS
from numpy.typing import NDArray

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog

Array = NDArray[np.float64]

# The three TNG300 samples at the paper's mu (arXiv:2504.05235, Table 1), and six points across
# the domain: strong overflow, few massive hosts, perpendicular axes, the edges of the bands.
CHECK_POINTS = np.array(
    [
        # mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha
        [0.79, 0.30, 12.54, 0.26, 12.68, 13.48, 1.00],
        [0.68, 0.14, 11.93, 0.26, 12.05, 12.85, 1.00],
        [0.54, 0.05, 11.61, 0.26, 11.80, 12.60, 1.00],
        [-0.50, 0.90, 12.00, 0.40, 12.50, 12.60, 1.30],
        [0.95, -0.70, 13.20, 0.60, 13.00, 14.00, 0.80],
        [0.30, 0.98, 11.80, 0.20, 10.50, 13.30, 1.10],
        [-0.90, -0.40, 12.80, 0.25, 13.50, 13.20, 1.35],
        [0.60, 0.50, 12.30, 0.50, 11.50, 12.80, 0.65],
        [0.98, 0.70, 13.60, 0.75, 12.00, 14.60, 1.20],
    ]
)

# Where the noise model is tested: HOD points of the above, and a usual and an extreme mu.
NOISE_POINTS = CHECK_POINTS[[0, 3, 4, 5, 6, 8], 2:]
NOISE_MU = np.array([[0.8, 0.3], [-0.6, 0.95]])

SAVE_EVERY_S = 10.0


def realisations(
    halos: UserSuppliedHaloCatalog,
    points: Array,
    n: int,
    seed: int,
    r_edges: Array,
    folder: Path | None = None,
    progress: bool = True,
) -> Array:
    """xi, omega and eta of n halotools-IA catalogues at each of some parameter points.

    Parameters
    ----------
    halos : halotools.sim_manager.UserSuppliedHaloCatalog
    points : ndarray, shape (n_points, 7)
    n : int
    seed : int
        Realisation i of point k is drawn with seed + 10,000 k + i: with the same seeds, points would
        share the random numbers of their hosts, and with them their fluctuations.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    folder : Path, optional
        Keep results here, a file per point; a run that was stopped goes on from there.
    progress : bool

    Returns
    -------
    ndarray, shape (n_points, n, 3, n_bins)

    Raises
    ------
    ValueError
        If a file in the folder is of another point, seed, catalogue or binning.
    """
    model = HalotoolsIA(halos)

    def catalogue(index: int, i: int) -> Array:
        galaxies = model.populate(points[index], seed + 10_000 * index + i)
        measured = correlations(*positions_and_axes(galaxies), model.box, r_edges)
        return np.stack([getattr(measured, name) for name in STATISTICS])

    origins = [
        {"point": point, "seed": seed + 10_000 * index, "halos": halos.sha256, "r_edges": r_edges}
        for index, point in enumerate(points)
    ]
    return draw_with_checkpoints(catalogue, n, origins, folder, "halotools-IA catalogues", progress)


def draw_with_checkpoints(
    catalogue: Callable[[int, int], Array],
    n: int,
    origins: list[dict[str, Any]],
    folder: Path | None,
    label: str,
    progress: bool,
) -> Array:
    """What n catalogues at each of some points give, kept in a file per point on the way.

    Parameters
    ----------
    catalogue : callable
        From the index of a point and the number of the catalogue.
    n : int
    origins : list of dict
        Per point: what its catalogues follow from.
    folder : Path, optional
    label : str
        Of the progress bar.
    progress : bool

    Returns
    -------
    ndarray, shape (n_points, n, ...)
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    result = []
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(label, total=n * len(origins))
        for index, origin in enumerate(origins):
            file = folder / f"realisations{index}.npz" if folder else None
            done = _read_checkpoint(file, origin)[:n]
            bar.advance(task, len(done))
            saved = monotonic()
            while len(done) < n:
                done.append(catalogue(index, len(done)))
                if file is not None and (len(done) == n or monotonic() - saved > SAVE_EVERY_S):
                    with atomic_write(file) as unfinished, unfinished.open("wb") as content:
                        np.savez(content, draws=np.array(done), **origin)
                    saved = monotonic()
                bar.advance(task)
            result.append(np.array(done))
    return np.stack(result)


def _read_checkpoint(file: Path | None, origin: dict[str, Any]) -> list[Array]:
    if file is None or not file.exists():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        return []
    with np.load(file, allow_pickle=False) as kept:
        for name, value in origin.items():
            if not np.array_equal(kept[name], value):
                raise ValueError(
                    f"{file} was made with {name} = {kept[name]}, not {value}. Choose another folder."
                )
        return list(kept["draws"])


def expectation_against_halotools(
    halos: UserSuppliedHaloCatalog,
    tabulation: Tabulation,
    n: int = 60,
    seed: int = 0,
    points: Array = CHECK_POINTS,
    folder: Path | None = None,
    progress: bool = True,
    n_noise: int = 60,
) -> dict[str, Any]:
    """Compare the tabulated expectation with the mean of halotools-IA realisations.

    Parameters
    ----------
    halos, tabulation
        The same catalogue.
    n : int
        Realisations per point.
    seed : int
        As in `realisations`.
    points : ndarray, shape (n_points, 7)
    folder, progress
        As in `realisations`.
    n_noise : int
        Catalogues for the noise model that gives the standard errors.

    Returns
    -------
    dict
        Per point and statistic: z = (mean - expectation) / standard error in every bin, chi2 per
        bin, max |z|, and the probability of so large a chi2 given the noise model's correlations
        between bins; ``summary`` per statistic over all points, with the smallest probability.
    """
    from iaemu_likelihood.emulator.halos.sites import Slots
    from iaemu_likelihood.emulator.noise.measured import noise_at

    rows: list[dict[str, Any]] = []
    slots = Slots.of(halos)
    every_draw = realisations(halos, points, n, seed, tabulation.r_edges, folder, progress)
    for index, (point, draws) in enumerate(zip(points, every_draw, strict=True)):
        expected = np.stack(
            [x[0] for x in tabulation.templates(point[2:]).correlations(point[0], point[1])]
        )
        noise = noise_at(slots, point[2:], seed + index, n_noise, r_edges=tabulation.r_edges)
        covariance = noise.covariance(point[0], point[1]) / n
        sigma = np.sqrt(np.diag(covariance))
        z = (draws.mean(axis=0) - expected) / sigma.reshape(expected.shape)
        correlation = covariance / np.outer(sigma, sigma)
        rows.append({"parameters": dict(zip(PARAMETERS, point.tolist(), strict=True))})
        for i, name in enumerate(STATISTICS):
            block = slice(i * z.shape[1], (i + 1) * z.shape[1])
            rows[-1][name] = {
                "chi2_per_bin": float(np.mean(z[i] ** 2)),
                "max_abs_z": float(np.abs(z[i]).max()),
                "probability": _probability(z[i], correlation[block, block], seed),
                "z": z[i].round(3).tolist(),
            }
    summary = {
        name: {
            "chi2_per_bin": float(np.mean([row[name]["chi2_per_bin"] for row in rows])),
            "max_abs_z": max(row[name]["max_abs_z"] for row in rows),
            "smallest_probability": min(row[name]["probability"] for row in rows),
        }
        for name in STATISTICS
    }
    return {"realisations": n, "seed": seed, "points": rows, "summary": summary}


def _probability(z: Array, correlation: Array, seed: int, n_draws: int = 100_000) -> float:
    """Probability that correlated standard normal numbers have a larger sum of squares than z."""
    # In the frame of the eigenvectors the sum is one of independent chi^2 of one degree each.
    weights = np.clip(np.linalg.eigvalsh(correlation), 0, None)
    null = np.random.default_rng(seed).chisquare(1, (n_draws, len(z))) @ weights
    return float((1 + np.sum(null >= np.sum(z**2))) / (1 + n_draws))


def noise_against_realisations(
    halos: UserSuppliedHaloCatalog,
    n: int,
    n_model: int,
    seed: int,
    hod: Array = NOISE_POINTS,
    mu: Array = NOISE_MU,
    r_edges: Array = R_EDGES,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare the noise model with the scatter of catalogues whose axes are drawn.

    Parameters
    ----------
    halos : halotools.sim_manager.UserSuppliedHaloCatalog
    n : int
        Catalogues per HOD point; axes are drawn for every mu on each.
    n_model : int
        Catalogues from which the noise model is made, other ones; one model serves every mu.
    seed : int
    hod : ndarray, shape (n_points, 5)
    mu : ndarray, shape (n_mu, 2)
        mu_cen, mu_sat.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    folder, progress
        As in `realisations`.

    Returns
    -------
    dict
        Per HOD point and mu: the ratio of the modelled to the measured standard deviation in every
        bin of every statistic, and the rms difference of correlation coefficients off the
        diagonal, within each statistic and over all 3 n_bins numbers; ``expected_scatter`` of
        such a ratio from the finite number of catalogues alone, of Gaussian numbers, if they are
        all occupation noise.
    """
    from iaemu_likelihood.emulator.halos.sites import Slots
    from iaemu_likelihood.emulator.mocks.fast import measure, populate
    from iaemu_likelihood.emulator.noise.measured import noise_at

    slots = Slots.of(halos)

    def catalogue(index: int, i: int) -> Array:
        rng = np.random.default_rng([seed, index, i])
        galaxies = populate(slots, hod[index], rng)
        found = [measure(galaxies, c, s, slots.box, r_edges, rng).correlations for c, s in mu]
        return np.array([[getattr(one, name) for name in STATISTICS] for one in found])

    origins = [
        {"point": point, "mu": mu, "seed": [seed, index], "halos": halos.sha256, "r_edges": r_edges}
        for index, point in enumerate(hod)
    ]
    draws = draw_with_checkpoints(catalogue, n, origins, folder, "catalogues", progress)
    rows = []
    for index, point in enumerate(hod):
        noise = noise_at(slots, point, seed + 1 + index, n_model, r_edges=r_edges)
        for k, strengths in enumerate(mu):
            theta = [*strengths, *point]
            rows.append(
                {"parameters": dict(zip(PARAMETERS, map(float, theta), strict=True))}
                | {"n_galaxies": slots.mean_number(point)}
                | _compare_covariances(
                    noise.covariance(*strengths), draws[index, :, k].reshape(n, -1)
                )
            )
    return {
        "realisations": n,
        "catalogues_of_the_model": n_model,
        "seed": seed,
        "expected_scatter": float(np.sqrt(0.5 / (n - 1) + 0.5 / (n_model - 1))),
        "points": rows,
    }


def noise_against_halotools(
    halos: UserSuppliedHaloCatalog,
    n: int,
    n_model: int,
    seed: int,
    point: Array = CHECK_POINTS[4],
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare the noise model with the scatter of halotools-IA itself at one point.

    Parameters and results as in `noise_against_realisations`, for a `point` of shape (7,).
    """
    from iaemu_likelihood.emulator.halos.sites import Slots
    from iaemu_likelihood.emulator.noise.measured import noise_at

    (draws,) = realisations(halos, point[None], n, seed, R_EDGES, folder, progress)
    slots = Slots.of(halos)
    noise = noise_at(slots, point[2:], seed, n_model)
    return {
        "parameters": dict(zip(PARAMETERS, point.tolist(), strict=True)),
        "n_galaxies": slots.mean_number(point[2:]),
        "realisations": n,
        "catalogues_of_the_model": n_model,
    } | _compare_covariances(noise.covariance(point[0], point[1]), draws.reshape(n, -1))


def _compare_covariances(model: Array, draws: Array) -> dict[str, Any]:
    """Standard deviations and correlations of a covariance against those of draws."""
    usable = np.isfinite(draws).all(axis=0) & np.isfinite(np.diag(model))
    report: dict[str, Any] = {}
    sigma, measured = np.sqrt(np.diag(model)), draws.std(axis=0, ddof=1)
    ratio = np.where(usable, sigma / measured, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = model / np.outer(sigma, sigma) - np.corrcoef(draws.T)
    difference[~usable] = difference[:, ~usable] = np.nan
    np.fill_diagonal(difference, np.nan)
    n_bins = len(sigma) // len(STATISTICS)
    for i, name in enumerate(STATISTICS):
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
