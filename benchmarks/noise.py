"""The noise of one catalogue: learned, beside what it takes to measure it from catalogues.

python benchmarks/noise.py [--smoke] [--json FILE]

CPU time on one thread. Learned: standard deviations and the covariance of xi, omega and eta in 20 bins
at any parameters. Measured: one catalogue with the second moments that its shape noise follows from,
of which a covariance takes a few at every HOD point; or one of halotools-IA, of which it takes some
hundreds at every point of alignment and occupation parameters.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from dataset import POINTS
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.backend import enter
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, shape_moments
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from measuring import main, seconds, show

BATCH = 1024


def learned(smoke):
    """Seconds a point, by what is predicted."""
    emulator = Emulator.load()
    theta = torch.as_tensor(emulator.domain.sample(BATCH, seed=1))
    one, few = theta[:1], theta[: 32 if smoke else BATCH].numpy()
    with torch.inference_mode():
        return {
            "standard deviations, one point": seconds(lambda: emulator.sigma(*enter(one)), smoke),
            f"standard deviations, {BATCH:,} points, each": seconds(
                lambda: emulator.sigma(theta), smoke
            )
            / len(theta),
            "covariance, one point": seconds(lambda: emulator.covariance(one.numpy()), smoke),
            f"covariance, {len(few):,} points, each": seconds(
                lambda: emulator.covariance(few), smoke
            )
            / len(few),
        }


def measured(smoke):
    """Seconds a catalogue, by the number of galaxies."""
    halos = load_halos()
    sites, model = GalaxySites.of(halos), HalotoolsIA(halos)
    rows = []
    for theta in map(np.array, [POINTS["1e4"]] if smoke else POINTS.values()):
        mu, hod = model.space.split(theta)

        def catalogue(mu=mu, hod=hod):
            rng = np.random.default_rng(1)
            galaxies = populate(sites, hod, rng)
            found = measure(galaxies, mu, sites.box, R_EDGES, rng)
            shape_moments(galaxies, found, sites.box, R_EDGES, N_PRIMARIES, rng)

        def halotools(theta=theta):
            correlations(*positions_and_axes(model.populate(theta, 1)), model.box)

        rows.append(
            {
                "galaxies": sites.mean_number(hod),
                "catalogue_s": seconds(catalogue, smoke),
                "halotools_s": seconds(halotools, smoke),
            }
        )
    return rows


def run(smoke: bool) -> dict:
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    fast, slow = learned(smoke), measured(smoke)
    show("Learned noise [us]", ["", ""], [[name, f"{1e6 * s:.3g}"] for name, s in fast.items()])
    show(
        "Measured noise, one catalogue [s]",
        ["galaxies", "fast mock with second moments", "halotools-IA"],
        [[f"{r['galaxies']:.3g}", f"{r['catalogue_s']:.3g}", f"{r['halotools_s']:.3g}"] for r in slow],
    )  # fmt: skip
    return {"learned_s": fast, "measured": slow}


if __name__ == "__main__":
    main(run, __doc__)
