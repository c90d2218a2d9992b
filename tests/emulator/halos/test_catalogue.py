import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.catalogue import REQUIRED_COLUMNS, default_mass_bins
from iaemu_likelihood.emulator.halos.readers import BUNDLED, READERS

from iaemu_likelihood import data


@pytest.fixture(scope="module")
def few(small_halos_table):
    """Every twentieth host with its subhalos: quick to write as text."""
    ids = small_halos_table["halo_id"][small_halos_table["halo_upid"] == -1]
    return small_halos_table[np.isin(small_halos_table["halo_hostid"], ids[::20])]


def test_bundled_catalogue_is_what_its_readme_says():
    halos = load_halos("bundled")
    table = halos.columns
    hosts = table["halo_upid"] == -1
    assert hosts.sum() == 476_481
    assert (~hosts).sum() == 1_157_869
    assert halos.n_dropped == 0
    assert table["halo_mvir"][hosts].min() > 1.12e11
    np.testing.assert_allclose(
        sum(np.asarray(table[f"halo_axisA_{x}"]) ** 2 for x in "xyz"), 1, rtol=1e-12
    )
    # Descending mpeak inside a host, which is the order in which halotools fills subhalos.
    first = table["halo_mpeak"][~hosts][:2739]
    assert (np.diff(first) < 0).all()
    # Tabulations and weights carry this hash.
    assert halos.sha256 == "cf68ebfffde6a00b2dde6ce996444a9b0dffce20b8af37559f13ce157c38c3c7"
    with h5py.File(data.FOLDER / BUNDLED) as file:
        assert halos.cosmology == file.attrs["cosmology"]
        assert halos.provenance == file.attrs["provenance"]
        assert halos.particle_mass == file.attrs["particle_mass"]
    assert (halos.box, halos.redshift) == (250.0, 0.0)


def test_halotools_gets_the_same_rows(small_halos):
    theirs = small_halos.to_halotools()
    for name in REQUIRED_COLUMNS:
        np.testing.assert_array_equal(theirs.halo_table[name], small_halos.columns[name])
    np.testing.assert_array_equal(theirs.Lbox, [small_halos.box] * 3)
    assert (theirs.redshift, theirs.particle_mass) == (0.0, 3.8e9)


def test_a_file_gives_what_its_columns_give(few, tmp_path):
    table = few.copy()
    columns = {name: np.asarray(table[name]) for name in table.colnames}
    expected = HaloCatalogue.from_columns("few.ecsv", columns, 80.0, 0.0, 3.8e9)
    table.write(tmp_path / "few.ecsv")
    halos = load_halos(tmp_path / "few.ecsv")
    assert halos.sha256 == expected.sha256
    assert (halos.name, halos.box, halos.particle_mass) == ("few.ecsv", 80.0, 3.8e9)
    assert (halos.cosmology, halos.provenance) == (None, None)
    for name in REQUIRED_COLUMNS:
        np.testing.assert_array_equal(halos.columns[name], expected.columns[name])
    table.meta |= {"cosmology": "Om0=0.3", "subhalo_mass_bins": [1e11, 1e13, 2e15]}
    table.write(tmp_path / "more.ecsv")
    halos = load_halos(tmp_path / "more.ecsv")
    assert halos.cosmology == "Om0=0.3"
    np.testing.assert_array_equal(halos.subhalo_mass_bins, [1e11, 1e13, 2e15])
    assert halos.sha256 != expected.sha256  # the mass bins are under it


def test_another_reader_is_a_function(small_halos, monkeypatch):
    monkeypatch.setitem(READERS, "mine", lambda: small_halos)
    assert load_halos("mine") is small_halos
    with pytest.raises(FileNotFoundError, match="Use 'bundled', 'bolplanck', 'mine' or the path"):
        load_halos("yours")


def test_user_file_drops_and_counts_rows_without_axis(few, tmp_path):
    table = few.copy()
    hosts = np.flatnonzero(table["halo_upid"] == -1)
    bad = hosts[[3, 50]]
    for x in "xyz":
        table[f"halo_axisA_{x}"][bad] = 0.0
    gone = np.isin(table["halo_hostid"], table["halo_id"][bad]).sum()
    table.write(tmp_path / "halos.ecsv")
    halos = load_halos(tmp_path / "halos.ecsv")
    assert halos.n_dropped == gone > 2
    assert len(halos.columns["halo_id"]) == len(table) - gone


