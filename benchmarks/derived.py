"""Bias and alignment amplitude: how they depend on the range of separations, and on the box.

    [IAEMU_SECOND_BOX=FILE] python benchmarks/derived.py [--smoke] [--json FILE]

First, the bias of the bundled catalogue's hosts of 10^12.5 to 10^13 Msun/h between 5 and 16 Mpc/h, from
counted pairs, over nonlinear matter and over linear theory. Then b_g and A_IA_e (of galaxies with
a_2 = 0.3) of populations with the occupation of the TNG300 samples, from a mesh, matched to linear
theory over several ranges of separation. With a second halo catalogue of the same cosmology and
redshift, the same of that one, and what the two differ by: the only look at what one box is worth.
"""

from __future__ import annotations

import os

import numpy as np
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.halos.matter import xi_matter
from iaemu_likelihood.emulator.mocks import correlations
from iaemu_likelihood.emulator.models.derived import C1_RHO_CRIT
from iaemu_likelihood.emulator.physics.linear_theory import (
    MATCHED,
    Cosmology,
    LinearTheory,
    amplitude,
)
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from large_scales import FAR, MU, densities
from measuring import main, show

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement

RANGES = (MATCHED, (10**1.2, 10**1.5), (10**1.3, 10**1.6), (10**1.5, 10**1.8), (10**1.6, 10**1.9))
CLOSER = ((5.0, 16.0), (10.0, 16.0), MATCHED)
RESPONSE, N_POPULATIONS = 0.3, 4
HOSTS, NEAR = (12.5, 13.0), np.geomspace(5.0, 16.0, 7)


def bias_of_hosts(halos, theory):
    """Of hosts in a range of mass, over matter's nonlinear and linear correlation function."""
    sites = GalaxySites.of(halos)
    chosen = (sites.logM >= HOSTS[0]) & (sites.logM < HOSTS[1])
    found = correlations(
        sites.position[chosen], sites.axis[chosen], halos.box, NEAR, statistics=(XI.name,)
    )
    over = {"nonlinear": xi_matter(NEAR), "linear": theory.correlation(NEAR)}
    return {name: np.sqrt(found[XI.name] / xi) for name, xi in over.items()}


def of_samples(sites, theory, smoke):
    """b_g and A_IA_e by sample and range, with the scatter of populations, (sample, range, 2, 2)."""
    found = []
    for sample in TNG300_SAMPLES[: 1 if smoke else None]:
        known = Measurement.read(f"tng300.{sample}").metadata["hod"]
        hod = [known[name] for name in DEFAULT_SPACE.occupation.names]
        drawn = np.array(
            [densities(sites, hod, seed) for seed in range(2 if smoke else N_POPULATIONS)]
        )
        rows = []
        for limits in RANGES:
            squares, tides = (drawn[:, i] @ amplitude(theory, FAR, 2 * i, limits) for i in range(2))
            bias = np.sqrt(squares)
            scale = C1_RHO_CRIT * theory.cosmology.Om0 / theory.growth
            of_shapes = RESPONSE * tides / (bias * scale)
            rows.append([[x.mean(), x.std(ddof=1)] for x in (bias, of_shapes)])
        found.append(rows)
    return np.array(found)


def of_weights():
    """A_IA_e of the bundled weights at the TNG300 samples' occupation, nearer than it is linear."""
    emulator = Emulator.load()
    theory, edges = emulator.universe.theory(emulator.universe.box), emulator.fine_edges
    known = [Measurement.read(f"tng300.{sample}").metadata["hod"] for sample in TNG300_SAMPLES]
    hod = np.array([[each[name] for name in DEFAULT_SPACE.occupation.names] for each in known])
    occupied = emulator.at(hod, (XI, OMEGA), len(edges) - 1)
    mean, _ = occupied(np.broadcast_to(MU, (len(hod), 2)), (OMEGA,))
    tides = RESPONSE * 1.5 * (1 + occupied.excess) * mean[:, 0]
    bias = np.sqrt(occupied.excess @ amplitude(theory, edges))
    scale = C1_RHO_CRIT * theory.cosmology.Om0 / theory.growth
    found = [tides @ amplitude(theory, edges, 2, limits) / (bias * scale) for limits in CLOSER]
    show(
        "Bundled weights: A_IA_e nearer, with b_g of {:.0f}-{:.0f} Mpc/h".format(*MATCHED),
        ["sample", *("{:.0f}-{:.0f} Mpc/h".format(*limits) for limits in CLOSER)],
        [
            [sample, *(f"{x:.3f}" for x in row)]
            for sample, row in zip(TNG300_SAMPLES, np.transpose(found), strict=True)
        ],
    )
    return np.transpose(found).tolist()


def run(smoke: bool) -> dict:
    names = ["bundled", *filter(None, [os.environ.get("IAEMU_SECOND_BOX")])]
    results: dict = {"weights": of_weights()}
    for name in names:
        halos = load_halos(name)
        theory = LinearTheory(Cosmology.from_words(halos.cosmology), halos.redshift, halos.box)
        hosts = bias_of_hosts(halos, theory)
        samples = of_samples(GalaxySites.of(halos), theory, smoke)
        results[name] = {"hosts": {k: x.tolist() for k, x in hosts.items()}, "samples": samples}
        words = ", ".join(f"{x.mean():.3f} over {k} matter" for k, x in hosts.items())
        print(f"{halos.name}: bias of hosts of 10^{HOSTS[0]} to 10^{HOSTS[1]} Msun/h: {words}")
        show(
            f"{halos.name}: by linear theory, with the scatter of one population",
            ["sample", "matched over r [Mpc/h]", "b_g", "A_IA_e"],
            [
                [sample, "{:.0f}-{:.0f}".format(*limits), *(f"{m:.3f} ± {s:.3f}" for m, s in row)]
                for sample, rows in zip(TNG300_SAMPLES, samples, strict=False)
                for limits, row in zip(RANGES, rows, strict=True)
            ],
        )
    if len(names) > 1:
        first, second = (results[name]["samples"][:, 0, :, 0] for name in names)
        ratio = second / first - 1
        results["differences"] = ratio
        show(
            "Second box over the first, less 1, matched over {:.0f}-{:.0f} Mpc/h".format(*MATCHED),
            ["sample", "b_g", "A_IA_e"],
            [
                [sample, *(f"{x:+.3f}" for x in row)]
                for sample, row in zip(TNG300_SAMPLES, ratio, strict=False)
            ],
        )
    for name in names:
        results[name]["samples"] = results[name]["samples"].tolist()
    if "differences" in results:
        results["differences"] = results["differences"].tolist()
    return results


if __name__ == "__main__":
    main(run, __doc__)
