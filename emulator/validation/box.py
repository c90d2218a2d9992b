"""The sample variance of a box: measured by regions, and held against the difference of two boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints
from iaemu_likelihood.emulator.mocks.fast import KINDS, carried_by, populate
from iaemu_likelihood.emulator.mocks.jackknife import regions_of
from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums
from iaemu_likelihood.emulator.noise.box import MORE_TERMS, BoxVariance, regress
from iaemu_likelihood.emulator.physics.bins import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PAIRS,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.templates import combine_templates, templates_of
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation.points import CHECK_POINTS
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Regions per side.
N_SIDE = 3
# Galaxies in the populations of a half, about, and the most populations.
GALAXIES, MOST = 300_000, 100
# Halves of the populations, whose difference tells how much of their scatter is left.
HALVES = 2
# Points of `CHECK_POINTS` at which the regression is tested: the TNG300 samples.
TESTED = 3


def deviations(
    sites: GalaxySites,
    hod: Array,
    n: int,
    rng: np.random.Generator,
    r_edges: Array,
    n_side: int = N_SIDE,
    statistics: Sequence[Statistic] = named(DEFAULT_STATISTICS),
    occupation: Occupation = ZHENG07,
) -> tuple[Array, Array]:
    """Templates, and how they change when a region of the box is left out.

    Parameters
    ----------
    sites : GalaxySites
    hod : ndarray, shape (n_occupation,)
        Masses are log10 of Msun/h.
    n : int
        Populations, over which pair sums are averaged.
    rng : numpy.random.Generator
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    n_side : int
        Regions per side of the box.
    statistics : sequence of Statistic
    occupation : Occupation

    Returns
    -------
    templates : ndarray, shape (n_templates, n_bins)
        With ln(1 + xi) in place of xi.
    deviations : ndarray, shape (n_side**3, n_templates, n_bins)
        The sum of their squares is the jackknife's variance over boxes.
    """
    templates = templates_of(tuple(statistics))
    n_regions, n_bins = n_side**3, len(r_edges) - 1
    sums = {t: np.zeros((n_regions, n_bins)) for t in templates}
    pairs, number = np.zeros((n_regions, n_bins)), np.zeros(n_regions)
    kernel_of = {t: s.kernel for s in statistics for t in s.templates}
    for _ in range(n):
        galaxies = populate(sites, hod, rng, occupation)
        region, inside = regions_of(galaxies.position % sites.box, sites.box, n_side)
        by_kind, _ = kernel_sums(
            set(kernel_of.values()), galaxies.position, galaxies.reference,
            region * len(KINDS) + galaxies.kind, n_regions * len(KINDS), sites.box, r_edges,
        )  # fmt: skip
        of_first = {
            kernel: x.reshape(n_regions, len(KINDS), n_regions, len(KINDS), n_bins).sum(axis=2)
            for kernel, x in by_kind.items()
        }
        for t in templates:
            sums[t] += [carried_by(t.kinds, x) for x in of_first[kernel_of[t]]]
        pairs += of_first[PAIRS].sum(axis=(1, 2))
        number += inside

    def of(total: dict[Any, Array], pairs: Array, number: Any, share: float) -> Array:
        """Templates of a share of the box, from the sums of n populations."""
        density = np.asarray(number / n / (sites.box**3 * share))[..., None]
        random = density**2 * shell_volumes(r_edges) * sites.box**3 * share * n
        values = []
        for s in statistics:
            for t in s.templates:
                found = s.from_ordered_pairs(total[t], pairs, random)
                values.append(np.log1p(found) if s.learned_as_logarithm else found)
        return np.stack(values, axis=-2)

    everything = of({t: x.sum(axis=0) for t, x in sums.items()}, pairs.sum(axis=0), number.sum(), 1)
    left = of(
        {t: x.sum(axis=0) - x for t, x in sums.items()},
        pairs.sum(axis=0) - pairs,
        number.sum() - number,
        1 - 1 / n_regions,
    )
    return everything, np.sqrt(1 - 1 / n_regions) * (left - left.mean(axis=0))


@dataclass(frozen=True)
class BoxCheck:
    """Result of `box_variance`.

    Attributes
    ----------
    variance : BoxVariance
    numbers : dict
        The settings; and ``points``: at each of the tested points, for each statistic and bin, sigma of
        one box from the regression and as measured there; with two boxes their difference.
    """

    variance: BoxVariance
    numbers: dict[str, Any]

    def tables(self) -> list[Table]:
        """A row for each tested point and statistic."""
        two = self.numbers["n_boxes"] == 2
        rows = []
        for i, point in enumerate(self.numbers["points"]):
            for name, x in point["statistics"].items():
                ratio = np.array(x["regression"]) / np.array(x["measured"])
                row = [
                    str(i),
                    name,
                    f"{np.mean(ratio):.2f}",
                    f"{ratio.min():.2f} to {ratio.max():.2f}",
                ]
                if two:
                    z = np.array(x["difference"]) / np.array(x["regression"])
                    row += [f"{np.sqrt(np.mean(z**2)):.2f}", f"{np.abs(z).max():.1f}"]
                rows.append(row)
        columns = ["", "of", "regression / measured", "in bins"]
        columns += ["two boxes, rms", "largest"] if two else []
        title = (
            f"Sigma of one box from {self.numbers['n_deviations']} regions: the regression against what is "
            "measured at points that it has not seen"
        )
        if two:
            title += "; difference of the two boxes in units of it (1.4 expected)"
        return [Table(title, columns, rows)]


def box_variance(
    catalogues: Sequence[HaloCatalogue],
    domain: Domain,
    n_points: int = 32,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
    command: str = "",
    galaxies: int = GALAXIES,
    n_side: int = N_SIDE,
    tested: Array = CHECK_POINTS[:TESTED],
    space: ParameterSpace = DEFAULT_SPACE,
    statistics: Sequence[str] = DEFAULT_STATISTICS,
    r_edges: Array = R_EDGES,
) -> BoxCheck:
    """Estimate the sample variance of a box from its regions, over a domain of occupations.

    Parameters
    ----------
    catalogues : sequence of HaloCatalogue
        That of the model, and maybe others like it: same cosmology, redshift and size, other phases.
    domain : Domain
        In which occupations are drawn.
    n_points : int
        Occupations.
    seed : int
    folder : Path, optional
        Keep results here, a file per point; a run that was stopped goes on from there.
    progress : bool
        Show a progress bar.
    command : str
        By which this was called, for the file.
    galaxies : int
        About this many galaxies are drawn for each half of a point.
    n_side : int
        Regions per side.
    tested : ndarray, shape (n, n_parameters)
        Points that the regression does not see.
    space : ParameterSpace
    statistics : sequence of str
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.

    Returns
    -------
    BoxCheck

    Raises
    ------
    ValueError
        If there are too few points, catalogues differ in size or redshift, or a region stays empty.
    """
    one, *others = catalogues
    n_features = MORE_TERMS + space.n_occupation
    if n_points < 2 * n_features:
        raise ValueError(
            f"n_points is {n_points}; {n_features} terms take {2 * n_features} or more."
        )
    for other in others:
        if (other.box, other.redshift) != (one.box, one.redshift) or other.sha256 == one.sha256:
            raise ValueError(
                f"The halo catalogue {other.name!r} ({other.box:g} Mpc/h, z = {other.redshift:g}) must be "
                f"another box like {one.name!r} ({one.box:g} Mpc/h, z = {one.redshift:g})."
            )
    of_statistics = named(statistics)
    mu, hod = space.split(np.concatenate([domain.sample(n_points, seed), tested]))
    sites = [GalaxySites.of(x) for x in catalogues]
    places = [(b, p) for b in range(len(sites)) for p in range(len(hod))]

    def half(index: int, i: int) -> Array:
        b, p = places[index]
        n = int(np.clip(galaxies // sites[b].mean_number(hod[p], space.occupation), 1, MOST))
        rng = np.random.default_rng([seed, b, p, i])
        found = deviations(
            sites[b], hod[p], n, rng, r_edges, n_side, of_statistics, space.occupation
        )
        return np.concatenate([found[0][None], found[1]])

    origins = [
        {"hod": hod[p], "seed": [seed, b, p], "halos": catalogues[b].sha256, "galaxies": galaxies,
         "n_side": n_side, "statistics": list(statistics), "r_edges": r_edges}
        for b, p in places
    ]  # fmt: skip
    drawn = draw_with_checkpoints(half, HALVES, origins, folder, "halves of points", progress)
    drawn = drawn.reshape(len(sites), len(hod), HALVES, *drawn.shape[2:])
    means, of_regions = drawn[..., 0, :, :], drawn[..., 1:, :, :]
    # Each box gives an estimate of the variance, and the mean of these is taken.
    each = np.nan_to_num(of_regions.mean(axis=2) / np.sqrt(len(sites)))
    between = np.nan_to_num(np.diff(of_regions, axis=2)[:, :, 0] / 2 / np.sqrt(len(sites)))
    all_regions = np.concatenate(list(each), axis=1)
    noise = (between**2).sum(axis=(0, 2))
    seen = slice(0, n_points)
    variance = regress(
        hod[seen], all_regions[seen], noise[seen], of_statistics, r_edges,
        occupation=space.occupation.name, halos_sha256=one.sha256, command=command,
    )  # fmt: skip
    rows = []
    for p in range(n_points, len(hod)):
        excess = np.expm1(means[:, p, :, 0].mean(axis=(0, 1)))[None]  # xi is the first template
        strengths = mu[p][None]

        def of_statistic(x: Array, excess: Array = excess, strengths: Array = strengths) -> Array:
            return np.asarray(variance(x, strengths, of_statistics, excess, space.alignment))[:, 0]

        measured = (of_statistic(all_regions[p][:, None]) ** 2).sum(axis=0)
        left = (of_statistic(np.concatenate(list(between[:, p]))[:, None]) ** 2).sum(axis=0)
        smooth = (of_statistic(variance.of_templates(hod[p][None])) ** 2).sum(axis=0)
        row: dict[str, Any] = {}
        boxes = means[:, p].mean(axis=1)
        boxes[:, 0] = np.expm1(boxes[:, 0])
        values = combine_templates(boxes, strengths, of_statistics)
        for s, statistic in enumerate(of_statistics):
            row[statistic.name] = {
                "regression": np.sqrt(smooth[s]).tolist(),
                "measured": np.sqrt(np.clip(measured[s] - left[s], 0, None)).tolist(),
                "mean": values[0, s].tolist(),
                **(
                    {"difference": (values[1, s] - values[0, s]).tolist()}
                    if len(sites) == 2
                    else {}
                ),
            }
        rows.append(
            {"parameters": space.named_values(space.join(mu[p], hod[p])), "statistics": row}
        )
    numbers = {
        "command": command, "halos": [x.name for x in catalogues],
        "halos_sha256": [x.sha256 for x in catalogues], "n_boxes": len(sites), "n_side": n_side,
        "n_points": n_points, "seed": seed, "n_deviations": variance.n_deviations,
        "r_edges": r_edges.tolist(), "points": rows,
    }  # fmt: skip
    return BoxCheck(variance, numbers)
