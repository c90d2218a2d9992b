"""One log-posterior: by Cobaya and CosmoSIS, in batches, and where the time goes.

python benchmarks/likelihood.py [--smoke] [--json FILE]

CPU time on one thread, omega of TNG300's sample 1, and a made-up w_gg and w_g+; points differ from call to call, so that nothing
is cached that would not be in a chain.
"""

from __future__ import annotations

import itertools
import logging
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from cobaya.model import get_model
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA, W_GG, W_GPLUS
from measuring import main, seconds, show

from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.likelihood.model import CorrelationModel
from iaemu_likelihood.likelihood.responses import response_names
from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.sampling.posterior import posterior

THETA = np.array([0.8, 0.32, 12.54, 0.26, 12.68, 13.48, 1.0])
BATCH = 1024
# Whether the occupation is sampled, too, by how rows are called.
SAMPLED = {"two parameters": False, "all seven": True}
COLUMNS = ("cobaya_s", "cosmosis_s", "batch_s")


def points(n, free_hod):
    """Near the paper's fit, all different; alignment parameters alone, or all."""
    theta = THETA if free_hod else DEFAULT_SPACE.split(THETA)[0]
    return theta + 1e-3 * np.random.default_rng(0).uniform(-1, 1, (n, len(theta)))


def cosmosis(weights, error, smoke):
    """Seconds of CosmoSIS' pipeline with this package's module, alignment parameters varying."""
    from cosmosis.runtime.pipeline import LikelihoodPipeline

    import iaemu_likelihood

    module = Path(iaemu_likelihood.__file__).parent / "cosmosis/iaemu_interface.py"
    ini = {
        "runtime": {},
        "pipeline": {"modules": "ours", "likelihoods": "ours", "quiet": "T"},
        "ours": {
            "file": str(module), "data_file": "tng300.sample1", "weights": weights,
            "emulator_error": error,
        },
    }  # fmt: skip
    (mu, hod), alignment = DEFAULT_SPACE.split(THETA), DEFAULT_SPACE.alignment
    low, high = alignment.limits
    values = {
        "intrinsic_alignment_parameters": {
            name: f"{low} {start} {high}" for name, start in zip(alignment.names, mu, strict=True)
        },
        "hod_parameters": dict(zip(DEFAULT_SPACE.occupation.names, map(str, hod), strict=True)),
    }
    with redirect_stdout(StringIO()):  # it describes itself at length
        pipeline = LikelihoodPipeline(ini, values=values)
    one = itertools.cycle(points(2000, False))
    return seconds(lambda: pipeline.likelihood(next(one)), smoke)


def where_the_time_goes(smoke):
    """Seconds of each step from a point to its likelihood, with the emulator's covariance."""
    post = posterior(measurement_run("tng300.sample1", emulator_error="aleatoric", free_hod=True))
    (core,), emulator = post.likelihoods, post.emulator
    (part,) = core.data.parts
    every = points(2001, True)[:, None]
    (mu, _), one = emulator.space.split(every[0]), itertools.cycle(every[1:])
    model = CorrelationModel(emulator, [OMEGA.name])

    def at():
        _, hod = emulator.space.split(next(one))
        return model.at(hod)

    def binned(errors):
        occupied = at()
        found = occupied(mu, errors)
        return occupied.binned(found, part.statistics, part.r_edges, errors)

    with torch.inference_mode():
        compared = [binned(core.errors)]
        steps = {
            "domain": lambda: emulator.domain.contains(THETA[None]),
            "templates": lambda: emulator.at(emulator.space.split(next(one))[1], (OMEGA,)),
            OMEGA.name: lambda: at()(mu),
            "its covariance": lambda: at()(mu, core.errors),
            "their rebinning": lambda: binned(core.errors),
        }
        total, result = 0.0, {}
        for name, step in steps.items():
            spent = seconds(step, smoke)
            # Each step includes those before, but for the domain.
            result[name] = spent - total
            total = 0.0 if name == "domain" else spent
        result["Gaussian likelihood"] = seconds(lambda: core(compared), smoke)
    return result


