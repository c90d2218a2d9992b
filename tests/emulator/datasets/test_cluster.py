"""Dask's workers make the same data set, and lose nothing when they fail."""

import multiprocessing
import sys
from types import SimpleNamespace

import pytest
from dask.distributed import KilledWorker, LocalCluster
from iaemu_likelihood.emulator.datasets import cluster, making, origin

from .trouble import shards_of


@pytest.mark.slow
def test_workers_of_this_machine_and_of_many_threads(recipes, files, make, tmp_path):
    out = make(recipes["realisations"], tmp_path / "local.hdf5", scheduler="local")
    assert out.read_bytes() == files["realisations"].read_bytes()
    # halotools draws from global random numbers.
    with LocalCluster(1, threads_per_worker=3, processes=False, dashboard_address=None) as threads:
        out = make(recipes["halotools"], tmp_path / "o", scheduler=threads.scheduler_address)
    assert out.read_bytes() == files["halotools"].read_bytes()


@pytest.mark.slow
def test_more_shards_than_are_given_ahead(recipes, files, make, address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "IN_FLIGHT", 2)
    out = make(recipes["halotools"], tmp_path / "out.hdf5", scheduler=address)
    assert out.read_bytes() == files["halotools"].read_bytes()


def test_a_scheduler_that_does_not_answer(recipes, make, tmp_path, monkeypatch):
    assert cluster.CONNECT_S <= 10
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with pytest.raises(OSError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        make(recipes["halotools"], tmp_path / "out.hdf5", scheduler="tcp://127.0.0.1:9")


def test_without_dask(recipes, make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'iaemu_likelihood\[cluster\]'"):
        make(recipes["halotools"], tmp_path / "out.hdf5", scheduler="local")


@pytest.mark.slow
def test_another_version_in_a_worker_is_refused_and_workers_end(
    recipes, make, tmp_path, monkeypatch
):
    monkeypatch.setattr(origin, "version", lambda _: "99")  # not in the workers
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
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as threads,
        monkeypatch.context() as patch,
    ):
        patch.setattr(making, "make_shard", failing)
        with pytest.raises((OSError, MemoryError), match=message):
            make(recipes["realisations"], begun, scheduler=threads.scheduler_address)
    assert len(shards_of(begun)) == 2
    assert make(recipes["realisations"], begun).read_bytes() == files["realisations"].read_bytes()
