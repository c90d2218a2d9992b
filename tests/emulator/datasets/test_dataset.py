"""Data sets: the same bytes whatever happens on the way, and the right content."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numba
import numpy as np
import pytest
from dask.distributed import KilledWorker, LocalCluster
from iaemu_likelihood.emulator.datasets import dataset
from iaemu_likelihood.emulator.datasets.dataset import SPLITS, DataSet, Recipe, make_dataset
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos.matter import xi_matter
from iaemu_likelihood.emulator.halos.sites import Slots
from iaemu_likelihood.emulator.mocks.estimators import R_EDGES, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.mocks.halotools_ia import UNSAMPLED_MU, HalotoolsIA
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, Noise, mean_moments, shape_moments
from iaemu_likelihood.emulator.physics.parameters import Domain
from threadpoolctl import threadpool_limits

from iaemu_likelihood import cli

KINDS = ("expectation", "realisations", "halotools")
SIZES = {"expectation": (130, 0), "realisations": (10, 2), "halotools": (3, 2)}  # 1, 3, 3 shards
SPARSE = {"logMmin": [13.9, 14.2], "logM0_max": 14.3}


@pytest.fixture(scope="module")
def halos(small_halos_table, tmp_path_factory):
    path = tmp_path_factory.mktemp("halos") / "small.ecsv"
    small_halos_table.write(path)
    return str(path)


@pytest.fixture(scope="module")
def recipes(halos):
    return {kind: Recipe(kind, n, 1, m, halos=halos) for kind, (n, m) in SIZES.items()}


@pytest.fixture(scope="module")
def make(small_tabulation, tmp_path_factory):
    tabulation = tmp_path_factory.mktemp("tabulation") / "tabulation.hdf5"
    small_tabulation.write(tabulation)

    def run(recipe, out, **options):
        return make_dataset(recipe, out, **{"tabulation": tabulation, "progress": False, **options})

    return run


@pytest.fixture(scope="module")
def files(recipes, make, tmp_path_factory):
    """A file of each kind, made without any trouble."""
    folder = tmp_path_factory.mktemp("files")
    return {kind: make(recipe, folder / kind) for kind, recipe in recipes.items()}


@pytest.fixture(scope="module")
def address():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def begun(recipes, make, tmp_path, monkeypatch):
    """A run of realisations that was interrupted with one of three shards to go."""
    out = tmp_path / "out.hdf5"
    _interrupt(recipes["realisations"], out, 2, make, monkeypatch)
    return out


def _interrupt(recipe, out, at, make, monkeypatch):
    make_shard = dataset.make_shard

    def interrupted(recipe, shard, tabulation):
        if shard == at:
            raise KeyboardInterrupt
        return make_shard(recipe, shard, tabulation)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "make_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(recipe, out)
    assert len(_shards(out)) == at


def _shards(out):
    return sorted(Path(f"{out}.shards").glob("0*.hdf5"))


def _flip(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def _nothing_left(out):
    return [path.name for path in out.parent.glob(f"{out.name}*")] == [out.name]


# ---------------------------------------------------------------- the same bytes


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
    assert _nothing_left(out)


def test_workers_of_this_machine_and_of_many_threads(recipes, files, make, tmp_path):
    out = make(recipes["realisations"], tmp_path / "local.hdf5", scheduler="local")
    assert out.read_bytes() == files["realisations"].read_bytes()
    # halotools draws from global random numbers.
    with LocalCluster(1, threads_per_worker=3, processes=False, dashboard_address=None) as cluster:
        out = make(recipes["halotools"], tmp_path / "o", scheduler=cluster.scheduler_address)
    assert out.read_bytes() == files["halotools"].read_bytes()


def test_more_shards_than_are_given_ahead(recipes, files, make, address, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "IN_FLIGHT", 2)
    out = make(recipes["halotools"], tmp_path / "out.hdf5", scheduler=address)
    assert out.read_bytes() == files["halotools"].read_bytes()


def test_a_tabulation_of_its_own(recipes, files, tmp_path, monkeypatch, small_tabulation):
    monkeypatch.setattr(Tabulation, "build", lambda *_: small_tabulation)
    out = make_dataset(recipes["expectation"], tmp_path / "out.hdf5", progress=False)
    assert out.read_bytes() == files["expectation"].read_bytes()
    assert _nothing_left(out)


@pytest.mark.parametrize("when", ["shards", "clean-up"])
def test_goes_on_where_it_was_stopped(when, begun, recipes, files, make):
    recipe, folder = recipes["realisations"], Path(f"{begun}.shards")
    if when == "clean-up":  # killed when the file was complete
        shutil.copy(files["realisations"], begun)
    (folder / "0000009-abc.hdf5.part").write_bytes(b"half of a shard")
    Path(f"{begun}.part").write_bytes(b"half of a file")
    seen = []
    make_shard = dataset.make_shard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "make_shard", lambda r, i, t: seen.append(i) or make_shard(r, i, t))
        make(recipe, begun)
    assert seen == ([2] if when == "shards" else [])
    assert begun.read_bytes() == files["realisations"].read_bytes()
    assert not folder.exists()


def test_kills(halos):
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("killing.py"), "--kills", "3", "--halos", halos],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    assert "3 kills" in result.stdout
    assert "same file" in result.stdout


def test_a_finished_file_is_left_alone(files, recipes, make, monkeypatch):
    path = files["realisations"]
    before = path.stat().st_mtime_ns, path.read_bytes()
    monkeypatch.setattr(dataset, "make_shard", None)
    began = time.monotonic()
    make(recipes["realisations"], path)
    assert time.monotonic() - began < 3
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert _nothing_left(path)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("state", ["finished", "begun"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, r"seed = 1 \(now 2\)"),
        ({"n_points": 11}, r"n_points = 10 \(now 11\)"),
        ({"noise": False}, r"noise = True \(now False\)"),
        ({"domain": {"n_rmse": 3.0}}, r"domain = \{\} \(now \{'n_rmse': 3.0\}\)"),
        ("halos", r"halos_sha256 = '\w+' \(now .*halos = '.*small.ecsv' \(now '.*other.ecsv'\)"),
        ("version", r"version = '[\d.]+' \(now '99'\)"),
    ],
)
def test_another_recipe_is_refused(
    state, change, message, begun, files, recipes, make, tmp_path, small_halos_table, monkeypatch
):
    path, recipe = files["realisations"] if state == "finished" else begun, recipes["realisations"]
    before = sorted(tmp_path.rglob("*"))
    if change == "version":
        monkeypatch.setattr(dataset, "version", lambda _: "99")
    elif change == "halos":
        other = tmp_path.parent / "other.ecsv"
        small_halos_table[:-1].write(other, overwrite=True)
        recipe = replace(recipe, halos=str(other))
    else:
        recipe = replace(recipe, **change)
    with pytest.raises(ValueError, match=f"made with .*{message}"):
        make(recipe, path)
    assert sorted(p for p in tmp_path.rglob("*") if p.name != "lock") == [
        p for p in before if p.name != "lock"
    ]


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 1, "truncated"])
def test_a_damaged_shard_is_refused_by_name(share, begun, recipes, files, make):
    recipe, shard = recipes["realisations"], _shards(begun)[1]
    if share == "truncated":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        _flip(shard, share)
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


def test_shards_of_two_tabulations_are_not_mixed(
    recipes, make, tmp_path, monkeypatch, small_tabulation
):
    out = tmp_path / "out.hdf5"
    monkeypatch.setitem(dataset.SHARD_POINTS, "expectation", 64)
    _interrupt(recipes["expectation"], out, 1, make, monkeypatch)
    small_tabulation.write(tmp_path / "other.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "a") as file:
        file["two_halo"][0] *= 2
    with pytest.raises(ValueError, match=r"tabulation_sha256 = '\w+' \(now '\w+'\)"):
        make(recipes["expectation"], out, tabulation=tmp_path / "other.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "a") as file:
        file.attrs["seed"] = 3
    with pytest.raises(ValueError, match="tabulated with seed 3; data sets take 0"):
        make(recipes["expectation"], tmp_path / "new.hdf5", tabulation=tmp_path / "other.hdf5")


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
def test_what_is_no_data_set_is_refused(what, files, tmp_path, small_tabulation, recipes, make):
    path = tmp_path / "bad"
    if what == "text":
        path.write_text("no HDF5")
    elif what == "tabulation":
        small_tabulation.write(path)
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


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "else"}, ValueError, "kind must be one of expectation"),
        ({"n_points": 0}, ValueError, "at least one"),
        ({"seed": -1}, ValueError, "must not be negative"),
        ({"n_catalogues": 0}, ValueError, "realisations takes 1 or more"),
        ({"kind": "expectation"}, ValueError, "expectation takes 0"),
        (
            {"domain": {"logMmn": 1}},
            TypeError,
            r"logMmn; .* logMmin, n_rmse, sigma_logM_min, logM0",
        ),
        ({"domain": [12, 13]}, TypeError, "is a mapping with some of logMmin"),
        ({"fractions": (0.5, 0.1, 0.1)}, ValueError, "must add up to 1"),
    ],
)
def test_an_impossible_recipe_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Recipe(**{"kind": "realisations", "n_points": 1, "seed": 1, "n_catalogues": 1, **fields})


@pytest.mark.parametrize("kind", KINDS)
def test_a_domain_without_galaxies_is_refused_before_any_work(kind, recipes, make, tmp_path):
    recipe = replace(recipes[kind], domain={"logMmin": [16.0, 17.0], "logM0_max": 18.0})
    with pytest.raises(ValueError, match=r"expect fewer than 2 galaxies .*Narrow the domain"):
        make(recipe, tmp_path / "out.hdf5")
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_make_one_file(begun, recipes, files, make):
    with open(f"{begun}.shards/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="Another process is at work in"):
            make(recipes["realisations"], begun)
    assert len(_shards(begun)) == 2
    assert make(recipes["realisations"], begun).read_bytes() == files["realisations"].read_bytes()


# ---------------------------------------------------------------- no room


@contextmanager
def _file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("at", ["shard", "merging", "start"])
def test_no_room_loses_nothing(at, begun, recipes, files, make):
    recipe, sizes = recipes["realisations"], [path.stat().st_size for path in _shards(begun)]
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
        _file_size_limit(limit),
        pytest.raises(OSError, match=f"Cannot write .*{named}.*make room"),
    ):
        make(recipe, begun)
    assert not list(begun.parent.rglob("*.part"))
    assert not begun.exists()
    assert len(_shards(begun)) == (3 if at == "merging" else 2)
    assert make(recipe, begun).read_bytes() == files["realisations"].read_bytes()


@pytest.mark.parametrize("at", ["shards", "merging"])
def test_a_full_disk(at, recipes, files, make, tmp_path, begun):
    disk = tmp_path / "disk"
    disk.mkdir()
    three_shards = 3 * max(path.stat().st_size for path in _shards(begun))
    size = 250_000 if at == "shards" else three_shards + 60_000
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("takes the right to mount a small file system")
    try:
        out = disk / "out.hdf5"
        with pytest.raises(OSError, match=r"Cannot write .*(No space left|errno = 28)"):
            make(recipes["realisations"], out)
        assert len(_shards(out)) == (1 if at == "shards" else 3)
        assert not list(disk.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        make(recipes["realisations"], out)
        assert out.read_bytes() == files["realisations"].read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# ---------------------------------------------------------------- Dask in trouble


def test_a_scheduler_that_does_not_answer(recipes, make, tmp_path, monkeypatch):
    assert dataset.CONNECT_S <= 10
    monkeypatch.setattr(dataset, "CONNECT_S", 1)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        make(recipes["halotools"], tmp_path / "out.hdf5", scheduler="tcp://127.0.0.1:9")
    assert time.monotonic() - began < 5


def test_without_dask(recipes, make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'iaemu_likelihood\[cluster\]'"):
        make(recipes["halotools"], tmp_path / "out.hdf5", scheduler="local")


def test_another_version_in_a_worker_is_refused_and_workers_end(
    recipes, make, tmp_path, monkeypatch
):
    monkeypatch.setattr(dataset, "version", lambda _: "99")  # not in the workers
    before = set(multiprocessing.active_children())  # its order is not fixed
    message = r"A process on .* has version = '[\d.]+' \(now '99'\)"
    with pytest.raises(ValueError, match=message):
        make(recipes["realisations"], tmp_path / "out.hdf5", scheduler="local")
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            KilledWorker("shard", SimpleNamespace(address="tcp://w"), 3),
            "The Dask cluster lost a shard: .*shards are kept",
        ),
        (MemoryError("too much"), "too much"),
    ],
)
def test_an_error_in_a_worker_loses_nothing(
    error, message, begun, recipes, files, make, monkeypatch
):
    def failing(*_):
        raise error

    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        monkeypatch.context() as patch,
    ):
        patch.setattr(dataset, "make_shard", failing)
        with pytest.raises((OSError, MemoryError), match=message):
            make(recipes["realisations"], begun, scheduler=cluster.scheduler_address)
    assert len(_shards(begun)) == 2
    assert make(recipes["realisations"], begun).read_bytes() == files["realisations"].read_bytes()


# ---------------------------------------------------------------- content


@pytest.mark.parametrize("kind", ["expectation", "realisations"])
def test_points_with_empty_bins_are_kept_and_counted(kind, halos, make, tmp_path, caplog):
    n_points, n_catalogues = (64, 0) if kind == "expectation" else (6, 3)
    recipe = Recipe(kind, n_points, 3, n_catalogues, halos, domain=SPARSE)
    with caplog.at_level(logging.INFO):
        data = DataSet.read(make(recipe, tmp_path / "out.hdf5"))
    assert len(data) == n_points
    n_pairs, templates = data.columns["n_pairs"], data.columns["templates"]
    empty = np.isnan(templates[..., 1, :])
    n_empty = empty.reshape(n_points, -1).sum(axis=1)
    np.testing.assert_array_equal(data.columns["n_empty_bins"], n_empty)
    n_affected = (n_empty > 0).sum()
    assert n_affected > 0
    assert data.attributes["n_points_with_empty_bins"] == n_affected
    assert f"{n_affected} of {n_points} points have bins without pairs" in caplog.text
    assert (n_pairs[empty] == 0).all()
    assert (templates[..., 0, :][empty] == -1).all()
    everything = np.broadcast_to(empty[..., None, :], templates[..., 1:, :].shape)
    np.testing.assert_array_equal(np.isnan(templates[..., 1:, :]), everything)
    if kind == "realisations":
        assert (n_pairs[~empty] > 0).all()
        values = data.columns["correlations"]
        np.testing.assert_array_equal(np.isnan(values[:, :, 1:]), everything[:, :, :2])
        assert np.isfinite(data.columns["shape"]).all()


@pytest.mark.parametrize("kind", ["realisations", "halotools"])
def test_a_catalogue_without_galaxies(kind, halos, make, tmp_path, monkeypatch):
    few = np.array([[0.5, 0.5, 14.4, 0.2, 14.0, 14.3, 1.0]])
    monkeypatch.setattr(Domain, "sample", lambda *_: few)
    data = DataSet.read(make(Recipe(kind, 1, 1, 40, halos), tmp_path / "out.hdf5"))
    none = data.columns["n_galaxies"].sum(axis=-1) == 0
    assert none.any()
    assert np.isnan(data.columns["correlations"][none]).all()
    assert (data.columns["n_pairs"][none] == 0).all()
    assert len(DataSet.read(tmp_path / "out.hdf5", xi_screen=1e9)) == 1


def test_expectation_is_the_tabulations(files, recipes, small_tabulation, tmp_path):
    data, recipe = DataSet.read(files["expectation"]), recipes["expectation"]
    theta = Domain.zheng07().sample(recipe.n_points, recipe.seed)
    np.testing.assert_array_equal(data.parameters, theta[:, 2:])
    small_tabulation.write(tmp_path / "t.hdf5")  # which rounds to single precision
    rows = slice(128, 130)
    found = Tabulation.read(tmp_path / "t.hdf5").templates(theta[rows, 2:])
    templates = data.columns["templates"]
    assert templates.dtype == np.float32
    np.testing.assert_allclose(templates[rows], found.stack(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(data.columns["n_galaxies"][rows, 0], found.n_centrals, rtol=1e-6)


def test_realisations_are_the_realisers(files, recipes, small_halos):
    data, recipe = DataSet.read(files["realisations"]), recipes["realisations"]
    slots, point = Slots.of(small_halos), 7
    mu_cen, mu_sat, *hod = recipe.parameters()[point]
    moments, templates = [], []
    for catalogue in range(recipe.n_catalogues):
        rng = recipe.rng(point, catalogue)
        galaxies = populate(slots, np.array(hod), rng)
        found = measure(galaxies, mu_cen, mu_sat, slots.box, R_EDGES, rng)
        row = {name: values[point, catalogue] for name, values in data.columns.items()
               if name in ("n_pairs", "n_galaxies", "templates", "correlations")}  # fmt: skip
        np.testing.assert_array_equal(row["n_pairs"], found.n_pairs)
        np.testing.assert_array_equal(row["n_galaxies"], galaxies.numbers)
        np.testing.assert_array_equal(row["templates"], found.templates.astype(np.float32))
        for i, name in enumerate(("xi", "omega", "eta")):
            expected = getattr(found.correlations, name).astype(np.float32)
            np.testing.assert_array_equal(row["correlations"][i], expected)
        templates.append(found.templates)
        moments.append(shape_moments(galaxies, found, slots.box, R_EDGES, N_PRIMARIES, rng))
    noise = Noise(np.array(templates), *mean_moments(moments, data.columns["n_pairs"][point]))
    expected = noise.covariance(mu_cen, mu_sat)
    error = data.noise(point).covariance(mu_cen, mu_sat) - expected
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.nanmax(np.abs(error) / scale) < 1e-4


def test_halotools_is_halotools(files, recipes, small_halos):
    data, recipe = DataSet.read(files["halotools"]), recipes["halotools"]
    model = HalotoolsIA(small_halos)
    seed = int(recipe.rng(2, 1).integers(2**32))
    galaxies = model.populate(recipe.parameters()[2], seed)
    position, axes = positions_and_axes(galaxies)
    found = correlations(position, axes, model.box)
    for i, name in enumerate(("xi", "omega", "eta")):
        expected = getattr(found, name).astype(np.float32)
        np.testing.assert_array_equal(data.columns["correlations"][2, 1, i], expected)
    assert data.columns["n_galaxies"][2, 1].sum() == len(galaxies)
    separation = position[:, None] - position[None]
    separation -= model.box * np.round(separation / model.box)
    n_pairs, _ = np.histogram(np.linalg.norm(separation, axis=-1), R_EDGES)
    np.testing.assert_array_equal(data.columns["n_pairs"][2, 1], n_pairs)


def test_noise_needs_its_moments(files, halos, make, tmp_path):
    for path in (
        files["halotools"],
        make(Recipe("realisations", 1, 1, 2, halos, noise=False), tmp_path / "o"),
    ):
        with pytest.raises(ValueError, match="holds no shape noise; make realisations with noise"):
            DataSet.read(path).noise(0)


def test_what_halotools_cannot_draw_is_moved(halos, make, tmp_path, monkeypatch):
    sample = Domain.sample

    def sample_there(*arguments):
        theta = sample(*arguments)
        theta[0, :2] = 0.99912, 0.99914
        return theta

    monkeypatch.setattr(Domain, "sample", sample_there)
    recipe = Recipe("halotools", 1, 91, 1, halos)
    np.testing.assert_array_equal(recipe.parameters()[0, :2], UNSAMPLED_MU)
    data = DataSet.read(make(recipe, tmp_path / "out.hdf5"))
    np.testing.assert_array_equal(data.parameters[0, :2], UNSAMPLED_MU)
    assert Recipe("realisations", 1, 91, 1, halos).parameters()[0, 0] == 0.99912


@pytest.mark.parametrize("n", [1, 10, 1030])
def test_splits_are_of_whole_points_and_deterministic(n):
    splits = Recipe("expectation", n, 5).splits()
    np.testing.assert_array_equal(splits, Recipe("expectation", n, 5).splits())
    assert np.abs(np.bincount(splits, minlength=3) - np.array([0.7, 0.1, 0.2]) * n).max() <= 1
    if n > 10:
        assert (splits != Recipe("expectation", n, 6).splits()).any()


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


def test_a_changed_halo_catalogue_is_loaded_again(small_halos_table, tmp_path, make):
    path = tmp_path / "halos.ecsv"
    small_halos_table.write(path)
    recipe = Recipe("halotools", 1, 1, 1, str(path))
    make(recipe, tmp_path / "out.hdf5")
    small_halos_table[:-1].write(path, overwrite=True)
    with pytest.raises(ValueError, match="made with halos_sha256 = "):
        make(recipe, tmp_path / "out.hdf5")


def test_a_halo_catalogue_may_not_change_on_the_way(
    small_halos_table, halos, tmp_path, make, monkeypatch
):
    path, make_shard = tmp_path / "halos.ecsv", dataset.make_shard
    shutil.copy(halos, path)

    def change(*arguments):
        small_halos_table[:-1].write(path, overwrite=True)
        return make_shard(*arguments)

    monkeypatch.setattr(dataset, "make_shard", change)
    with pytest.raises(ValueError, match=r"A process on .* has halos_sha256 = "):
        make(Recipe("halotools", 2, 1, 1, str(path)), tmp_path / "out.hdf5")


# ---------------------------------------------------------------- the command


def test_the_command_makes_and_shows(halos, tmp_path):
    def iaemu(*arguments):
        code = "from iaemu_likelihood.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, "dataset", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    (tmp_path / "domain.yaml").write_text("logMmin: [12, 12.5]\n")
    result = iaemu("halotools", "--points", "2", "--catalogues", "1", "--halos", halos,
                   "--domain", "domain.yaml", "--out", "out.hdf5")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (DataSet.read(tmp_path / "out.hdf5").parameters[:, 2] < 12.5).all()
    result = iaemu("info", "out.hdf5", "--xi-screen", "1e9")
    assert "halotools: 2 HOD points" in result.stdout
    assert "0 of 2 points left out" in result.stderr


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("domain", "domain has logMmn; it is a mapping with some of logMmin, n_rmse"),
        ("columns", "lacks the column(s) halo_mvir"),
        ("truncated", "cannot be read: Number of header columns"),
        ("unreadable", "cannot be read: Format could not be identified"),
        ("missing", "No halo catalogue at"),
    ],
)
def test_errors_of_the_command_are_one_line(
    what, message, halos, tmp_path, small_halos_table, monkeypatch, capsys
):
    domain, bad = tmp_path / "domain.yaml", tmp_path / "bad.ecsv"
    domain.write_text("logMmn: [12, 12.5]\n" if what == "domain" else "")
    if what == "columns":
        small = small_halos_table.copy()
        small.remove_column("halo_mvir")
        small.write(bad)
    elif what == "truncated":
        bad.write_bytes(Path(halos).read_bytes()[:5000])
    elif what == "unreadable":
        bad = tmp_path / "bad.dat"
        bad.write_bytes(bytes(range(256)))
    elif what == "domain":
        bad = Path(halos)
    arguments = ["realisations", "--points", "1", "--catalogues", "1", "--halos", str(bad),
                 "--domain", str(domain), "--out", str(tmp_path / "out")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["iaemu", "dataset", *arguments])
    monkeypatch.setattr(logging.getLogger("iaemu_likelihood.emulator"), "handlers", [])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not list(tmp_path.glob("out*"))


def test_no_room_for_the_tabulation(recipes, files, tmp_path, monkeypatch, small_tabulation):
    monkeypatch.setattr(Tabulation, "build", lambda *_: small_tabulation)
    out, recipe = tmp_path / "out.hdf5", recipes["expectation"]
    with (
        _file_size_limit(50_000),
        pytest.raises(OSError, match=r"Cannot write .*tabulation.hdf5: .*make room"),
    ):
        make_dataset(recipe, out, progress=False)
    assert [path.name for path in Path(f"{out}.shards").iterdir()] == ["lock"]
    make_dataset(recipe, out, progress=False)
    assert out.read_bytes() == files["expectation"].read_bytes()
