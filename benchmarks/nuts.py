"""NUTS as the paper runs it, 2,000 + 4,000 steps, beside Pyro's own floor in the same run.

python benchmarks/nuts.py [--smoke] [--json FILE]

The floor is the same sampler on a Gaussian of nearly the same posterior, whose potential costs a few
tensor operations: what is left is Pyro. "Plain Pyro" is the same posterior written as a Pyro model
around the emulator, as one would without this package's posterior. The three samples are those of
tng300_joint.yaml, with six parameters; their gradient is shown by torch's way back, too.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyro
import torch
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from measuring import main, seconds, show, threads
from pyro.infer import MCMC, NUTS

from iaemu_likelihood.sampling import nuts, potential
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.sampling.unconstrained import Unconstrained
from iaemu_likelihood.tng300.table1 import example

DATA = "tng300.sample1"
# Six strengths, and the emulator's covariance at every point.
THREE = "templates, three samples"
BY_TORCH = f"{THREE}, torch's gradient"
POTENTIAL = nuts.potential_of


def gaussian_potential(target):
    """A Gaussian with the moments of the posterior, in the same unconstrained numbers."""
    constrain = Unconstrained(target)
    best = np.array([0.797, 0.314])
    z = constrain.inverse(best)
    slope = torch.autograd.functional.jacobian(lambda x: constrain(x)[0], z)
    curvature = slope.mT @ torch.as_tensor(target.fisher(best)) @ slope
    centre = z

    def gaussian(x):
        d = x["z"] - centre
        return (d @ curvature @ d) / 2

    return gaussian, constrain


def potential_by_torch(target):
    """The potential without the fast gradient at fixed occupation."""
    with patch.object(potential, "_at_fixed_occupation", lambda target: None):
        return POTENTIAL(target)


# Other potentials than the package's, by row.
OTHERS = {"floor": gaussian_potential, BY_TORCH: potential_by_torch}


def run_of(name):
    """The Cobaya input of a row: the three samples, or one with weights by their name."""
    if name in (THREE, BY_TORCH):
        return example("joint")
    return nuts.measurement_run(DATA, "templates" if name == "floor" else name)


def timed(name, folder, steps):
    """One run: wall and CPU seconds, and what it reports."""
    start, cpu = time.perf_counter(), time.process_time()
    with patch.object(nuts, "potential_of", OTHERS.get(name, POTENTIAL)):
        result = nuts.run_nuts(run_of(name), folder / name, 1, *steps, force=True, progress=False)
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "gradients": sum(chain.n_gradients for chain in result.chains),
        "ess": min(result.ess.values()),
        "means": result.means,
        "stds": result.stds,
    }


def plain_pyro(weights, steps):
    """A Pyro model that predicts omega at every point and compares it with the data."""
    post = posterior(nuts.measurement_run(DATA, weights))
    (core,) = post.likelihoods
    (part,) = core.data.parts
    emulator, space = post.emulator, post.emulator.space
    hod = torch.cat([post.fixed[name] for name in space.occupation.names])
    with torch.no_grad():
        excess = emulator(space.join(torch.zeros(1, 2), hod[None]))[XI.name]
    binning = PairWeightedBinning(emulator.r_edges, part.r_edges)
    (keep,) = torch.as_tensor(part.keep)
    to_bins = OMEGA.to_bins(binning, excess)[0][:, keep]
    data = torch.as_tensor(core.data.values)
    sigma = torch.as_tensor(np.sqrt(np.diag(core.data.covariance)))
    prior = pyro.distributions.Uniform(torch.tensor(-1.0).double(), torch.tensor(1.0).double())

    def model():
        mu = torch.stack([pyro.sample(name, prior) for name in post.names])
        omega = emulator(space.join(mu, hod), epistemic=False)[OMEGA.name] @ to_bins
        pyro.sample(OMEGA.name, pyro.distributions.Normal(omega, sigma).to_event(1), obs=data)

    start, cpu = time.perf_counter(), time.process_time()
    pyro.set_rng_seed(1)
    mcmc = MCMC(NUTS(model), num_samples=steps[1], warmup_steps=steps[0], disable_progbar=True)
    mcmc.run()
    found = {name: mcmc.get_samples()[name] for name in post.names}
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "ess": min(x["n_eff"].item() for x in mcmc.diagnostics().values() if "n_eff" in x),
        "means": {name: x.mean().item() for name, x in found.items()},
        "stds": {name: x.std().item() for name, x in found.items()},
    }


def per_gradient(name, smoke):
    """CPU seconds of one potential with its gradient."""
    torch.set_num_threads(1)
    target = posterior(run_of(name))
    of_z, _ = OTHERS.get(name, POTENTIAL)(target)
    z = torch.tensor([2.0, 0.6] * (len(target.names) // 2), dtype=torch.float64, requires_grad=True)
    return seconds(lambda: torch.autograd.grad(of_z({"z": z}), z), smoke)


def run(smoke):
    steps = (100, 100) if smoke else (2000, 4000)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        timed("templates", Path(folder), (10, 10))  # imports
        for name in ("floor", "templates", "paper", THREE, BY_TORCH):
            rows[name] = timed(name, Path(folder), steps)
    with threads(1):
        for weights in ("templates", "paper"):
            rows[f"{weights}, plain Pyro"] = plain_pyro(weights, steps)
    for name, row in rows.items():
        row["cpu_over_floor"] = row["cpu_s"] / rows["floor"]["cpu_s"]
        if "Pyro" in name:
            continue
        row["gradient_us"] = 1e6 * per_gradient(name, smoke)
    show(
        f"NUTS, {steps[0]} + {steps[1]} steps, one chain on one thread",
        ["", "wall [s]", "CPU [s]", "CPU / floor", "gradients", "a gradient [us]", "least ESS", "ESS per CPU s"],
        [
            [
                name, f"{row['wall_s']:.1f}", f"{row['cpu_s']:.1f}", f"{row['cpu_over_floor']:.2f}",
                f"{row.get('gradients', '')}",
                f"{row['gradient_us']:.0f}" if "gradient_us" in row else "", f"{row['ess']:.0f}",
                f"{row['ess'] / row['cpu_s']:.0f}",
            ]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
