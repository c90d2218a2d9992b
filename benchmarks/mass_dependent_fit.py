"""Fits of TNG300's xi and omega by a tabulation, with strengths that depend on host mass and without.

    python benchmarks/mass_dependent_fit.py tabulation.hdf5 [--sample 2] [--json FILE]

The tabulation holds xi and omega in the bins in which emulators learn, as that of `iaemu tabulate` does.
chi^2 is that of the published errors, taken as independent, and is minimised from several points, first
at the occupation of the sample, then with the occupation free in its default domain.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.physics.alignment import WATSON_MASS
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from measuring import show
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi2_distribution

from iaemu_likelihood.data_vectors import Measurement

STATISTICS = ("xi", "omega")
SPACE = ParameterSpace(WATSON_MASS)
SLOPES = [SPACE.names.index(name) for name in ("slope_cen", "slope_sat")]


def fit(tabulation, measurement, slopes, occupation, n_starts, seed=0):
    """The point of the smallest chi^2, with or without slopes, and the occupation free or fixed."""
    domain = Domain.of(SPACE)
    inside = measurement.r_max <= NEAR_EDGES[-1]
    edges = np.append(measurement.r_min[inside], measurement.r_max[inside][-1])
    binning = PairWeightedBinning(NEAR_EDGES, edges)
    data, errors = (
        np.concatenate([of[name][inside] for name in STATISTICS])
        for of in (measurement.values, measurement.errors)
    )
    hod = np.array([measurement.hod[name] for name in SPACE.occupation.names])
    start = np.concatenate([[0.7, 0.1, 0.0, 0.0], domain.to_unit(hod[None])[0]])
    free = np.ones(len(start), bool)
    free[SLOPES] = slopes
    free[SPACE.n_alignment :] = occupation

    def point(x):
        unit = start.copy()
        unit[free] = x
        mu, of_hosts = SPACE.split(unit)
        return SPACE.join(mu, domain.from_unit(of_hosts[None])[0])

    def pulls(x):
        mu, of_hosts = SPACE.split(point(x))
        xi, omega = tabulation.aligned_templates(mu, of_hosts, SPACE.alignment).correlations()
        return (np.concatenate(binning(xi[0], omega[0])) - data) / errors

    rng, found = np.random.default_rng(seed), []
    for i in range(n_starts):
        x = start[free] + (0.3 * rng.normal(size=free.sum()) if i else 0)
        # Steps of derivatives are above the rounding of sums in single precision.
        found.append(
            least_squares(pulls, np.clip(x, -0.95, 0.95), bounds=(-1, 1), diff_step=1e-3, xtol=1e-5)
        )
    best = min(found, key=lambda each: each.cost)
    return {
        "chi2": 2 * float(best.cost),
        "chi2_of": dict(
            zip(STATISTICS, (best.fun.reshape(2, -1) ** 2).sum(axis=1).tolist(), strict=True)
        ),
        "chi2_of_starts": sorted(2 * float(each.cost) for each in found),
        "n_data": len(data),
        "n_free": int(free.sum()),
        "point": SPACE.named_values(point(best.x)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tabulation", type=Path)
    parser.add_argument("--sample", type=int, default=2, choices=(1, 2, 3))
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tabulation = Tabulation.read(arguments.tabulation).coarser(NEAR_EDGES, STATISTICS)
    measurement = Measurement.read(f"tng300.sample{arguments.sample}")
    found = {
        f"{'occupation free' if occupation else 'occupation fixed'}, {name}": fit(
            tabulation, measurement, slopes, occupation, arguments.starts
        )
        for occupation in (False, True)
        for name, slopes in (("constants", False), ("slopes", True))
    }
    names = SPACE.names
    rows = [
        [label, f"{each['n_free']}", f"{each['chi2']:.2f}", f"{each['chi2_of']['omega']:.2f}"]
        + [f"{each['point'][name]:.3f}" for name in names]
        for label, each in found.items()
    ]
    title = f"{measurement.name}: {next(iter(found.values()))['n_data']} values of xi and omega"
    show(title, ["", "free", "chi2", "of omega", *names], rows)
    for occupation in ("fixed", "free"):
        constants, slopes = (
            found[f"occupation {occupation}, {name}"]["chi2"] for name in ("constants", "slopes")
        )
        gain = constants - slopes
        print(
            f"occupation {occupation}: two slopes lower chi^2 by {gain:.2f} (probability by chance "
            f"{chi2_distribution.sf(max(gain, 0), 2):.2g})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
