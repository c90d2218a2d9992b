"""What the benchmarks share: how they time, describe the machine, print and write."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """Processor, cores, GPU, and versions of what does the arithmetic."""
    info = Path("/proc/cpuinfo")
    model = platform.processor()
    if info.is_file():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "processor": model,
        "cores": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "iaemu_likelihood")},
    }


def seconds(function: Callable[[], Any], smoke: bool = False, budget: float = 1.0) -> float:
    """CPU seconds of one call on one thread: the fastest of blocks, as machines are noisy.

    Parameters
    ----------
    function : callable
    smoke : bool
        One call only.
    budget : float
        Seconds to spend, at least five blocks.
    """
    function()  # compiles, allocates, imports
    if smoke:
        return _block(function, 1)
    repeats = max(1, round(0.02 / max(_block(function, 1), 1e-9)))
    best, end = np.inf, time.perf_counter() + budget
    for i in range(1000):
        best = min(best, _block(function, repeats))
        if i >= 4 and time.perf_counter() > end:
            break
    return best


def _block(function: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=140, markup=False).print(table)


def main(run: Callable[[bool], dict[str, Any]], about: str) -> None:
    """The command line of one benchmark.

    Parameters
    ----------
    run : callable
        From whether it is only to be seen to run, to its numbers; prints tables.
    about : str
        Its module's docstring.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="quickly: only whether it runs")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    arguments = parser.parse_args()
    numbers = {"machine": machine(), **run(arguments.smoke)}
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")
