"""Pulls of fits to catalogues whose covariance is a jackknife of their own, in a box not trained on.

Galaxies are drawn in a second halo catalogue, at the occupation and alignment of the TNG300 samples,
and omega is measured in its whole box, which is periodic, and in its eight octants, which are not.
Each of these measurements comes with the jackknife covariance that it gives itself, as a survey's
does. Alignment strengths are then fitted with the emulator of another box, and compared with the
truth: the *pull* is (posterior mean - truth) / posterior standard deviation.

Octants differ in their halos, so their pulls hold all that scatters a measurement: shape noise, which
galaxies there are, and which halos. The whole box is one draw of halos; its pulls show in addition the
sample variance of the box in which the emulator was trained, as both boxes have the same volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.mocks import jackknife
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints
from iaemu_likelihood.emulator.mocks.fast import drawn_axes, populate
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.statistics import OMEGA
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions
from iaemu_likelihood.likelihood.estimated_covariance import EstimatedCovarianceLikelihood
from iaemu_likelihood.likelihood.model import CorrelationModel, OccupiedModel
from iaemu_likelihood.sampling.calibration import Marginals, coverage, marginals
from iaemu_likelihood.sampling.posterior import check_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Parts of a box per side that are measured by themselves.
N_SPLIT = 2
OCTANTS, WHOLE = "octants", "whole box"
# Jackknife regions per side of what is measured.
N_SIDE = 4
# Which of the published fits gives the alignment of the mocks.
FIT = "halotools_IA"
# Of each sample.
N_POPULATIONS = 9
# Of the integration, in each dimension; means and widths are known to a hundredth of the width.
N_NODES = 28
LEVELS = (0.683, 0.954)
DIAGONAL, FULL = "diagonal", "full"
# Ways to fit: the options of the likelihood that differ.
SETTINGS: dict[str, dict[str, Any]] = {
    ", ".join([error, *how, *(["box"] if model_error == "box" else [])]): {
        "emulator_error": error,
        "covariance": DIAGONAL if DIAGONAL in how else FULL,
        "covariance_correction": "hartlap" if "hartlap" in how else "none",
        "model_error": model_error,
    }
    for error, model_error, how in product(
        ("none", "aleatoric"), ("none", "box"), ([DIAGONAL], [FULL], [FULL, "hartlap"])
    )
    if (error, model_error) != ("aleatoric", "box")
}


def measure_parts(
    positions: Array, axes: Array, box: float, r_edges: Array, n_side: int = N_SIDE
) -> Array:
    """omega of the eight octants of a periodic box, and of the whole, with jackknife covariances.

    Parameters
    ----------
    positions, axes : ndarray, shape (n_galaxies, 3)
        Mpc/h, in [0, box]; unit vectors.
    box : float
        Mpc/h.
    r_edges : ndarray, shape (d + 1,)
        Mpc/h.
    n_side : int
        Jackknife regions per side of an octant, and of the box.

    Returns
    -------
    ndarray, shape (9, d + d * d)
        In each row values and covariance; the whole box comes last.
    """
    size = box / N_SPLIT
    part = np.minimum((positions / size).astype(int), N_SPLIT - 1)
    rows = []
    for corner in np.ndindex(*(N_SPLIT,) * 3):
        inside = (part == corner).all(axis=1)
        place = np.clip(positions[inside] - np.multiply(corner, size), 0, size)
        found = jackknife(place, axes[inside], size, r_edges, n_side, False, [OMEGA.name])
        rows.append(np.append(found[OMEGA.name], found.covariance))
    found = jackknife(positions, axes, box, r_edges, n_side, True, [OMEGA.name])
    return np.array([*rows, np.append(found[OMEGA.name], found.covariance)])


@dataclass(frozen=True)
class Pulls:
    """Pulls of fits to mock catalogues.

    Attributes
    ----------
    numbers : dict
        The settings of the run; ``pulls``, a list with, for each volume, way to fit and parameter, the
        number of fits, mean and rms of the pulls with their standard errors, and the shares of truths
        inside central intervals; and ``points``, the same for each sample.
    """

    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """A table for octants and one for whole boxes."""
        n = self.numbers
        columns = ["covariance", "of", "rms", "mean", *(f"{100 * p:g} %" for p in LEVELS)]
        tables = []
        for volume, regions in ((OCTANTS, "open"), (WHOLE, "periodic")):
            chosen = [row for row in n["pulls"] if row["volume"] == volume]
            rows = [
                [
                    row["setting"],
                    row["parameter"],
                    f"{row['rms']:.2f} ± {row['rms_error']:.2f}"
                    if row["rms_error"]
                    else f"{row['rms']:.2f}",
                    f"{row['mean']:+.2f}",
                    *(f"{100 * row['coverage'][str(p)]:.0f} %" for p in LEVELS),
                ]
                for row in chosen
            ]
            title = (
                f"Pulls in {volume} ({regions}, {n['n_side']}^3 jackknife regions), {chosen[0]['n']} fits, "
                f"weights {n['weights']}"
            )
            tables.append(Table(title, columns, rows))
        return tables

    def sentences(self) -> list[str]:
        """What the numbers should be, and what they cannot show."""
        return [
            "Expected of a covariance that holds all scatter once: rms 1, coverage "
            + " and ".join(f"{100 * p:g} %" for p in LEVELS)
            + ".",
            "Errors of the rms are from leaving out one octant at a time. The whole box is one draw of its "
            "halos, which all its fits share: its rms has no error that could be known.",
        ]


def pulls(
    halos: HaloCatalogue,
    weights: str | Path = "templates",
    n: int = N_POPULATIONS,
    seed: int = 0,
    r_min: float = 0.0,
    n_side: int = N_SIDE,
    samples: Sequence[str] = TNG300_SAMPLES,
    settings: Sequence[str] = tuple(SETTINGS),
    folder: Path | None = None,
    progress: bool = True,
) -> Pulls:
    """Fit mocks of a halo catalogue, in its octants and in all of it, and compare with the truth.

    Parameters
    ----------
    halos : HaloCatalogue
        Not the one that the weights were trained on.
    weights : str or Path
        Name or folder of weights with noise.
    n : int
        Populations for each sample; each gives eight fits in octants and one in the whole box.
    seed : int
        Population i of a sample depends only on the seed, the sample and i.
    r_min : float
        Keep the bins that lie wholly above, Mpc/h.
    n_side : int
        Jackknife regions per side of an octant, and of the box.
    samples : sequence of str
        TNG300 samples, whose occupation, alignment (that of the paper's Table 1 by halotools-IA) and
        bins the mocks have.
    settings : sequence of str
        Keys of `SETTINGS`.
    folder : Path, optional
        Folder for checkpoints; a run that was stopped goes on from these.
    progress : bool

    Returns
    -------
    Pulls

    Raises
    ------
    ValueError
        If the weights were trained on these halos, an argument is impossible, or a bin holds no pair.
    """
    check_whole("n", n, 1)
    check_whole("seed", seed, 0)
    unknown = [s for s in samples if s not in TNG300_SAMPLES]
    if unknown or not samples:
        raise ValueError(f"samples must be some of {', '.join(TNG300_SAMPLES)}; got {samples}.")
    emulator = Emulator.load(weights)
    if halos_of(emulator.card, emulator.redshift)["sha256"] == halos.sha256:
        raise ValueError(
            f"The weights {str(weights)!r} were trained on the halo catalogue {halos.name!r} itself, so "
            "that its sample variance cannot show. Give another one."
        )
    space, sites = emulator.space, GalaxySites.of(halos)
    indices = [TNG300_SAMPLES.index(sample) for sample in samples]
    measured = [Measurement.read(f"tng300.{sample}") for sample in samples]
    points = np.array(
        [
            space.array(
                {name: x[0] for name, x in m.metadata["published_fits"][FIT].items()} | m.hod
            )
            for m in measured
        ]
    )
    truth, hod = space.split(points)
    edges = [m.cut(max(r_min, R_EDGES[0]), R_EDGES[-1]).r_edges for m in measured]

    def mock(k: int, i: int) -> Array:
        rng = np.random.default_rng([seed, indices[k], i])
        galaxies = populate(sites, hod[k], rng, space.occupation)
        axes = drawn_axes(galaxies, truth[k], rng)
        return measure_parts(galaxies.position, axes, sites.box, edges[k], n_side)

    origins = [
        {"hod": hod[k], "mu": truth[k], "seed": [seed, index], "halos": halos.sha256,
         "r_edges": edges[k], "n_side": n_side}
        for k, index in enumerate(indices)
    ]  # fmt: skip
    drawn = draw_with_checkpoints(mock, n, origins, folder, "mock catalogues", progress)
    volumes = {OCTANTS: N_SPLIT**3, WHOLE: 1}
    found = [
        _fits(emulator, hod[k], truth[k], edges[k], drawn[k], volumes, n_side, settings, progress,
              f"fits of {sample}")
        for k, sample in enumerate(samples)
    ]  # fmt: skip
    names = space.alignment.names
    of_samples = {
        sample: _summaries([each], names, settings)
        for sample, each in zip(samples, found, strict=True)
    }
    return Pulls(
        {
            "halos": halos.name, "halos_sha256": halos.sha256, "weights": str(weights), "seed": seed,
            "n_populations": n, "n_side": n_side, "r_min": r_min,
            "r_edges": [x.tolist() for x in edges],
            "points": [space.named_values(point) for point in points],
            "latex": {p.name: p.latex for p in space.alignment.parameters},
            "pulls": _summaries(found, names, settings), "samples": of_samples,
        }
    )  # fmt: skip


# By volume and way to fit: pulls and ranks, each of shape (n_populations, n_parts, n_parameters).
Found = Mapping[tuple[str, str], tuple[Array, Array]]


def _fits(
    emulator: Emulator, hod: Array, truth: Array, edges: Array, drawn: Array,
    volumes: Mapping[str, int], n_side: int, settings: Sequence[str], progress: bool, label: str,
) -> Found:  # fmt: skip
    """Pulls and ranks of all mocks of one sample."""
    from rich.progress import track

    occupied = CorrelationModel(emulator, [OMEGA.name]).at(torch.as_tensor(hod)[None])
    size = len(edges) - 1
    first, found = 0, {}
    for volume, n_parts in volumes.items():
        rows = drawn[:, first : first + n_parts].reshape(-1, size + size**2)
        first += n_parts
        each: dict[str, list[tuple[Array, Array]]] = {name: [] for name in settings}
        one_mock = rows[0, :size], rows[0, size:].reshape(size, size)
        likelihoods = _likelihoods(edges, *one_mock, n_side**3, n_parts, settings)
        near: dict[tuple[str, ...], Array] = {}
        for row in track(rows, f"{label}, {volume}", disable=not progress):
            values, covariance = row[:size], row[size:].reshape(size, size)
            fitted = _fit(likelihoods, occupied, values, covariance, near)
            for name, one in fitted.items():
                ranks = one.cdf(truth[None])[0]
                each[name].append(((one.mean[0] - truth) / one.std[0], ranks))
        for name, several in each.items():
            z, ranks = (
                np.array(x).reshape(len(drawn), n_parts, -1) for x in zip(*several, strict=True)
            )
            found[volume, name] = z, ranks
    return found


def _likelihoods(
    edges: Array, values: Array, covariance: Array, n_jackknife: int, volume_factor: float,
    settings: Sequence[str],
) -> dict[str, CorrelationLikelihood]:  # fmt: skip
    """The likelihood of one mock by each way to fit."""
    measured = Measurement(
        "mock", edges[:-1], edges[1:], {OMEGA.name: values},
        {OMEGA.name: np.sqrt(np.diag(covariance))}, {(OMEGA.name, OMEGA.name): covariance},
        n_jackknife,
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mock.ecsv"
        measured.write(file)
        return {
            name: CorrelationLikelihood(
                LikelihoodOptions(str(file), volume_factor=volume_factor, **SETTINGS[name])
            )
            for name in settings
        }


def _fit(
    likelihoods: Mapping[str, CorrelationLikelihood], occupied: OccupiedModel, values: Array,
    covariance: Array, near: dict[tuple[str, ...], Array],
) -> dict[str, Marginals]:  # fmt: skip
    """Posteriors of the alignment strengths from a mock, by likelihoods of one like it.

    Where they were is kept in `near`, by the errors that a likelihood adds, as the next ones are not far.
    """
    for likelihood in likelihoods.values():
        # Only the covariance is another: `marginals` is given the values.
        diagonal = likelihood.options.covariance == DIAGONAL
        likelihood.comparison = EstimatedCovarianceLikelihood(
            likelihood.data.values,
            np.diag(np.diag(covariance)) if diagonal else covariance,
            correction=likelihood.options.covariance_correction,
            n_estimates=likelihood.data.n_jackknife,
        )  # fmt: skip
    # Posteriors that are computed together share their nodes, and must not differ much in width.
    alike: dict[tuple[str, ...], dict[str, CorrelationLikelihood]] = {}
    for name, likelihood in likelihoods.items():
        alike.setdefault(likelihood.errors, {})[name] = likelihood
    found: dict[str, Marginals] = {}
    for errors, some in alike.items():
        found |= marginals(
            some, occupied, values[None], N_NODES, progress=False, start=near.get(errors)
        )
        last = found[next(iter(some))]
        near[errors] = np.concatenate([last.low, last.high])
    return found


def _summaries(
    found: Sequence[Found], names: Sequence[str], settings: Sequence[str]
) -> list[dict[str, Any]]:
    """Numbers of `Pulls` over some samples."""
    rows = []
    for volume, setting in product((OCTANTS, WHOLE), settings):
        z, ranks = (
            np.array([each[volume, setting][i] for each in found]) for i in range(2)
        )  # (n_samples, n_populations, n_parts, n_parameters)
        for p, name in enumerate(names):
            of_parts = np.moveaxis(z[..., p], 2, 0).reshape(z.shape[2], -1)
            rows.append(
                {
                    "volume": volume,
                    "setting": setting,
                    "parameter": name,
                    "n": of_parts.size,
                    "rms": _rms(of_parts),
                    "rms_error": _error(of_parts),
                    "mean": float(of_parts.mean()),
                    "coverage": {
                        str(level): float(coverage(ranks[..., p].ravel(), level))
                        for level in LEVELS
                    },
                }
            )
    return rows


def _rms(z: Array) -> float:
    return float(np.sqrt(np.mean(z**2)))


def _error(z: Array) -> float | None:
    """Standard error of the rms of pulls, (n_parts, m), by leaving out one part at a time."""
    n = len(z)
    if n < 2:
        return None
    left = np.array([_rms(np.delete(z, i, axis=0)) for i in range(n)])
    return float(np.sqrt((n - 1) * left.var()))


def pulls_plot(result: Pulls) -> Figure:
    """Draw the rms of the pulls of each way to fit, in octants and in whole boxes.

    Parameters
    ----------
    result : Pulls

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    from iaemu_likelihood.plots.style import PAGE, colours, styled

    rows = result.numbers["pulls"]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    latex = result.numbers["latex"]
    with styled():
        figure = Figure(figsize=(PAGE, 0.9 + 0.28 * len(settings)))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, volume in zip(panels, (OCTANTS, WHOLE), strict=True):
            axes.axvline(1, color="0.6", lw=1)
            for i, parameter in enumerate(latex):
                some = [r for r in rows if r["volume"] == volume and r["parameter"] == parameter]
                y = np.arange(len(some)) + 0.15 * (2 * i - 1)
                axes.errorbar(
                    [r["rms"] for r in some], y, xerr=[r["rms_error"] or 0 for r in some],
                    fmt="os"[i % 2], ms=4, color=colours()[i], label=f"${latex[parameter]}$",
                )  # fmt: skip
            axes.set(xlabel="rms of the pulls", title=f"{volume}, {some[0]['n']} fits")
        panels[0].set_yticks(range(len(settings)), settings)
        panels[0].invert_yaxis()
        panels[1].legend()
    return figure
