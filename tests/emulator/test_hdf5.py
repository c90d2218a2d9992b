"""What a number depends on is under the hash: no HDF5 file takes data from another file."""

import h5py
import numpy as np
import pytest
from iaemu_likelihood.emulator.hdf5 import open_hdf5


@pytest.fixture
def path(tmp_path):
    """A file with a table and a link inside it, beside a file with other data."""
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["x"] = np.ones(3)
    with h5py.File(tmp_path / "mine.hdf5", "w") as file:
        file["deep/inside/y"] = np.arange(3.0)
        file["short"] = h5py.SoftLink("/deep/inside/y")
        file["deep/again"] = file["deep"]  # a circle
    return tmp_path / "mine.hdf5"


def test_a_file_that_holds_all_its_data_is_opened(path):
    with open_hdf5(path) as file:
        np.testing.assert_array_equal(file["short"], [0, 1, 2])
        with pytest.raises((OSError, ValueError)):
            file["new"] = 1
    assert not file


def test_under_the_hash_external_links_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["deep/inside/x"] = h5py.ExternalLink("other.hdf5", "/x")
    with pytest.raises(
        ValueError, match=r"mine.hdf5: /deep.*/inside/x is a link to '/x' in the file 'ot"
    ):
        open_hdf5(path)


def test_under_the_hash_external_storage_is_refused(path):
    (path.parent / "raw.bin").write_bytes(np.ones(3).tobytes())
    with h5py.File(path, "r+") as file:
        file.create_dataset("raw", (3,), np.float64, external=[("raw.bin", 0, 24)])
    with pytest.raises(ValueError, match=r"/raw is stored in the file .*raw.bin"):
        open_hdf5(path)


def test_under_the_hash_virtual_datasets_are_refused(path):
    layout = h5py.VirtualLayout((3,), np.float64)
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (3,))
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset("seen", layout)
    with pytest.raises(ValueError, match=r"/seen is a virtual dataset of 'other.hdf5'"):
        open_hdf5(path)


def test_files_that_cannot_be_opened_are_named(path):
    with pytest.raises(FileNotFoundError, match=r"No HDF5 file at .*none\.hdf5"):
        open_hdf5(path.with_name("none.hdf5"))
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:200], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=r"mine.hdf5 is .*HDF5 file"):
            open_hdf5(path)


def test_no_raw_traceback_for_a_file_with_a_changed_byte(path):
    """In the lists of names and links, which h5py walks through, above all."""
    content = path.read_bytes()
    said = []
    for place in range(0, len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            open_hdf5(path).close()
        except OSError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all("mine.hdf5 is " in message for message in said)
