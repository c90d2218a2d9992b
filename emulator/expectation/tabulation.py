"""The exact expectation of halotools-IA over its random draws, at any occupation parameters.

Given a halo catalogue, halotools-IA draws a Bernoulli number of centrals and a Poisson number of
satellites per host, puts satellite k on the subhalo of rank k (in descending mpeak), puts those
beyond the last subhalo at offsets of random subhalos of hosts of similar mass, and turns every
galaxy by a Watson-distributed angle. Pair sums are therefore bilinear in occupation probabilities
that depend on host mass and rank only, and those tabulated once per catalogue give their expectation
at any parameters without noise (the idea of TabCorr, Lange et al. 2019, arXiv:1909.03107, carried to
orientations).

What comes out are the templates of `iaemu_likelihood.emulator.physics.templates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.expectation.basis import TOLERANCE, Basis
from iaemu_likelihood.emulator.expectation.expected_pairs import ExpectedPairs
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import INTERVAL_DEX, Array, Layout
from iaemu_likelihood.emulator.expectation.mesh import MESH_FROM, check_on_mesh
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums, Progress
from iaemu_likelihood.emulator.expectation.samples import Population, Sample
from iaemu_likelihood.emulator.expectation.storage import read_tabulation, write_tabulation
from iaemu_likelihood.emulator.expectation.two_halo import two_halo_sums
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.alignment import (
    INCLUDED,
    WATSON,
    WATSON_MASS,
    Alignment,
)
from iaemu_likelihood.emulator.physics.bins import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PAIRS,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.templates import CrossTemplates, Templates
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch
    from iaemu_likelihood.emulator.expectation.compact import Combinations, CompactPairs
    from iaemu_likelihood.emulator.expectation.directed_pairs import DirectedPairs

# What its file holds.
_PARTS: dict[str, Any] = {
    "layout": Layout,
    "centrals": Basis,
    "satellites": Basis,
    "one_halo": OneHaloSums,
}
_FIELDS = {part: [field.name for field in fields(kind)] for part, kind in _PARTS.items()}
_ARRAYS = ("r_edges", "two_halo", *(f"{part}/{name}" for part in _PARTS for name in _FIELDS[part]))
_ATTRIBUTES = ("statistics", "kernels", "halos_name", "halos_sha256", "box", "seed")
# Points that are evaluated together.
_BATCH = 128


class Tabulation:
    """Pair sums of a halo catalogue, from which templates follow at any occupation parameters.

    Build one with `Tabulation.build`, keep it with `write`, get it back with `read`.

    Attributes
    ----------
    statistics : tuple of Statistic
        Those whose templates it gives.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    box : float
        Mpc/h.
    halos_name, halos_sha256 : str
        The halo catalogue that was tabulated.
    seed : int
        Of the draws that represent satellites beyond the last subhalo.
    """

    def __init__(
        self,
        statistics: tuple[Statistic, ...],
        layout: Layout,
        centrals: Basis,
        satellites: Basis,
        one_halo: OneHaloSums,
        two_halo: NDArray[np.float32],
        r_edges: Array,
        box: float,
        halos_name: str,
        halos_sha256: str,
        seed: int,
    ) -> None:
        self.statistics = statistics
        self._kernels = Kernels.of(statistics)
        self._layout = layout
        self._centrals = centrals
        self._satellites = satellites
        self._two_halo = two_halo
        self._one_halo = one_halo
        self.r_edges = r_edges
        self.box = box
        self.halos_name = halos_name
        self.halos_sha256 = halos_sha256
        self.seed = seed
        for values in (two_halo, *vars(one_halo).values(), layout.logM):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"The pair sums of the halo catalogue {halos_name!r} are not all finite: its axes, "
                    "positions or masses must be at fault."
                )

    @cached_property
    def _pairs(self) -> ExpectedPairs:
        """The sums as matrices, which take as much memory again."""
        return ExpectedPairs(
            self._layout, self._centrals, self._satellites, self._one_halo, self._two_halo,
            self._kernels,
        )  # fmt: skip

    @cached_property
    def _directed(self) -> DirectedPairs:
        """The same of pairs of galaxies that differ, as far as they are needed."""
        import torch

        return self.directed(None, torch.device("cpu"), torch.float32)

    # ---------------------------------------------------------------- building

    @classmethod
    def build(
        cls,
        halos: HaloCatalogue,
        r_edges: ArrayLike = R_EDGES,
        seed: int = 0,
        progress: bool = True,
        interval_dex: float = INTERVAL_DEX,
        tolerance: float = TOLERANCE,
        statistics: Iterable[str] = DEFAULT_STATISTICS,
        only: ArrayLike | None = None,
    ) -> Tabulation:
        """Tabulate a halo catalogue: minutes on two cores for a 250 Mpc/h box.

        Parameters
        ----------
        halos : HaloCatalogue
            From `load_halos`.
        r_edges : array_like, shape (n_bins + 1,)
            Mpc/h, up to half of the box. Pairs are counted in bins that begin below `MESH_FROM`;
            beyond, they are summed on a mesh.
        seed : int
            Of the draws that represent satellites beyond the last subhalo.
        progress : bool
            Show progress bars.
        interval_dex : float
            Width of the intervals of host mass on which occupations are evaluated.
        tolerance : float
            What the functions that stand for occupations in the two-halo terms leave out; see
            `iaemu_likelihood.emulator.expectation.basis`. With 0 they leave out nothing.
        statistics : iterable of str
            Names of those whose templates the tabulation gives.
        only : array_like, shape (n, n_parameters), optional
            Parameters of `ZHENG07`, for a tabulation that is exact there and wrong everywhere else.

        Returns
        -------
        Tabulation

        Raises
        ------
        ValueError
            If the bins or the seed are impossible, or there is no such statistic.
        """
        wanted = named(statistics)
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}.")
        edges = np.asarray(r_edges, np.float64)
        sites = GalaxySites.of(halos, seed)
        counted = edges[: int((edges[:-1] < MESH_FROM).sum()) + 1]
        if (
            not (np.diff(edges) > 0).all()
            or edges[0] <= 0
            or counted[-1] >= sites.box / 3
            or edges[-1] > sites.box / 2
        ):
            raise ValueError(
                f"r_edges must increase and be positive; bins that begin below {MESH_FROM:g} Mpc/h "
                f"must end below a third of the box ({sites.box / 3:.4g} Mpc/h), all others at half "
                f"of it ({sites.box / 2:.4g} Mpc/h); got {edges}."
            )
        if len(counted) < len(edges):
            check_on_mesh(wanted)
        layout, kernels = Layout.of(sites, interval_dex), Kernels.of(wanted)
        track = _progress_bar(progress)
        if only is None:
            centrals = Basis.of_centrals(layout, tolerance)
            satellites = Basis.of_satellites(layout, tolerance)
        else:
            hod, logM = ZHENG07.points(only), layout.logM
            in_cells, _ = layout.occupied(ZHENG07.mean_satellites(logM, hod))
            centrals = Basis.exact(ZHENG07.mean_centrals(logM, hod), layout.n_hosts.astype(float))
            satellites = Basis.exact(in_cells, layout.cell_size)
        sums = (kernels, edges, seed, track)
        one_halo = OneHaloSums.of(sites, layout, *sums)
        two_halo = two_halo_sums(sites, layout, centrals, satellites, *sums)
        return cls(
            wanted, layout, centrals, satellites, one_halo, two_halo, edges, sites.box, halos.name,
            halos.sha256, seed,
        )  # fmt: skip

    def coarser(self, r_edges: ArrayLike, statistics: Iterable[str]) -> Tabulation:
        """The tabulation in wider bins, and of fewer statistics: exactly what `build` would sum.

        Parameters
        ----------
        r_edges : array_like, shape (n_bins + 1,)
            Some of the edges of this one, Mpc/h.
        statistics : iterable of str
            Names of some of its statistics.

        Raises
        ------
        ValueError
            If an edge or a statistic is not among those of this tabulation.
        """
        wanted, edges = named(statistics), np.asarray(r_edges, np.float64)
        if wanted == self.statistics and np.array_equal(edges, self.r_edges):
            return self
        place = np.searchsorted(self.r_edges, edges * (1 - 1e-9))
        known = np.append(self.r_edges, np.inf)[place]
        missing = [s.name for s in wanted if s not in self.statistics]
        if missing or len(edges) < 2 or not np.allclose(known, edges, rtol=1e-9, atol=0):
            raise ValueError(
                f"A tabulation of {', '.join(s.name for s in self.statistics)} with the edges "
                f"{self.r_edges} cannot give {', '.join(s.name for s in wanted)} with {edges}."
            )
        chosen = self._kernels.sums_of(Kernels.of(wanted))

        def summed(values: Any, axis: int) -> Any:
            """Over the bins between two edges, which lie along an axis."""
            inside = np.take(values, np.arange(place[0], place[-1]), axis)
            return np.add.reduceat(inside, place[:-1] - place[0], axis=axis)[..., chosen]

        return Tabulation(
            wanted, self._layout, self._centrals, self._satellites,
            self._one_halo.mapped(lambda values: summed(values, 1)), summed(self._two_halo, 1),
            edges, self.box,
            self.halos_name, self.halos_sha256, self.seed,
        )  # fmt: skip

    # ---------------------------------------------------------------- evaluating

    def templates(
        self,
        hod: ArrayLike,
        progress: bool = False,
        occupation: Occupation = ZHENG07,
        log_mass: Array | None = None,
    ) -> Templates:
        """The templates of the statistics and the mean numbers of galaxies.

        Parameters
        ----------
        hod : array_like, shape (n_parameters,) or (n, n_parameters)
            Occupation parameters (masses: log10 of Msun/h).
        progress : bool
            Show a progress bar.
        occupation : Occupation
        log_mass : ndarray, shape (n, n_intervals), optional
            Masses by which hosts are occupied in place of their own, those of `log_masses`.

        Returns
        -------
        Templates
            Always with a leading axis of length n (1 for a single point). Bins in which no pair
            is expected hold xi = -1 and NaN elsewhere.

        Raises
        ------
        ValueError
            If the parameters are not those of the occupation, or it expects numbers of galaxies that
            cannot be (see `Occupation.means`).
        """
        points = occupation.points(hod)
        starts = range(0, len(points), _BATCH)
        masses = self.log_masses if log_mass is None else log_mass
        parts = [
            self._templates(
                points[start : start + _BATCH],
                occupation,
                masses if masses.ndim == 1 else masses[start : start + _BATCH],
            )
            for start in _progress_bar(progress)(starts, "templates")
        ]
        values, n_centrals, n_satellites = (np.concatenate(x) for x in zip(*parts, strict=True))
        return Templates(self.statistics, values, n_centrals, n_satellites)

    @property
    def log_masses(self) -> Array:
        """log10 of the mean mass of the hosts of each interval, Msun/h, ascending."""
        return self._layout.logM

    @property
    def log_numbers(self) -> Array:
        """ln of the number density of hosts heavier than each of `log_masses`, (h/Mpc)^3."""
        number = self._layout.n_hosts.astype(np.float64)
        result: Array = np.log((np.cumsum(number[::-1])[::-1] - number / 2) / self.box**3)
        return result

    def _templates(
        self, hod: Array, occupation: Occupation, log_mass: Array
    ) -> tuple[Array, Array, Array]:
        """Templates and numbers of centrals and satellites."""
        centrals, satellites = occupation.means(log_mass, hod)
        sums = self._pairs.sums(centrals, satellites)
        n_hosts = self._layout.n_hosts
        n_centrals, n_satellites = centrals @ n_hosts, satellites @ n_hosts
        number = n_centrals + n_satellites
        values = [
            statistic.from_sums(sums[..., template], sums[..., 0], number, self.r_edges, self.box)
            for statistic in self.statistics
            for template in self._kernels.templates_of(statistic.kernel)
        ]
        return np.stack(values, axis=1), n_centrals, n_satellites

    def aligned_templates(
        self,
        mu: ArrayLike,
        hod: ArrayLike,
        alignment: Alignment = WATSON_MASS,
        occupation: Occupation = ZHENG07,
    ) -> Templates:
        """Templates whose amplitudes are included, for strengths that depend on host mass.

        Parameters
        ----------
        mu : array_like, shape (n_alignment,) or (n, n_alignment)
            Parameters of the alignment.
        hod : array_like, shape (n_parameters,) or (n, n_parameters)
            Occupation parameters (masses: log10 of Msun/h).
        alignment : Alignment
        occupation : Occupation

        Returns
        -------
        Templates
            As from `templates`, but the statistics are their sums, `Templates.correlations()`.

        Raises
        ------
        ValueError
            As `templates`, or if a parameter of the alignment is outside its limits.
        """
        everything = Sample(Population(hod, occupation))
        values, (n_centrals, n_satellites), _ = self._means(
            everything, everything, self.statistics, alignment, mu
        )
        return Templates(self.statistics, values, n_centrals, n_satellites, INCLUDED)

    def cross_templates(
        self,
        shapes: Sample,
        positions: Sample,
        statistics: Iterable[str] | None = None,
        mu: ArrayLike | None = None,
        alignment: Alignment = WATSON_MASS,
    ) -> CrossTemplates:
        """Templates of the shapes of one sample about the positions of another.

        xi is that of both samples, omega the mean over pairs of a shape and a position, and likewise
        all statistics of one axis at most. `docs/two_samples.md` derives them.

        Parameters
        ----------
        shapes, positions : Sample
            A galaxy of both is no pair with itself. If one has n points, the other has as many or one.
        statistics : iterable of str, optional
            All with one axis at most, if left out.
        mu : array_like, shape (n_alignment,) or (n, n_alignment), optional
            Parameters of the alignment, to include its amplitudes. If they are left out, the
            templates take mu_cen and mu_sat of the sample of shapes later.
        alignment : Alignment

        Returns
        -------
        CrossTemplates

        Raises
        ------
        ValueError
            As `templates`; if a statistic has two axes or is not tabulated, or two populations both
            put satellites on subhalos of the same hosts.
        """
        wanted = self._with_one_axis(statistics)
        values, (n_centrals, n_satellites), n_positions = self._means(
            shapes, positions, wanted, alignment, mu
        )
        return CrossTemplates(
            wanted, values, n_centrals, n_satellites, WATSON if mu is None else INCLUDED,
            n_positions=n_positions.sum(axis=0),
        )  # fmt: skip

    def _with_one_axis(self, names: Iterable[str] | None) -> tuple[Statistic, ...]:
        """Statistics that two samples have."""
        if names is None:
            return tuple(s for s in self.statistics if s.kernel.n_axes < 2)
        wanted = named(names)
        for statistic in wanted:
            if statistic.kernel.n_axes > 1:
                raise ValueError(
                    f"{statistic.name} correlates shapes with shapes, but only one of two samples has "
                    "shapes here."
                )
            if statistic not in self.statistics:
                raise ValueError(
                    f"{statistic.name} is not tabulated; there are "
                    f"{', '.join(s.name for s in self.statistics)}."
                )
        return wanted

    def _means(
        self, shapes: Sample, positions: Sample, statistics: tuple[Statistic, ...],
        alignment: Alignment, mu: ArrayLike | None,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Templates, and the numbers of centrals and of satellites of both samples, (2, n) each."""
        from iaemu_likelihood.emulator.expectation.directed_sums import expected_sums

        names = {PAIRS.name, *(statistic.kernel.name for statistic in statistics)}
        found = expected_sums(self._directed, shapes, positions, names, alignment, mu)
        numbers = found.of_shapes, found.of_positions
        n_shapes, n_positions = (x.sum(axis=0) for x in numbers)
        density = (n_shapes * n_positions)[:, None] / self.box**3
        values = [
            statistic.from_ordered_pairs(
                found.sums[:, template], found.sums[:, 0], density * shell_volumes(self.r_edges)
            )
            for statistic in statistics
            for template in self._kernels.templates_of(statistic.kernel)
        ]
        return np.stack(values, axis=1), *numbers

    # ---------------------------------------------------------------- as a model

    @property
    def hosts(self) -> HostAbundance:
        """Number densities of the hosts, in the mass intervals on which occupations are evaluated."""
        return HostAbundance(self._layout.logM, self._layout.n_hosts / self.box**3)

    def combinations(self, domain: Domain) -> Combinations:
        """Of the tabulation's functions, those of which the occupations of a domain are sums."""
        from iaemu_likelihood.emulator.expectation.compact import Combinations

        return Combinations.of(self._layout, self._centrals, self._satellites, domain)

    def compact(
        self, combinations: Combinations | None, device: torch.device, dtype: torch.dtype
    ) -> CompactPairs:
        """The sums for the occupations of a domain, differentiable; arguments of `CompactPairs`."""
        from iaemu_likelihood.emulator.expectation.compact import CompactPairs

        return CompactPairs(
            self._layout, self._centrals, self._satellites, self._one_halo, self._two_halo,
            self._kernels, combinations, device, dtype,
        )  # fmt: skip

    def directed(
        self, combinations: Combinations | None, device: torch.device, dtype: torch.dtype
    ) -> DirectedPairs:
        """The sums for galaxies whose weights depend on host mass; arguments of `DirectedPairs`."""
        from iaemu_likelihood.emulator.expectation.directed_pairs import DirectedPairs

        return DirectedPairs(
            self._layout, self._centrals, self._satellites, self._one_halo, self._two_halo,
            self._kernels, combinations, device, dtype,
        )  # fmt: skip

    # ---------------------------------------------------------------- files

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Save to HDF5.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Replace an existing file; otherwise a FileExistsError.
        """
        if Path(path).exists() and not overwrite:
            raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
        attributes: dict[str, Any] = {
            "statistics": [statistic.name for statistic in self.statistics],
            "kernels": self._kernels.names,
            "halos_name": self.halos_name,
            "halos_sha256": self.halos_sha256,
            "box": self.box,
            "seed": self.seed,
        }
        arrays: dict[str, NDArray[Any]] = {"r_edges": self.r_edges, "two_halo": self._two_halo}
        for part, names in _FIELDS.items():
            content = getattr(self, f"_{part}")
            arrays |= {f"{part}/{name}": getattr(content, name) for name in names}
        write_tabulation(path, arrays, attributes)

    @classmethod
    def cached(
        cls,
        path: str | Path,
        halos: HaloCatalogue,
        r_edges: ArrayLike = R_EDGES,
        seed: int = 0,
        progress: bool = True,
        statistics: Iterable[str] = DEFAULT_STATISTICS,
    ) -> Tabulation:
        """Read a tabulation of this catalogue, or build and write it if there is no file yet.

        Parameters as in `build`. A file of finer bins, or of more statistics, serves as well; one of
        another catalogue, another seed, or of which these do not follow, is a ValueError.
        """
        names = [statistic.name for statistic in named(statistics)]
        if not Path(path).exists():
            with exclusive(path):
                cls.build(halos, r_edges, seed, progress, statistics=names).write(path)
        # From the file in either case, as it holds single precision.
        tabulation = cls.read(path, halos.sha256)
        if tabulation.seed != seed:
            raise ValueError(
                f"{path} was tabulated with seed {tabulation.seed}, not {seed}; tabulate again to "
                "another file."
            )
        try:
            return tabulation.coarser(r_edges, names)
        except ValueError as error:
            raise ValueError(f"{path}: {error} Tabulate again to another file.") from None

    @classmethod
    def read(cls, path: str | Path, halos_sha256: str | None = None) -> Tabulation:
        """Load from HDF5.

        Parameters
        ----------
        path : str or Path
        halos_sha256 : str, optional
            Refuse a tabulation of any other halo catalogue.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is of another schema or another catalogue, holds an unknown statistic,
            cannot be read, takes data from elsewhere, or was changed since it was written.
        """
        arrays, attributes = read_tabulation(path, _ARRAYS, _ATTRIBUTES)
        layout, centrals, satellites, one_halo = (
            kind(**{name: arrays[f"{part}/{name}"] for name in _FIELDS[part]})
            for part, kind in _PARTS.items()
        )
        if halos_sha256 not in (None, attributes["halos_sha256"]):
            raise ValueError(
                f"{path} tabulates the catalogue {attributes['halos_name']!r} "
                f"({attributes['halos_sha256'][:12]}...), not {halos_sha256[:12]}...; tabulate again."
            )
        try:
            statistics = named(attributes["statistics"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        needed, there = Kernels.of(statistics).names, list(attributes["kernels"])
        if needed != there:
            raise ValueError(
                f"{path} sums the kernels {', '.join(there)}, but its statistics now need "
                f"{', '.join(needed)}; tabulate again."
            )
        return cls(
            statistics,
            layout,
            centrals,
            satellites,
            one_halo,
            arrays["two_halo"],
            arrays["r_edges"],
            *(attributes[name] for name in ("box", "halos_name", "halos_sha256", "seed")),
        )


def _progress_bar(show: bool) -> Progress:
    """Shows the progress of steps, or does not."""

    def track(steps: Iterable[Any], label: str) -> Iterator[Any]:
        from rich.progress import track

        return iter(track(steps, description=label, disable=not show))

    return track
