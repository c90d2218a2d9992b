"""Chains as Cobaya and NUTS leave them, drawn from the exact posterior."""

import shutil
from importlib.resources import files

import numpy as np
import pytest
import yaml
from cobaya.run import run
from getdist import MCSamples

from iaemu_likelihood.tng300.table1 import exact_posterior

MU = ["mu_cen_sample1", "mu_sat_sample1"]
N = 300


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with chains as Cobaya and NUTS leave them, drawn from the exact posterior."""
    folder = tmp_path_factory.mktemp("chains")
    root = folder / "tng300_sample1"
    info = yaml.safe_load(
        (files("iaemu_likelihood.yaml_examples") / f"{root.name}.yaml").read_text()
    )
    run({**info, "sampler": {"evaluate": None}, "output": str(root)}, stop_at_error=True)
    draws = exact_posterior("sample1").sample(N, seed=1)
    header, row = (folder / f"{root.name}.1.txt").read_text().splitlines()
    rows = np.tile(np.array(row.split(), float), (N, 1))
    columns = header.removeprefix("#").split()
    rows[:, [columns.index(name) for name in MU]] = draws
    np.savetxt(folder / f"{root.name}.1.txt", rows, header=" ".join(columns))
    MCSamples(samples=draws, names=MU, labels=["a", "b"]).saveAsText(str(folder / "nuts_sample1"))
    (folder / "nuts_sample1.txt").rename(folder / "nuts_sample1_1.txt")
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """The same chains, to be changed."""
    return shutil.copytree(finished, tmp_path / "chains")


@pytest.fixture
def chain(folder):
    """Of Cobaya: its prefix, and a function that changes its lines."""
    root = folder / "tng300_sample1"
    file = folder / "tng300_sample1.1.txt"

    def change(edit):
        file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n")

    return root, change
