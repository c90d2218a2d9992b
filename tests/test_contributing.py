"""The examples of CONTRIBUTING.md are those that the tests run."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.halos import HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.readers import READERS

HERE = Path(__file__).parent
STATISTIC, OCCUPATION, READER = re.findall(
    r"```python\n(.*?)```", (HERE.parent / "CONTRIBUTING.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize("block", [STATISTIC, OCCUPATION])
def test_statistic_and_occupation_are_those_of_test_extending(block):
    assert block in (HERE / "test_extending.py").read_text()


def test_a_reader(small_halos_table, small_halos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = small_halos_table.copy()
    for name in small_halos_table.colnames:
        mine.rename_column(name, name.removeprefix("halo_"))
    mine.write("my_simulation.hdf5", path="halos")
    names = {"Table": Table, "HaloCatalogue": HaloCatalogue, "np": np}
    exec(READER, names)
    monkeypatch.setitem(READERS, "mine", names["read_mine"])
    assert load_halos("mine").sha256 == small_halos.sha256
