"""NUTS as the paper runs it, 2,000 + 4,000 steps, beside Pyro's own floor in the same run.

python benchmarks/nuts.py [--smoke] [--json FILE]

The floor is the same sampler on a Gaussian of nearly the same posterior, whose potential costs a few
tensor operations: what is left is Pyro. Floor and emulators take turns, as machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from iaemu_likelihood import nuts
from iaemu_likelihood.log_posterior import posterior

DATA = "tng300.sample1"
POTENTIAL = nuts.potential_of


def gaussian_potential(target):
    """A Gaussian with the moments of the posterior, in the same unconstrained numbers."""
    constrain = nuts.Unconstrained(target)
    z = constrain.inverse(np.array([0.797, 0.314])).requires_grad_()
    potential, _ = POTENTIAL(target)
    curvature = torch.autograd.functional.hessian(lambda x: potential({"z": x}), z.detach())
    centre = z.detach()

    def gaussian(x):
        d = x["z"] - centre
        return (d @ curvature @ d) / 2

    return gaussian, constrain


def timed(weights, folder, steps, floor=False):
    """One run: wall and CPU seconds, and what it reports."""
    start, cpu = time.perf_counter(), time.process_time()
    run = nuts.measurement_run(DATA, weights)
    with patch.object(nuts, "potential_of", gaussian_potential if floor else POTENTIAL):
        result = nuts.run_nuts(run, folder / weights, 1, *steps, force=True, progress=False)
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "gradients": sum(chain.n_gradients for chain in result.chains),
        "ess": min(result.ess.values()),
        "means": result.means,
        "stds": result.stds,
    }


def per_gradient(name):
    """CPU microseconds of one potential with its gradient, the fastest of some blocks."""
    torch.set_num_threads(1)
    make = gaussian_potential if name == "floor" else POTENTIAL
    weights = "templates" if name == "floor" else name
    potential, _ = make(posterior(nuts.measurement_run(DATA, weights)))
    z = torch.tensor([2.0, 0.6], dtype=torch.float64, requires_grad=True)
    best = np.inf
    for _ in range(10):
        start = time.process_time()
        for _ in range(20):
            torch.autograd.grad(potential({"z": z}), z)
        best = min(best, (time.process_time() - start) / 20)
    return 1e6 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few steps: only whether it runs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    steps = (100, 100) if arguments.smoke else (2000, 4000)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        timed("templates", Path(folder), (10, 10))  # imports
        for name, weights, floor in (
            ("floor", "templates", True),
            ("templates", "templates", False),
            ("paper", "paper", False),
        ):
            rows[name] = timed(weights, Path(folder), steps, floor)
    for name in rows:
        rows[name]["gradient_us"] = per_gradient(name)
    floor = rows["floor"]["cpu_s"]
    print(f"{steps[0]} + {steps[1]} steps, one chain on one thread, {platform.processor() or platform.machine()}")  # fmt: skip
    print(
        f"{'':10} wall [s]  CPU [s]  CPU/floor  gradients  least ESS  ESS per CPU s  gradient [us]"
    )
    for name, row in rows.items():
        print(
            f"{name:10} {row['wall_s']:8.1f} {row['cpu_s']:8.1f} {row['cpu_s'] / floor:10.2f} "
            f"{row['gradients']:10d} {row['ess']:10.0f} {row['ess'] / row['cpu_s']:14.0f} {row['gradient_us']:14.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
