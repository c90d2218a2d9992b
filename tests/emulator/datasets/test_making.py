"""The same bytes whatever happens on the way, and nothing mixed up or lost."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from iaemu_likelihood.emulator.datasets import DataSet, Recipe, make_dataset, making, origin
from iaemu_likelihood.emulator.datasets.recipe import KINDS, Kind
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.physics.statistics import named
from threadpoolctl import threadpool_limits

from ..children import end, start
from .trouble import file_size_limit, flip_bit, interrupt, shards_of


def nothing_left(out):
    return [path.name for path in out.parent.glob(f"{out.name}*")] == [out.name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["on a cluster", "one thread", "two threads"])
def test_the_recipe_alone_decides_the_bytes(kind, how, recipes, files, make, address, tmp_path):
    n = 2 if how == "two threads" else 1
    before = numba.get_num_threads()
    numba.set_num_threads(min(n, before))
    try:
        with threadpool_limits(n):
            out = make(recipes[kind], tmp_path / "out.hdf5",
                       scheduler=address if how == "on a cluster" else None)  # fmt: skip
    finally:
        numba.set_num_threads(before)
    assert out.read_bytes() == files[kind].read_bytes()
    assert nothing_left(out)


@pytest.mark.parametrize("when", ["shards", "clean-up"])
def test_goes_on_where_it_was_stopped(when, begun, recipes, files, make):
    recipe, folder = recipes["realisations"], Path(f"{begun}.shards")
    if when == "clean-up":  # killed when the file was complete
        shutil.copy(files["realisations"], begun)
    (folder / "0000009-abc.hdf5.part").write_bytes(b"half of a shard")
    Path(f"{begun}.part").write_bytes(b"half of a file")
    seen = []
    make_shard = making.make_shard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "make_shard", lambda r, i, t: seen.append(i) or make_shard(r, i, t))
        make(recipe, begun)
    assert seen == ([2] if when == "shards" else [])
    assert begun.read_bytes() == files["realisations"].read_bytes()
    assert not folder.exists()


@pytest.mark.slow
def test_kills(halos):
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("killing.py"), "--kills", "3", "--halos", halos],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    assert "3 kills" in result.stdout
    assert "same file" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_workers_end_with_their_run_which_can_be_gone_on_with(name, halos, tmp_path):
    recipe, out = Recipe("realisations", 100, 1, 2, halos=halos, noise=False), tmp_path / "out.hdf5"
    process = start(
        tmp_path / "log", "dataset", "realisations", "--points", "100", "--catalogues", "2",
        "--seed", "1", "--no-noise", "--halos", halos, "--out", out, "--scheduler", "local",
    )  # fmt: skip
    assert not end(process, getattr(signal, name), lambda: bool(shards_of(out)))
    assert not out.exists()
    seen = []
    make_shard = making.make_shard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "make_shard", lambda r, i, t: seen.append(i) or make_shard(r, i, t))
        make_dataset(recipe, out, progress=False)
    assert len(seen) < recipe.n_shards
    assert len(DataSet.read(out)) == 100


def test_a_finished_file_is_left_alone(files, recipes, make, monkeypatch):
    path = files["realisations"]
    before = path.stat().st_mtime_ns, path.read_bytes()
    monkeypatch.setattr(making, "make_shard", None)
    make(recipes["realisations"], path)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert nothing_left(path)


@pytest.mark.parametrize("state", ["finished", "begun"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, r"seed = 1 \(now 2\)"),
        ({"n_points": 11}, r"n_points = 10 \(now 11\)"),
        ({"noise": False}, r"noise = True \(now False\)"),
        ({"domain": {"n_rmse": 3.0}}, r"domain = \{\} \(now \{'n_rmse': 3.0\}\)"),
        ("halos", r"halos_sha256 = '\w+' \(now .*halos = '.*small.hdf5' \(now '.*other.hdf5'\)"),
        ("version", r"version = '[\d.]+' \(now '99'\)"),
    ],
)
def test_another_recipe_is_refused(
    state, change, message, begun, files, recipes, make, tmp_path, small_halos_table, monkeypatch
):
    path, recipe = files["realisations"] if state == "finished" else begun, recipes["realisations"]
    before = sorted(tmp_path.rglob("*"))
    if change == "version":
        monkeypatch.setattr(origin, "version", lambda _: "99")
    elif change == "halos":
        other = tmp_path.parent / "other.hdf5"
        small_halos_table[:-1].write(other, path="halos", serialize_meta=True, overwrite=True)
        recipe = replace(recipe, halos=str(other))
    else:
        recipe = replace(recipe, **change)
    with pytest.raises(ValueError, match=f"made with .*{message}"):
        make(recipe, path)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_statistics_are_another_recipe(files, recipes, make, tmp_path):
    recipe = replace(recipes["realisations"], statistics=("omega", "xi"))
    with pytest.raises(ValueError, match=r"statistics = \['xi', 'omega', 'eta'\] \(now \['omega'"):
        make(recipe, files["realisations"])
    data, three = (
        DataSet.read(make(recipe, tmp_path / "out.hdf5")),
        DataSet.read(files["realisations"]),
    )
    assert data.statistics == recipe.measured == named(("omega", "xi"))
    for name, which in (("correlations", [1, 0]), ("templates", [1, 2, 0])):
        np.testing.assert_array_equal(data.columns[name], three.columns[name][:, :, which])
    with pytest.raises(
        ValueError, match=r"statistics = \['omega', 'xi'\] \(now \['xi', 'omega', 'eta'"
    ):
        make(recipes["realisations"], tmp_path / "out.hdf5")


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 1, "truncated"])
def test_a_damaged_shard_is_refused_by_name(share, begun, recipes, files, make):
    recipe, shard = recipes["realisations"], shards_of(begun)[1]
    if share == "truncated":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        flip_bit(shard, share)
    with pytest.raises(ValueError, match=rf"{shard.name} .*Delete this shard and run again"):
        make(recipe, begun)
    shard.unlink()
    assert make(recipe, begun).read_bytes() == files["realisations"].read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"3"])
def test_a_damaged_origin_loses_nothing(content, begun, recipes, files, make):
    kept, recipe = Path(f"{begun}.shards/origin.json"), recipes["realisations"]
    kept.write_bytes(content)
    with pytest.raises(ValueError, match=r"origin.json is damaged .*Delete this file"):
        make(recipe, begun)
    kept.unlink()
    # Without it, shards still know what they are of.
    with pytest.raises(ValueError, match="is not what was written there"):
        make(replace(recipe, seed=2), begun)
    kept.unlink(missing_ok=True)
    assert make(recipe, begun).read_bytes() == files["realisations"].read_bytes()


@pytest.mark.slow
def test_shards_of_two_tabulations_are_not_mixed(
    recipes, make, tmp_path, monkeypatch, small_tabulation_file
):
    out = tmp_path / "out.hdf5"
    monkeypatch.setitem(KINDS, "expectation", Kind(64, draws_catalogues=False))
    interrupt(recipes["expectation"], out, 1, make)
    other = Tabulation.read(small_tabulation_file)
    other._two_halo[0] *= 2
    other.write(tmp_path / "other.hdf5")
    with pytest.raises(ValueError, match=r"tabulation_sha256 = '\w+' \(now '\w+'\)"):
        make(recipes["expectation"], out, tabulation=tmp_path / "other.hdf5")
    other.seed = 3
    other.write(tmp_path / "other.hdf5", overwrite=True)
    with pytest.raises(ValueError, match="tabulated with seed 3, not 0; tabulate again"):
        make(recipes["expectation"], tmp_path / "new.hdf5", tabulation=tmp_path / "other.hdf5")


@pytest.mark.parametrize("kind", KINDS)
def test_a_domain_without_galaxies_is_refused_before_any_work(kind, recipes, make, tmp_path):
    recipe = replace(recipes[kind], domain={"logMmin": [16.0, 17.0], "logM0_max": 18.0})
    with pytest.raises(ValueError, match=r"expect fewer than 2 galaxies .*Narrow the domain"):
        make(recipe, tmp_path / "out.hdf5")
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_make_one_file(begun, recipes, files, make):
    told = pytest.raises(BlockingIOError, match=f"Process {os.getpid()} on .* is at work on")
    with exclusive(f"{begun}.shards"), told:
        make(recipes["realisations"], begun)
    assert len(shards_of(begun)) == 2
    assert make(recipes["realisations"], begun).read_bytes() == files["realisations"].read_bytes()


def test_a_changed_halo_catalogue_is_loaded_again(small_halos_table, tmp_path, make):
    path = tmp_path / "halos.hdf5"
    small_halos_table.write(path, path="halos", serialize_meta=True)
    recipe = Recipe("halotools", 1, 1, 1, str(path))
    make(recipe, tmp_path / "out.hdf5")
    small_halos_table[:-1].write(path, path="halos", serialize_meta=True, overwrite=True)
    with pytest.raises(ValueError, match="made with halos_sha256 = "):
        make(recipe, tmp_path / "out.hdf5")


def test_a_halo_catalogue_may_not_change_on_the_way(
    small_halos_table, halos, tmp_path, make, monkeypatch
):
    path, make_shard = tmp_path / "halos.hdf5", making.make_shard
    shutil.copy(halos, path)

    def change(*arguments):
        small_halos_table[:-1].write(path, path="halos", serialize_meta=True, overwrite=True)
        return make_shard(*arguments)

    monkeypatch.setattr(making, "make_shard", change)
    with pytest.raises(ValueError, match=r"A process on .* has halos_sha256 = "):
        make(Recipe("halotools", 2, 1, 1, str(path)), tmp_path / "out.hdf5")


@pytest.mark.parametrize("at", ["shard", "merging", "start"])
def test_no_room_loses_nothing(at, begun, recipes, files, make):
    recipe, sizes = recipes["realisations"], [path.stat().st_size for path in shards_of(begun)]
    whole = files["realisations"].stat().st_size
    assert max(sizes) < whole - 20_000
    if at == "start":
        Path(f"{begun}.shards/origin.json").unlink()
    limit, named = {
        "start": (100, "origin.json"),
        "shard": (10_000, "0000002-"),
        "merging": (whole - 10_000, begun.name),
    }[at]
    with (
        file_size_limit(limit),
        pytest.raises(OSError, match=f"Cannot write .*{named}.*make room"),
    ):
        make(recipe, begun)
    assert not list(begun.parent.rglob("*.part"))
    assert not begun.exists()
    assert len(shards_of(begun)) == (3 if at == "merging" else 2)
    assert make(recipe, begun).read_bytes() == files["realisations"].read_bytes()


@pytest.mark.parametrize("at", ["shards", "merging"])
def test_a_full_disk(at, recipes, files, make, tmp_path, begun):
    disk = tmp_path / "disk"
    disk.mkdir()
    three_shards = 3 * max(path.stat().st_size for path in shards_of(begun))
    size = 250_000 if at == "shards" else three_shards + 60_000
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("takes the right to mount a small file system")
    try:
        out = disk / "out.hdf5"
        with pytest.raises(OSError, match=r"Cannot write .*(No space left|errno = 28)"):
            make(recipes["realisations"], out)
        assert len(shards_of(out)) == (1 if at == "shards" else 3)
        assert not list(disk.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        make(recipes["realisations"], out)
        assert out.read_bytes() == files["realisations"].read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_tabulation_of_its_own_and_no_room_for_it(
    recipes, files, tmp_path, monkeypatch, small_tabulation
):
    monkeypatch.setattr(Tabulation, "build", lambda *_, **__: small_tabulation)
    out, recipe = tmp_path / "out.hdf5", recipes["expectation"]
    with (
        file_size_limit(50_000),
        pytest.raises(OSError, match=r"Cannot write .*tabulation.hdf5: .*make room"),
    ):
        make_dataset(recipe, out, progress=False)
    assert not list(Path(f"{out}.shards").iterdir())
    make_dataset(recipe, out, progress=False)
    assert out.read_bytes() == files["expectation"].read_bytes()
    assert nothing_left(out)
