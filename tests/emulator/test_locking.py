"""Two runs on one output: the second is told of the first; what a killed run leaves is no lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from socket import gethostname

import pytest
from iaemu_likelihood.emulator.locking import exclusive

# Holds the lock until it is killed; with "fork" or "spawn", so does a child of it.
HOLDER = """
import os, subprocess, sys, time
from iaemu_likelihood.emulator.locking import exclusive
with exclusive(sys.argv[1]):
    if sys.argv[2] == "fork" and os.fork():
        os.close(1)  # the child says when it is there
        time.sleep(60)
    if sys.argv[2] == "spawn":
        child = [sys.executable, "-c", "import time; time.sleep(60)"]
        subprocess.Popen(child, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Starts a process that holds a lock, and ends it with all its children."""
    started = []

    def start(path: Path, children: str = "none"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), children],
            stdout=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("name", ["folder", "root"])
def test_two_runs_on_one_output_the_second_is_told_of_the_first(tmp_path, holder, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    first = holder(path)
    with (
        pytest.raises(BlockingIOError, match=rf"^Process {first.pid} on {gethostname()}, since 20"),
        exclusive(path),
    ):
        raise AssertionError("both are in there")


def test_two_threads_do_not_share_a_lock(tmp_path):
    with exclusive(tmp_path / "chain"):
        told = f"Process {os.getpid()} on"
        with pytest.raises(BlockingIOError, match=told), exclusive(tmp_path / "chain"):
            raise AssertionError("both are in there")
        with exclusive(tmp_path / "another"):
            pass


@pytest.mark.parametrize("children", ["none", "fork", "spawn"])
def test_the_lock_of_a_killed_run_is_no_lock_though_its_children_live(tmp_path, holder, children):
    process = holder(tmp_path / "chain", children)
    process.kill()
    process.wait()
    assert (tmp_path / "chain.lock").exists()
    with exclusive(tmp_path / "chain"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_output_may_be_taken_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path):
        1 / 0  # noqa: B018
    with exclusive(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_made_for_a_lock(tmp_path):
    with (
        pytest.raises(OSError, match=r"no folder .*nowhere: make it"),
        exclusive(tmp_path / "nowhere" / "chain"),
    ):
        raise AssertionError("not locked")
    assert not list(tmp_path.iterdir())
