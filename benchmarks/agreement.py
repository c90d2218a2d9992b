"""The posterior of TNG300's sample 1 by every sampler, against the closed form.

    python benchmarks/agreement.py [--smoke] [--json FILE]

Cobaya's MCMC, NUTS, emcee and nautilus on the batched posterior, and emcee inside CosmoSIS if that
is installed, all of the bundled example; printed are the offset of each mean in standard deviations
of the closed form, and the ratio of the widths.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from measuring import main, show

from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.tng300.table1 import exact_posterior, example

SAMPLE = "sample1"
ALIGNMENT = DEFAULT_SPACE.alignment.names


def by_cobaya(folder, smoke):
    from cobaya.run import run

    info = example(SAMPLE)
    if smoke:
        info["sampler"]["mcmc"]["max_samples"] = 200
    _, sampler = run({**info, "output": None}, stop_at_error=True)
    chain = sampler.products(to_getdist=True, skip_samples=0.3)["sample"]
    names = [f"{name}_{SAMPLE}" for name in ALIGNMENT]
    return np.array([chain.mean(n) for n in names]), np.array([chain.std(n) for n in names])


def by_nuts(folder, smoke):
    from iaemu_likelihood.sampling.nuts import run_nuts

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
        "runtime.sampler": "emcee", "emcee.walkers": 16, "emcee.samples": 40 if smoke else 10_000,
        "emcee.random_start": "F", "output.filename": "chain.txt",
    }  # fmt: skip
    module = Path(iaemu_likelihood.__file__).parent / "cosmosis"
    subprocess.run(
        [str(Path(sys.executable).parent / "cosmosis"), "cosmosis_tng300_sample1.ini", "-p", *(f"{k}={v}" for k, v in options.items())],
        check=True, cwd=folder, capture_output=True,
        env={**os.environ, "IAEMU_COSMOSIS": str(module)},
    )  # fmt: skip
    samples = np.loadtxt(folder / "chain.txt", usecols=range(len(ALIGNMENT)))
    samples = samples[len(samples) // 6 :]
    return samples.mean(0), samples.std(0)


def run(smoke):
    exact = exact_posterior(SAMPLE)
    samplers = {"Cobaya": by_cobaya, "NUTS": by_nuts, "emcee": by_emcee, "nautilus": by_nautilus}
    if find_spec("cosmosis"):
        samplers["CosmoSIS (emcee)"] = by_cosmosis
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sample in samplers.items():
            start = time.perf_counter()
            mean, std = sample(Path(folder), smoke)
            rows[name] = {
                "offsets": ((mean - exact.mean) / exact.std).tolist(),
                "width_ratios": (std / exact.std).tolist(),
                "wall_s": time.perf_counter() - start,
            }
    show(
        f"Sample 1 against the closed form: {exact.mean.round(4)} ± {exact.std.round(4)}",
        [
            "",
            *(x for name in ALIGNMENT for x in (f"{name}: offset [sigma]", "width ratio")),
            "wall [s]",
        ],
        [
            [
                name,
                *(
                    number
                    for offset, ratio in zip(row["offsets"], row["width_ratios"], strict=True)
                    for number in (f"{offset:+.3f}", f"{ratio:.3f}")
                ),
                f"{row['wall_s']:.0f}",
            ]
            for name, row in rows.items()
        ],
    )
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