def projected(folder):
    """A run of w_gg and w_g+ with everything free: eleven bins of r_p, and two responses of shapes."""
    edges, conventions = np.logspace(-1, 1.5, 12), Conventions(60.0)
    w = Emulator.load().predict_projected(THETA, edges, axis_ratio=0.6, conventions=conventions)
    names = (W_GG.name, W_GPLUS.name)
    path = folder / "projected.ecsv"
    Measurement(
        "prediction", edges[:-1], edges[1:], {name: w[name] for name in names},
        {name: 0.1 * w[name] for name in names}, conventions=conventions,
    ).write(path)  # fmt: skip
    options = {"data_file": str(path), "statistics": list(names), "axis_ratio": 0.6}
    likelihood = {"class": "iaemu_likelihood.IACorrelations", "emulator_error": "none", **options}
    return {
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {"projected": likelihood},
        "stop_at_error": True,
    }


def of_projected(smoke):
    """Seconds of one log-posterior of `projected`, by Cobaya and in batches."""
    with TemporaryDirectory() as folder:
        info = projected(Path(folder))
        model, post = get_model(info), posterior(info)
    centre = np.array([*THETA, 0.51, 0.51])
    names = [*DEFAULT_SPACE.names, *response_names(None)]
    assert post.names == names, post.names
    every = centre + 1e-3 * np.random.default_rng(0).uniform(-1, 1, (2000, len(centre)))
    one, many = itertools.cycle(every), every[:BATCH]
    return {
        "cobaya_s": seconds(lambda: model.logpost(next(one)), smoke),
        "batch_s": seconds(lambda: post(many), smoke) / BATCH,
    }


def run(smoke: bool) -> dict:
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    rows = {}
    for weights in ("templates", "paper"):
        for error in ("none", "aleatoric"):
            for what, free_hod in SAMPLED.items():
                info = measurement_run("tng300.sample1", weights, error, free_hod)
                model, post = get_model(info), posterior(info)
                one, many = itertools.cycle(points(2000, free_hod)), points(BATCH, free_hod)
                rows[f"{weights}, {error}, {what}"] = {
                    "cobaya_s": seconds(lambda m=model, x=one: m.logpost(next(x)), smoke),
                    "batch_s": seconds(lambda p=post, x=many: p(x), smoke) / BATCH,
                }
                if not free_hod and find_spec("cosmosis"):
                    rows[f"{weights}, {error}, {what}"]["cosmosis_s"] = cosmosis(
                        weights, error, smoke
                    )
    rows["templates, none, w_gg and w_g+, all nine"] = of_projected(smoke)
    # What Cobaya itself costs: the same parameters, and a likelihood that does nothing.
    names = DEFAULT_SPACE.alignment.names
    floor = get_model(
        {
            "likelihood": {"nothing": {"external": f"lambda {', '.join(names)}: -{names[0]}"}},
            "params": {name: {"prior": {"min": -1, "max": 1}} for name in names},
        }
    )
    one = itertools.cycle(points(2000, False))
    cobaya = seconds(lambda: floor.logpost(next(one)), smoke)
    parts = where_the_time_goes(smoke)
    show(
        f"One log-posterior [us]; Cobaya alone, with a likelihood that does nothing: {1e6 * cobaya:.0f} us",
        ["weights, emulator_error, sampled", "Cobaya", "CosmoSIS", f"batch of {BATCH}, each"],
        [
            [name, *(f"{1e6 * row[k]:.0f}" if k in row else "" for k in COLUMNS)]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    show(
        "Parts of one, templates, aleatoric, all seven [us]",
        ["", "at a new point"],
        [[name, f"{1e6 * s:.0f}"] for name, s in parts.items()],
    )
    return {"rows": rows, "cobaya_alone_s": cobaya, "parts_s": parts}


if __name__ == "__main__":
    main(run, __doc__)
