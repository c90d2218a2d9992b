"""What the density of the Sobol design is worth: errors of an interpolation through its points.

python benchmarks/design.py [--points N] [--tabulation FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos.catalogue import load_halos
from iaemu_likelihood.emulator.physics import parameters
from iaemu_likelihood.emulator.physics.parameters import DENSITY, Domain
from rich.console import Console
from rich.table import Table
from scipy.interpolate import RBFInterpolator

TILTS = {
    "uniform": dict.fromkeys(DENSITY, (1.0,)),
    "the package's": DENSITY,
    "stronger": {
        "logMmin": (0.5, 0.0, 1.5), "sigma_logM": (1.0, -0.6), "logM0": (1.0, 0.85),
        "logM1": (1.0,), "alpha": (1.0, 0.6),
    },
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--tabulation", type=Path, default=Path("tabulation.hdf5"))
    arguments = parser.parse_args()
    tabulation = Tabulation.cached(arguments.tabulation, load_halos())
    domain = Domain.zheng07()

    def outputs(hod):
        templates = tabulation.templates(hod).stack()
        templates[:, 0] = np.log1p(templates[:, 0])
        return templates.reshape(len(hod), -1)

    unit = np.random.default_rng(5).uniform(-1, 1, (1500, 5))
    truth = outputs(domain.from_unit(unit))
    scale = truth.std(axis=0)
    table = Table("design", "mean", "median", "95 %", "largest",
                  title=f"|error| / spread of the templates, {arguments.points} points")  # fmt: skip
    for name, density in TILTS.items():
        with patch.object(parameters, "DENSITY", density):
            hod = domain.sample(arguments.points, 1)[:, 2:]
        x = domain.to_unit(hod)
        guess = RBFInterpolator(x, outputs(hod) / scale, neighbors=120)(unit)
        error = np.abs(guess - truth / scale).mean(axis=1)
        values = (error.mean(), *np.percentile(error, [50, 95, 100]))
        table.add_row(name, *(f"{v:.4f}" for v in values))
    Console().print(table)


if __name__ == "__main__":
    main()
