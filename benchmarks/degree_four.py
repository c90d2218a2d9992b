"""Correlations of degree 4 in one host: the coefficients by which they follow from degree 2, and how well.

    python benchmarks/degree_four.py [--smoke] [--json FILE]

Galaxies are drawn at HOD points across the domain of the bundled weights, with the bundled halo catalogue,
and products of harmonics of their reference axes (`iaemu_likelihood.emulator.physics.statistics.degree_four`)
are summed over pairs. Every other point is for the fit of coefficients; w_++ of pairs of
flat, strongly aligned satellites (axis ratio 0.5, mu = 0.95) is then compared with the sums at the other
points, and with those of halos that the coefficients were not fitted to: at redshift 1, and with satellites
on NFW profiles in place of subhalos. The coefficients themselves, fitted to all points of the first, are in
the JSON file and, to three decimals, in `degree_four.yaml`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from halos import corner, without_subhalos
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue, load_halos
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, bin_centres, shell_volumes
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.projection import projection
from iaemu_likelihood.emulator.physics.shapes import response
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import CENTRAL, SATELLITE
from iaemu_likelihood.emulator.physics.statistics.degree_four import (
    MIXED,
    NODES,
    SATELLITES,
    angular,
    shares,
)
from iaemu_likelihood.emulator.physics.watson import legendre
from measuring import main, show
from numpy.polynomial.legendre import Legendre
from scipy.spatial import cKDTree

EDGES = FAR_EDGES[FAR_EDGES < 8]
R = bin_centres(EDGES)
RP_EDGES, PI_MAX = np.logspace(-1, 0.5, 8), 4.0
AXIS_RATIO, MU = 0.5, 0.95
# HOD points; pairs of satellites and populations at each, at most; pairs that are worked on together.
N_POINTS, N_PAIRS, N_POPULATIONS, BLOCK = 40, 1_500_000, 12, 2_000_000
# Points with fewer pairs say little.
LEAST_PAIRS = 100_000
DEGREES = (2, 2), (2, 4), (4, 4)
OF_SATELLITES = [(*degrees, m) for degrees in DEGREES for m in range(min(degrees) + 1)]
OF_MIXED = (2, 2), *MIXED


def harmonics(first: int, second: int, m: int, a: Any, b: Any, across: Any, sines: Any) -> Any:
    """What a pair adds to E_lk,m, the degrees in both orders.

    Parameters
    ----------
    first, second, m : int
    a, b : ndarray
        Cosines of the angles between the axes and the separation.
    across : ndarray
        Product of the axes' components across the separation; sin sin' cos(beta - beta').
    sines : ndarray
        sin^2 sin'^2.
    """
    of_a, of_b = (Legendre.basis(degree).deriv(m) for degree in (first, second))
    both = (of_a(a) * of_b(b) + of_b(a) * of_a(b)) / 2
    # (sin sin')^m cos(m x) is a polynomial in sin sin' cos x and sin^2 sin'^2.
    turned = {0: 1, 1: across, 2: 2 * across**2 - sines, 3: across * (4 * across**2 - 3 * sines),
              4: 8 * across**4 - 8 * across**2 * sines + sines**2}[m]  # fmt: skip
    return both * turned / (2 if m else 1)


def pairs_of(positions: Any, axes: Any, others: Any, their_axes: Any, box: float) -> Any:
    """Blocks of pairs: bins, and the arguments of `harmonics`."""
    if others is None:
        every = cKDTree(positions, boxsize=box).query_pairs(EDGES[-1], output_type="ndarray").T
        others, their_axes = positions, axes
    else:
        tree, other = cKDTree(positions, boxsize=box), cKDTree(others, boxsize=box)
        found = tree.sparse_distance_matrix(other, EDGES[-1], output_type="ndarray")
        every = np.stack([found["i"], found["j"]])
    for start in range(0, every.shape[1], BLOCK):
        i, j = every[:, start : start + BLOCK]
        separation = positions[i] - others[j]
        separation -= box * np.round(separation / box)
        r = np.linalg.norm(separation, axis=1)
        b = np.searchsorted(EDGES, r) - 1
        kept = (b >= 0) & (b < len(R))
        i, j, unit, b = i[kept], j[kept], separation[kept] / r[kept, None], b[kept]
        cos_i, cos_j = (axes[i] * unit).sum(1), (their_axes[j] * unit).sum(1)
        across = (axes[i] * their_axes[j]).sum(1) - cos_i * cos_j
        sines = np.clip((1 - cos_i**2) * (1 - cos_j**2), 0, None)
        yield b, (cos_i, cos_j, across, sines)


def sums(halos: HaloCatalogue, n_points: int, n_pairs: int) -> tuple[Any, Any]:
    """E_lk,m per random pair at HOD points: of satellites, and of centrals with satellites.

    Returns
    -------
    satellites : ndarray, shape (n, len(OF_SATELLITES), n_bins)
    mixed : ndarray, shape (n, len(OF_MIXED), n_bins)
    """
    sites, found = GalaxySites.of(halos), []
    hods = DEFAULT_SPACE.split(Domain.of(DEFAULT_SPACE).sample(n_points, seed=5))[1]
    for k, hod in enumerate(hods):
        rng = np.random.default_rng(k)
        of_satellites = np.zeros((len(OF_SATELLITES), len(R)))
        of_mixed = np.zeros((len(OF_MIXED), len(R)))
        met = populations = number = 0
        while met < n_pairs and populations < N_POPULATIONS:
            galaxies = populate(sites, hod, rng)
            populations, number = populations + 1, number + len(galaxies.kind)
            of_kind = [
                (galaxies.position[some] % sites.box, galaxies.reference[some])
                for some in (galaxies.kind == kind for kind in (CENTRAL, SATELLITE))
            ]
            for b, angles in pairs_of(*of_kind[1], None, None, sites.box):
                met += len(b)
                for row, degrees in zip(of_satellites, OF_SATELLITES, strict=True):
                    row += np.bincount(b, harmonics(*degrees, *angles), len(R))
            for b, (of_central, of_satellite, *_) in pairs_of(*of_kind[0], *of_kind[1], sites.box):
                for row, (first, second) in zip(of_mixed, OF_MIXED, strict=True):
                    product = Legendre.basis(first)(of_central) * Legendre.basis(second)(
                        of_satellite
                    )
                    row += np.bincount(b, product, len(R))
        if met >= min(n_pairs, LEAST_PAIRS):
            density = (number / populations) ** 2 / sites.box**3 * shell_volumes(EDGES) / 2
            found.append([x / populations / density for x in (of_satellites, of_mixed)])
    satellites, mixed = (np.array(x) for x in zip(*found, strict=True))
    return satellites, mixed


def fitted(known: Any, wanted: Any) -> Any:
    """Coefficients at the nodes by which some numbers follow from others, (n_nodes - 1, n_known, n_wanted).

    Parameters
    ----------
    known, wanted : ndarray, shape (n, n_known, n_bins) and (n, n_wanted, n_bins)
    """
    # Each point and bin counts alike, less where pairs of one host are few.
    weight = np.minimum(1, 3 / R) / np.maximum(np.sqrt((known**2).sum(1)), 1e-300)
    design = np.einsum("njb,bk,nb->nbkj", known, shares(R), weight)
    design = design.reshape(-1, (len(NODES) - 1) * known.shape[1])
    target = np.einsum("nqb,nb->nbq", wanted, weight).reshape(len(design), -1)
    # Where the known numbers are alike, the smallest coefficients.
    small = 1e-4 * len(design) / len(NODES) * np.eye(design.shape[1])
    found = np.linalg.solve(design.T @ design + small, design.T @ target)
    return found.reshape(len(NODES) - 1, known.shape[1], -1)


def helicities(satellites: Any) -> Any:
    """eta_0, eta_1 and eta_2 from E_22,m, the first rows."""
    return satellites[:, :3] / np.array([9 / 4, 9, 9])[:, None]


def coefficients(satellites: Any, mixed: Any) -> tuple[Any, Any]:
    """Of satellites in the three helicities, (n_nodes - 1, 3, 8), and of mixed pairs, (n_nodes - 1, 1, 3)."""
    of_satellites = fitted(helicities(satellites), satellites[:, 3:])
    return of_satellites, fitted(mixed[:, :1], mixed[:, 1:])


def left_out(satellites: Any, of_satellites: Any) -> dict[str, Any]:
    """What degree 4 adds to w_++ of pairs of satellites, and how far off the coefficients are.

    Both relative to what degree 2 gives, by bin of r_p; of flat, strongly aligned satellites.
    """
    amplitude = {d: float(response(AXIS_RATIO, d) * legendre(np.array([MU]), d)[0]) for d in (2, 4)}
    predicted = np.einsum("bk,njb,kjq->nqb", shares(R), helicities(satellites), of_satellites)
    of_two, all_of_four, error = 0.0, 0.0, 0.0
    for i, (first, second, m) in enumerate(OF_SATELLITES):
        factor = amplitude[first] * amplitude[second] * (1 if first == second else 2)
        to_w = factor * projection(EDGES, RP_EDGES, PI_MAX, angular(first, second, m))
        if second == 2:
            of_two = of_two + satellites[:, i] @ to_w
        else:
            all_of_four = all_of_four + satellites[:, i] @ to_w
            error = error + (predicted[:, i - 3] - satellites[:, i]) @ to_w
    ratio, off = all_of_four / of_two, error / of_two
    return {
        "degree 4, mean": ratio.mean(0).tolist(),
        "degree 4, scatter": ratio.std(0).tolist(),
        "error, rms": np.sqrt((off**2).mean(0)).tolist(),
        "error, largest": np.abs(off).max(0).tolist(),
    }


def run(smoke: bool) -> dict[str, Any]:
    halos, later = load_halos(), load_halos("bundled@1")
    n_points, n_pairs = N_POINTS, N_PAIRS
    if smoke:
        halos, later, n_points, n_pairs = corner(halos, 60.0), corner(later, 60.0), 4, 100
    satellites, mixed = sums(halos, n_points, n_pairs)
    of_half, _ = coefficients(satellites[::2], mixed[::2])
    ours = np.concatenate([SATELLITES[d] for d in DEGREES[1:]], axis=1).swapaxes(1, 2)
    rows = {
        "held out": left_out(satellites[1::2], of_half),
        "of the package": left_out(satellites, ours),
    }
    for name, others in (("redshift 1", later), ("NFW satellites", without_subhalos(halos))):
        rows[name] = left_out(sums(others, n_points // 2, n_pairs)[0], ours)
    show(
        "w_++ of pairs of satellites: what degree 4 adds to degree 2, and the error of the coefficients (rms)",
        ["r_p [Mpc/h]", *(f"{name}: {what}" for name in rows for what in ("adds", "error"))],
        [
            [
                f"{RP_EDGES[b]:.2g}-{RP_EDGES[b + 1]:.2g}",
                *(f"{row[key][b]:.4f}" for row in rows.values() for key in ("degree 4, mean", "error, rms")),
            ]
            for b in range(len(RP_EDGES) - 1)
        ],
    )  # fmt: skip
    of_satellites, of_mixed = coefficients(satellites, mixed)
    return {
        "r": NODES.tolist(),
        "satellites": of_satellites.swapaxes(1, 2).round(3).tolist(),
        "central and satellite": of_mixed[:, 0].round(3).tolist(),
        "points": len(satellites),
        "w_++": rows,
    }


if __name__ == "__main__":
    main(run, __doc__)
