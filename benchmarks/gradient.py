"""Value and gradient of the omega likelihood, beside finite differences of the same posterior.

python benchmarks/gradient.py [--smoke] [--json FILE]

CPU time on one thread, omega of TNG300's sample 1; points differ from call to call.
"""

from __future__ import annotations

import itertools
import logging

import torch
from likelihood import BATCH, SAMPLED, points
from measuring import main, seconds, show

from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.sampling.posterior import posterior


def run(smoke: bool) -> dict:
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    rows = {}
    for weights, error, (what, free_hod) in itertools.product(
        ("templates", "paper"), ("none", "aleatoric"), SAMPLED.items()
    ):
        post = posterior(measurement_run("tng300.sample1", weights, error, free_hod))
        one, many = itertools.cycle(points(2000, free_hod)), points(BATCH, free_hod)
        row = {
            "gradient_s": seconds(lambda p=post, x=one: p.value_and_gradient(next(x)), smoke),
            "value_s": seconds(lambda p=post, x=one: p(next(x)), smoke),
            "batch_s": seconds(lambda p=post, x=many: p.value_and_gradient(x), smoke) / BATCH,
        }
        if post.closed_form is not None:  # what NUTS calls
            row["closed_form_s"] = seconds(lambda p=post, x=one: p.closed_form.at(next(x)), smoke)
        row["finite_differences_s"] = (2 * len(post.names) + 1) * row["value_s"]
        rows[f"{weights}, {error}, {what}"] = row
    names = ("gradient_s", "closed_form_s", "value_s", "finite_differences_s", "batch_s")
    show(
        "Value and gradient of the omega likelihood [us]",
        ["weights, emulator_error, sampled", "value and gradient", "its closed form alone", "value",
         "values for central differences", f"batch of {BATCH}, each"],
        [
            [name, *(f"{1e6 * row[k]:.0f}" if k in row else "" for k in names)]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
