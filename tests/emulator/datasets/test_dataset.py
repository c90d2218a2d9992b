"""Data sets are read as they were written, or not at all."""

import os
import shutil

import h5py
import numpy as np
import pytest
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.datasets import DataSet, Recipe
from iaemu_likelihood.emulator.datasets.recipe import KINDS, SPLITS
from iaemu_likelihood.emulator.halos.matter import xi_matter
from iaemu_likelihood.emulator.physics.bins import R_EDGES

from ..editing import edit


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


@pytest.mark.parametrize("schema", [[], [1, 1], "1", 1.5])
def test_a_schema_that_is_none_is_refused(schema, tmp_path):
    path = shutil.copy(bundled("validation/halotools.hdf5"), tmp_path / "bad")
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = schema
    with pytest.raises(ValueError, match=r"bad is no data set of schema 1 \(it says .*; make it"):
        DataSet.read(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("templates", lambda x: x * 1.001),
        ("r_edges", lambda x: x[::-1].copy()),
        ("box", lambda x: 2 * x),
        ("origin", lambda x: x.replace("small", "other")),
        ("halos_sha256", lambda x: "0" * 64),
    ],
)
def test_a_file_that_was_edited_is_refused(name, change, files, tmp_path):
    path = shutil.copy(files["expectation"], tmp_path / "edited.hdf5")
    edit(path, name, change)
    with pytest.raises(ValueError, match=r"edited.hdf5 is damaged: it was changed"):
        DataSet.read(path)


@pytest.mark.parametrize(
    ("name", "value"), [("templates", np.inf), ("parameters", np.nan), ("n_pairs", np.nan)]
)
def test_a_file_without_a_hash_is_said_to_be_one_and_holds_finite_numbers(
    name, value, files, tmp_path, caplog
):
    def put(values):
        values.flat[-1] = value
        return values

    path = shutil.copy(files["expectation"], tmp_path / "old.hdf5")
    with h5py.File(path, "a") as file:
        del file.attrs["sha256"]
    np.testing.assert_array_equal(
        DataSet.read(path).parameters, DataSet.read(files["expectation"]).parameters
    )
    assert caplog.messages == [f"{path} is from before data sets held a hash of their content."]
    edit(path, name, put)
    with pytest.raises(
        ValueError, match=f"old.hdf5: {name} is not finite in row 129. Make it again"
    ):
        DataSet.read(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("seed", lambda x: x + 1, "its origin has other seed"),
        ("halos_sha256", lambda x: "0" * 64, "its origin has other halos_sha256"),
        ("r_edges", lambda x: 2 * x, "its origin has other r_edges"),
        ("split", lambda x: 0 * x, "its origin has other split"),
        ("domain", lambda x: x.replace("11.4", "11.5"), "its origin has other domain"),
        ("origin", lambda x: x.replace('"n_points": 130', '"n_points": "x"'), "valid integer"),
        ("origin", lambda x: x.replace("n_points", "n_point"), "is damaged"),
        ("origin", lambda x: x[:-1], "is damaged"),
    ],
)
def test_the_recipe_in_a_file_is_checked_against_its_content(
    name, change, message, files, tmp_path
):
    path = shutil.copy(files["expectation"], tmp_path / "old.hdf5")
    with h5py.File(path, "a") as file:
        del file.attrs["sha256"]
    edit(path, name, change)
    with pytest.raises(ValueError, match=message):
        DataSet.read(path)


@pytest.mark.parametrize("how", ["link", "external", "virtual"])
def test_a_file_that_takes_data_from_another_is_refused(how, files, tmp_path):
    path = shutil.copy(files["expectation"], tmp_path / "linked.hdf5")
    with h5py.File(path, "a") as file:
        values = file["templates"][()]
        del file["templates"]
        if how == "link":
            file["templates"] = h5py.ExternalLink("other.hdf5", "templates")
        elif how == "external":
            outside = [(str(tmp_path / "raw"), 0, values.nbytes)]
            file.create_dataset("templates", data=values, external=outside)
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource("other.hdf5", "templates", values.shape)
            file.create_virtual_dataset("templates", layout)
    with pytest.raises(ValueError, match=r"linked.hdf5: /templates is .*not all in this file"):
        DataSet.read(path)


def test_bundled_data_sets_need_no_hash_of_their_own(caplog):
    for kind in KINDS:
        assert len(DataSet.held_out(kind))
    assert not caplog.messages


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
