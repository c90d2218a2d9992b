"""The small halo catalogue and its tabulation as files, and weights trained on them."""

import shutil
from dataclasses import replace

import pytest
from iaemu_likelihood.emulator.training.configuration import read_training_config
from iaemu_likelihood.emulator.training.run import train


@pytest.fixture(scope="session")
def small_halos_file(small_halos_table, tmp_path_factory):
    path = tmp_path_factory.mktemp("halos") / "small.hdf5"
    small_halos_table.write(path, path="halos", serialize_meta=True)
    return path


@pytest.fixture(scope="session")
def small_tabulation_file(small_fine_tabulation, tmp_path_factory):
    path = tmp_path_factory.mktemp("tabulation") / "tabulation.hdf5"
    small_fine_tabulation.write(path)
    return path


@pytest.fixture(scope="session")
def small_config(small_halos_file):
    """A training of half a minute."""
    whole = read_training_config()
    rate = {"hidden": 0.03, "others": 0.01}
    small = {"width": 16, "depth": 3, "epochs": 12, "batch": 32, "learning_rate": rate}
    rate = {"hidden": 0.03, "others": 0.02}
    noise = {**small, "epochs": 20, "batch": 8, "learning_rate": rate}
    return replace(
        whole,
        halos=str(small_halos_file),
        domain={"logMmin": [11.8, 13.0], "logM0_max": 13.0},
        least_galaxies=0.0,
        note="",
        start="",
        n_points=512,
        n_networks=2,
        n_noise_points=40,
        n_components=4,
        means=replace(whole.means, **small),
        projected=None,
        occupation=replace(whole.occupation, **noise),
        shape=replace(whole.shape, **noise),
    )


@pytest.fixture(scope="session")
def small_weights(small_config, small_tabulation_file, tmp_path_factory):
    """The folder of that training."""
    folder = tmp_path_factory.mktemp("small_weights")
    shutil.copy(small_tabulation_file, folder / "tabulation.hdf5")
    return train(small_config, folder, progress=False)
