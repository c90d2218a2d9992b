"""Core-seconds per HOD point: halotools-IA, fast mocks with their noise, the expectation.

python benchmarks/dataset.py [--smoke] [--json FILE]

All on one thread, one after the other, in the same run; building the tabulation is shown apart, and
so is what a second thread brings.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numba
import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, shape_moments
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from measuring import main, seconds, show
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

# About 3e5, 1e5, 3e4 and 1e4 galaxies in the bundled catalogue.
POINTS = {
    "3e5": [0.6, 0.4, 11.45, 0.26, 11.50, 12.75, 1.0],
    "1e5": [0.6, 0.4, 12.00, 0.26, 12.10, 12.90, 1.0],
    "3e4": [0.6, 0.4, 12.54, 0.26, 12.68, 13.48, 1.0],
    "1e4": [0.6, 0.4, 13.05, 0.40, 13.10, 13.90, 1.0],
}
PAPER_POINTS, PAPER_CATALOGUES = 110_526, 10  # IAEmu, arXiv:2504.05235
# What is compared with halotools-IA, by the keys of the numbers.
FASTER = {
    "realiser": "fast mock",
    "realiser_with_noise": "with noise",
    "expectation": "expectation",
}


def once(function):
    """CPU seconds of a single call, where one takes long."""
    start = time.process_time()
    function()
    return time.process_time() - start


def expectations(halos, domain):
    """CPU seconds to tabulate, and of one expectation after that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tabulation.hdf5"
        build = once(lambda: Tabulation.build(halos, progress=False).write(path))
        tabulation = Tabulation.read(path, halos.sha256)
        _, hod = domain.space.split(domain.sample(256, 0))
        return build, seconds(lambda: tabulation.templates(hod)) / len(hod)


def whole_set(rows, sites, domain):
    """Core-hours of the paper's data set, from the cost as a function of the number of galaxies."""
    _, hod = domain.space.split(domain.sample(512, 1))
    number = np.array([sites.mean_number(point) for point in hod])
    grid = np.array([row["galaxies"] for row in rows])[::-1]
    whole = {}
    for name in ("halotools", "realiser", "realiser_with_noise"):
        cost = np.array([row[name] for row in rows])[::-1]
        # Constant, linear and quadratic in the number of galaxies, relative errors alike.
        terms = np.stack([np.ones_like(grid), grid, grid**2], axis=1) / cost[:, None]
        fit, _ = nnls(terms, np.ones(len(grid)))
        per_catalogue = np.mean(fit[0] + fit[1] * number + fit[2] * number**2)
        whole[name] = float(per_catalogue * PAPER_POINTS * PAPER_CATALOGUES / 3600)
    return whole


def run(smoke: bool) -> dict:
    numba.set_num_threads(1)
    threadpool_limits(1)
    halos = load_halos()
    sites, model, domain = GalaxySites.of(halos), HalotoolsIA(halos), Domain.of()
    points = {"1e4": POINTS["1e4"]} if smoke else POINTS
    build, expectation = (None, None) if smoke else expectations(halos, domain)
    rows = []
    for theta in map(np.array, points.values()):

        def halotools(theta=theta):
            galaxies = model.populate(theta, 1)
            correlations(*positions_and_axes(galaxies), model.box)

        mu, hod = domain.space.split(theta)

        def fast(noise, mu=mu, hod=hod):
            rng = np.random.default_rng(1)
            galaxies = populate(sites, hod, rng)
            found = measure(galaxies, mu, sites.box, R_EDGES, rng)
            if noise:
                shape_moments(galaxies, found, sites.box, R_EDGES, N_PRIMARIES, rng)

        halotools()  # fills its tables
        row = {
            "galaxies": sites.mean_number(hod),
            "halotools": once(halotools),
            "realiser": seconds(lambda f=fast: f(False), smoke),
            "realiser_with_noise": seconds(lambda f=fast: f(True), smoke),
        }
        alone = seconds(lambda f=fast: f(True), smoke, clock=time.perf_counter)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        both = seconds(lambda f=fast: f(True), smoke, clock=time.perf_counter)
        numba.set_num_threads(1)
        row["two_threads"] = alone / both
        rows.append(row if expectation is None else {**row, "expectation": expectation})

    show(
        "Core-seconds per HOD point (one catalogue), and how many times faster",
        ["galaxies", "halotools-IA", *FASTER.values(), "speed-up by two threads"],
        [
            [
                f"{row['galaxies']:.3g}", f"{row['halotools']:.3g}",
                *(f"{row[k]:.3g}  ({row['halotools'] / row[k]:.3g}x)" if k in row else "" for k in FASTER),
                f"{row['two_threads']:.2f}",
            ]
            for row in rows
        ],
    )  # fmt: skip
    result = {"rows": rows}
    if build is not None and expectation is not None:
        whole = whole_set(rows, sites, domain)
        whole["expectation"] = (expectation * PAPER_POINTS + build) / 3600
        result |= {"tabulation_build": build, "core_hours_of_the_papers_data_set": whole}
        print(f"Core-hours of {PAPER_POINTS:,} points x {PAPER_CATALOGUES} catalogues over the domain "
              f"(expectation: once, tabulation of {build:.0f} s included): "
              + ", ".join(f"{FASTER.get(k, k)} {v:.3g}" for k, v in whole.items()))  # fmt: skip
    return result


if __name__ == "__main__":
    main(run, __doc__)
