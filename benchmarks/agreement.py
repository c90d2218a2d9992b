"""The posterior of TNG300's sample 1 by every sampler, against the closed form.

    python benchmarks/agreement.py [--json FILE] [--smoke]

Cobaya's MCMC, NUTS, emcee and nautilus on the batched posterior, and emcee inside CosmoSIS if that
is installed, all of the bundled example; printed are the offset of each mean in standard deviations
of the closed form, and the ratio of the widths.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.parameters import ALIGNMENT_PARAMETERS

from iaemu_likelihood.log_posterior import posterior
from iaemu_likelihood.table1 import exact_posterior, example

SAMPLE = "sample1"


def by_cobaya(folder, smoke):
    from cobaya.run import run

    info = example(SAMPLE)
    if smoke:
        info["sampler"]["mcmc"]["max_samples"] = 200
    _, sampler = run({**info, "output": None}, stop_at_error=True)
    chain = sampler.products(to_getdist=True, skip_samples=0.3)["sample"]
    names = [f"{name}_{SAMPLE}" for name in ALIGNMENT_PARAMETERS]
    return np.array([chain.mean(n) for n in names]), np.array([chain.std(n) for n in names])


def by_nuts(folder, smoke):
    from iaemu_likelihood.nuts import run_nuts

    steps = (100, 100) if smoke else (2000, 4000)
    result = run_nuts(example(SAMPLE), folder / "nuts", 1, *steps, progress=False)
    return np.array(list(result.means.values())), np.array(list(result.stds.values()))


def by_emcee(folder, smoke):
    import emcee

    post = posterior(example(SAMPLE))
    np.random.seed(1)  # noqa: NPY002  emcee draws from the global generator
    sampler = emcee.EnsembleSampler(32, len(post.names), post, vectorize=True)
    sampler.run_mcmc(post.start(32, seed=1), 100 if smoke else 4000)
    samples = sampler.get_chain(discard=50 if smoke else 500, flat=True)
    return samples.mean(0), samples.std(0)


def by_nautilus(folder, smoke):
    from nautilus import Sampler

    post = posterior(example(SAMPLE))
    sampler = Sampler(
        post.prior_transform, post.log_likelihood, len(post.names), vectorized=True,
        pass_dict=False, seed=1, n_live=200 if smoke else 1000,
    )  # fmt: skip
    sampler.run(n_eff=200 if smoke else 10_000)
    points, log_w, _ = sampler.posterior()
    weight = np.exp(log_w)
    mean = np.average(points, axis=0, weights=weight)
    return mean, np.sqrt(np.average((points - mean) ** 2, axis=0, weights=weight))


def by_cosmosis(folder, smoke):
    import iaemu_likelihood

    examples = files("iaemu_likelihood.yaml_examples")
    for name in ("cosmosis_tng300_sample1.ini", "cosmosis_tng300_sample1_values.ini"):
        (folder / name).write_text((examples / name).read_text())
    options = {
        "runtime.sampler": "emcee", "emcee.walkers": 16, "emcee.samples": 40 if smoke else 3000,
        "emcee.random_start": "F", "output.filename": "chain.txt",
    }  # fmt: skip
    module = Path(iaemu_likelihood.__file__).parent / "cosmosis_module"
    subprocess.run(
        ["cosmosis", "cosmosis_tng300_sample1.ini", "-p", *(f"{k}={v}" for k, v in options.items())],
        check=True, cwd=folder, capture_output=True,
        env={**os.environ, "IAEMU_COSMOSIS": str(module)},
    )  # fmt: skip
    samples = np.loadtxt(folder / "chain.txt")[:, :2]
    samples = samples[len(samples) // 6 :]
    return samples.mean(0), samples.std(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="Short chains: only whether it runs.")
    arguments = parser.parse_args()
    exact = exact_posterior(SAMPLE)
    samplers = {"Cobaya": by_cobaya, "NUTS": by_nuts, "emcee": by_emcee, "nautilus": by_nautilus}
    if find_spec("cosmosis"):
        samplers["CosmoSIS (emcee)"] = by_cosmosis
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sample in samplers.items():
            start = time.perf_counter()
            mean, std = sample(Path(folder), arguments.smoke)
            rows[name] = {
                "offsets": ((mean - exact.mean) / exact.std).tolist(),
                "width_ratios": (std / exact.std).tolist(),
                "wall_s": time.perf_counter() - start,
            }
    print(f"closed form: {exact.mean} ± {exact.std}")
    print(f"{'':18} mu_cen: offset, width   mu_sat: offset, width   wall [s]")
    for name, row in rows.items():
        (a, b), (c, d) = row["offsets"], row["width_ratios"]
        print(f"{name:18} {a:+13.3f} {c:8.3f} {b:+15.3f} {d:8.3f} {row['wall_s']:11.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
