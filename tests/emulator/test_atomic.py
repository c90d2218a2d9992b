"""Writing ends with the whole file or an error that says why and what to do, before long work, too."""

from __future__ import annotations

import errno
import os
import subprocess

import numpy as np
import pytest
from iaemu_likelihood.emulator.atomic import (
    atomic_write,
    check_writable,
    read_arrays,
    write_json,
)

from .datasets.trouble import file_size_limit

CASES = {
    "no folder": ("nowhere/out.json", "There is no folder .*nowhere: make it"),
    "a file for a folder": ("file/out.json", "file is no folder: choose another place"),
    "a folder": ("folder", "It is a folder: give the name of a file"),
    "a name too long": ("x" * 300, "Give a shorter name"),
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("when", ["writing", "before"])
def test_an_error_of_writing_says_what_to_do_and_not_to_make_room(name, when, place):
    path, advice = CASES[name]
    before = sorted(place.rglob("*"))
    with pytest.raises(OSError, match=f"^Cannot write .*{advice}") as caught:
        check_writable(place / path) if when == "before" else write_json({}, place / path)
    assert "make room" not in str(caught.value)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "the permission to be written to"),
        (errno.EPERM, "the permission to be written to"),
        (errno.EDQUOT, "make room and run again"),
        (errno.ENOSPC, "make room and run again"),
        (errno.EIO, "What was finished before is kept; run again"),
    ],
)
def test_each_error_of_writing_has_its_advice(number, advice, tmp_path):
    def write():
        with atomic_write(tmp_path / "out") as unfinished:
            unfinished.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=rf"{os.strerror(number)}\. .*{advice}"):
        write()
    assert not list(tmp_path.iterdir())


def test_no_room_is_the_error_that_asks_for_room(tmp_path):
    with file_size_limit(100), pytest.raises(OSError, match="make room and run again"):
        write_json({"numbers": list(range(1000))}, tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_can_only_be_read(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("takes the right to mount a small file system")
    try:
        for write in (check_writable, lambda path: write_json({}, path)):
            with pytest.raises(OSError, match="can only be read: choose another place"):
                write(tmp_path / "out.json")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_what_is_there_stays_until_the_new_file_is_complete(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    check_writable(path)
    with pytest.raises(KeyError), atomic_write(path) as unfinished:
        raise KeyError(unfinished.write_text("new"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_are_read_or_their_file_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "kept.npz"
    np.savez(path, x=np.arange(3.0), name="a")
    found = read_arrays(path)
    np.testing.assert_array_equal(found["x"], [0, 1, 2])
    assert found["name"] == "a"
    content, said = path.read_bytes(), []
    for place in range(0, len(content), 2):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x21]) + content[place + 1 :])
        try:
            # Names have no checksum.
            np.testing.assert_array_equal(read_arrays(path).get("x", [0, 1, 2]), [0, 1, 2])
        except ValueError as error:
            said.append(str(error))
    assert len(said) > len(content) / 6
    assert all(text.startswith(f"{path} is damaged: ") for text in said)
    assert not [text for text in said if " at 0x" in text]
    np.savez(path, x=np.array([{}], object))
    for damaged in (path.read_bytes(), b"", content[:100], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"kept.npz is damaged: .*\w"):
            read_arrays(path)
