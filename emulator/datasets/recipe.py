"""The recipe of a data set: everything that decides its contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from iaemu_likelihood.emulator.fields import OR_LIST, Seed, Share, check_fields
from iaemu_likelihood.emulator.mocks.halotools_ia import drawable
from iaemu_likelihood.emulator.noise.blocks import N_COMPONENTS, N_NEIGHBOURHOODS
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import DESIGNS, MOST_POINTS, Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.redshift import Redshifts
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, XI, Statistic, named
from iaemu_likelihood.emulator.physics.templates import templates_of
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Array = NDArray[Any]

SPLITS = ("train", "validation", "test")
# Fields that came later than the others, and what a recipe that lacks them means.
LATER: dict[str, Any] = {
    "occupation": ZHENG07.name,
    "alignment": WATSON.name,
    "statistics": list(DEFAULT_STATISTICS),
    "least_galaxies": 0.0,
}


@dataclass(frozen=True)
class Kind:
    """What the recipes of one kind share; `iaemu_likelihood.emulator.datasets.makers` makes rows.

    Attributes
    ----------
    shard_points : int
        Points per shard: what a kill may cost at most.
    draws_catalogues : bool
        Whether galaxies are drawn; a kind that does not has no noise.
    possible : callable
        possible(points, space): of points, (n, n_parameters), the nearest that can be drawn.
    """

    shard_points: int
    draws_catalogues: bool
    possible: Callable[[Array, ParameterSpace], Array] = lambda points, _: points


KINDS = {
    "expectation": Kind(1024, draws_catalogues=False),
    "realisations": Kind(4, draws_catalogues=True),
    "halotools": Kind(1, draws_catalogues=True, possible=drawable),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of a data set.

    Attributes
    ----------
    kind : str
        ``expectation``, ``realisations`` or ``halotools``.
    n_points : int
        HOD points.
    seed : int
    n_catalogues : int
        Per HOD point; 0 for expectation.
    halos : str or tuple of str
        Halo catalogue, see `load_halos`. Several are of one simulation, at different redshifts or of
        different phases (see `Snapshots`). Of expectations, every other point then has a redshift of
        its own between those of the catalogues, the rest are in them; catalogues of galaxies are drawn in one after the other.
    design : str
        See `Domain.sample`.
    domain : dict
        Arguments of the occupation's `bands`.
    noise : bool
        For realisations: keep the moments from which `Noise` gives the shape noise.
    fractions : tuple of float
        Of train, validation and test; those of the paper, arXiv:2504.05235, unless said otherwise.
    r_edges : tuple of float
        Mpc/h.
    occupation, alignment : str
        Names, see `ParameterSpace.named`.
    statistics : tuple of str
        Names, see `iaemu_likelihood.emulator.physics.statistics.STATISTICS`.
    least_galaxies : float
        Mean number of galaxies in a box that is to be expected at every point; see
        `Snapshots.redshifts`.

    Raises
    ------
    ValueError, TypeError
        If a value is impossible; the message names it.
    """

    kind: str
    n_points: PositiveInt
    seed: Seed
    n_catalogues: NonNegativeInt = 0
    halos: Annotated[tuple[str, ...], OR_LIST] | str = "bundled"
    design: str = "sobol"
    domain: dict[str, Any] = field(default_factory=dict)
    noise: bool = True
    fractions: Annotated[tuple[Share, Share, Share], OR_LIST] = (0.7, 0.1, 0.2)
    r_edges: Annotated[tuple[PositiveFloat, ...], OR_LIST] = tuple(R_EDGES.tolist())
    occupation: str = ZHENG07.name
    alignment: str = WATSON.name
    statistics: Annotated[tuple[str, ...], OR_LIST] = DEFAULT_STATISTICS
    least_galaxies: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        if self.design not in DESIGNS:
            raise ValueError(f"design must be one of {', '.join(DESIGNS)}; got {self.design!r}.")
        if not self.catalogues:
            raise ValueError("halos names no catalogue.")
        if self.kind == "halotools" and len(self.catalogues) > 1:
            raise ValueError(
                f"halotools populates one halo catalogue; halos names {len(self.catalogues)}."
            )
        if self.n_points > MOST_POINTS:
            raise ValueError(f"n_points is {self.n_points}; a design has {MOST_POINTS} at most.")
        draws = KINDS[self.kind].draws_catalogues
        if draws == (self.n_catalogues == 0):
            raise ValueError(
                f"n_catalogues is {self.n_catalogues}; {self.kind} takes "
                + ("1 or more." if draws else "0: it has no noise.")
            )
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(
                f"fractions of train, validation and test must add up to 1; got {self.fractions}."
            )
        if len(self.r_edges) < 2 or not (np.diff(self.r_edges) > 0).all():
            raise ValueError(f"r_edges are {self.r_edges}; they must be two or more, and increase.")
        if self.space.alignment.depends_on_mass:
            raise ValueError(
                f"alignment is {self.alignment!r}, whose strengths depend on host mass. Data sets and "
                f"networks know {WATSON.name}; for others take a tabulation as a model, with the "
                "alignment as its option."
            )
        self.region  # noqa: B018 - which refuses impossible limits
        self._check_statistics()

    def _check_statistics(self) -> None:
        if XI not in self.measured:
            raise ValueError(
                f"statistics are {', '.join(self.statistics)}; {XI.name} must be among them, as the "
                "number of pairs in each bin follows from it."
            )
        silent = [s.name for s in self.measured if not s.has_shape_noise]
        if self.kind == "realisations" and self.noise and silent:
            raise ValueError(
                f"The shape noise of {', '.join(silent)} is not known, so realisations cannot keep "
                "it: make them with noise=False."
            )

    @property
    def space(self) -> ParameterSpace:
        """The parameters."""
        return ParameterSpace.named(self.occupation, self.alignment)

    @property
    def catalogues(self) -> tuple[str, ...]:
        """The halo catalogues, one or several."""
        return (self.halos,) if isinstance(self.halos, str) else tuple(self.halos)

    @property
    def halos_in_words(self) -> str:
        """The halo catalogues, as a text."""
        return ", ".join(self.catalogues)

    @property
    def region(self) -> Domain:
        """Where the points are."""
        return Domain.of(self.space, **self.domain)

    @property
    def measured(self) -> tuple[Statistic, ...]:
        """The statistics themselves, whose names are `statistics`."""
        return named(self.statistics)

    @property
    def n_shards(self) -> int:
        """Number of shards that the points are worked through in."""
        return -(-self.n_points // KINDS[self.kind].shard_points)

    @property
    def bytes_per_point(self) -> int:
        """Of the larger columns of the finished file."""
        draws, statistics, n_bins = (
            KINDS[self.kind].draws_catalogues,
            self.measured,
            len(self.r_edges) - 1,
        )
        n_templates = 0 if self.kind == "halotools" else len(templates_of(statistics))
        # Parameters are of double precision, numbers of pairs that are counted as long.
        n_numbers = n_templates + (len(statistics) + 2 if draws else 1)
        n_numbers *= n_bins * max(1, self.n_catalogues)
        if self.kind == "realisations" and self.noise:
            n_rows = N_NEIGHBOURHOODS * n_bins
            n_numbers += N_COMPONENTS * n_rows * (n_rows + 1) // 2
        n_parameters = len(self.space) if draws else self.space.n_occupation
        return 8 * n_parameters + 4 * n_numbers

    def points_of(self, shard: int) -> range:
        """Indices of the points of a shard."""
        size = KINDS[self.kind].shard_points
        return range(shard * size, min((shard + 1) * size, self.n_points))

    def parameters(self) -> Array:
        """The design, shape (n_points, n_parameters)."""
        return self._design[0]

    def point_redshifts(self) -> Array:
        """The redshift of each point, shape (n_points,)."""
        return self._design[1]

    def catalogue_of(self, point: int) -> str:
        """The halo catalogue in which galaxies of a point are drawn."""
        return self.catalogues[point * len(self.catalogues) // self.n_points]

    @property
    def redshifts(self) -> Redshifts:
        """Of the halo catalogues, with the limits of the points at each."""
        from iaemu_likelihood.emulator.datasets import sources  # which loads halos

        return sources.snapshots(self.catalogues).redshifts(self.region, self.least_galaxies)

    @property
    def _design(self) -> tuple[Array, Array]:
        return _design(json.dumps(asdict(self)), self.redshifts)

    @property
    def split_sizes(self) -> NDArray[np.int64]:
        """Number of points of each of `SPLITS`."""
        ends = np.round(np.cumsum(self.fractions) * self.n_points).astype(np.int64)
        return np.diff(ends, prepend=0)

    def splits(self) -> Array:
        """Split of each point, shape (n_points,): indices into `SPLITS`."""
        edges = np.cumsum(self.split_sizes)[:-1]
        order = np.random.default_rng([self.seed, 1]).permutation(self.n_points)
        return np.searchsorted(edges, order, side="right").astype(np.uint8)

    def rng(self, point: int, catalogue: int) -> np.random.Generator:
        """Random numbers of one catalogue."""
        return np.random.default_rng([self.seed, 2, point, catalogue])

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON has them.

        Fields of `LATER` are left out where they are the default: files that were made before there
        was a choice are of the same recipe.
        """
        content = dict(json.loads(json.dumps(asdict(self))))
        return {k: v for k, v in content.items() if k not in LATER or v != LATER[k]}


@lru_cache(maxsize=1)
def _design(content: str, redshifts: Redshifts) -> tuple[Array, Array]:
    """Parameters and redshifts of points, made once and not again for every shard."""
    recipe = Recipe(**json.loads(content))
    n, region, space = recipe.n_points, recipe.region, recipe.space
    theta = region.sample(n, recipe.seed, recipe.design)
    if KINDS[recipe.kind].draws_catalogues:
        from iaemu_likelihood.emulator.datasets import sources

        known = {x.source: x.redshift for x in sources.snapshots(recipe.catalogues).catalogues}
        redshift = np.array([known[recipe.catalogue_of(point)] for point in range(n)])
    elif redshifts.are_several:
        # Every other point is in a snapshot: what a model interpolates between is known best there.
        share = np.random.default_rng([recipe.seed, 3]).permutation(n)
        redshift = redshifts.from_unit((2 * share + 1) / n - 1)
        snapshots = np.take(redshifts.values, share // 2, mode="wrap")
        redshift = np.where(share % 2, redshift, snapshots)
    else:
        redshift = np.full(n, redshifts.values[0])
    if recipe.least_galaxies:
        mu, hod = space.split(theta)
        theta = space.join(mu, redshifts.narrowed(region, hod, redshift))
    return KINDS[recipe.kind].possible(theta, space), redshift
