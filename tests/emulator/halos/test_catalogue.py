import os
import subprocess
import sys

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos.catalogue import default_mass_bins, load_halos

from iaemu_likelihood import data


def test_bundled_catalogue_is_what_its_readme_says():
    halos = load_halos("bundled")
    table = halos.halo_table
    hosts = table["halo_upid"] == -1
    assert hosts.sum() == 476_481
    assert (~hosts).sum() == 1_157_869
    assert halos.n_dropped == 0
    assert table["halo_mvir"][hosts].min() > 1.12e11
    np.testing.assert_allclose(
        sum(np.asarray(table[f"halo_axisA_{x}"]) ** 2 for x in "xyz"), 1, rtol=1e-12
    )
    # Descending mpeak inside a host, which is the order in which halotools fills subhalos.
    first = np.asarray(table["halo_mpeak"][~hosts])[:2739]
    assert (np.diff(first) < 0).all()


def test_user_file_drops_and_counts_rows_without_axis(small_halos_table, tmp_path):
    table = small_halos_table.copy()
    hosts = np.flatnonzero(table["halo_upid"] == -1)
    bad = hosts[[3, 50]]
    for x in "xyz":
        table[f"halo_axisA_{x}"][bad] = 0.0
    gone = np.isin(table["halo_hostid"], table["halo_id"][bad]).sum()
    table.write(tmp_path / "halos.ecsv")
    halos = load_halos(tmp_path / "halos.ecsv")
    assert halos.n_dropped == gone > 2
    assert len(halos.halo_table) == len(table) - gone


def test_hash_follows_the_content(small_halos, small_halos_table, tmp_path):
    table = small_halos_table.copy()
    table["halo_mvir"][0] *= 1.001
    table.write(tmp_path / "halos.ecsv")
    assert load_halos(tmp_path / "halos.ecsv").sha256 != small_halos.sha256


def test_missing_column_and_metadata_are_named(small_halos_table, tmp_path):
    table = small_halos_table.copy()
    del table["halo_mpeak"]
    table.write(tmp_path / "a.ecsv")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) halo_mpeak"):
        load_halos(tmp_path / "a.ecsv")
    table = small_halos_table.copy()
    del table.meta["Lbox"]
    table.write(tmp_path / "b.ecsv")
    with pytest.raises(ValueError, match="lacks Lbox in its metadata"):
        load_halos(tmp_path / "b.ecsv")


def test_impossible_position_is_named(small_halos_table, tmp_path):
    table = small_halos_table.copy()
    table["halo_y"][7] = np.nan
    table.write(tmp_path / "halos.ecsv")
    with pytest.raises(ValueError, match=r"halo_y\[7\] = nan is outside \[0, 80.0\]"):
        load_halos(tmp_path / "halos.ecsv")


def test_absent_catalogues_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="Use 'bundled', 'bolplanck' or the path"):
        load_halos(tmp_path / "nothing.hdf5")
    with pytest.raises(FileNotFoundError, match="download_processed_halo_table"):
        load_halos("bolplanck")


def test_bolplanck_comes_from_the_cache_of_halotools(small_halos_table, tmp_path):
    """A small catalogue put into an empty cache under Bolshoi-Planck's name, by halotools itself."""
    from halotools.sim_manager.supported_sims import BolPlanck

    table = small_halos_table.copy()  # halotools checks these two
    table.meta |= {"Lbox": float(max(BolPlanck().Lbox)), "particle_mass": BolPlanck().particle_mass}
    table.write(tmp_path / "small.ecsv")
    code = f"""
import warnings; warnings.simplefilter("ignore")
from iaemu_likelihood.emulator.halos.catalogue import load_halos
halos = load_halos({str(tmp_path / "small.ecsv")!r})
halos.add_halocat_to_cache(
    {str(tmp_path / "cached.hdf5")!r}, "bolplanck", "rockstar", "halotools_v0p4", "a test"
)
again = load_halos("bolplanck")
print(len(again.halo_table) == len(halos.halo_table), again.name, again.Lbox[0],
      again.subhalo_mass_bins[0] == 10**10.5)
"""
    caches = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={**os.environ, **caches}, check=False,
    )  # fmt: skip
    assert result.stdout.strip() == "True bolplanck 250.0 True", result.stderr


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
