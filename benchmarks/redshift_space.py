"""What peculiar velocities do to projected statistics, and how well Kaiser's correction mends w_gg.

    python benchmarks/redshift_space.py [--smoke] [--json FILE]

Galaxies with the occupation of the TNG300 samples on the bundled catalogue's halos, spheroids of one
axis ratio, seen along each side of the box: at their places, and moved along the line of sight by their
host's velocity. Satellites have no velocities of their own, so nothing here shows fingers of God. Means
of some populations; errors are from the scatter between the three lines of sight.
"""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.rows import VELOCITY
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.mocks.pair_counts import plain_sums
from iaemu_likelihood.emulator.mocks.sky_pairs import sky_sums
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.linear_theory import (
    Cosmology,
    KaiserCorrection,
    LinearTheory,
    amplitude,
)
from iaemu_likelihood.emulator.physics.shapes import project
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import PairKernel
from iaemu_likelihood.emulator.physics.watson import draw_axes
from large_scales import FAR, MU, densities
from measuring import main, show

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement

EDGES = np.logspace(-1, 1.5, 6)
PI_MAX = (40.0, 60.0, 80.0)
AXIS_RATIO = 0.6
N_POPULATIONS = 6
# Denser samples are thinned at random.
MOST = 60_000


def toward(dx, dy, dz, r2, a, b):
    """3 (1 - mu^2) e_+ of the first galaxy, whose ellipticity is (a[0], a[1])."""
    return 3 * (a[0] * (dx * dx - dy * dy) + 2 * a[1] * dx * dy) / r2


# Of degree 2 in no axis, but `plain_sums` asks only which arrays it takes.
QUADRUPOLE = PairKernel("quadrupole", n_axes=1, degree=2, term=toward)


def velocities(halos):
    """Of the hosts in the order of `GalaxySites`, km/s, (n_hosts, 3)."""
    hosts = np.flatnonzero(halos.columns["halo_upid"] == -1)
    mass = np.asarray(halos.columns["halo_mvir"], np.float64)[hosts]
    hosts = hosts[np.argsort(mass, kind="stable")]
    return np.stack([halos.columns[name][hosts] for name in VELOCITY], axis=-1).astype(np.float64)


def seen(position, shapes, box, side):
    """w_gg and w_g+ at each of `PI_MAX`, and the quadrupole: (2 n_pi + 1, n_bins)."""
    n = len(position)
    along = np.roll(position, 2 - side, axis=1)
    one = np.zeros(n, np.int64), 1
    by_pi = [sky_sums(along, shapes, *one, box, EDGES, pi)[0] for pi in PI_MAX]
    # Random pairs per Mpc/h of the line of sight.
    random = n**2 * np.pi * np.diff(EDGES**2) / box**3
    w_gg = [sums[0] / random - 2 * pi for sums, pi in zip(by_pi, PI_MAX, strict=True)]
    w_gplus = [sums[1] / random for sums in by_pi]
    ellipticity = np.concatenate([shapes, np.zeros((n, 1))], axis=1)
    total = plain_sums(QUADRUPOLE, along, ellipticity, *one, box, EDGES)[0, 0]
    # 5/48 is Singh et al. 2024's; the integral over mu is twice the mean.
    quadrupole = 5 / 48 * 2 * total / (n**2 * shell_volumes(EDGES) / box**3)
    return np.stack([*w_gg, *w_gplus, quadrupole])


def populations(sites, velocity, hod, stretch, n):
    """Means of `seen` in real and in redshift space along each side: (2, 3, 2 n_pi + 1, n_bins)."""
    found = np.zeros((2, 3, 2 * len(PI_MAX) + 1, len(EDGES) - 1))
    for seed in range(n):
        rng = np.random.default_rng(seed)
        galaxies = populate(sites, hod, rng)
        n_centrals, _ = galaxies.numbers
        parts = np.split(galaxies.reference, [n_centrals])
        axes = np.concatenate([draw_axes(p, mu, rng) for p, mu in zip(parts, MU, strict=True)])
        kept = rng.permutation(len(axes))[:MOST]
        for side in range(3):
            shapes = project(axes[kept], AXIS_RATIO, side)
            moved = galaxies.position[kept]
            for space in range(2):
                found[space, side] += seen(moved % sites.box, shapes, sites.box, side) / n
                moved[:, side] += stretch * velocity[galaxies.host[kept], side]
    return found


def ratio(values):
    """Redshift over real space less 1, and its error, from (2, 3, ...)."""
    real, moved = values
    of_sides = (moved - real) / real.mean(axis=0)
    return of_sides.mean(axis=0), of_sides.std(axis=0, ddof=1) / np.sqrt(len(of_sides))


