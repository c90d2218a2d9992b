"""Kill a data-set run with SIGKILL again and again; the file must be that of an undisturbed run.

    python tests/emulator/datasets/killing.py --kills 20 --scheduler local --kind realisations

Every other kill comes at a random instant of the run, the others soon after the beginning of one of
its phases, in turn. Exits with 1 if the file differs, or if anything is left beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

PHASES = ("start-up", "tabulating", "shards", "merging", "cleaning up")
SIZES = {  # many shards, or a file that takes a while to join
    "expectation": ("--points", "4096"),
    "realisations": ("--points", "60", "--catalogues", "2"),
    "halotools": ("--points", "20", "--catalogues", "1"),
}
N_SHARDS = {"expectation": 4, "realisations": 15, "halotools": 20}


def start(kind: str, out: Path, halos: str, scheduler: str | None) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, so that Dask's workers die with it."""
    code = "from iaemu_likelihood.cli import main; main()"
    command = [sys.executable, "-c", code, "dataset", kind, *SIZES[kind], "--seed", "1",
               "--halos", halos, "--out", str(out)]  # fmt: skip
    command += [] if scheduler is None else ["--scheduler", scheduler]
    log = out.with_suffix(".log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def phase(kind: str, out: Path, started: float) -> str:
    """What a run that was started at some time is at, as its files tell."""
    folder = Path(f"{out}.shards")
    try:
        locked = (folder / ".lock").stat().st_mtime >= started
    except FileNotFoundError:
        locked = False
    if not locked:
        return "cleaning up" if out.exists() else "start-up"
    if out.exists():
        return "cleaning up"
    if not (folder / "origin.json").exists():
        return "tabulating" if kind == "expectation" else "start-up"
    n_shards = sum(1 for _ in folder.glob("0*.hdf5"))
    return "shards" if n_shards < N_SHARDS[kind] else "merging"


def finish(process: subprocess.Popen[bytes], out: Path) -> str:
    """Wait for the end of a run, and return the hash of its file."""
    if process.wait() != 0:
        raise SystemExit(f"The run failed: {out.with_suffix('.log').read_text()[-2000:]}")
    left = [p.name for p in out.parent.glob(f"{out.name}*") if p != out]
    if left:
        raise SystemExit(f"The run left {left}.")
    return hashlib.sha256(out.read_bytes()).hexdigest()


def kill_often(
    kind: str, halos: str, kills: int, scheduler: str | None, seed: int, folder: Path
) -> tuple[Counter[str], bool, int]:
    """Kill a run `kills` times.

    Returns
    -------
    Counter, bool, int
        Kills by phase; whether every run that ended made the same file; number of those.
    """
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    expected = finish(
        start(kind, folder / "undisturbed.hdf5", halos, None), folder / "undisturbed.hdf5"
    )
    duration = 1.2 * (time.monotonic() - began)
    out, killed, same, ended = folder / "killed.hdf5", Counter[str](), True, 0
    targets = [p for p in PHASES[1:] if p != "tabulating" or kind == "expectation"]
    while killed.total() < kills:
        started = time.time()
        process = start(kind, out, halos, scheduler)
        turn, odd = divmod(killed.total(), 2)
        if odd:
            target = targets[turn % len(targets)]
            while process.poll() is None and phase(kind, out, started) != target:
                time.sleep(0.0005)
            time.sleep(rng.exponential(0.003 if target in ("merging", "cleaning up") else 0.3))
        else:
            began, delay = time.monotonic(), rng.uniform(0, duration)
            while process.poll() is None and time.monotonic() - began < delay:
                time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed[phase(kind, out, started)] += 1
            continue
        same &= finish(process, out) == expected
        ended += 1
        out.unlink()
    same &= finish(start(kind, out, halos, scheduler), out) == expected
    return killed, same, ended + 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kind", choices=SIZES, default="realisations")
    parser.add_argument("--halos", default="bundled")
    parser.add_argument("--scheduler")
    parser.add_argument("--seed", type=int, default=0)
    arguments = vars(parser.parse_args())
    folder = Path(tempfile.mkdtemp())
    try:
        killed, same, ended = kill_often(**arguments, folder=folder)
    finally:
        shutil.rmtree(folder)
    for name in PHASES:
        print(f"{name:12} {killed[name]:3} kills")
    print(f"{killed.total()} kills, {ended} runs to the end: {'same' if same else 'OTHER'} file")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
