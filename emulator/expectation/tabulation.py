"""The exact expectation of halotools-IA over its random draws, for any halo-occupation parameters.

Given a halo catalogue, halotools-IA draws a Bernoulli number of centrals and a Poisson number of
satellites per host, puts satellite k on the subhalo of rank k (in descending mpeak), puts those
beyond the last subhalo at offsets of random subhalos of hosts of similar mass, and turns every
galaxy by a Watson-distributed angle. Pair counts are therefore bilinear in occupation
probabilities that depend on host mass and rank only, and pair sums tabulated once per catalogue
give their expectation at any parameters without noise (the idea of TabCorr, Lange et al. 2019,
arXiv:1909.03107, carried to orientations).

What comes out are the six templates of `iaemu_likelihood.emulator.physics.templates`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.halos.sites import Slots, mean_centrals, mean_satellites
from iaemu_likelihood.emulator.mocks.estimators import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.templates import TEMPLATES, Templates
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

if TYPE_CHECKING:
    from halotools.sim_manager import UserSuppliedHaloCatalog

log = logging.getLogger(__name__)

# Width of the mass nodes on which occupations are evaluated, and nodes per two-halo mass bin.
# Inside a bin, occupations are represented by their mean and slope in logM: with the mean alone,
# the few pairs of massive hosts that dominate satellites' clustering at large r come out wrong.
NODE_DEX = 0.0125
NODES_PER_BIN = 8
FEW_HOSTS = 500
# Pairs drawn per mass bin of the pool for the one-halo terms of satellites beyond the subhalos.
POOL_PAIRS = 2e7
SCHEMA = 1
# Of the triangular matrices of pairs: more of them leave out more zeros, fewer multiply faster.
_ROW_BLOCKS = 8

Array = NDArray[np.float64]


def _progress(steps: Any, label: str, show: bool) -> Iterator[Any]:
    from rich.progress import track

    return iter(track(steps, description=label, disable=not show))


def _rank_bins(edges: Sequence[int], max_rank: int) -> NDArray[np.int64]:
    """Bin of each rank 0 .. max_rank, from the first rank of each bin."""
    return np.searchsorted(np.asarray(edges), np.arange(max_rank + 1), side="right") - 1


def _narrow_rank_edges(max_rank: int) -> list[int]:
    """First ranks of bins so narrow that a Poisson tail hardly varies inside: width sqrt(k)/4."""
    edges = [1]
    while edges[-1] <= max_rank:
        edges.append(edges[-1] + max(1, int(np.sqrt(edges[-1]) / 4)))
    return edges


def _wide_rank_edges(max_rank: int) -> list[int]:
    """First ranks of bins that double in width: 1, 2, 3-4, 5-8, ..."""
    edges = [1, 2, 3]
    while edges[-1] <= max_rank:
        edges.append(2 * edges[-1] - 1)
    return edges


@dataclass
class _Layout:
    """How hosts and slots are gathered into nodes, classes, entries and groups.

    A *node* is a narrow interval of host mass, on which occupations are evaluated. A *class* holds
    the hosts of a node with the same number of slots. An *entry* holds the slots of a node in a
    narrow bin of rank (one-halo terms are linear in their occupation). A *group* is what the
    two-halo terms are bilinear in: centrals of a mass bin, slots of a mass bin and a wide bin of
    rank, or overflow satellites of a mass bin and a bin of the number of slots; in each group their
    occupation is represented by its mean and slope in logM.
    """

    logM: Array  # of nodes
    node_hosts: NDArray[np.int64]
    node_bin: NDArray[np.int64]
    node_kmax: NDArray[np.int64]
    slot_start: NDArray[np.int64]
    n_slots: NDArray[np.int64]
    entry_of_slot: NDArray[np.int64]
    group_of_slot: NDArray[np.int64]
    class_start: NDArray[np.int64]
    class_k: NDArray[np.int64]
    class_hosts: NDArray[np.int64]
    class_group: NDArray[np.int64]
    class_pool: NDArray[np.int64]
    n_central_groups: int
    n_slot_groups: int
    n_overflow_groups: int

    @property
    def n_groups(self) -> int:
        return self.n_central_groups + self.n_slot_groups + self.n_overflow_groups

    @property
    def n_entries(self) -> int:
        return int(self.entry_of_slot.max(initial=-1)) + 1

    @classmethod
    def of(cls, cat: Slots, node_dex: float, nodes_per_bin: int) -> tuple[_Layout, Any, Any]:
        """The layout, and the node and the class of each host."""
        n_slots_of_host = np.diff(cat.first_slot)
        grid = np.floor((cat.logM - cat.logM[0]) / node_dex).astype(np.int64)
        # Pools change inside a node only if an edge of theirs does: split there.
        occupied, node = np.unique(np.stack([grid, cat.pool_bin]), axis=1, return_inverse=True)
        node = node.reshape(-1)
        n_nodes = occupied.shape[1]
        node_hosts = np.bincount(node)
        logM = np.bincount(node, cat.logM) / node_hosts
        _, node_bin = np.unique(occupied[0] // nodes_per_bin, return_inverse=True)
        # What few hosts do differently from a straight line does not average out: halve their bins.
        few = np.bincount(node_bin, node_hosts)[node_bin] < FEW_HOSTS
        halves = np.where(few, 2 * occupied[0] // nodes_per_bin, 2 * (occupied[0] // nodes_per_bin))
        _, node_bin = np.unique(halves, return_inverse=True)

        kmax = np.zeros(n_nodes, np.int64)
        np.maximum.at(kmax, node, n_slots_of_host)
        narrow = _rank_bins(_narrow_rank_edges(int(kmax.max())), int(kmax.max()))
        wide = _rank_bins(_wide_rank_edges(int(kmax.max())), int(kmax.max()))
        slot_start = np.concatenate([[0], np.cumsum(kmax)])
        slot_node = np.repeat(np.arange(n_nodes), kmax)
        slot_rank = np.arange(slot_start[-1]) - slot_start[slot_node] + 1
        node_of_slot = np.repeat(node, n_slots_of_host)
        rank_of_slot = np.arange(len(node_of_slot)) - np.repeat(
            cat.first_slot[:-1], n_slots_of_host
        )
        n_slots = np.bincount(slot_start[node_of_slot] + rank_of_slot, minlength=slot_start[-1])
        _, entry = np.unique(np.stack([slot_node, narrow[slot_rank]]), axis=1, return_inverse=True)
        _, group = np.unique(
            np.stack([node_bin[slot_node], wide[slot_rank]]), axis=1, return_inverse=True
        )
        classes, class_of_host = np.unique(
            np.stack([node, n_slots_of_host]), axis=1, return_inverse=True
        )
        k_bin = np.where(
            classes[1] <= 4, classes[1], 3 + np.ceil(np.log2(np.maximum(classes[1], 1)))
        )
        _, class_group = np.unique(
            np.stack([node_bin[classes[0]], k_bin.astype(np.int64)]), axis=1, return_inverse=True
        )
        layout = cls(
            logM,
            node_hosts,
            node_bin.reshape(-1),
            kmax,
            slot_start,
            n_slots,
            entry.reshape(-1),
            group.reshape(-1),
            np.searchsorted(classes[0], np.arange(n_nodes + 1)),
            classes[1],
            np.bincount(class_of_host.reshape(-1)),
            class_group.reshape(-1),
            occupied[1][classes[0]],
            int(node_bin.max()) + 1,
            int(group.max(initial=-1)) + 1,
            int(class_group.max()) + 1,
        )
        return layout, node, class_of_host.reshape(-1)


class Tabulation:
    """Pair sums of a halo catalogue, from which templates follow at any occupation parameters.

    Build one with `Tabulation.build`, keep it with `write`, get it back with `read`.

    Attributes
    ----------
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
        layout: _Layout,
        two_halo: NDArray[np.float32],
        one_halo: dict[str, Array],
        r_edges: Array,
        box: float,
        halos_name: str,
        halos_sha256: str,
        seed: int,
    ) -> None:
        self._layout = layout
        self._two_halo = two_halo
        self._one_halo = one_halo
        self.r_edges = r_edges
        self.box = box
        self.halos_name = halos_name
        self.halos_sha256 = halos_sha256
        self.seed = seed
        self._prepare()

    # ---------------------------------------------------------------- building

    @classmethod
    def build(
        cls,
        halos: UserSuppliedHaloCatalog,
        r_edges: ArrayLike = R_EDGES,
        seed: int = 0,
        progress: bool = True,
        node_dex: float = NODE_DEX,
        nodes_per_bin: int = NODES_PER_BIN,
    ) -> Tabulation:
        """Tabulate a halo catalogue: minutes on two cores for a 250 Mpc/h box.

        Parameters
        ----------
        halos : halotools.sim_manager.UserSuppliedHaloCatalog
            From `load_halos`.
        r_edges : array_like, shape (n_bins + 1,)
            Mpc/h; the last must be below a third of the box.
        seed : int
            Of the draws that represent satellites beyond the last subhalo.
        progress : bool
            Show progress bars.
        node_dex : float
            Width of the intervals of host mass on which occupations are evaluated.
        nodes_per_bin : int
            Of these intervals per mass bin of the two-halo terms.

        Returns
        -------
        Tabulation
        """
        edges = np.asarray(r_edges, np.float64)
        cat = Slots.of(halos)
        if not (np.diff(edges) > 0).all() or edges[0] <= 0 or edges[-1] >= cat.box / 3:
            raise ValueError(
                f"r_edges must increase, be positive and end below a third of the box "
                f"({cat.box / 3:.4g} Mpc/h); got {edges}."
            )
        layout, node, host_class = _Layout.of(cat, node_dex, nodes_per_bin)
        one_halo = _one_halo_sums(cat, layout, node, host_class, edges, seed, progress)
        two_halo = _two_halo_sums(
            cat, layout, node, host_class, one_halo["group_logM"], edges, seed, progress
        )
        return cls(layout, two_halo, one_halo, edges, cat.box, halos.name, halos.sha256, seed)

    # ---------------------------------------------------------------- evaluating

    def _prepare(self) -> None:
        """Dense matrices, from the packed triangle, and the one-halo rows in one array."""
        layout, n_bins = self._layout, len(self.r_edges) - 1
        n = layout.n_groups
        j, i = np.tril_indices(n)
        # To (pairs of groups, function of i, function of j, bins, 4).
        packed = self._two_halo.astype(np.float64).transpose(0, 2, 3, 1, 4)

        def lower(values: Array) -> Array:
            """Matrix of (second group and its function, first group and its function, bins)."""
            full = np.zeros((n, n, 2, 2, n_bins))
            full[j, i] = values.transpose(0, 2, 1, 3)
            return full.transpose(0, 2, 1, 3, 4).reshape(2 * n, 2 * n, n_bins)

        # Centrals come first, so in a pair of both kinds the first group is the centrals'.
        pairs, first, second, oriented = (lower(packed[..., k]) for k in range(4))
        c = 2 * layout.n_central_groups
        both = first + second
        with_centrals = np.stack([x[:c, :c] for x in (pairs, both, oriented)], axis=2)
        self._central = with_centrals.reshape(c, -1)
        self._carried_by_centrals = first[c:, :c].reshape(2 * n - c, -1)
        carried = np.concatenate([second[c:, :c], both[c:, c:]], axis=1)
        with_satellites = np.stack([pairs[c:], carried, oriented[c:]], axis=2)
        # What lies above the diagonal is zero: leave out most of it, row block by row block. Bins
        # come first, so that one product after the other stays in the cache; single precision, as
        # the sums were stored in, is twice as fast.
        edges = 2 * np.linspace(0, n - layout.n_central_groups, _ROW_BLOCKS + 1).astype(int)
        self._satellite = [
            (
                slice(low, high),
                with_satellites[low:high, : c + high]
                .transpose(2, 3, 0, 1)
                .astype(np.float32, order="C"),
            )
            for low, high in pairwise(edges)
            if high > low
        ]

        # Columns: pairs, carried by centrals, carried by satellites, and orientation-orientation
        # of central-satellite and satellite-satellite pairs.
        cs, ss = self._one_halo["central_slot"], self._one_halo["slot_slot"]
        co, so = self._one_halo["central_overflow"], self._one_halo["slot_overflow"]
        oo = self._one_halo["overflow_overflow"]

        def central(x: Array) -> Array:
            return np.stack(
                [x[..., 0], x[..., 1], 2 / 3 * x[..., 0], x[..., 1], 0 * x[..., 0]], axis=-1
            )

        def satellite(x: Array) -> Array:
            zero = 0 * x[..., 0]
            return np.stack([x[..., 0], zero, x[..., 1], zero, x[..., 2]], axis=-1)

        rows = [central(cs), satellite(ss), central(co), satellite(so), satellite(oo)]
        self._one_halo_rows = np.concatenate(rows).reshape(-1, n_bins * 5)
        self._log_factorial = gammaln(np.arange(layout.node_kmax.max() + 3) + 1.0)

    def templates(self, hod: ArrayLike, progress: bool = False) -> Templates:
        """The six templates and the mean numbers of galaxies.

        Parameters
        ----------
        hod : array_like, shape (5,) or (n, 5)
            logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
        progress : bool
            Show a progress bar.

        Returns
        -------
        Templates
            Always with a leading axis of length n (1 for a single point). Bins in which no pair
            is expected hold xi = -1 and NaN elsewhere.
        """
        points = np.atleast_2d(np.asarray(hod, np.float64))
        if points.shape[-1] != 5 or not np.isfinite(points).all() or (points[:, 1] <= 0).any():
            raise ValueError(
                "Expected finite (n, 5) values of logMmin, sigma_logM > 0, logM0, logM1, alpha; "
                f"got shape {points.shape}, smallest sigma_logM {points[..., 1].min()}."
            )
        size = 128
        parts = [
            self._templates(points[start : start + size])
            for start in _progress(range(0, len(points), size), "templates", progress)
        ]
        return Templates(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Templates))
        )

    def _templates(self, hod: Array) -> Templates:
        from iaemu_likelihood.emulator.expectation.pair_sums import satellite_weights

        layout, n_points, n_bins = self._layout, len(hod), len(self.r_edges) - 1
        p = mean_centrals(layout.logM, hod)
        n = mean_satellites(layout.logM, hod)
        entries = np.zeros((n_points, layout.n_entries))
        slot_groups = np.zeros((2, n_points, layout.n_slot_groups))
        mean_logM = self._one_halo["group_logM"]
        c, s = layout.n_central_groups, layout.n_central_groups + layout.n_slot_groups
        overflow = np.zeros((n_points, len(layout.class_k)))
        overflow_pairs = np.zeros_like(overflow)
        satellite_weights(
            n,
            layout.node_kmax,
            layout.slot_start,
            layout.n_slots,
            layout.entry_of_slot,
            layout.group_of_slot,
            layout.class_start,
            layout.class_k,
            layout.logM,
            mean_logM[c:s],
            self._log_factorial,
            entries,
            slot_groups,
            overflow,
            overflow_pairs,
        )
        hosts, classes = layout.node_hosts, layout.class_hosts
        class_node = self._one_halo["class_node"]
        central_offset = layout.logM - mean_logM[layout.node_bin]
        overflow_offset = layout.logM[class_node] - mean_logM[s + layout.class_group]
        # Mean and slope in logM of the occupation in every group, by least squares.
        moments = []
        for i in range(2):
            central = _sum_by(p * hosts * central_offset**i, layout.node_bin, c)
            spill = _sum_by(
                overflow * classes * overflow_offset**i,
                layout.class_group,
                layout.n_overflow_groups,
            )
            moments.append(np.concatenate([central, slot_groups[i], spill], axis=1))
        moments[0] /= self._one_halo["group_size"]
        moments[1] *= self._one_halo["group_inverse_spread"]
        w = np.stack(moments, axis=-1).reshape(n_points, -1)

        # Two-halo terms: pairs, the term that is carried, orientation-orientation.
        c *= 2
        wc, ws = w[:, :c], w[:, c:]
        shape = (n_points, 3, n_bins)
        sums = np.zeros((n_points, n_bins, 6))
        found = _contract(wc, (wc @ self._central).reshape(n_points, c, -1)).reshape(shape)
        sums[..., 0], sums[..., 1], sums[..., 3] = found.swapaxes(0, 1)
        by_centrals = (ws @ self._carried_by_centrals).reshape(n_points, c, -1)
        sums[..., 1] += _contract(wc, by_centrals)
        found = np.zeros((2, 3, n_bins, n_points))
        for rows, block in self._satellite:
            of_rows, of_satellites = ws[:, rows].astype(np.float32, order="C"), ws[:, : rows.stop]
            for term, b in np.ndindex(3, n_bins):
                partial = of_rows @ block[term, b]
                found[0, term, b] += np.einsum("pg,pg->p", wc, partial[:, :c])
                found[1, term, b] += np.einsum("pg,pg->p", of_satellites, partial[:, c:])
        with_centrals, with_satellites = found.swapaxes(-1, -2)
        sums[..., 0] += with_centrals[0] + with_satellites[0]
        sums[..., 2] += with_centrals[1] + with_satellites[1]
        sums[..., 4] += with_centrals[2]
        sums[..., 5] += with_satellites[2]

        # One-halo terms.
        entry_node = self._one_halo["entry_node"]
        mean_entry = entries / self._one_halo["entry_size"]
        weights = np.concatenate(
            [
                p[:, entry_node] * mean_entry,
                mean_entry,
                p[:, class_node] * overflow,
                overflow,
                _sum_by(
                    overflow_pairs * classes / 2,
                    layout.class_pool,
                    len(self._one_halo["overflow_overflow"]),
                ),
            ],
            axis=1,
        )
        sums[..., [0, 1, 2, 4, 5]] += (weights @ self._one_halo_rows).reshape(n_points, n_bins, 5)

        n_centrals, n_satellites = p @ hosts, n @ hosts
        number = n_centrals + n_satellites
        volumes = shell_volumes(self.r_edges)
        pairs = sums[..., 0]
        random = number[:, None] ** 2 * volumes / self.box**3
        with np.errstate(divide="ignore", invalid="ignore"):
            xi = 2 * pairs / random - 1
            omega = sums[..., 1:3] / (2 * pairs[..., None])
            eta = sums[..., 3:] / pairs[..., None]
        columns = (xi, *np.moveaxis(omega, -1, 0), *np.moveaxis(eta, -1, 0))
        return Templates(
            **dict(zip(TEMPLATES, columns, strict=True)),
            n_centrals=n_centrals,
            n_satellites=n_satellites,
        )

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
        buffer = io.BytesIO()  # HDF5 itself crashes when a disk is full
        with h5py.File(buffer, "w") as file:
            file.attrs.update(
                {
                    "schema": SCHEMA,
                    "halos_name": self.halos_name,
                    "halos_sha256": self.halos_sha256,
                    "box": self.box,
                    "seed": self.seed,
                    "units": "r_edges and box in Mpc/h; logM in log10(Msun/h)",
                }
            )
            file["r_edges"] = self.r_edges
            file.create_dataset(
                "two_halo",
                data=self._two_halo,
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
            for name, values in self._one_halo.items():
                file.create_dataset(f"one_halo/{name}", data=values, compression="gzip")
            for field in fields(_Layout):
                file[f"layout/{field.name}"] = getattr(self._layout, field.name)
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(buffer.getbuffer())

    @classmethod
    def cached(
        cls,
        path: str | Path,
        halos: UserSuppliedHaloCatalog,
        r_edges: ArrayLike = R_EDGES,
        seed: int = 0,
        progress: bool = True,
    ) -> Tabulation:
        """Read a tabulation of this catalogue, or build and write it if there is no file yet.

        Parameters as in `build`; a file of another catalogue or of other bins is a ValueError.
        """
        if not Path(path).exists():
            cls.build(halos, r_edges, seed, progress).write(path)
        # From the file in either case, as it holds single precision.
        tabulation = cls.read(path, halos.sha256)
        if not np.array_equal(tabulation.r_edges, np.asarray(r_edges, np.float64)):
            raise ValueError(f"{path} has the bins {tabulation.r_edges}, not {r_edges!r}.")
        return tabulation

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
        ValueError
            If the file is of another schema or another catalogue, or cannot be read.
        """
        import h5py

        try:
            with h5py.File(path) as file:
                attributes: dict[str, Any] = dict(file.attrs)
                if attributes.get("schema") != SCHEMA:
                    raise ValueError(
                        f"{path} has schema {attributes.get('schema')}, this version reads {SCHEMA}; "
                        "tabulate again."
                    )
                layout = _Layout(**{f.name: file[f"layout/{f.name}"][()] for f in fields(_Layout)})
                one_halo = {name: file["one_halo"][name][()] for name in file["one_halo"]}
                two_halo, r_edges = file["two_halo"][()], file["r_edges"][()]
        except (OSError, KeyError) as error:
            raise ValueError(
                f"{path} is not a complete tabulation ({error}); tabulate again."
            ) from error
        if halos_sha256 not in (None, attributes["halos_sha256"]):
            raise ValueError(
                f"{path} tabulates the catalogue {attributes['halos_name']!r} "
                f"({attributes['halos_sha256'][:12]}...), not {halos_sha256[:12]}...; tabulate again."
            )
        names = ("box", "halos_name", "halos_sha256", "seed")
        return cls(layout, two_halo, one_halo, r_edges, *(attributes[name] for name in names))


def _sum_by(values: Array, index: NDArray[np.int64], n: int) -> Array:
    """Sum the columns of `values`, shape (n_points, m), that share an index, to (n_points, n)."""
    total = np.zeros((len(values), n))
    np.add.at(total.T, index, values.T)
    return total


def _contract(weights: Array, partial: Array) -> Array:
    return np.einsum("pg,pgb->pb", weights, partial)


def _one_halo_sums(
    cat: Slots,
    layout: _Layout,
    node: NDArray[np.int64],
    host_class: NDArray[np.int64],
    edges: Array,
    seed: int,
    progress: bool,
) -> dict[str, Array]:
    """Sums over pairs inside hosts, per entry (slots) or class (overflow), and sizes of groups."""
    from iaemu_likelihood.emulator.expectation.pair_sums import with_pool, within_hosts

    n_bins, edges2 = len(edges) - 1, edges**2
    n_pools = int(cat.pool_bin.max()) + 1
    max_rank = int(layout.node_kmax.max())
    narrow = _rank_bins(_narrow_rank_edges(max_rank), max_rank)
    entry_start = np.full(len(layout.node_kmax), 0, np.int64)
    has = layout.node_kmax > 0
    entry_start[has] = layout.entry_of_slot[layout.slot_start[:-1][has]]
    central_slot = np.zeros((layout.n_entries, n_bins, 2))
    slot_slot = np.zeros((layout.n_entries, n_bins, 3))
    within_hosts(
        np.searchsorted(node, np.arange(len(layout.node_kmax) + 1)),
        cat.first_slot,
        cat.axis,
        cat.offset,
        cat.radial,
        narrow,
        entry_start,
        edges2,
        central_slot,
        slot_slot,
    )

    # Satellites beyond the subhalos: offsets drawn from all subhalos of hosts of the pool.
    n_classes = len(layout.class_k)
    central_overflow = np.zeros((n_classes, n_bins, 2))
    slot_overflow = np.zeros((n_classes, n_bins, 3))
    overflow_overflow = np.zeros((n_pools, n_bins, 3))
    n_slots_of_host = np.diff(cat.first_slot)
    slot_pool = np.repeat(cat.pool_bin, n_slots_of_host)
    slot_class = np.repeat(host_class, n_slots_of_host)
    for pool in _progress(np.unique(cat.pool_bin), "inside hosts", progress):
        members = slot_pool == pool
        offset, radial = cat.offset[members], cat.radial[members]
        distance = np.linalg.norm(offset, axis=1)
        bin_of = np.searchsorted(edges, distance, side="left") - 1
        inside = (bin_of >= 0) & (bin_of < n_bins)
        share = np.bincount(bin_of[inside], minlength=n_bins) / len(offset)
        tensor = np.zeros((n_bins, 3, 3))
        np.add.at(tensor, bin_of[inside], np.einsum("ki,kj->kij", radial[inside], radial[inside]))
        tensor /= len(offset)
        hosts = np.flatnonzero(cat.pool_bin == pool)
        axis, classes = cat.axis[hosts], host_class[hosts]
        central_overflow[:, :, 0] += np.bincount(classes, minlength=n_classes)[:, None] * share
        second = np.zeros((n_classes, 3, 3))
        np.add.at(second, classes, np.einsum("hi,hj->hij", axis, axis))
        trace = np.bincount(classes, minlength=n_classes)
        central_overflow[:, :, 1] += np.einsum("cij,bij->cb", second, tensor)
        central_overflow[:, :, 1] -= trace[:, None] * np.einsum("bii->b", tensor) / 3

        n_draws = int(np.ceil(POOL_PAIRS / len(offset)))
        # Hosts ascend in node, but not in class inside a node.
        order = np.argsort(slot_class[members], kind="stable")
        start = np.searchsorted(slot_class[members][order], np.arange(n_classes + 1))
        rows = np.zeros_like(slot_overflow)
        with_pool(start, offset[order], radial[order], offset, radial, n_draws, seed, edges2, rows)
        slot_overflow += rows
        total = np.zeros((1, n_bins, 3))
        everything = np.array([0, len(offset)])
        with_pool(everything, offset, radial, offset, radial, n_draws, seed + 1, edges2, total)
        overflow_overflow[pool] = total[0] / len(offset)

    entry_size = np.bincount(layout.entry_of_slot, layout.n_slots, layout.n_entries)
    entry_node = np.zeros(layout.n_entries, np.int64)
    entry_node[layout.entry_of_slot] = np.repeat(np.arange(len(layout.node_kmax)), layout.node_kmax)
    class_node = np.repeat(np.arange(len(layout.node_kmax)), np.diff(layout.class_start))
    members = (
        (layout.node_bin, np.arange(len(layout.node_bin)), layout.node_hosts),
        (layout.group_of_slot, np.repeat(np.arange(len(layout.node_kmax)), layout.node_kmax),
         layout.n_slots),
        (layout.class_group, class_node, layout.class_hosts),
    )  # fmt: skip
    size = [np.bincount(group, number) for group, _, number in members]
    mean = [
        np.bincount(group, number * layout.logM[of]) / total
        for (group, of, number), total in zip(members, size, strict=True)
    ]
    spread = np.concatenate(
        [
            np.bincount(group, number * (layout.logM[of] - centre[group]) ** 2)
            for (group, of, number), centre in zip(members, mean, strict=True)
        ]
    )
    return {
        "central_slot": central_slot,
        "slot_slot": slot_slot,
        "central_overflow": central_overflow,
        "slot_overflow": slot_overflow,
        "overflow_overflow": overflow_overflow,
        "entry_size": entry_size,
        "entry_node": entry_node,
        "class_node": class_node,
        "group_size": np.concatenate(size),
        "group_logM": np.concatenate(mean),
        # Groups of a single node have no slope.
        "group_inverse_spread": np.divide(
            1, spread, out=np.zeros_like(spread), where=spread > 1e-12
        ),
    }


def _two_halo_sums(
    cat: Slots,
    layout: _Layout,
    node: NDArray[np.int64],
    host_class: NDArray[np.int64],
    group_logM: Array,
    edges: Array,
    seed: int,
    progress: bool,
) -> NDArray[np.float32]:
    """Sums over pairs in different hosts, for every pair of groups."""
    from iaemu_likelihood.emulator.expectation.pair_sums import N_CHUNKS, between_hosts
    from iaemu_likelihood.emulator.mocks.pair_counts import CellGrid

    n_hosts, n_slots_of_host = len(cat.logM), np.diff(cat.first_slot)
    slot_host = np.repeat(np.arange(n_hosts), n_slots_of_host)
    rank = np.arange(len(slot_host)) - cat.first_slot[slot_host]
    slot_group = layout.group_of_slot[layout.slot_start[node[slot_host]] + rank]

    # The cloud of overflow satellites: as many draws as the host has slots, which keeps its noise
    # below that of one realisation's own overflow.
    rng = np.random.default_rng(seed)
    n_cloud = np.clip(n_slots_of_host, 1, 512)
    cloud_host = np.repeat(np.arange(n_hosts), n_cloud)
    cloud = np.empty(len(cloud_host), np.int64)
    slot_pool, cloud_pool = cat.pool_bin[slot_host], cat.pool_bin[cloud_host]
    for pool in np.unique(cat.pool_bin):
        members, wanted = np.flatnonzero(slot_pool == pool), np.flatnonzero(cloud_pool == pool)
        # Every member once before any member twice: less noise than independent draws.
        turns = int(np.ceil(len(wanted) / len(members)))
        drawn = np.concatenate([rng.permutation(members) for _ in range(turns)])
        cloud[wanted] = drawn[: len(wanted)]

    position = np.concatenate(
        [
            cat.position,
            cat.position[slot_host] + cat.offset,
            cat.position[cloud_host] + cat.offset[cloud],
        ]
    )
    position %= cat.box
    axis = np.concatenate([cat.axis, cat.radial, cat.radial[cloud]])
    weight = np.concatenate([np.ones(n_hosts + len(slot_host)), 1 / n_cloud[cloud_host]])
    host = np.concatenate([np.arange(n_hosts), slot_host, cloud_host])
    first_slot_group = layout.n_central_groups
    first_cloud_group = first_slot_group + layout.n_slot_groups
    group = np.concatenate(
        [
            layout.node_bin[node],
            first_slot_group + slot_group,
            first_cloud_group + layout.class_group[host_class[cloud_host]],
        ]
    )

    grid = CellGrid.of(position, cat.box, float(edges[-1]), group)
    slope = layout.logM[node[host]] - group_logM[group]
    columns = (position, axis, weight, slope, group, host)
    position, axis, weight, slope, group, host = (column[grid.order] for column in columns)
    n_groups = layout.n_groups
    sums = np.zeros((N_CHUNKS, n_groups * (n_groups + 1) // 2, len(edges) - 1, 2, 2, 4))
    for slab in _progress(range(grid.n_cells), "between hosts", progress):
        between_hosts(
            slab,
            grid.n_cells,
            grid.start,
            grid.offsets,
            position,
            axis,
            weight,
            slope,
            group,
            host,
            cat.box,
            edges**2,
            sums,
        )
    return sums.sum(axis=0).astype(np.float32)