def sizes(theory):
    """Kaiser's addition at Pi_max of surveys, in Mpc/h and relative to the linear w_gg."""
    rows = []
    for pi_max in (60.0, 100.0):
        for bias in (1.0, 1.5, 2.0):
            for rp_edges in ([1.0, 1.26], [10.0, 12.6], [30.0, 37.8]):
                correction = KaiserCorrection(theory, rp_edges, pi_max)
                added = correction(np.array([bias**2]))[0, 0]
                share = added / (bias**2 * correction.integrals[0, 0])
                rows.append({"pi_max": pi_max, "b": bias, "r_p": rp_edges, "w": [added, share]})
    show(
        f"Kaiser's addition to w_gg, infinite universe, z = {theory.redshift:g}",
        ["Pi_max", "b", "r_p", "added [Mpc/h]", "over the linear w_gg [%]"],
        [
            [
                f"{row['pi_max']:g}",
                f"{row['b']:g}",
                "{:g}-{:g}".format(*row["r_p"]),
                f"{row['w'][0]:.2f}",
                f"{100 * row['w'][1]:.1f}",
            ]
            for row in rows
        ],
    )
    return rows


def run(smoke: bool) -> dict:
    halos = load_halos()
    sites, velocity = GalaxySites.of(halos), velocities(halos)
    cosmology, z = Cosmology.from_words(halos.cosmology), halos.redshift
    theory = LinearTheory(cosmology, z, halos.box)
    expansion = np.sqrt(cosmology.Om0 * (1 + z) ** 3 + 1 - cosmology.Om0)
    stretch = (1 + z) / (100 * expansion)
    results = {}
    for sample in TNG300_SAMPLES[: 1 if smoke else None]:
        known = Measurement.read(f"tng300.{sample}").metadata["hod"]
        hod = [known[name] for name in DEFAULT_SPACE.occupation.names]
        n = 1 if smoke else N_POPULATIONS
        values = populations(sites, velocity, hod, stretch, n)
        xi = np.mean([densities(sites, hod, seed)[0] for seed in range(n)], axis=0)
        bias_squared = xi @ amplitude(theory, FAR)
        of_all, errors = ratio(values)
        rows = []
        for i, pi_max in enumerate(PI_MAX):
            correction = KaiserCorrection(theory, EDGES, pi_max)
            added = correction(np.array([bias_squared]))[0]
            real, moved = values[:, :, i].mean(axis=1)
            factor = 1 + added / (bias_squared * correction.integrals[0])
            for b in range(len(EDGES) - 1):
                rows.append(
                    {
                        "pi_max": pi_max,
                        "r_p": EDGES[b : b + 2].tolist(),
                        "w_gg": [real[b], of_all[i, b], errors[i, b]],
                        "added": moved[b] / (real[b] + added[b]) - 1,
                        "factor": moved[b] / (real[b] * factor[b]) - 1,
                        "w_gplus": [x[len(PI_MAX) + i, b] for x in (of_all, errors)],
                    }
                )
        quadrupole = np.stack([of_all[-1], errors[-1]], axis=1).tolist()
        results[sample] = {"b^2": bias_squared, "rows": rows, "quadrupole": quadrupole}
        show(
            f"{sample}, b^2 = {bias_squared:.3f}: redshift space over real space - 1 [%]",
            ["Pi_max", "r_p", "w_gg [Mpc/h]", "w_gg", "over w + Kaiser's addition", "over w x factor", "w_g+"],
            [
                [
                    f"{row['pi_max']:g}",
                    "{:.2g}-{:.2g}".format(*row["r_p"]),
                    f"{row['w_gg'][0]:.4g}",
                    f"{100 * row['w_gg'][1]:+.1f} ± {100 * row['w_gg'][2]:.1f}",
                    f"{100 * row['added']:+.1f}",
                    f"{100 * row['factor']:+.1f}",
                    "{:+.1f} ± {:.1f}".format(*(100 * x for x in row["w_gplus"])),
                ]
                for row in rows
            ],
        )  # fmt: skip
    show(
        "xi_g+,2: redshift space over real space - 1 [%]",
        ["r [Mpc/h]", *results],
        [
            [
                "{:.2g}-{:.2g}".format(*EDGES[b : b + 2]),
                *(
                    "{:+.1f} ± {:.1f}".format(*(100 * x for x in result["quadrupole"][b]))
                    for result in results.values()
                ),
            ]
            for b in range(len(EDGES) - 1)
        ],
    )
    return {"samples": results, "sizes": sizes(LinearTheory(cosmology, z))}


if __name__ == "__main__":
    main(run, __doc__)
