"""Processes that a run starts, and how long they outlive it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def start(
    log: Path, *arguments: str | Path, at_interrupts: str = "default_int_handler"
) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own.

    Jobs in the background of a shell ignore interrupts (SIG_IGN), and so do their children.
    """
    code = (
        f"import signal; signal.signal(signal.SIGINT, signal.{at_interrupts}); "
        "from iaemu_likelihood.cli import main; main()"
    )
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip


def end(process: subprocess.Popen[bytes], number: int, ready: Callable[[], bool]) -> list[int]:
    """Send a signal to a run alone, when it is ready, and return its children that are left.

    They have half a minute, which is for busy machines: it takes seconds.
    """
    while not ready():
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 1
    process.send_signal(number)
    process.wait(30)
    _, left = psutil.wait_procs(children, timeout=30)
    for child in left:
        child.kill()
    return [child.pid for child in left]
