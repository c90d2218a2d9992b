"""A tabulation as a model: exact expectations, which have no error of an emulator.

The emulator of kind `exact` evaluates a tabulation (`iaemu_likelihood.emulator.expectation`) wherever
weights are taken. It needs no training, knows any occupation, and takes longer than networks do. See
`docs/exact.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import ArrayOrTensor, cast, like, namespace, unaffected
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.expectation.compact import Combinations
from iaemu_likelihood.emulator.expectation.directed_pairs import DirectedPairs
from iaemu_likelihood.emulator.expectation.directed_sums import BATCH, DirectedSums, Galaxies
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.hdf5 import open_hdf5
from iaemu_likelihood.emulator.models.base import Emulator, Occupied
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.projected import ProjectedMap, ProjectedMoments, sources_of
from iaemu_likelihood.emulator.models.weights import EXACT, SCHEMA, TENSORS_HASH, card_path
from iaemu_likelihood.emulator.numeric import Numeric
from iaemu_likelihood.emulator.physics.alignment import INCLUDED, Alignment
from iaemu_likelihood.emulator.physics.bins import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.linear_theory import MATCHED
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PAIRS,
    PROJECTED,
    XI,
    ProjectedStatistic,
    Statistic,
)
from iaemu_likelihood.emulator.physics.templates import (
    CrossTemplates,
    Templates,
    bilinear,
    degrees_of,
    template_weights,
)
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

NO_NOISE = (
    "A tabulation gives expectations, not the scatter of single catalogues about them (aleatoric). Set "
    "emulator_error: none, or take weights of kind templates."
)
# Points that are evaluated together: occupations of all cells of so many take some 50 MB.
_BATCH = 128
# Of where an occupation is outside the domain.
_ROUNDING = 1e-6


class ExactlyOccupied:
    """Exact templates at n occupations, as `iaemu_likelihood.emulator.models.base.Occupied`.

    In bins without pairs, where means over pairs are undefined, they are 0.

    Parameters
    ----------
    templates : Templates
    alignment : Alignment, optional
        That of the templates, if it is left out.
    """

    def __init__(self, templates: Templates, alignment: Alignment | None = None) -> None:
        xp, values = namespace(templates.values), templates.values
        self.excess = templates.xi
        undefined = xp.isnan(values) & (self.excess == -1)[:, None]
        self._statistics, self._values = templates.statistics, xp.where(undefined, 0.0, values)
        self._alignment = templates.alignment if alignment is None else alignment

    def __call__(
        self,
        mu: Any,
        statistics: tuple[Statistic, ...],
        errors: Collection[str] = (),
        responses: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        if "aleatoric" in errors:
            raise ValueError(NO_NOISE)
        degrees = degrees_of(statistics)
        strengths = self._alignment.strengths(mu, degrees)
        if responses is not None:
            strengths = strengths * responses
        products = bilinear(cast(strengths, self._values.dtype))
        weights = template_weights(products, statistics, self._statistics, degrees)
        mean = weights @ self._values
        zero = namespace(mean).zeros_like(mean)
        # Of two members that agree.
        return mean, {kind: namespace(mean).stack((zero, zero)) for kind in errors}


class AlignedByMass:
    """The same of strengths that depend on host mass: sums are made anew for each alignment.

    Parameters
    ----------
    pairs : DirectedPairs
        Of the statistics and bins that are wanted.
    means : torch.Tensor, shape (n, 2 n_intervals)
        Mean numbers of centrals and of satellites per host.
    number : torch.Tensor, shape (n,)
        Mean number of galaxies in the box.
    volumes : ndarray, shape (n_bins,)
        Of the bins, in units of the box's.
    space : ParameterSpace
    given : ndarray or torch.Tensor
        The occupation parameters, whose type results have.
    """

    def __init__(
        self, pairs: DirectedPairs, means: Tensor, number: Tensor, volumes: Array,
        space: ParameterSpace, given: ArrayOrTensor,
    ) -> None:  # fmt: skip
        self._pairs, self._number, self._volumes = pairs, number, volumes
        self._alignment, layout = space.alignment, pairs.layout
        self._everyone = means.new_ones(2, layout.n_intervals)
        galaxies = [
            Galaxies.of(layout, *some.split(layout.n_intervals, dim=1))
            for some in means.split(BATCH)
        ]
        self._sums = [DirectedSums(pairs, x, x, self._everyone) for x in galaxies]
        self._of_pairs = [sums({PAIRS.degree: self._everyone}, {PAIRS.name}) for sums in self._sums]
        found = values_over_pairs(torch.cat(self._of_pairs), number, volumes, (XI,), pairs.kernels)
        self.excess = like(found[:, 0], given)

    def __call__(
        self,
        mu: Any,
        statistics: tuple[Statistic, ...],
        errors: Collection[str] = (),
        responses: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        summed = tuple(dict.fromkeys((XI, *statistics)))  # xi says where there are no pairs
        values = like(self._values(torch.as_tensor(mu), summed), mu)
        uncounted = np.empty(0)
        included = ExactlyOccupied(Templates(summed, values, uncounted, uncounted, INCLUDED))
        return included(mu[:, :0], statistics, errors, responses)

    def _values(self, mu: Tensor, statistics: tuple[Statistic, ...]) -> Tensor:
        """Values of templates, amplitudes included, (n, n_templates, n_bins)."""
        kernels, one = self._pairs.kernels, len(self._number) == 1
        names = {statistic.kernel.name for statistic in statistics} - {PAIRS.name}
        degrees = sorted({x.degree for x in kernels.kernels if x.name in names})
        found = []
        for batch, rows in enumerate(torch.arange(max(len(mu), len(self._number))).split(BATCH)):
            strengths = mu.cpu() if len(mu) == 1 else mu[rows].cpu()
            number = self._number if one else self._number[rows]
            ordered = self._of_pairs[0 if one else batch]
            if degrees:
                weights = dict(zip(degrees, self._amplitudes(strengths, degrees), strict=True))
                of_axes = self._sums[0 if one else batch](weights, names)
                # The templates of pairs come first.
                ordered = torch.cat(
                    [ordered[:, :1].expand(len(of_axes), -1, -1), of_axes[:, 1:]], 1
                )
            found.append(values_over_pairs(ordered, number, self._volumes, statistics, kernels))
        return torch.cat(found)

    def _amplitudes(self, mu: Tensor, degrees: Sequence[int]) -> tuple[Tensor, ...]:
        """Of each degree in each interval of mass, (n, 2, n_intervals)."""
        layout = self._pairs.layout
        at_nodes = self._alignment.amplitudes(mu, torch.as_tensor(layout.nodes), degrees)
        return (torch.as_tensor(layout.from_nodes) @ at_nodes).unbind(-1)


def values_over_pairs(
    ordered: Tensor,
    number: Tensor,
    volumes: Array,
    statistics: tuple[Statistic, ...],
    kernels: Kernels,
) -> Tensor:
    """Values of templates from sums over ordered pairs; 0 for means over no pairs.

    Parameters
    ----------
    ordered : torch.Tensor, shape (n, n_templates of the kernels, n_bins)
    number : torch.Tensor, shape (n,) or (1,)
        Mean number of galaxies in the box.
    volumes : ndarray, shape (n_bins,)
        Of the bins, in units of the box's.
    statistics : tuple of Statistic
    kernels : Kernels

    Returns
    -------
    torch.Tensor, shape (n, n_templates of the statistics, n_bins)
    """
    device = ordered.device
    random = number.to(device)[:, None] ** 2 * torch.as_tensor(volumes, device=device)
    pairs = ordered[:, 0]
    divisor = torch.where(pairs > 0, pairs, torch.inf)
    values = [
        statistic.from_ordered_pairs(
            ordered[:, template], divisor if statistic.is_ratio else pairs, random
        )
        for statistic in statistics
        for template in kernels.templates_of(statistic.kernel)
    ]
    return torch.stack(values, dim=1)


def project_exactly(
    templates: Templates,
    mu: Array,
    maps: Sequence[ProjectedMap],
    conventions: Conventions,
    responses: Array | None = None,
    alignment: Alignment | None = None,
) -> list[Array]:
    """The exact expectation of projected statistics.

    Parameters
    ----------
    templates : Templates
        At n occupations, in the fine bins of the maps.
    mu : ndarray, shape (n, n_alignment)
        Without columns if the templates include amplitudes.
    maps : sequence of ProjectedMap
        One for each statistic.
    conventions : Conventions
        Those of the maps.
    responses : ndarray, shape (n, 2) or (1, 2), optional
        a_2 of centrals and of satellites; not needed for positions alone.
    alignment : Alignment, optional
        That of the templates, if it is left out.

    Returns
    -------
    list of ndarray, shape (n, m)

    Raises
    ------
    ValueError
        If the templates lack a statistic that a map is made of, or are of two samples and in redshift
        space.
    """
    if isinstance(templates, CrossTemplates) and conventions.redshift_space:
        raise ValueError(
            "redshift_space corrects for the velocities of one sample, whose bias follows from its xi; "
            "these templates are of two samples. Set redshift_space: false."
        )
    wanted = dict.fromkeys(source for each in maps for source in each.statistic.learned)
    missing = [source.name for source in wanted if source not in templates.statistics]
    if missing:
        raise ValueError(
            f"{', '.join(each.statistic.name for each in maps)} are made of {', '.join(missing)}, too; "
            f"the templates are those of {', '.join(s.name for s in templates.statistics)}. Tabulate "
            "all of them."
        )
    of_templates = templates.alignment if alignment is None else alignment
    sources = sources_of([each.statistic for each in maps], templates.statistics, of_templates)
    occupied = ExactlyOccupied(templates, of_templates)
    at = ProjectedMoments(occupied, mu, sources, conventions, responses)
    return [at.mean(each) for each in maps]


class ExactEmulator(Emulator, kind=EXACT):
    """A tabulation: exact expectations at any occupation, without networks.

    Its epistemic uncertainty is exactly zero, and the scatter of single catalogues is not known. Inside
    the domain, which is that of the occupation's default bands, pairs in different hosts are summed by
    `iaemu_likelihood.emulator.expectation.compact`; with extrapolation, all functions of the tabulation
    are used outside, so that any point is as good where galaxies are expected at all. With strengths that
    depend on host mass, they are used for all points of a call if one is outside.

    Pair sums are in single precision, as a tabulation holds them; `to` sets the precision of the rest.
    """

    def __init__(self, tabulation: Tabulation, card: dict[str, Any]) -> None:
        edges = tabulation.r_edges
        tensors = {"r_edges": torch.tensor(_own_edges(edges)), "fine_edges": torch.tensor(edges)}
        self._hosts = tabulation.hosts
        super().__init__(tensors | self._hosts.tensors(), card)
        missing = [s.name for s in self.learned if s not in tabulation.statistics]
        if missing:
            raise ValueError(f"the card has {', '.join(missing)}, which are not tabulated.")
        self._tabulation = tabulation
        self.to()

    @staticmethod
    def _read(folder: Path, card: dict[str, Any]) -> Tabulation:
        tabulation, digest = Tabulation.read(folder), _sha256(folder)
        if digest != card[TENSORS_HASH]:
            raise ValueError(
                f"{folder} is not the tabulation that {card_path(folder)} describes: its hash is "
                f"{digest[:12]}..., but the card says {card[TENSORS_HASH][:12]}.... `iaemu tabulate "
                f"{folder}` writes another card, once this one is deleted."
            )
        return tabulation

    @unaffected(gradients=True)
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ExactEmulator:
        self._device, self._dtype = self._target(device, dtype)
        self._sums: dict[tuple[Any, ...], Any] = {}
        return self

    def projected(self, names: Collection[str]) -> tuple[ProjectedStatistic, ...]:
        """Projected statistics by their names, in the order of `PROJECTED`; see `Emulator`."""
        found = tuple(s for s in PROJECTED.values() if s.name in names)
        missing = {x.name for s in found for x in s.learned if x not in self.learned}
        if len(found) < len(names) or (not missing and self.fine_edges[-1] >= MATCHED[1]):
            return super().projected(names)
        raise ValueError(
            f"{', '.join(s.name for s in found)} need {', '.join(sorted(missing) or [XI.name])} up to "
            f"{MATCHED[1]:.4g} Mpc/h; this tabulation has {', '.join(s.name for s in self.learned)} up "
            f"to {self.fine_edges[-1]:.4g} Mpc/h. `iaemu tabulate` makes one with all of them, of boxes "
            "that are large enough."
        )

    @property
    def has_noise(self) -> bool:
        return False

    def _covariance(self, points: Array) -> Array:
        raise ValueError(NO_NOISE)

    def _checked(self, parameters: Any, extrapolate: bool = False, **named: Any) -> Any:
        found = super()._checked(parameters, extrapolate, **named)
        if extrapolate:  # inside the domain numbers of galaxies are possible
            _, hod = self.space.split(found[0])
            self.space.occupation.means(self._hosts.log_mass, hod)
        return found

    def _predict(self, theta: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        mu, hod = self.space.split(theta)
        occupied = self._occupied(hod, self.statistics, self.r_edges)
        errors = ("epistemic",) if epistemic else ()
        mean, found = occupied(mu, self.statistics, errors)
        return mean, None, found["epistemic"][0] if epistemic else None

    @unaffected()
    def at(
        self, hod: ArrayOrTensor, statistics: Sequence[Statistic], n_fine: int | None = None
    ) -> Occupied:
        return self._occupied(hod, statistics, self.fine_edges[: (n_fine or self.n_fine()) + 1])

    def _occupied(self, hod: Any, statistics: Sequence[Statistic], edges: Array) -> Occupied:
        """Templates of some statistics, and of xi, between some of the edges."""
        wanted = tuple(s for s in self.learned if s in statistics or s is XI)
        points = torch.as_tensor(hod)
        if self.space.alignment.depends_on_mass:
            inside = self._inside(points).all()
            pairs = self._kept(
                Tabulation.directed, wanted, edges, self._combinations if inside else None
            )
            galaxies = self._galaxies(points)
            return AlignedByMass(pairs, *galaxies, self._volumes(edges), self.space, hod)
        parts = [self._values(some, wanted, edges).to(self._dtype) for some in points.split(_BATCH)]
        values = like(parts[0] if len(parts) == 1 else torch.cat(parts), hod)
        return ExactlyOccupied(Templates(wanted, values, *np.empty((2, 0))), self.space.alignment)

    @cached_property
    def _combinations(self) -> Combinations:
        return self._tabulation.combinations(self.domain)

    def _inside(self, hod: Tensor) -> Tensor:
        """Whether points are within the domain, (n,)."""
        return (self.domain.to_unit(hod.detach()).abs() <= 1 + _ROUNDING).all(dim=1)

    def _values(self, hod: Tensor, statistics: tuple[Statistic, ...], edges: Array) -> Tensor:
        """Values of templates, (n, n_templates, n_bins)."""
        inside = self._inside(hod)
        if inside.all() or not inside.any():
            return self._values_by(bool(inside.all()), hod, statistics, edges)
        found = None
        for rows, within in ((inside, True), (~inside, False)):
            (places,) = rows.nonzero(as_tuple=True)
            values = self._values_by(within, hod[places], statistics, edges)
            if found is None:
                found = values.new_zeros(len(hod), *values.shape[1:])
            found = found.index_copy(0, places.to(values.device), values)
        assert found is not None
        return found

    def _values_by(
        self, within: bool, hod: Tensor, statistics: tuple[Statistic, ...], edges: Array
    ) -> Tensor:
        """The same, of points that are all within the domain, or all outside."""
        combinations = self._combinations if within else None
        sums = self._kept(Tabulation.compact, statistics, edges, combinations)
        means, number = self._galaxies(hod)
        ordered = sums(*means.split(len(self._hosts.log_mass), dim=1)).double()
        return values_over_pairs(ordered, number, self._volumes(edges), statistics, sums.kernels)

    def _kept(
        self, make: Callable[..., Any], statistics: tuple[Statistic, ...], edges: Array, *given: Any
    ) -> Any:
        """What a method of the tabulation makes of it in these bins, made once."""
        key = make, statistics, edges.tobytes(), *map(id, given)
        if key not in self._sums:
            with torch.inference_mode(False):  # for calls that need gradients, too
                coarser = self._tabulation.coarser(edges, [s.name for s in statistics])
                self._sums[key] = make(coarser, *given, self._device, torch.float32)
        return self._sums[key]

    def _galaxies(self, hod: Tensor) -> tuple[Tensor, Tensor]:
        """Mean numbers of centrals and of satellites in the hosts, (n, 2 m), and in the box, (n,)."""
        means = Numeric.apply(hod.cpu(), self._means)
        density = torch.as_tensor(np.tile(self._hosts.density, 2))
        return means, means @ density * self.universe.box**3

    def _volumes(self, edges: Array) -> Array:
        """Of bins, in units of the box's."""
        found: Array = shell_volumes(edges) / self.universe.box**3
        return found

    def _means(self, hod: Array) -> Array:
        """Mean numbers of centrals and of satellites in the hosts, NaN where they cannot be."""
        occupation, logM = self.space.occupation, self._hosts.log_mass
        with np.errstate(all="ignore"):
            means = occupation.mean_centrals(logM, hod), occupation.mean_satellites(logM, hod)
            most = (1.0, np.finfo(np.float64).max)
            possible = [
                ((x >= 0) & (x <= top)).all(axis=1) for x, top in zip(means, most, strict=True)
            ]
        found = np.concatenate(means, axis=1)
        found[~(possible[0] & possible[1])] = np.nan
        return found


