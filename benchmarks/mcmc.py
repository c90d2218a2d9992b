"""Cobaya's MCMC of the TNG300 examples, to the convergence that they ask for, from a fresh start.

python benchmarks/mcmc.py [--smoke] [--json FILE]

Wall time of `cobaya-run` in a process of its own, imports and writing included. The examples also ask
for converged bounds, which takes longer than R-1 < 0.01 of the means; the first rows are without. Where
numba is installed, Cobaya compiles a part of its own with it at every start.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from measuring import main, show

EXAMPLES = ("tng300_sample1", "tng300_sample2", "tng300_sample3", "tng300_joint")


def run(smoke: bool) -> dict:
    rows = {}
    runs = [
        (EXAMPLES[0], ", means alone, without numba"),
        (EXAMPLES[0], ", means alone"),
        *((name, "") for name in EXAMPLES),
    ]
    for name, what in runs[: 1 if smoke else None]:
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1" if "numba" in what else "0"}
        with tempfile.TemporaryDirectory() as folder:
            source = (files("iaemu_likelihood.yaml_examples") / f"{name}.yaml").read_text()
            if what:
                source = re.sub("Rminus1_cl_stop: .*", "Rminus1_cl_stop: .inf", source)
            (Path(folder) / "run.yaml").write_text(source)
            command = [str(Path(sys.executable).parent / "cobaya-run"), "run.yaml"]
            start = time.perf_counter()
            done = subprocess.run(
                command, check=True, cwd=folder, capture_output=True, text=True, env=environment
            )  # fmt: skip
            wall = time.perf_counter() - start
            accepted = sum(
                len(path.read_text().splitlines()) - 1
                for path in (Path(folder) / "chains").glob(f"{name}.[0-9].txt")
            )
        converged = re.findall(r"means: R-1 = ([0-9.]+)", done.stdout)
        rows[name + what] = {"wall_s": wall, "accepted": accepted, "Rminus1": float(converged[-1])}
    show(
        "cobaya-run",
        ["", "wall [s]", "accepted steps", "R-1 of the means"],
        [
            [name, f"{row['wall_s']:.1f}", f"{row['accepted']}", f"{row['Rminus1']:.4f}"]
            for name, row in rows.items()
        ],
    )
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
