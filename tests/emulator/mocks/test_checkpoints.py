"""Catalogues that a stopped run kept are gone on from, or refused with what to do."""

from __future__ import annotations

import os

import numpy as np
import pytest
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints

ORIGINS = [{"point": np.arange(3.0), "seed": 1, "statistics": ("xi", "eta"), "halos": "a" * 64}]


class Stopped(Exception):
    pass


def draw(folder, n=5, stop=None, origins=ORIGINS):
    """The catalogues, and how many were drawn now."""
    drawn = []

    def catalogue(index, i):
        if i == stop:
            raise Stopped
        drawn.append(i)
        return np.array([index, i, np.nan])

    return draw_with_checkpoints(catalogue, n, origins, folder, "catalogues", False), drawn


@pytest.fixture
def kept(tmp_path):
    """The file of three catalogues."""
    draw(tmp_path / "kept", n=3)
    return tmp_path / "kept" / "realisations0.npz"


def test_goes_on_from_what_was_kept(kept):
    draws, drawn = draw(kept.parent)
    assert drawn == [3, 4]
    np.testing.assert_array_equal(draws, draw(None)[0])
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def rewrite(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        content = dict(file)
    np.savez(path, **{name: x for name, x in (content | changes).items() if x is not None})


def test_files_from_before_there_was_a_hash_are_gone_on_from(kept):
    rewrite(kept, sha256=None)
    assert draw(kept.parent)[1] == [3, 4]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "is damaged: .*Delete it and run again"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is damaged: .*Delete it"),
        (lambda path: path.write_bytes(b"PK" + bytes(100)), "is damaged: .*Delete it"),
        (lambda path: np.save(path.open("wb"), np.ones(3)), "is damaged: .*Delete it"),
        (lambda path: rewrite(path, draws=None), "is damaged: .*Delete it"),
        (lambda path: rewrite(path, draws=np.array([{}], object)), "is damaged: .*Delete it"),
        (lambda path: rewrite(path, draws=np.zeros((3, 3))), "its draws were changed. Delete it"),
        (lambda path: rewrite(path, seed=2), "made with seed = 2, not 1. Choose another folder"),
        (lambda path: rewrite(path, point=None), "made with point = unknown"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_what_to_do(damage, message, kept):
    damage(kept)
    with pytest.raises(ValueError, match=message):
        draw(kept.parent)


def test_a_checkpoint_runs_no_code(kept, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    rewrite(kept, draws=np.array([Touch()], object))
    with pytest.raises(ValueError, match=r"is damaged: no arrays of numbers or texts"):
        draw(kept.parent)
    assert not (tmp_path / "ran").exists()


def test_two_runs_do_not_keep_catalogues_in_one_folder(kept):
    told = pytest.raises(BlockingIOError, match=f"Process {os.getpid()} on .* is at work on")
    with exclusive(kept.parent), told:
        draw(kept.parent)


@pytest.mark.parametrize("n", [0, -3])
def test_no_catalogues_are_refused_by_number(n, tmp_path):
    with pytest.raises(ValueError, match=f"n is {n}; at least one of the catalogues is drawn"):
        draw(tmp_path, n=n)


def test_a_folder_that_is_a_file_is_refused_before_anything_is_drawn(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; give the name of a folder"):
        draw(tmp_path / "file", stop=0)
