"""What is shipped: every package and every file that it reads, under one version."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from iaemu_likelihood import data

if sys.version_info >= (3, 11):
    import tomllib
else:  # comes with pytest
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    setuptools = PYPROJECT["tool"]["setuptools"]
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(setuptools["package-dir"].values()) == top
    found = [
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for name, folder in setuptools["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    ]
    assert sorted(setuptools["packages"]) == sorted(found)


def test_the_version_is_the_same_everywhere():
    """pyproject.toml decides on it; these files cannot read it there."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    cosmosis = yaml.safe_load((ROOT / "iaemu_likelihood/cosmosis/module.yaml").read_text())[
        "version"
    ]
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert {citation, cosmosis, changelog} == {PYPROJECT["project"]["version"]}


def test_every_data_file_has_its_hash():
    listed = {line.split()[1] for line in (data.FOLDER / "SHA256SUMS").read_text().splitlines()}
    present = {
        path.relative_to(data.FOLDER).as_posix()
        for path in data.FOLDER.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS" and path.parent.name != "__pycache__"
    }
    again = "cd data && git ls-files | grep -v SHA256SUMS | sort | xargs sha256sum > SHA256SUMS"
    assert present == listed, f"if the files are the right ones: {again}"
    for name in listed:
        data.bundled(name)
    with pytest.raises(FileNotFoundError, match="there are: __init__"):
        data.bundled("nothing")


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages_and_no_other(tmp_path):
    # Elsewhere than in build/, from where setuptools adds what an earlier build left.
    config = tmp_path / "build.cfg"
    config.write_text(f"[build]\nbuild_base = {tmp_path / 'build'}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True, capture_output=True, env={**os.environ, "DIST_EXTRA_CONFIG": str(config)},
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = {
        str(Path(*name.split("."), path.relative_to(ROOT / folder)))
        for name, folder in PYPROJECT["tool"]["setuptools"]["package-dir"].items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for package, left_out in PYPROJECT["tool"]["setuptools"]["exclude-package-data"].items():
        folder = Path(*package.split("."))
        assert {str(folder / name) for name in left_out} <= files
        files -= {str(folder / name) for name in left_out}
    assert {name for name in names if ".dist-info/" not in name} == files


@pytest.mark.slow
def test_the_plugin_does_not_import_what_it_may_not_need():
    """Cobaya's classes and the command line start without the heavy libraries of other paths."""
    script = """
import sys
from iaemu_likelihood import IACorrelations
from iaemu_likelihood import IAEmu
import iaemu_likelihood.cli
heavy = ("halotools", "pyro", "lightning", "matplotlib", "iaemu_likelihood.emulator.expectation")
print([name for name in heavy if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
