"""Pair densities from the mesh against counted ones, on both sides of where the one follows the other.

    python benchmarks/mesh.py [--smoke] [--json FILE]

The same fast mocks of the bundled catalogue, of samples from sparse to dense, are counted and summed on
the mesh, in the fine bins below and above the separation from which tabulations take the mesh. Shown
are differences of xi and of D_2 = 3/2 (1 + xi) omega: of the mean over mocks, in units of what one of
them scatters, and as a share of the mean.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.mesh import mesh_sums
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums
from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.statistics import OMEGA, PAIRS, XI
from iaemu_likelihood.emulator.physics.watson import draw_axes
from measuring import main, show

# Occupations from sparse to dense; most galaxies of the second are in few, rich hosts.
HOD = (
    (13.2, 0.6, 13.0, 14.0, 0.8),
    (12.8, 0.25, 13.5, 13.2, 1.35),
    (12.54, 0.26, 12.68, 13.48, 1.0),
    (12.1, 0.26, 12.2, 13.05, 1.0),
)
MU = (0.8, 0.3)
EDGES = FAR_EDGES[(FAR_EDGES > 11) & (FAR_EDGES < 23)]
NAMES = "xi", "D_2"


def both_ways(sites, hod, rng):
    """xi and D_2 of one mock, counted and on the mesh, (2, 2, n_bins)."""
    galaxies = populate(sites, hod, rng)
    n_centrals, _ = galaxies.numbers
    parts = np.split(galaxies.reference, [n_centrals])
    axes = np.concatenate([draw_axes(p, mu, rng) for p, mu in zip(parts, MU, strict=True)])
    n, x = len(axes), galaxies.position
    kernels, one = Kernels.of((XI, OMEGA)), np.zeros(n, np.int64)
    counted, _ = kernel_sums([OMEGA.kernel], x, axes, one, 1, sites.box, EDGES)
    everywhere = [(np.arange(n), np.ones((n, 1)))]
    (sums,) = mesh_sums(
        x, axes, everywhere, sites.box, kernels, EDGES, lambda steps, label: iter(steps)
    )
    pairs, first, last = sums.T
    random = n**2 * shell_volumes(EDGES) / sites.box**3
    found = np.array(
        [
            [counted[kernel][0, 0] for kernel in (PAIRS, OMEGA.kernel)],
            [2 * pairs, first + last],
        ]
    )
    # omega's kernel is cos^2 - 1/3.
    return found / random * [[1.0], [1.5]] - [[1.0], [0.0]]


def run(smoke: bool) -> dict:
    sites, rows = GalaxySites.of(load_halos()), []
    for i, hod in enumerate(HOD[: 1 if smoke else None]):
        draws = np.array(
            [
                both_ways(sites, np.array(hod), np.random.default_rng([i, k]))
                for k in range(2 if smoke else 12)
            ]
        )
        mean, scatter = draws.mean(axis=0), draws[:, 0].std(axis=0, ddof=1)
        rows.append(
            {
                "density": sites.mean_number(np.array(hod)) / sites.box**3,
                "in_scatters": ((mean[1] - mean[0]) / scatter).tolist(),
                "relative": (mean[1] / mean[0] - 1).tolist(),
            }
        )
    bins = [f"{low:.1f}-{high:.1f}" for low, high in pairwise(EDGES)]
    for s, name in enumerate(NAMES):
        show(
            f"{name} from the mesh less counted: in units of one catalogue's scatter (share of it)",
            ["galaxies per (Mpc/h)^3", *bins],
            [
                [
                    f"{row['density']:.5f}",
                    *(
                        f"{a:+.2f} ({100 * b:+.1f} %)"
                        for a, b in zip(row["in_scatters"][s], row["relative"][s], strict=True)
                    ),
                ]
                for row in rows
            ],
        )
    return {"r_edges": EDGES.tolist(), "hod": HOD, "mu": MU, "samples": rows}


if __name__ == "__main__":
    main(run, __doc__)
