"""Files that are either complete or not there."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import fsync
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What to do about errors of writing.
_NO_ROOM = "What was finished before is kept; make room and run again."
_FORBIDDEN = "Give {folder} the permission to be written to, or choose another place."
_ADVICE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
    errno.ENOENT: "There is no folder {folder}: make it, or choose another place.",
    errno.ENOTDIR: "{folder} is no folder: choose another place.",
    errno.EISDIR: "It is a folder: give the name of a file.",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "{folder} can only be read: choose another place.",
    errno.ENAMETOOLONG: "Give a shorter name.",
}


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
        If it cannot be written; the message says why, and what to do: no room, no such folder, no
        permission, ...
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            fsync(file.fileno())  # before what it was made of is deleted
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # an error of its own would hide the first
            unfinished.unlink()


def check_writable(path: str | Path) -> None:
    """See that a file can be written, before the work whose result it is to hold.

    Parameters
    ----------
    path : str or Path
        Of a file, which may be there already and is left as it is.

    Raises
    ------
    OSError
        As `atomic_write`.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        with NamedTemporaryFile(prefix=path.name, dir=path.absolute().parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def writable_folder(path: str | Path) -> Path:
    """A folder for results, made if it is not there, and seen to take files.

    Raises
    ------
    OSError
        As `atomic_write`.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(f"{path} is a file; give the name of a folder.") from error
    except OSError as error:
        raise _cannot_write(folder, error) from error
    check_writable(folder / "writable")
    return folder


def _cannot_write(path: Path, error: OSError | RuntimeError) -> OSError:
    """The error in words, with what to do."""
    # HDF5 raises RuntimeErrors, which have no number.
    number = getattr(error, "errno", None)
    advice = _ADVICE.get(number or 0, "What was finished before is kept; run again.")
    reason = getattr(error, "strerror", None) or error
    return OSError(f"Cannot write {path}: {reason}. {advice.format(folder=path.absolute().parent)}")


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


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file by their names, without pickle.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # of all kinds, and some with words for programmers only
        what = error if isinstance(error, BadZipFile | OSError) else "no arrays of numbers or texts"
        raise ValueError(f"{path} is damaged: {what}.") from error
