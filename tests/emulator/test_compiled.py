"""Compiled functions on an installation that nobody may write to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import iaemu_likelihood.emulator
import numpy as np
import pytest

CODE = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import numpy as np
from iaemu_likelihood.emulator.mocks import pair_counts
out = np.zeros(5)
pair_counts._symmetric(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 1.0]), 1.0, out)
print(pair_counts.__file__, *out)
"""


@pytest.fixture
def run(tmp_path):
    """Run a line of code in a process that imports a copy of the package, into which it cannot write."""
    installed = tmp_path / "installed" / "iaemu_likelihood"
    installed.mkdir(parents=True)
    source = Path(iaemu_likelihood.emulator.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, installed / "emulator", ignore=ignored)
    for name in ("data", "data_vectors"):
        (installed / name).symlink_to(Path(iaemu_likelihood.emulator.__file__).parents[1] / name)
    (installed / "__init__.py").touch()
    # A file where a folder would be stops the administrator, too.
    for folder in [installed, *installed.rglob("*/")]:
        if folder.is_dir() and not folder.is_symlink():
            (folder / "__pycache__").touch()
    (tmp_path / "nowhere").touch()

    def run(**environment):
        nowhere = str(tmp_path / "nowhere")
        places = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "PYTHONPATH": str(installed.parent)}
        result = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=False,
            env={**os.environ, **places, **environment}, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        file, *numbers = result.stdout.split()
        assert Path(file).is_relative_to(installed)
        return np.array(numbers, float)

    return run


@pytest.mark.slow
def test_an_optional_step_costs_nothing_a_cache_that_cannot_be_written(run, tmp_path):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 1.0])
    q = (np.outer(a, b) + np.outer(b, a)) / 2
    q -= np.eye(3) * np.trace(q) / 3
    expected = [
        np.sqrt(1.5) * q[2, 2],
        np.sqrt(2) * q[0, 2],
        np.sqrt(2) * q[1, 2],
        (q[0, 0] - q[1, 1]) / np.sqrt(2),
        np.sqrt(2) * q[0, 1],
    ]
    np.testing.assert_allclose(run(), expected, rtol=1e-12)
    # Nor where the folder that the user names cannot be made; where it can, it is used.
    np.testing.assert_allclose(run(NUMBA_CACHE_DIR=f"{tmp_path}/nowhere/cache"), expected)
    np.testing.assert_allclose(run(NUMBA_CACHE_DIR=f"{tmp_path}/cache"), expected)
    assert list((tmp_path / "cache").rglob("*_symmetric*.nbc"))
