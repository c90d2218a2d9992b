"""Cobaya's MCMC of the TNG300 examples, to the convergence that they ask for, from a fresh start.

python benchmarks/mcmc.py [--smoke] [--json FILE]

Wall time of `cobaya-run` in a process of its own, imports and writing included.
"""

from __future__ import annotations

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
    for name in EXAMPLES[: 1 if smoke else None]:
        with tempfile.TemporaryDirectory() as folder:
            source = (files("iaemu_likelihood.yaml_examples") / f"{name}.yaml").read_text()
            (Path(folder) / "run.yaml").write_text(source)
            command = [str(Path(sys.executable).parent / "cobaya-run"), "run.yaml"]
            start = time.perf_counter()
            done = subprocess.run(
                command, check=True, cwd=folder, capture_output=True, text=True
            )  # fmt: skip
            wall = time.perf_counter() - start
            accepted = sum(
                len(path.read_text().splitlines()) - 1
                for path in (Path(folder) / "chains").glob(f"{name}.[0-9].txt")
            )
        converged = re.findall(r"means: R-1 = ([0-9.]+)", done.stdout)
        rows[name] = {"wall_s": wall, "accepted": accepted, "Rminus1": float(converged[-1])}
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
