"""Data sets are read as they were written, or not at all."""

import os
import shutil

import h5py
import numpy as np
import pytest
from iaemu_likelihood.emulator.datasets import DataSet, Recipe
from iaemu_likelihood.emulator.datasets.recipe import KINDS, SPLITS
from iaemu_likelihood.emulator.halos.matter import xi_matter
from iaemu_likelihood.emulator.physics.bins import R_EDGES


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_flipped_bytes_is_refused(kind, files, tmp_path):
    with h5py.File(files[kind]) as file:
        blocks = {
            name: chunk.byte_offset + chunk.size // 2
            for name in file
            for chunk in [file[name].id.get_chunk_info(0)]
        }
        assert all(file[name].fletcher32 for name in file)
    content = files[kind].read_bytes()
    blocks["superblock"] = 10
    for offset in blocks.values():
        bad = bytearray(content)
        bad[offset] ^= 4
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(ValueError, match=r"bad is (damaged|not a complete)"):
            DataSet.read(tmp_path / "bad")


@pytest.mark.parametrize("what", ["truncated", "text", "schema", "tabulation", "nothing"])
def test_what_is_no_data_set_is_refused(
    what, files, tmp_path, small_tabulation_file, recipes, make
):
    path = tmp_path / "bad"
    if what == "text":
        path.write_text("no HDF5")
    elif what == "tabulation":
        shutil.copy(small_tabulation_file, path)
    elif what != "nothing":
        shutil.copy(files["halotools"], path)
    if what == "truncated":
        os.truncate(path, path.stat().st_size - 100)
    if what == "schema":
        with h5py.File(path, "a") as file:
            file.attrs["schema"] = 7
    expected = {
        "truncated": "not a complete HDF5 file", "text": "not a complete HDF5 file",
        "schema": r"no data set of schema 1 \(it says 7\)", "tabulation": "no data set of schema 1",
        "nothing": "No data set at",
    }[what]  # fmt: skip
    with pytest.raises(FileNotFoundError if what == "nothing" else ValueError, match=expected):
        DataSet.read(path)
    if what != "nothing":  # nor does making one replace it
        before = path.read_bytes()
        with pytest.raises(ValueError, match=expected):
            make(recipes["halotools"], path)
        assert path.read_bytes() == before


def test_noise_needs_its_moments(files, halos, make, tmp_path):
    for path in (
        files["halotools"],
        make(Recipe("realisations", 1, 1, 2, halos, noise=False), tmp_path / "o"),
    ):
        with pytest.raises(ValueError, match="holds no shape noise; make realisations with noise"):
            DataSet.read(path).noise(0)


def test_select(files):
    data = DataSet.read(files["expectation"])
    parts = [data.select(name) for name in SPLITS]
    assert [len(part) for part in parts] == [91, 13, 26]
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part.parameters, data.parameters[data.split == i])
        expected = data.columns["templates"][data.split == i]
        np.testing.assert_array_equal(part.columns["templates"], expected)
    with pytest.raises(ValueError, match="The splits are train, validation, test; got 'tset'"):
        data.select("tset")


@pytest.mark.parametrize("kind", ["expectation", "realisations"])
def test_xi_screen(kind, files, caplog):
    whole = DataSet.read(files[kind])
    assert "left out" not in caplog.text
    xi = (
        whole.columns["templates"][:, 0]
        if kind == "expectation"
        else whole.columns["correlations"][:, :, 0].mean(axis=1)
    )
    ratio = (xi / xi_matter(R_EDGES)).max(axis=1)
    limit = float(np.median(ratio)) + 1e-6
    kept = DataSet.read(files[kind], xi_screen=limit)
    np.testing.assert_array_equal(kept.parameters, whole.parameters[ratio <= limit])
    n_out = (ratio > limit).sum()
    assert 0 < n_out < len(whole)
    assert f"{n_out} of {len(whole)} points left out, with logMmin" in caplog.text
    assert len(DataSet.read(files[kind], xi_screen=1e9)) == len(whole)
    assert f"0 of {len(whole)} points left out." in caplog.text
