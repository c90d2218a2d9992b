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

import io
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.digest import digest
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import (
    INTERVAL_DEX,
    INTERVALS_PER_BIN,
    Array,
    Indices,
    Layout,
)
from iaemu_likelihood.emulator.expectation.mesh import MESH_FROM, check_on_mesh
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums, Progress
from iaemu_likelihood.emulator.expectation.two_halo import two_halo_sums
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from iaemu_likelihood.emulator.hdf5 import open_hdf5
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named
from iaemu_likelihood.emulator.physics.templates import Templates
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

SCHEMA = 3
# What its file holds.
_PARTS: dict[str, Any] = {"layout": Layout, "one_halo": OneHaloSums}
_FIELDS = {part: [field.name for field in fields(kind)] for part, kind in _PARTS.items()}
_ARRAYS = ("r_edges", "two_halo", *(f"{part}/{name}" for part in _PARTS for name in _FIELDS[part]))
_ATTRIBUTES = ("statistics", "kernels", "halos_name", "halos_sha256", "box", "seed")
# Points that are evaluated together.
_BATCH = 128
# Of the triangular matrices of pairs: more of them leave out more zeros, fewer multiply faster.
_ROW_BLOCKS = 8


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
        two_halo: NDArray[np.float32],
        one_halo: OneHaloSums,
        r_edges: Array,
        box: float,
        halos_name: str,
        halos_sha256: str,
        seed: int,
    ) -> None:
        self.statistics = statistics
        self._kernels = Kernels.of(statistics)
        self._layout = layout
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
        self._prepare_one_halo()
        self._prepare_two_halo()

    # ---------------------------------------------------------------- building

    @classmethod
    def build(
        cls,
        halos: HaloCatalogue,
        r_edges: ArrayLike = R_EDGES,
        seed: int = 0,
        progress: bool = True,
        interval_dex: float = INTERVAL_DEX,
        intervals_per_bin: int = INTERVALS_PER_BIN,
        statistics: Iterable[str] = DEFAULT_STATISTICS,
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
        intervals_per_bin : int
            Of these intervals per mass bin of the two-halo terms.
        statistics : iterable of str
            Names of those whose templates the tabulation gives.

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
        layout = Layout.of(sites, interval_dex, intervals_per_bin)
        arguments = (sites, layout, Kernels.of(wanted), edges, seed, _progress_bar(progress))
        one_halo = OneHaloSums.of(*arguments)
        two_halo = two_halo_sums(*arguments)
        return cls(
            wanted, layout, two_halo, one_halo, edges, sites.box, halos.name, halos.sha256, seed
        )

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
            wanted, self._layout, summed(self._two_halo, 1),
            self._one_halo.mapped(lambda values: summed(values, -2)), edges, self.box,
            self.halos_name, self.halos_sha256, self.seed,
        )  # fmt: skip

    # ---------------------------------------------------------------- evaluating

    def _prepare_one_halo(self) -> None:
        """The sums that are multiplied with the same weights, as rows of two matrices."""
        one_halo = self._one_halo
        mixed = (one_halo.central_subhalo, one_halo.central_overflow)
        satellites = (
            one_halo.subhalo_subhalo,
            one_halo.subhalo_overflow,
            one_halo.overflow_overflow,
        )
        n_bins = len(self.r_edges) - 1
        self._mixed_in_hosts = np.concatenate(mixed).reshape(-1, n_bins * self._kernels.n_sums)
        both = self._kernels.of_both(np.concatenate(satellites))
        self._satellites_in_hosts = both.reshape(len(both), -1)
        self._log_factorial = gammaln(np.arange(self._layout.max_richness.max() + 3) + 1.0)

    def _prepare_two_halo(self) -> None:
        """Dense matrices, from the packed triangle of pairs of populations."""
        kernels, n, n_bins = self._kernels, self._layout.n_populations, len(self.r_edges) - 1
        j, i = np.tril_indices(n)

        def lower(values: NDArray[np.float32]) -> Array:
            """Matrix of (second population and its function, first and its function, bins)."""
            full = np.zeros((n, n, 2, 2, n_bins))
            full[j, i] = values.transpose(0, 3, 2, 1)
            return full.transpose(0, 2, 1, 3, 4).reshape(2 * n, 2 * n, n_bins)

        # Centrals come first, so in a pair of both kinds the first population is the centrals'.
        c, n_kernels = 2 * self._layout.n_central_populations, len(kernels.kernels)
        # What lies above the diagonal is zero: leave out most of it, row block by row block. Bins
        # come first, so that one product after the other stays in the cache; single precision, as
        # the sums were stored in, is twice as fast.
        edges = np.linspace(0, n - c // 2, _ROW_BLOCKS + 1).astype(int) * 2
        self._with_satellites = [
            (slice(low, high), np.empty((n_kernels, n_bins, high - low, c + high), np.float32))
            for low, high in pairwise(edges)
            if high > low
        ]
        of_centrals, by_centrals = [], []
        for k, (first, last) in enumerate(zip(kernels.first, kernels.last, strict=True)):
            both = by_last = lower(self._two_halo[..., last])
            if first != last:
                by_first = lower(self._two_halo[..., first])
                both = by_first + by_last
                by_centrals.append(by_first[c:, :c].copy())  # a view would keep all of it
            of_centrals.append(both[:c, :c].copy())
            for rows, block in self._with_satellites:
                of_rows = slice(c + rows.start, c + rows.stop)
                block[k, :, :, :c] = by_last[of_rows, :c].transpose(2, 0, 1)
                block[k, :, :, c:] = both[of_rows, c : c + rows.stop].transpose(2, 0, 1)
        self._of_centrals = np.stack(of_centrals, axis=2).reshape(c, -1)
        empty = np.zeros((2 * n - c, c, 0, n_bins))
        self._by_centrals = np.stack(by_centrals, axis=2) if by_centrals else empty
        self._by_centrals = self._by_centrals.reshape(2 * n - c, -1)

    def templates(
        self, hod: ArrayLike, progress: bool = False, occupation: Occupation = ZHENG07
    ) -> Templates:
        """The templates of the statistics and the mean numbers of galaxies.

        Parameters
        ----------
        hod : array_like, shape (n_parameters,) or (n, n_parameters)
            Occupation parameters (masses: log10 of Msun/h).
        progress : bool
            Show a progress bar.
        occupation : Occupation

        Returns
        -------
        Templates
            Always with a leading axis of length n (1 for a single point). Bins in which no pair
            is expected hold xi = -1 and NaN elsewhere.

        Raises
        ------
        ValueError
            If the parameters are not those of the occupation.
        """
        points = occupation.points(hod)
        starts = range(0, len(points), _BATCH)
        parts = [
            self._templates(points[start : start + _BATCH], occupation)
            for start in _progress_bar(progress)(starts, "templates")
        ]
        values, n_centrals, n_satellites = (np.concatenate(x) for x in zip(*parts, strict=True))
        return Templates(self.statistics, values, n_centrals, n_satellites)

    def _templates(self, hod: Array, occupation: Occupation) -> tuple[Array, Array, Array]:
        """Templates and numbers of centrals and satellites."""
        from iaemu_likelihood.emulator.expectation.poisson import occupied_subhalos

        layout, kernels, n_points = self._layout, self._kernels, len(hod)
        centrals = occupation.mean_centrals(layout.logM, hod)
        satellites = occupation.mean_satellites(layout.logM, hod)
        subhalos = np.zeros((n_points, layout.n_rank_bins))
        mean_and_slope = np.zeros((2, n_points, layout.n_populations))
        overflow = np.zeros((n_points, layout.n_classes))
        overflow_pairs = np.zeros_like(overflow)
        occupied_subhalos(
            satellites,
            layout.max_richness,
            layout.first_rank,
            layout.n_subhalos,
            layout.rank_bin,
            layout.subhalo_population,
            layout.first_class,
            layout.richness,
            layout.logM,
            layout.population_logM,
            self._log_factorial,
            subhalos,
            mean_and_slope,
            overflow,
            overflow_pairs,
        )

        sums = np.zeros((n_points, len(self.r_edges) - 1, kernels.n_templates))
        # Pairs in one host.
        centrals_of_class = centrals[:, layout.class_interval]
        mean = subhalos / layout.rank_bin_size
        pool_pairs = _sum_by(overflow_pairs * layout.class_hosts / 2, layout.pool, layout.n_pools)
        mixed = [centrals[:, layout.rank_bin_interval] * mean, centrals_of_class * overflow]
        found = np.concatenate(mixed, axis=1) @ self._mixed_in_hosts
        sums[..., kernels.of_mixed] += found.reshape(*sums.shape[:2], -1)
        found = np.concatenate([mean, overflow, pool_pairs], axis=1) @ self._satellites_in_hosts
        sums[..., kernels.of_satellites] += found.reshape(*sums.shape[:2], -1)

        # Mean and slope in logM of the occupation of every population, by least squares.
        for interval, population, number in (
            (np.arange(layout.n_intervals), layout.central_population, centrals * layout.n_hosts),
            (layout.class_interval, layout.overflow_population, overflow * layout.class_hosts),
        ):
            deviation = layout.logM[interval] - layout.population_logM[population]
            mean_and_slope[0] += _sum_by(number, population, layout.n_populations)
            mean_and_slope[1] += _sum_by(number * deviation, population, layout.n_populations)
        mean_and_slope[0] /= layout.population_size
        mean_and_slope[1] *= layout.population_inverse_spread
        self._add_two_halo(sums, mean_and_slope.transpose(1, 2, 0).reshape(n_points, -1))

        n_centrals, n_satellites = centrals @ layout.n_hosts, satellites @ layout.n_hosts
        number = n_centrals + n_satellites
        pairs = sums[..., 0]
        values = [
            statistic.from_sums(sums[..., template], pairs, number, self.r_edges, self.box)
            for statistic in self.statistics
            for template in kernels.templates_of(statistic.kernel)
        ]
        return np.stack(values, axis=1), n_centrals, n_satellites

    def _add_two_halo(self, sums: Array, occupations: Array) -> None:
        """Add pairs in different hosts to sums, (n_points, n_bins, n_templates).

        `occupations` are mean and slope of each population, (n_points, 2 n_populations).
        """
        kernels, (n_points, n_bins, _) = self._kernels, sums.shape
        c = 2 * self._layout.n_central_populations
        centrals, satellites = occupations[:, :c], occupations[:, c:]

        def contract(matrix: Array, rows: Array) -> Array:
            """Products with rows and then with centrals, (n_points, n_bins, n_kernels)."""
            partial = (rows @ matrix).reshape(n_points, c, -1)
            found = np.einsum("pg,pgb->pb", centrals, partial)
            return found.reshape(n_points, -1, n_bins).swapaxes(1, 2)

        sums[..., kernels.of_centrals] += contract(self._of_centrals, centrals)
        if len(kernels.one_axis):
            of_carriers = kernels.of_centrals[kernels.one_axis]
            sums[..., of_carriers] += contract(self._by_centrals, satellites)
        shape = (len(kernels.kernels), n_bins, n_points)
        with_centrals, with_satellites = np.zeros(shape), np.zeros(shape)
        for rows, block in self._with_satellites:
            of_rows = satellites[:, rows].astype(np.float32, order="C")
            of_satellites = satellites[:, : rows.stop]
            for k, b in np.ndindex(*shape[:2]):
                partial = of_rows @ block[k, b]
                with_centrals[k, b] += np.einsum("pg,pg->p", centrals, partial[:, :c])
                with_satellites[k, b] += np.einsum("pg,pg->p", of_satellites, partial[:, c:])
        sums[..., kernels.of_mixed[kernels.last]] += with_centrals.transpose(2, 1, 0)
        sums[..., kernels.of_satellites] += with_satellites.transpose(2, 1, 0)

    # ---------------------------------------------------------------- files

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Save to HDF5.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Replace an existing file; otherwise a FileExistsError.
        """
        import h5py

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
        for part, content in {"layout": self._layout, "one_halo": self._one_halo}.items():
            arrays |= {f"{part}/{name}": getattr(content, name) for name in _FIELDS[part]}
        buffer = io.BytesIO()  # HDF5 itself crashes when a disk is full
        with h5py.File(buffer, "w") as file:
            file.attrs.update(attributes)
            file.attrs["schema"] = SCHEMA
            file.attrs["sha256"] = digest(arrays, attributes)
            file.attrs["units"] = "r_edges and box in Mpc/h; logM in log10(Msun/h)"
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(buffer.getbuffer())

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
        try:
            with open_hdf5(path) as file:
                if not np.array_equal(file.attrs.get("schema"), SCHEMA):  # which may be an array
                    raise ValueError(
                        f"{path} has schema {file.attrs.get('schema')}, this version reads {SCHEMA}; "
                        "tabulate again."
                    )
                attributes: dict[str, Any] = {name: file.attrs[name] for name in _ATTRIBUTES}
                arrays = {name: file[name][()] for name in _ARRAYS}
                intact = str(file.attrs["sha256"]) == digest(arrays, attributes)
        except FileNotFoundError:
            raise
        # h5py raises all kinds.
        except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{path} is not a complete tabulation ({error}); tabulate again."
            ) from error
        if not intact:
            raise ValueError(f"{path} was changed since it was written; tabulate again.")
        layout, one_halo = (
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
            arrays["two_halo"],
            one_halo,
            arrays["r_edges"],
            *(attributes[name] for name in ("box", "halos_name", "halos_sha256", "seed")),
        )


def _progress_bar(show: bool) -> Progress:
    """Shows the progress of steps, or does not."""

    def track(steps: Iterable[Any], label: str) -> Iterator[Any]:
        from rich.progress import track

        return iter(track(steps, description=label, disable=not show))

    return track


def _sum_by(values: Array, index: Indices, n: int) -> Array:
    """Sum the columns of `values`, shape (n_points, m), that share an index, to (n_points, n)."""
    total = np.zeros((len(values), n))
    np.add.at(total.T, index, values.T)
    return total
