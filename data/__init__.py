"""Files that come with the package, by name, with their hashes checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent


def sha256(file: Path | str) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def bundled(name: str) -> Path:
    """Path of a bundled file whose content has been checked against `data/SHA256SUMS`.

    Parameters
    ----------
    name : str
        Path inside the data folder, such as ``tng300/sample1.ecsv``.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message lists those that there are.
    ValueError
        If the file's content is not what the package was released with.
    """
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    hashes = {file: digest for digest, file in (line.split() for line in lines)}
    if name not in hashes:
        beside = [file for file in hashes if Path(file).parent == Path(name).parent] or list(hashes)
        raise FileNotFoundError(f"No bundled file {name!r}; there are: {', '.join(beside)}.")
    path = FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing from the installation; install the package again."
        )
    found = sha256(path)
    if found != hashes[name]:
        raise ValueError(
            f"{path} was changed: its SHA-256 is {found[:12]}..., the release has "
            f"{hashes[name][:12]}.... Install the package again, or give the path of your own file."
        )
    return path
