"""Cobaya's MCMC of the TNG300 examples, to the convergence that they ask for, from a fresh start.

python benchmarks/mcmc.py [--smoke] [--json FILE]

Wall time of `cobaya-run` in a process of its own, imports and writing included, and CPU time of all its
processes. The examples also ask for converged bounds, which takes longer than R-1 < 0.01 of the means;
the first rows are without. Where numba is installed, Cobaya compiles a part of its own with it at every
start. The fit of all seven parameters is shown without the proposal that comes with the example, too,
for as many accepted steps as the first row says, and by two chains at a time, under `mpiexec`.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from cobaya.model import get_model
from cobaya.sampler import get_sampler
from measuring import main, seconds, show

ALL = "tng300_all_parameters"
# Accepted steps after which a run without a proposal is given up.
GIVEN_UP = 20_000


@dataclass(frozen=True)
class Run:
    """One way to run an example.

    Attributes
    ----------
    name : str
        Of the example.
    what : str
        How it is run, for the table.
    options : dict
        Of the sampler, instead of the example's.
    numba : bool
    n_chains : int
    has_proposal : bool
        Whether chains begin where the example says, and with its covariance.
    """

    name: str
    what: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    numba: bool = True
    n_chains: int = 1
    has_proposal: bool = True

    def input(self, smoke: bool) -> dict[str, Any]:
        """Content of the input."""
        text = (files("iaemu_likelihood.yaml_examples") / f"{self.name}.yaml").read_text()
        info: dict[str, Any] = yaml.safe_load(text)
        sampler = info["sampler"]["mcmc"]
        sampler |= dict(self.options)
        if smoke:
            sampler["max_samples"] = 50
        if not self.has_proposal:
            del sampler["covmat"], sampler["covmat_params"]
            info["params"] = {k: v for k, v in info["params"].items() if "ref" not in v}
        return info


MEANS = (("Rminus1_cl_stop", float("inf")),)
RUNS = (
    Run("tng300_sample1", ", means alone, without numba", MEANS, numba=False),
    Run("tng300_sample1", ", means alone", MEANS),
    *(Run(f"tng300_{name}") for name in ("sample1", "sample2", "sample3", "joint")),
    Run(ALL, ", two chains", MEANS, n_chains=2),
    Run(ALL, "", MEANS),
    Run(ALL, ", without its proposal", (*MEANS, ("max_samples", GIVEN_UP)), has_proposal=False),
)


def measured(which: Run, smoke: bool) -> dict[str, Any]:
    """Times, steps and convergence of one run."""
    environment = {
        **os.environ, "NUMBA_DISABLE_JIT": "0" if which.numba else "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    scripts = Path(sys.executable).parent
    command = [str(scripts / "cobaya-run"), "run.yaml"]
    if which.n_chains > 1:
        command = [str(scripts / "mpiexec"), "-n", str(which.n_chains), *command]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.yaml").write_text(yaml.safe_dump(which.input(smoke)))
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, check=True, cwd=folder, capture_output=True, text=True, env=environment
        )
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        chains = [
            np.loadtxt(path, ndmin=2)
            for path in (Path(folder) / "chains").glob(f"{which.name}.[0-9].txt")
        ]
    converged = re.findall(r"means: R-1 = ([0-9.]+)", done.stdout)
    accepted = sum(len(chain) for chain in chains)
    return {
        "wall_s": wall,
        "cpu_s": sum(getattr(after, x) - getattr(before, x) for x in ("ru_utime", "ru_stime")),
        "accepted": accepted,
        "acceptance": accepted / sum(chain[:, 0].sum() for chain in chains),
        "Rminus1": float(converged[-1]) if converged else float("nan"),
    }


def overhead(smoke: bool) -> float:
    """CPU seconds of a step of Cobaya's own, in seven parameters, with a likelihood that does nothing."""
    info = Run(ALL).input(smoke)
    params = {name: x for name, x in info["params"].items() if "ref" in x}
    model = get_model(
        {
            "likelihood": {"nothing": {"external": f"lambda {', '.join(params)}: 0.0"}},
            "params": params,
        }
    )
    options = info["sampler"]["mcmc"] | {"learn_proposal": False, "max_samples": float("inf")}
    sampler = get_sampler({"mcmc": options}, model)
    return seconds(sampler.get_new_sample, smoke)


def run(smoke: bool) -> dict[str, Any]:
    rows = {
        which.name + which.what: measured(which, smoke) for which in RUNS[: 1 if smoke else None]
    }
    own = overhead(smoke)
    show(
        f"cobaya-run; a step of Cobaya's own, in seven parameters: {1e6 * own:.0f} us",
        ["", "wall [s]", "CPU [s]", "accepted steps", "of all", "R-1 of the means"],
        [
            [
                name, f"{row['wall_s']:.1f}", f"{row['cpu_s']:.1f}", f"{row['accepted']}",
                f"{row['acceptance']:.2f}", f"{row['Rminus1']:.4f}",
            ]
            for name, row in rows.items()
        ],
    )  # fmt: skip
    return {"rows": rows, "cobaya_step_s": own}


if __name__ == "__main__":
    main(run, __doc__)
