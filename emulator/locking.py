"""One process at a time for what is written to one place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from socket import gethostname

from filelock import FileLock, SoftFileLock, Timeout
from iaemu_likelihood.emulator.atomic import check_writable


@contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Keep other processes away from an output while this one writes it.

    The lock is the kernel's and ends with its process, however that ends: what a killed run leaves
    is no lock. Processes that this one starts do not hold it.

    Parameters
    ----------
    path : str or Path
        A folder that exists, or the beginning of the names of files in one.

    Raises
    ------
    BlockingIOError
        If another process, or another thread, has the output; the message says which, and since
        when.
    OSError
        If nothing can be written there.
    """
    where = Path(path).resolve()
    file = where / ".lock" if where.is_dir() else where.with_name(f"{where.name}.lock")
    check_writable(file)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(
            f"{_holder(file)} is at work on {path}. Wait until it ends, stop it, or choose another "
            "output."
        ) from None
    # What it becomes on file systems without locks, where the file itself is the lock.
    soft = isinstance(lock, SoftFileLock)
    try:
        if not soft:
            owner = {"pid": os.getpid(), "host": gethostname(), "since": f"{datetime.now():%F %T}"}
            file.write_text(json.dumps(owner))
        yield
    finally:
        if not soft:
            with suppress(OSError):  # the folder itself may be gone
                file.unlink()  # before the release: who opens it now sees that it is gone
        lock.release()


def _holder(file: Path) -> str:
    """Whose lock it is, in words."""
    try:
        owner = json.loads(file.read_text())
        return f"Process {owner['pid']} on {owner['host']}, since {owner['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # just begun, or just over
        return "Another process"
