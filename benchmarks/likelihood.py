"""One log-posterior: by Cobaya, in batches, with its gradient, and where the time goes.

python benchmarks/likelihood.py [--smoke] [--json FILE]

CPU time on one thread, omega of TNG300's sample 1; points differ from call to call, so that nothing
is cached that would not be in a chain.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
import torch
from cobaya.model import get_model
from iaemu_likelihood.emulator.prediction import Emulator
from measuring import main, seconds, show

from iaemu_likelihood.log_posterior import posterior
from iaemu_likelihood.nuts import measurement_run

THETA = np.array([0.8, 0.32, 12.54, 0.26, 12.68, 13.48, 1.0])
BATCH = 1024


def points(n, free):
    """Near the paper's fit, all different."""
    rng = np.random.default_rng(0)
    return THETA[:free] + 1e-3 * rng.uniform(-1, 1, (n, free))


def run(smoke: bool) -> dict:
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    rows = {}
    for weights in ("templates", "paper"):
        for error in ("none", "aleatoric"):
            for what, free in (("two parameters", 2), ("all seven", 7)):
                info = measurement_run("tng300.sample1", weights, error, free == 7)
                model, post = get_model(info), posterior(info)
                one, many = itertools.cycle(points(2000, free)), points(BATCH, free)
                rows[f"{weights}, {error}, {what}"] = {
                    "cobaya_s": seconds(lambda m=model, x=one: m.logpost(next(x)), smoke),
                    "gradient_s": seconds(
                        lambda p=post, x=one: p.value_and_gradient(next(x)), smoke
                    ),
                    "batch_s": seconds(lambda p=post, x=many: p(x), smoke) / BATCH,
                }
    # What Cobaya itself costs: the same parameters, and a likelihood that does nothing.
    floor = get_model(
        {
            "likelihood": {"nothing": {"external": "lambda mu_cen, mu_sat: -mu_cen"}},
            "params": {n: {"prior": {"min": -1, "max": 1}} for n in ("mu_cen", "mu_sat")},
        }
    )
    one = itertools.cycle(points(2000, 2))
    cobaya = seconds(lambda: floor.logpost(next(one)), smoke)
    emulator = Emulator.load()
    theta = torch.as_tensor(points(1, 7))
    with torch.inference_mode():
        at = emulator.at(theta[:, 2:], ["omega"])
        parts = {
            "templates of new occupation": lambda: emulator.at(theta[:, 2:], ["omega"]),
            "omega at known occupation": lambda: at(theta[:, :2]),
            "its covariance at known occupation": lambda: at(theta[:, :2], ("aleatoric",)),
        }
        parts = {name: seconds(call, smoke) for name, call in parts.items()}
    show(
        f"One log-posterior [us]; Cobaya alone, with a likelihood that does nothing: {1e6 * cobaya:.0f} us",
        ["weights, emulator_error, sampled", "Cobaya", "value and gradient", f"batch of {BATCH}, each"],
        [[name, *(f"{1e6 * s:.0f}" for s in row.values())] for name, row in rows.items()],
    )  # fmt: skip
    show("Parts [us]", ["", ""], [[name, f"{1e6 * s:.0f}"] for name, s in parts.items()])
    return {"rows": rows, "cobaya_alone_s": cobaya, "parts_s": parts}


if __name__ == "__main__":
    main(run, __doc__)
