"""What the benchmarks share: how they time, describe the machine, print and write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "iaemu_likelihood")},
    }


def seconds(
    function: Callable[[], Any],
    smoke: bool = False,
    budget: float = 1.0,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Seconds of one call: the fastest of blocks, as machines are noisy.

    Parameters
    ----------
    function : callable
    smoke : bool
        One call only.
    budget : float
        Seconds to spend, at least five blocks; two, where a call takes more than one.
    clock : callable
        CPU time of the process, for what one thread does; `time.perf_counter` for several.
    """
    function()  # compiles, allocates, imports
    best = _block(function, 1, clock)
    if smoke:
        return best
    repeats = max(1, round(0.02 / max(best, 1e-9)))
    at_least = 1 if best > 1 else 5
    end = time.perf_counter() + budget
    for i in range(1000):
        best = min(best, _block(function, repeats, clock))
        if i + 1 >= at_least and time.perf_counter() > end:
            break
    return best


def _block(function: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        function()
    return (clock() - start) / repeats


@contextmanager
def threads(n: int) -> Any:
    """Of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def floors(smoke: bool, n_threads: int = 1) -> dict[str, float]:
    """What this machine's matrix products reach, in operations and bytes per second.

    Of 1,024 rows with a matrix of 256 x 256, by precision; and, for single rows, where reading the
    matrices is all there is to do, of one row with twelve of these, as many as the emulator has.
    """
    result = {}
    with threads(n_threads), torch.inference_mode():
        for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
            rows, matrix = torch.rand(1024, 256, dtype=dtype), torch.rand(256, 256, dtype=dtype)
            products: list[Callable[[], Any]] = [lambda a=rows, b=matrix: a @ b]
            if dtype is torch.float32 and torch.backends.mkldnn.is_available():
                a, b = rows.to_mkldnn(), matrix.to_mkldnn()
                products.append(lambda a=a, b=b: torch.nn.functional.linear(a, b))
            fastest = min(seconds(f, smoke, 0.5, time.perf_counter) for f in products)
            result[f"{name}_operations_per_s"] = 2 * rows.numel() * 256 / fastest
            row, many = torch.rand(4, 1, 256, dtype=dtype), torch.rand(3, 4, 256, 256, dtype=dtype)
            once = seconds(lambda r=row, m=many: [r @ x for x in m], smoke, 0.5, time.perf_counter)
            result[f"{name}_bytes_per_s"] = many.numel() * many.element_size() / once
    return result


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=150, markup=False).print(table)


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
