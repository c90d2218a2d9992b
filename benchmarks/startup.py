"""How long things take to start: imports, --help, and the first log-likelihood of a fresh process.

python benchmarks/startup.py [--smoke] [--json FILE]

Wall time of new processes, the fastest of some.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from measuring import main, show

FIRST = """
from cobaya.model import get_model
from iaemu_likelihood.tng300.table1 import example
model = get_model({k: v for k, v in example("sample1").items() if k in ("theory", "likelihood", "params")})
model.loglike({"mu_cen_sample1": 0.8, "mu_sat_sample1": 0.3})
"""
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import iaemu_likelihood": [sys.executable, "-c", "import iaemu_likelihood"],
    "import both Cobaya classes": [
        sys.executable, "-c", "from iaemu_likelihood import IAEmu, IACorrelations",
    ],
    "iaemu --help": [str(Path(sys.executable).parent / "iaemu"), "--help"],
    "first prediction": [
        sys.executable, "-c",
        "from iaemu_likelihood.emulator import Emulator; Emulator.load().predict([0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0])",
    ],
    "first log-likelihood in Cobaya": [sys.executable, "-c", FIRST],
}  # fmt: skip


def run(smoke: bool) -> dict:
    rows = {}
    for name, command in COMMANDS.items():
        times = []
        for _ in range(1 if smoke else 5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        rows[name] = min(times)
    show("Start-up [s]", ["", ""], [[name, f"{s:.2f}"] for name, s in rows.items()])
    return {"rows_s": rows}


if __name__ == "__main__":
    main(run, __doc__)
