"""What a box lacks at large separations, and how well linear theory says it.

    python benchmarks/large_scales.py [--smoke] [--json FILE]

First, matter's linear correlation functions in an infinite universe and in the box of the bundled
catalogue. Then the amplitude of linear theory in xi (b^2) and in D_2 of galaxies with the occupation of
the TNG300 samples, matched over several ranges. Last, what the missing modes and the separations
beyond the tabulated ones add to w_gg and w_g+, relative to all of it, in linear theory; so it is what
is added to a model at r_p from some 5 Mpc/h on.
"""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.emulator.expectation.modes import COMPONENTS, Modes
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.linear_theory import (
    MATCHED,
    Cosmology,
    LinearTheory,
    amplitude,
    continuation,
)
from iaemu_likelihood.emulator.physics.projection import EVEN, projection
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.watson import draw_axes
from measuring import main, show
from numpy.polynomial.polynomial import Polynomial

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement

# Of the densities from the mesh, and of all that are tabulated.
FAR, TABULATED = np.logspace(1.2, 2.05, 18), np.logspace(-1, 2.05, 62)
RANGES = ((10**1.2, 10**1.9), MATCHED, (10**1.3, 10**1.7), (10**1.3, 10**2.05), (10**1.5, 10**1.9))
MU = (0.8, 0.3)
N_POPULATIONS = 8
# Terms of xi and of the ellipticity's part of degree 2, as functions of mu.
ANGULAR = {0: EVEN, 2: Polynomial([1.0, 0.0, -1.0])}


def of_matter(box, infinite):
    """xi^(0) and xi^(2) in shells, in both universes."""
    rows = []
    for i in range(len(FAR) - 1):
        values = [
            theory.correlation(FAR[i : i + 2], degree)[0]
            for degree in (0, 2)
            for theory in (infinite, box)
        ]
        rows.append({"r_min": FAR[i], "r_max": FAR[i + 1], "values": values})
    show(
        f"Matter in linear theory: infinite universe and a box of {box.box:g} Mpc/h",
        ["r [Mpc/h]", "xi, infinite", "box", "difference", "xi^(2), infinite", "box", "ratio"],
        [
            [
                f"{row['r_min']:.1f}-{row['r_max']:.1f}",
                f"{a:.5f}", f"{b:.5f}", f"{b - a:.5f}", f"{c:.5f}", f"{d:.5f}", f"{d / c:.4f}",
            ]
            for row in rows
            for a, b, c, d in [row["values"]]
        ],
    )  # fmt: skip
    return rows


def densities(sites, hod, seed):
    """xi and D_2 of one population in the shells of FAR."""
    modes, rng = Modes.of(sites.box), np.random.default_rng(seed)
    galaxies = populate(sites, hod, rng)
    n_centrals, _ = galaxies.numbers
    parts = np.split(galaxies.reference, [n_centrals])
    axes = np.concatenate([draw_axes(p, mu, rng) for p, mu in zip(parts, MU, strict=True)])
    tensor = np.array([axes[:, i] * axes[:, j] - (i == j) / 3 for i, j in COMPONENTS])
    n = len(axes)
    density, *components = modes.fields(
        *modes.cells(galaxies.position), np.stack([np.ones(n), *tensor])
    )
    aligned = sum(
        component * modes.direction[:, i] * modes.direction[:, j] * (1 if i == j else 2)
        for component, (i, j) in zip(components, COMPONENTS, strict=True)
    )
    found = []
    for field, degree, factor in ((density, 0, 1.0), (aligned, 2, -1.5)):
        spectrum = (density.conj() * field).real * modes.weight
        of_shells = np.array([spectrum[shell].sum() for shell in modes.shells()])
        pairs = factor * modes.bessel(FAR, degree) @ of_shells
        found.append(pairs / (n**2 * shell_volumes(FAR) / modes.box**3) - (degree == 0))
    return found


def amplitudes(sites, box, smoke):
    """b^2 and the amplitude of D_2 of the samples, by the range in which they are matched."""
    rows = []
    for sample in TNG300_SAMPLES[: 1 if smoke else None]:
        known = Measurement.read(f"tng300.{sample}").metadata["hod"]
        hod = [known[name] for name in DEFAULT_SPACE.occupation.names]
        drawn = np.array(
            [densities(sites, hod, seed) for seed in range(2 if smoke else N_POPULATIONS)]
        )
        for low, high in RANGES:
            found = [drawn[:, i] @ amplitude(box, FAR, 2 * i, (low, high)) for i in range(2)]
            rows.append(
                {
                    "sample": sample, "low": low, "high": high,
                    "mean": [x.mean() for x in found],
                    "scatter": [x.std(ddof=1) for x in found],
                }
            )  # fmt: skip
    show(
        "Amplitude of linear theory, with the scatter of one population",
        ["sample", "matched over r [Mpc/h]", "b^2 from xi", "of D_2"],
        [
            [
                row["sample"],
                f"{row['low']:.1f}-{row['high']:.1f}",
                *(f"{m:.4f} ± {s:.4f}" for m, s in zip(row["mean"], row["scatter"], strict=True)),
            ]
            for row in rows
        ],
    )
    return rows


def added(box, infinite):
    """Shares of the linear w_gg and w_g+ that come from missing modes, and from the tail."""
    rows = []
    for pi_max in (60.0, 100.0):
        for rp_edges in ([5.0, 6.3], [10.0, 12.6], [20.0, 25.1], [30.0, 37.8], [50.0, 63.0]):
            edges = np.append(TABULATED, np.geomspace(TABULATED[-1], 130.0, 4)[1:])
            n = len(TABULATED) - 1
            shares = []
            for degree, angular in ANGULAR.items():
                to_w = projection(edges, rp_edges, pi_max, angular)[:, 0]
                known = box.correlation(TABULATED, degree)
                continued = known @ continuation(
                    box, infinite, TABULATED, edges[len(TABULATED) - 1 :], degree
                )
                total = continued @ to_w
                shares += [
                    (continued[:n] - known) @ to_w[:n] / total,
                    continued[n:] @ to_w[n:] / total,
                ]
            rows.append({"pi_max": pi_max, "rp_edges": rp_edges, "shares": shares})
    show(
        f"Added to a table that ends at {TABULATED[-1]:.1f} Mpc/h, as a share of the linear w",
        ["Pi_max", "r_p", "w_gg: missing modes", "tail", "w_g+: missing modes", "tail"],
        [
            [
                f"{row['pi_max']:g}",
                "{:g}-{:g}".format(*row["rp_edges"]),
                *(f"{share:+.4f}" for share in row["shares"]),
            ]
            for row in rows
        ],
    )
    return rows


def run(smoke: bool) -> dict:
    halos = load_halos()
    cosmology = Cosmology.from_words(halos.cosmology)
    box = LinearTheory(cosmology, halos.redshift, halos.box)
    infinite = LinearTheory(cosmology, halos.redshift)
    return {
        "matter": of_matter(box, infinite),
        "amplitudes": amplitudes(GalaxySites.of(halos), box, smoke),
        "added": added(box, infinite),
    }


if __name__ == "__main__":
    main(run, __doc__)
