"""The exact model beside the networks: time of a point, the same posterior, and samplers.

IAEMU_TABULATION=bundled.hdf5 python benchmarks/exact.py [--smoke] [--json FILE]

The variable names a tabulation of the bundled catalogue with its card (`iaemu tabulate bundled.hdf5`).
Times are CPU time on one thread; parameters differ from call to call. `predict` is of xi, omega and eta in
the paper's bins; a prediction is of templates in all fine bins that are needed, those up to 15.85 Mpc/h for xi
and omega.

The posteriors are those of omega and xi of the three TNG300 samples, all seven parameters free and no error of
the emulator: a chain of the networks', and the same chain weighted by the ratio of the two. Effective samples
are (sum w)^2 / sum w^2 of the weights, times the share of points that are independent, by the chain's
autocorrelation time. NUTS and Cobaya run long enough for some hundred effective samples.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import emcee
import numpy as np
import yaml
from cobaya.run import run as run_cobaya
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.models.weights import card_path
from iaemu_likelihood.emulator.physics.alignment import WATSON_MASS
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA, PROJECTED, XI
from likelihood import THETA, points, projected
from measuring import main, seconds, show, threads
from threadpoolctl import threadpool_limits

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES
from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.optimum import best_fit
from iaemu_likelihood.sampling.posterior import posterior

TABULATION = Path(os.environ.get("IAEMU_TABULATION", "bundled.hdf5"))
MODELS = {"exact": str(TABULATION.resolve()), "templates": "templates"}
THEORY = "iaemu_likelihood.IAEmu"
BATCH = 128
WALKERS = 64
# Steps of emcee's walkers, a quarter of which is left out; points of the chain that are weighted, at most;
# steps of NUTS while it is tuned and after; accepted steps of Cobaya's chain.
STEPS, N_WEIGHTED, NUTS, COBAYA = 16_000, 3000, (500, 1000), 4000


def fit(sample: str, weights: str) -> dict[str, Any]:
    """The Cobaya input of omega and xi of a TNG300 sample."""
    return {
        "theory": {THEORY: {"weights": weights}},
        "likelihood": {
            "iaemu_likelihood.IACorrelations": {
                "data_file": f"tng300.{sample}", "statistics": [XI.name, OMEGA.name],
                "emulator_error": "none",
            }
        },
        "sampler": {"mcmc": {"seed": 1}},
    }  # fmt: skip


def of_a_point(smoke: bool) -> dict[str, Any]:
    """Seconds of a prediction, of a posterior, and of one with its gradient, by model and what it is of."""
    rows: dict[str, Any] = {}
    theta = itertools.cycle(points(2000, True))
    hods = itertools.cycle(DEFAULT_SPACE.split(points(2000, True))[1][:, None])
    centre = np.array([*THETA, 0.51, 0.51])
    on_the_sky = centre + 1e-3 * np.random.default_rng(0).uniform(-1, 1, (2000, len(centre)))
    for kind, weights in MODELS.items():
        emulator = Emulator.load(weights)
        everything = {x for s in PROJECTED.values() for x in s.learned} | {*emulator.statistics}
        needed = tuple(s for s in emulator.learned if s in everything)
        n_all = len(emulator.fine_edges) - 1
        with tempfile.TemporaryDirectory() as folder:
            sky = projected(Path(folder))
            sky["theory"] = {THEORY: {"weights": weights}}
            targets = {
                "xi and omega": (posterior(fit("sample1", weights)), points(2000, True)),
                "everything": (posterior(sky), on_the_sky),
            }
        with threads(1), threadpool_limits(1):
            for what, statistics, n_fine in (
                ("xi and omega", (XI, OMEGA), None),
                ("everything", needed, n_all),
            ):
                target, every = targets[what]
                one = itertools.cycle(every)
                # All different, as a model keeps what it has computed last.
                batches = itertools.cycle(np.array_split(every, len(every) // BATCH))
                rows[f"{kind}, {what}"] = {
                    "predict_s": seconds(
                        lambda e=emulator, x=theta: e.predict(next(x), epistemic=False), smoke
                    ),
                    "prediction_s": seconds(
                        lambda e=emulator, s=statistics, n=n_fine: e.at(next(hods), s, n), smoke
                    ),
                    "value_s": seconds(lambda p=target, x=one: p(next(x)), smoke),
                    "gradient_s": seconds(
                        lambda p=target, x=one: p.value_and_gradient(next(x)), smoke
                    ),
                    "batch_s": seconds(lambda p=target, x=batches: p(next(x)), smoke) / BATCH,
                }
    return rows


def by_mass(smoke: bool) -> dict[str, float]:
    """Seconds of a posterior, and of one with its gradient, with strengths that depend on host mass."""
    info = fit("sample1", MODELS["exact"])
    info["theory"][THEORY]["alignment"] = WATSON_MASS.name
    target, seven = posterior(info), points(2000, True)
    mu, hod = DEFAULT_SPACE.split(seven)
    slopes = np.random.default_rng(1).uniform(-0.1, 0.1, mu.shape)
    one = itertools.cycle(np.concatenate([mu, slopes, hod], axis=1))
    with threads(1), threadpool_limits(1):
        return {
            "value_s": seconds(lambda: target(next(one)), smoke),
            "gradient_s": seconds(lambda: target.value_and_gradient(next(one)), smoke),
        }


def against_tables(smoke: bool) -> dict[str, Any]:
    """What combinations of occupations leave out: in units of one catalogue's scatter, all bins and points.

    Once of the usual alignment, and once of strengths that depend on host mass.
    """
    networks = Emulator.load()
    theta = networks.domain.sample(4 if smoke else 64, seed=5)
    scatter = networks.predict(theta, epistemic=False).aleatoric
    mu, hod = DEFAULT_SPACE.split(theta)
    slopes = np.random.default_rng(2).uniform(-1, 1, mu.shape)
    usual = Emulator.load(MODELS["exact"])
    by_mass = Emulator.load(MODELS["exact"], alignment=WATSON_MASS.name)
    names = [s.name for s in usual.statistics]
    tables = Tabulation.read(TABULATION).coarser(usual.r_edges, names)
    strengths = np.concatenate([mu, slopes], axis=1)
    pairs = {
        "": (usual.predict(theta), tables.templates(hod).correlations(*mu.T)),
        ", by mass": (
            by_mass.predict(np.concatenate([strengths, hod], axis=1)),
            tables.aligned_templates(strengths, hod).correlations(),
        ),
    }
    rows = {}
    for alignment, (found, exact) in pairs.items():
        for name, truth in zip(names, exact, strict=True):
            errors = np.abs(found[name] - truth) / scatter[name]
            errors = errors[np.isfinite(errors)]
            rows[name + alignment] = {
                "median": float(np.median(errors)),
                "percentile_95": float(np.quantile(errors, 0.95)),
                "largest": float(errors.max()),
            }
    return rows


def same_posterior(sample: str, smoke: bool) -> dict[str, Any]:
    """Means and widths of the networks' posterior and of the exact one, by a weighted chain."""
    exact, fast = (posterior(fit(sample, weights)) for weights in MODELS.values())
    n = 20 if smoke else STEPS
    with threads(1):
        best = best_fit(fast, seed=1).x
        width = np.linalg.inv(fast.fisher(best)).diagonal() ** 0.5
        rng = np.random.default_rng(1)
        start = best + np.minimum(0.1 * width, 0.05) * rng.normal(size=(50 * WALKERS, len(best)))
        start = start[np.isfinite(fast(start))][:WALKERS]
        np.random.seed(1)  # noqa: NPY002  emcee draws from the global generator
        sampler = emcee.EnsembleSampler(WALKERS, len(fast.names), fast, vectorize=True)
        sampler.run_mcmc(start, n)
        burnt = n // 4
        apart = 1 if smoke else int(np.ceil(sampler.get_autocorr_time(discard=burnt, tol=0).max()))
        thin = max(1, min(apart, (n - burnt) * WALKERS // N_WEIGHTED))
        chain = sampler.get_chain(discard=burnt, thin=thin, flat=True)
        log_fast = sampler.get_log_prob(discard=burnt, thin=thin, flat=True)
        begin = time.process_time()
        log_weights = exact(chain) - log_fast
        spent = time.process_time() - begin
    weights = np.exp(log_weights - log_weights.max())
    mean, weighted = chain.mean(0), np.average(chain, axis=0, weights=weights)
    std = chain.std(0)
    exact_std = np.sqrt(np.average((chain - weighted) ** 2, axis=0, weights=weights))
    independent = len(chain) * min(1.0, thin / apart)
    return {
        "names": fast.names,
        "offsets": ((weighted - mean) / std).tolist(),
        "width_ratios": (exact_std / std).tolist(),
        "n_effective": float(weights.sum() ** 2 / (weights**2).sum() * independent / len(chain)),
        "n_chain": len(chain),
        "autocorrelation": apart,
        "rms_log_ratio": float(np.std(log_weights[np.isfinite(log_weights)])),
        "exact_point_s": spent / len(chain),
    }


def by_nuts(smoke: bool) -> dict[str, Any]:
    """NUTS on the exact model, all seven parameters of sample 1 free."""
    info = fit("sample1", MODELS["exact"])
    steps = (5, 5) if smoke else NUTS
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        found = run_nuts(info, Path(folder) / "nuts", 1, *steps, progress=False)
        return {
            "wall_s": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu,
            "steps": list(steps),
            "gradients": sum(chain.n_gradients for chain in found.chains),
            "ess": min(found.ess.values()),
        }


def by_cobaya(smoke: bool) -> dict[str, Any]:
    """Cobaya's MCMC on the exact model, of the example of all seven parameters, for some steps."""
    text = (files("iaemu_likelihood.yaml_examples") / "tng300_all_parameters.yaml").read_text()
    info = yaml.safe_load(text)
    info["theory"][THEORY]["weights"] = MODELS["exact"]
    for options in info["likelihood"].values():
        options["emulator_error"] = "none"
    info["sampler"]["mcmc"]["max_samples"] = 5 if smoke else COBAYA
    del info["output"]
    start, cpu = time.perf_counter(), time.process_time()
    with threads(1), threadpool_limits(1):
        _, sampler = run_cobaya(info, stop_at_error=True)
    spent = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    chain = sampler.products(to_getdist=True, skip_samples=0.3)["sample"]
    return {
        **spent,
        "accepted": len(sampler.products()["sample"]),
        "evaluations": int(sampler.products()["sample"]["weight"].sum()),
        "Rminus1": float(sampler.products()["progress"]["Rminus1"].iloc[-1])
        if len(sampler.products()["progress"])
        else float("nan"),
        "ess": float(min(chain.getEffectiveSamples(j) for j in range(7))),
    }


def run(smoke: bool) -> dict[str, Any]:
    logging.disable(logging.INFO)
    if not card_path(TABULATION).is_file():
        raise SystemExit(
            f"No tabulation with a card at {TABULATION}: make one with `iaemu tabulate bundled.hdf5`, and "
            "give its path in the variable IAEMU_TABULATION."
        )
    times = of_a_point(smoke)
    show(
        "One point [ms]",
        [
            "model, of",
            "predict",
            "prediction",
            "posterior",
            "and gradient",
            f"one of {BATCH} posteriors",
        ],
        [[name, *(f"{1e3 * x:.2f}" for x in row.values())] for name, row in times.items()],
    )
    of = ("xi and omega", "everything")
    ratios = {
        what: {
            key: times[f"exact, {what}"][key] / times[f"templates, {what}"][key]
            for key in times[f"exact, {what}"]
        }
        for what in of
    }
    show(
        "Time of the exact model over that of the networks",
        ["of", "predict", "prediction", "posterior", "and gradient", f"one of {BATCH} posteriors"],
        [[what, *(f"{x:.1f}" for x in row.values())] for what, row in ratios.items()],
    )
    masses = by_mass(smoke)
    show(
        "The same of xi and omega by the exact model, with strengths that depend on host mass [ms]",
        ["posterior", "and gradient"],
        [[f"{1e3 * x:.2f}" for x in masses.values()]],
    )
    errors = against_tables(smoke)
    show(
        "What the exact model leaves out of the tables, in units of one catalogue's scatter",
        ["", "median", "95 %", "largest"],
        [[name, *(f"{x:.2g}" for x in row.values())] for name, row in errors.items()],
    )
    samples = TNG300_SAMPLES[: 1 if smoke else None]
    same = {sample: same_posterior(sample, smoke) for sample in samples}
    show(
        "The exact posterior against that of the networks: offset of the mean [sigma], ratio of widths",
        ["", *next(iter(same.values()))["names"], "effective samples", "exact: ms a point"],
        [
            [
                sample,
                *(
                    f"{a:+.3f}, {b:.3f}"
                    for a, b in zip(x["offsets"], x["width_ratios"], strict=True)
                ),
                f"{x['n_effective']:.0f}", f"{1e3 * x['exact_point_s']:.2f}",
            ]
            for sample, x in same.items()
        ],
    )  # fmt: skip
    samplers = {"NUTS": by_nuts(smoke), "Cobaya's MCMC": by_cobaya(smoke)}
    show(
        "All seven parameters of sample 1 by the exact model",
        ["", "wall [s]", "CPU [s]", "evaluations", "effective samples"],
        [
            [
                name, f"{x['wall_s']:.0f}", f"{x['cpu_s']:.0f}",
                f"{x.get('gradients', x.get('evaluations'))}", f"{x['ess']:.0f}",
            ]
            for name, x in samplers.items()
        ],
    )  # fmt: skip
    return {
        "point": times,
        "by_mass": masses,
        "ratios": ratios,
        "errors": errors,
        "same_posterior": same,
        "samplers": samplers,
    }


if __name__ == "__main__":
    main(run, __doc__)