def _own_edges(edges: Array) -> Array:
    """The paper's edges as far as a tabulation goes, if it has them; otherwise its own."""
    paper = R_EDGES[: np.searchsorted(R_EDGES, edges[-1] * (1 + 1e-9))]
    near = np.isclose(paper[:, None], edges, rtol=1e-9, atol=0).any(axis=1)
    return paper if len(paper) > 1 and near.all() else edges


def _sha256(path: Path) -> str:
    """The hash of its content that a tabulation holds, and that reading it has checked."""
    with open_hdf5(path) as file:
        return str(file.attrs["sha256"])


def write_exact_card(path: str | Path, halos: HaloCatalogue) -> Path:
    """Write the card by which a tabulation is a model, beside its file.

    Parameters
    ----------
    path : str or Path
        Of the tabulation.
    halos : HaloCatalogue
        That was tabulated.

    Returns
    -------
    Path
        Of the card.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no tabulation of this catalogue.
    """
    place = Path(path)
    tabulation = Tabulation.read(place, halos.sha256)
    names = [s.name for s in tabulation.statistics]
    statistics = [name for name in names if name in DEFAULT_STATISTICS] or names
    domain = Domain.of()
    card: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": EXACT,
        "description": "A tabulation of pair sums: the exact expectation over the draws of galaxies and "
        "their orientations, without networks and without an error of an emulator. Any occupation.",
        "occupation": domain.space.occupation.name,
        "alignment": domain.space.alignment.name,
        "statistics": statistics,
        "learned": [*statistics, *(name for name in names if name not in statistics)],
        "halos": {"name": halos.name, "sha256": halos.sha256},
        **({"cosmology": halos.cosmology} if halos.cosmology else {}),
        "redshift": halos.redshift,
        "box": halos.box,
        "box_unit": "Mpc/h",
        "r_edges_unit": "Mpc/h",
        "domain": domain.to_dict(),
        "version": version("iaemu_likelihood"),
        "license": "BSD-3-Clause",
        "citation": [
            "arXiv:2504.05235",
            "arXiv:2311.07374",
            "arXiv:1606.04106",
            "arXiv:1903.04509",
        ],
        "training": {"seed": int(tabulation.seed)},
        TENSORS_HASH: _sha256(place),
    }
    write_card(place, card)
    return card_path(place)
