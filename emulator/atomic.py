"""Files that are either complete or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary file that becomes `path` when it is complete, and vanishes on errors.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    Path
        To write to, in the same folder.

    Raises
    ------
    OSError
        If it cannot be written: a full disk, a missing folder, no permission.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())  # before what it was made of is deleted
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"Cannot write {path}: {error}. What was finished before is kept; make room and run again."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(tensors: dict[str, Any], path: str | Path) -> None:
    """Write torch tensors as safetensors, or nothing.

    With the permissions of other new files, which safetensors' own writing would deny to others.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(content: dict[str, Any], path: str | Path) -> None:
    """Write numbers in full, or nothing."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n")
