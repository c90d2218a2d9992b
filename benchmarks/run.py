"""Run benchmarks, each in a process of its own, and collect their numbers and peak memory.

python benchmarks/run.py [NAME ...] [--smoke] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = (
    "predict",
    "likelihood",
    "gradient",
    "nuts",
    "mcmc",
    "agreement",
    "dataset",
    "halos",
    "noise",
    "large_scales",
    "degree_four",
    "derived",
    "mesh",
    "tabulation",
    "redshift_space",
    "train",
    "startup",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all when left out")
    parser.add_argument("--smoke", action="store_true", help="quickly: only whether they run")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or NAMES:
            print(f"== {name}", flush=True)
            out = Path(folder) / f"{name}.json"
            command = [
                sys.executable,
                str(Path(__file__).with_name(f"{name}.py")),
                "--json",
                str(out),
            ]
            start = time.perf_counter()
            process = subprocess.Popen([*command, *["--smoke"] * arguments.smoke])
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"{name} failed.")
            # In kilobytes on Linux.
            peak, wall = usage.ru_maxrss / 1024, time.perf_counter() - start
            print(f"   {wall:.0f} s, peak memory {peak:.0f} MB", flush=True)
            results[name] = {**json.loads(out.read_text()), "wall_s": wall, "peak_memory_mb": peak}
            if arguments.json:  # after each, as later ones take their time
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
