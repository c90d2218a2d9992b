"""What the density of the Sobol design is worth: errors of an interpolation through its points.

python benchmarks/design.py [--points N] [--tabulation FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations.zheng07 import Zheng07
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from rich.console import Console
from rich.table import Table
from scipy.interpolate import RBFInterpolator

TILTS = {
    "uniform": {},
    "the package's": Zheng07.design_density,
    "stronger": {
        "logMmin": (0.5, 0.0, 1.5),
        "sigma_logM": (1.0, -0.6),
        "logM0": (1.0, 0.85),
        "alpha": (1.0, 0.6),
    },
}


def tilted(density):
    """The default domain, with another density of its designs."""

    class Tilted(Zheng07):
        design_density = density

    return Domain.of(ParameterSpace(occupation=Tilted()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--tabulation", type=Path, default=Path("tabulation.hdf5"))
    arguments = parser.parse_args()
    tabulation = Tabulation.cached(arguments.tabulation, load_halos())
    domain = Domain.of()

    def outputs(hod):
        found = tabulation.templates(hod)
        logarithmic = [s.learned_as_logarithm for s in found.statistics for _ in s.templates]
        values = found.values.copy()
        values[:, logarithmic] = np.log1p(values[:, logarithmic])
        return values.reshape(len(hod), -1)

    unit = np.random.default_rng(5).uniform(-1, 1, (1500, domain.space.n_occupation))
    truth = outputs(domain.from_unit(unit))
    scale = truth.std(axis=0)
    table = Table("design", "mean", "median", "95 %", "largest",
                  title=f"|error| / spread of the templates, {arguments.points} points")  # fmt: skip
    for name, density in TILTS.items():
        _, hod = domain.space.split(tilted(density).sample(arguments.points, 1))
        x = domain.to_unit(hod)
        guess = RBFInterpolator(x, outputs(hod) / scale, neighbors=120)(unit)
        error = np.abs(guess - truth / scale).mean(axis=1)
        values = (error.mean(), *np.percentile(error, [50, 95, 100]))
        table.add_row(name, *(f"{v:.4f}" for v in values))
    Console().print(table)


if __name__ == "__main__":
    main()
