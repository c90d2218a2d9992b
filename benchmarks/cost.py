"""Core-seconds per HOD point: halotools-IA, the fast realiser with its noise, the expectation.

python benchmarks/cost.py [--smoke] [--json FILE]

All on one thread, one after the other, in the same run. Building the tabulation is shown apart.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numba
import numpy as np
from iaemu_likelihood.emulator.estimators import R_EDGES, correlations, positions_and_axes
from iaemu_likelihood.emulator.galaxies import HalotoolsIA
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.noise import N_PRIMARIES, shape_moments
from iaemu_likelihood.emulator.parameters import Domain
from iaemu_likelihood.emulator.realiser import measure, populate
from iaemu_likelihood.emulator.slots import Slots
from iaemu_likelihood.emulator.tabulation import Tabulation
from rich.console import Console
from rich.table import Table
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


def core_seconds(function, repeats):
    """Smallest of some timings."""
    function()  # compiles, and fills halotools' tables
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--smoke", action="store_true", help="the smallest catalogue only, without the expectation"
    )
    parser.add_argument("--tabulation", type=Path, default=Path("benchmark_tabulation.hdf5"),
                        help="where to leave the tabulation that is timed")  # fmt: skip
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    points = {"1e4": POINTS["1e4"]} if arguments.smoke else POINTS
    repeats = 1 if arguments.smoke else 3

    numba.set_num_threads(1)
    threadpool_limits(1)
    halos = load_halos()
    slots, model = Slots.of(halos), HalotoolsIA(halos)
    domain = Domain.zheng07()
    if not arguments.smoke:
        start = time.process_time()
        Tabulation.build(halos).write(arguments.tabulation, overwrite=True)
        build = time.process_time() - start
        tabulation = Tabulation.read(arguments.tabulation, halos.sha256)
        hod = domain.sample(256, 0)[:, 2:]
        expectation = core_seconds(lambda: tabulation.templates(hod), repeats) / len(hod)

    rows = []
    for theta in points.values():
        theta = np.array(theta)

        def halotools(theta=theta):
            galaxies = model.populate(theta, 1)
            correlations(*positions_and_axes(galaxies), model.box)

        def realiser(noise, theta=theta):
            rng = np.random.default_rng(1)
            galaxies = populate(slots, theta[2:], rng)
            found = measure(galaxies, theta[0], theta[1], slots.box, R_EDGES, rng)
            if noise:
                shape_moments(galaxies, found, slots.box, R_EDGES, N_PRIMARIES, rng)

        peer = core_seconds(halotools, 1)
        row = {
            "galaxies": slots.mean_number(theta[2:]),
            "halotools": peer,
            "realiser": core_seconds(lambda: realiser(False), repeats),
            "realiser_with_noise": core_seconds(lambda: realiser(True), repeats),
        }
        if not arguments.smoke:
            row["expectation"] = expectation
        rows.append(row)

    table = Table("galaxies", "halotools-IA", "realiser", "with noise", "expectation",
                  title="Core-seconds per HOD point (one catalogue), and how many times faster")  # fmt: skip
    for row in rows:
        cells = [f"{row['galaxies']:.3g}", f"{row['halotools']:.3g}"]
        for name in ("realiser", "realiser_with_noise", "expectation"):
            cells.append(
                f"{row[name]:.3g}  ({row['halotools'] / row[name]:.3g}x)" if name in row else ""
            )
        table.add_row(*cells)
    Console().print(table)

    result = {
        "machine": f"{platform.machine()}, {platform.python_version()}, one thread",
        "rows": rows,
    }
    if not arguments.smoke:
        result["tabulation_build"] = build
        # Cost as a function of the number of galaxies, over the design.
        number = np.array([slots.mean_number(h) for h in domain.sample(512, 1)[:, 2:]])
        grid = np.array([row["galaxies"] for row in rows])[::-1]
        whole = {}
        for name in ("halotools", "realiser", "realiser_with_noise"):
            cost = np.array([row[name] for row in rows])[::-1]
            # Constant, linear and quadratic in the number of galaxies, relative errors alike.
            terms = np.stack([np.ones_like(grid), grid, grid**2], axis=1) / cost[:, None]
            fit, _ = nnls(terms, np.ones(len(grid)))
            per_catalogue = np.mean(fit[0] + fit[1] * number + fit[2] * number**2)
            whole[name] = float(per_catalogue * PAPER_POINTS * PAPER_CATALOGUES / 3600)
        whole["expectation"] = (expectation * PAPER_POINTS + build) / 3600
        result["core_hours_of_the_papers_data_set"] = whole
        print(f"Core-hours of {PAPER_POINTS:,} points x {PAPER_CATALOGUES} catalogues over the domain "
              f"(expectation: once, tabulation of {build:.0f} s included): "
              + ", ".join(f"{k} {v:.3g}" for k, v in whole.items()))  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