def test_hash_follows_the_content(few, tmp_path):
    table = few.copy()
    table.write(tmp_path / "halos.ecsv")
    table["halo_mvir"][0] *= 1.001
    table.write(tmp_path / "other.ecsv")
    one, other = (load_halos(tmp_path / name) for name in ("halos.ecsv", "other.ecsv"))
    assert one.sha256 != other.sha256


def test_missing_column_and_metadata_are_named(few, tmp_path):
    table = few.copy()
    del table["halo_mpeak"]
    table.write(tmp_path / "a.ecsv")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) halo_mpeak"):
        load_halos(tmp_path / "a.ecsv")
    table = few.copy()
    del table.meta["Lbox"]
    table.write(tmp_path / "b.ecsv")
    with pytest.raises(ValueError, match="lacks Lbox in its metadata"):
        load_halos(tmp_path / "b.ecsv")


def test_impossible_position_is_named(few, tmp_path):
    table = few.copy()
    table["halo_y"][7] = np.nan
    table.write(tmp_path / "halos.ecsv")
    with pytest.raises(ValueError, match=r"halo_y\[7\] = nan is outside \[0, 80.0\]"):
        load_halos(tmp_path / "halos.ecsv")


def test_absent_catalogues_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="Use 'bundled', 'bolplanck' or the path"):
        load_halos(tmp_path / "nothing.hdf5")
    with pytest.raises(FileNotFoundError, match="download_processed_halo_table"):
        load_halos("bolplanck")


def test_bolplanck_comes_from_the_cache_of_halotools(few, tmp_path):
    """A small catalogue put into an empty cache under Bolshoi-Planck's name, by halotools itself."""
    from halotools.sim_manager.supported_sims import BolPlanck

    table = few.copy()  # halotools checks these two
    table.meta |= {"Lbox": float(max(BolPlanck().Lbox)), "particle_mass": BolPlanck().particle_mass}
    table.write(tmp_path / "small.ecsv")
    code = f"""
import warnings; warnings.simplefilter("ignore")
from iaemu_likelihood.emulator.halos import load_halos
halos = load_halos({str(tmp_path / "small.ecsv")!r})
halos.to_halotools().add_halocat_to_cache(
    {str(tmp_path / "cached.hdf5")!r}, "bolplanck", "rockstar", "halotools_v0p4", "a test"
)
again = load_halos("bolplanck")
print(len(again.columns["halo_id"]) == len(halos.columns["halo_id"]), again.name, again.box,
      again.subhalo_mass_bins[0] == 10**10.5, again.cosmology, again.provenance)
"""
    caches = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={**os.environ, **caches}, check=False,
    )  # fmt: skip
    expected = "True bolplanck 250.0 True None halotools_v0p4: a test"
    assert result.stdout.strip() == expected, result.stderr


def test_only_hosts_are_refused(small_halos):
    hosts = small_halos.columns["halo_upid"] == -1
    columns = {name: values[hosts] for name, values in small_halos.columns.items()}
    with pytest.raises(ValueError, match=r"hosts only needs hosts .* it has only one kind"):
        HaloCatalogue.from_columns("hosts only", columns, 80.0, 0.0, 3.8e9)


def test_changed_bundled_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "halos").mkdir()
    (tmp_path / "halos/pm250_z0.hdf5").write_bytes(b"something else")
    (tmp_path / "SHA256SUMS").write_text((data.FOLDER / "SHA256SUMS").read_text())
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="was changed"):
        load_halos("bundled")


def test_mass_bins_enclose_hosts_and_hold_subhalos():
    rng = np.random.default_rng(0)
    hosts = 10 ** rng.uniform(11, 15, 500)
    subhalo_hosts = np.repeat(hosts[hosts > 10**12.5], 3)
    edges = default_mass_bins(hosts, subhalo_hosts)
    assert edges[0] < hosts.min() < hosts.max() < edges[-1]
    assert (np.histogram(subhalo_hosts, edges)[0] >= 2).all()
