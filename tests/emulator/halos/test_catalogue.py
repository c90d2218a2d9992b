import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.table import Table, vstack
from iaemu_likelihood.emulator.halos import HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.catalogue import default_mass_bins
from iaemu_likelihood.emulator.halos.readers import BUNDLED, READERS
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION, REQUIRED_COLUMNS, VELOCITY

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
    with h5py.File(data.FOLDER / BUNDLED[0.0]) as file:
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
    with pytest.raises(
        FileNotFoundError, match=r"Use 'bundled', 'bolplanck', .*, 'mine' or the path"
    ):
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
    with pytest.raises(ValueError, match=r"halo_y is nan in row 7, outside the box, 0 to 80 Mpc/h"):
        load_halos(tmp_path / "halos.ecsv")


def made(table, box=80.0, redshift=0.0, particle_mass=3.8e9, **options):
    columns = {name: table[name] for name in table.colnames}
    return HaloCatalogue.from_columns("few", columns, box, redshift, particle_mass, **options)


def changed(few, column, row, value):
    table = few.copy()
    table[column][row] = value
    return table


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (AXES[1], np.inf, r"the major axis is \[.*inf.*\] in row 0; expected finite numbers"),
        (AXES[2], -np.inf, r"the major axis is \[.*-inf\] in row 0"),
        (
            "halo_mpeak",
            np.nan,
            "halo_mpeak is nan in row 0; expected a finite number, 0 or more; 1 such",
        ),
        ("halo_mvir_host_halo", np.nan, "halo_mvir_host_halo is nan in row 0"),
        ("halo_mvir_host_halo", 0.0, "halo_mvir_host_halo is 0.0 in row 0; expected a positive nu"),
        ("halo_mvir", np.inf, "halo_mvir is inf in row 0"),
        ("halo_mvir", 0.0, "halo_mvir is 0.0 in row 0; expected a positive number for a host"),
        ("halo_rvir", -0.1, "halo_rvir is -0.1 in row 0"),
        (VELOCITY[0], np.nan, "halo_vx is nan in row 0; expected a finite number"),
    ],
)
def test_sense_numbers_of_halos(few, column, value, message):
    assert few["halo_upid"][0] == -1
    with pytest.raises(ValueError, match=message):
        made(changed(few, column, 0, value))


def test_sense_axes_of_subhalos_are_not_used(few):
    row = int(np.flatnonzero(few["halo_upid"] != -1)[0])
    for value in (np.inf, np.nan, 1e200):
        halos = made(changed(few, AXES[0], row, value))
        assert (halos.n_dropped, len(halos.columns["halo_id"])) == (0, len(few))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redshift": np.nan}, "few: the redshift is nan; expected a number above -1"),
        ({"redshift": -1.0}, "the redshift is -1.0"),
        ({"redshift": np.inf}, "the redshift is inf"),
        ({"redshift": 1e30}, r"the redshift is 1e\+30"),
        ({"particle_mass": 0.0}, "particle_mass is 0.0 Msun/h; expected a positive number"),
        ({"particle_mass": -3.8e9}, "particle_mass is -3"),
        ({"particle_mass": np.nan}, "particle_mass is nan"),
        ({"box": np.nan}, "the side of the box is nan Mpc/h; expected a positive number"),
        (
            {"box": 80 / 0.6774},
            "few: the positions do not fill the box, 0 to 118.099 Mpc/h: halo_x fr",
        ),
        ({"subhalo_mass_bins": [1e11, 1e15, 1e13]}, "subhalo_mass_bins is .*; expected increasing"),
        ({"subhalo_mass_bins": [np.nan, 1e15]}, "subhalo_mass_bins is "),
        ({"subhalo_mass_bins": 1e11}, "subhalo_mass_bins is "),
    ],
)
def test_sense_numbers_of_the_catalogue(few, options, message):
    with pytest.raises(ValueError, match=message):
        made(few, **options)


@pytest.mark.parametrize("column", ["halo_mvir", "halo_mpeak", "halo_mvir_host_halo"])
def test_sense_masses_are_no_logarithms_nor_in_units_of_1e10(few, column):
    for values in (np.log10(few[column]), few[column] / 1e10):
        table = few.copy()
        table[column] = values
        with pytest.raises(
            ValueError, match=rf"few: {column} is \S+ Msun/h at most. Are these loga"
        ):
            made(table)


def test_sense_every_halo_twice(few):
    """All rows again, one row again, and the hosts again with new ids."""
    with pytest.raises(ValueError, match=rf"rows 0 and {len(few)} have the same halo_id, "):
        made(vstack([few, few]))
    with pytest.raises(ValueError, match=rf"rows 9 and {len(few)} have the same halo_id, "):
        made(vstack([few, few[9:10]]))
    renamed = few.copy()
    renamed["halo_id"] += 10_000_000
    renamed["halo_hostid"] += 10_000_000
    with pytest.raises(
        ValueError, match=rf"rows 0 and {len(few)} are the same host, with equal pos"
    ):
        made(vstack([few, renamed]))


def test_sense_ids_are_whole_numbers(few):
    table = few.copy()
    for name in ("halo_id", "halo_upid", "halo_hostid"):
        table[name] = table[name].astype(np.float64)
    assert made(table).n_dropped == 0
    for value in (np.nan, 3.5):
        with pytest.raises(ValueError, match="halo_hostid has a cell without a whole number"):
            made(changed(table, "halo_hostid", 5, value))
    masked = Table(few, masked=True)
    masked["halo_upid"].mask[3] = True
    with pytest.raises(ValueError, match="halo_upid has a cell without a whole number"):
        made(masked)
    masked = Table(few, masked=True)
    masked["halo_mpeak"].mask[3] = True
    with pytest.raises(ValueError, match="halo_mpeak is nan in row 3"):
        made(masked)
    with pytest.raises(
        ValueError, match=r"one number per halo in each column; got .*'halo_rvir': \(3,"
    ):
        HaloCatalogue.from_columns("few", {**few, "halo_rvir": np.ones(3)}, 80.0, 0.0, 3.8e9)


def test_sense_the_box_twice_with_different_values(few, tmp_path):
    table = few.copy()
    table.meta["LBOX"] = 250.0
    table.write(tmp_path / "halos.ecsv")
    with pytest.raises(ValueError, match=r"metadata say Lbox = 80.0 and LBOX = 250.0"):
        load_halos(tmp_path / "halos.ecsv")
    (tmp_path / "twice.ecsv").write_text(
        (tmp_path / "halos.ecsv").read_text().replace("{LBOX: 250.0}", "{Lbox: 250.0}")
    )
    with pytest.raises(ValueError, match="the key 'Lbox' is there 2 times; remove all but one"):
        load_halos(tmp_path / "twice.ecsv")


@pytest.mark.parametrize("box", ["80 Mpc/h", [80.0, 80.0, 100.0], True, {"side": 80.0}, [], np.inf])
def test_no_raw_traceback_for_a_box_that_is_no_number(few, tmp_path, box):
    table = few.copy()
    table.meta["Lbox"] = box
    table.write(tmp_path / "halos.ecsv")
    with pytest.raises(ValueError, match=r"halos\.ecsv: Lbox in the metadata is .*; expected"):
        load_halos(tmp_path / "halos.ecsv")
    table.meta["Lbox"] = [80.0, 80.0, 80.0]
    table.write(tmp_path / "halos.ecsv", overwrite=True)
    assert load_halos(tmp_path / "halos.ecsv").box == 80.0


def test_units_of_halos_are_converted(few, tmp_path):
    """kpc/h, kpc and Msun with the file's h, 1e10 Msun/h, m/s; by columns and by metadata."""
    expected = made(few)
    h = 0.6774
    table = few.copy()
    for name in POSITION:
        table[name] = table[name] / h * units.Mpc
    table["halo_rvir"] *= 1000
    table["halo_rvir"].unit = "kpc/h"
    table["halo_mvir"] = table["halo_mvir"] / h * units.solMass
    table["halo_mpeak"] /= 1e10
    table["halo_mvir_host_halo"].unit = "Msun/h"
    for name in VELOCITY:
        table[name] = table[name] * 1000 * (units.m / units.s)
    table.meta = {
        "H0": 100 * h,
        "Lbox": 80e3 / h * units.kpc,
        "redshift": 0.0,
        "particle_mass": 3.8e9 / h,
        "subhalo_mass_bins": [float(x) / h for x in expected.subhalo_mass_bins],
        "units": {
            "halo_mpeak": "1e10 Msun/h",
            "particle_mass": "Msun",
            "subhalo_mass_bins": "Msun",
        },
    }
    table.write(tmp_path / "halos.ecsv")
    halos = load_halos(tmp_path / "halos.ecsv")
    for name in REQUIRED_COLUMNS:
        np.testing.assert_allclose(
            halos.columns[name], expected.columns[name], rtol=1e-12, atol=1e-12
        )
    np.testing.assert_allclose(halos.subhalo_mass_bins, expected.subhalo_mass_bins, rtol=1e-12)
    assert (halos.box, halos.particle_mass) == pytest.approx((80.0, 3.8e9), rel=1e-12)
    del table.meta["H0"]
    table.write(tmp_path / "halos.ecsv", overwrite=True)
    with pytest.raises(ValueError, match=r"Lbox is in 'kpc', and its metadata do not say h.*Add h"):
        load_halos(tmp_path / "halos.ecsv")


def test_units_of_columns_count_without_a_file_too(few):
    table = few.copy()
    table["halo_x"] = table["halo_x"] * 1000 * units.kpc
    with pytest.raises(ValueError, match="few: halo_x is in 'kpc', and its metadata do not say h"):
        made(table)
    table["halo_x"] = table["halo_x"].value
    table["halo_x"].unit = "kpc/h"
    np.testing.assert_allclose(made(table).columns["halo_x"], few["halo_x"], rtol=1e-14)


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("halo_mvir", "Mpc/h"),
        ("halo_x", "Msun/h"),
        ("halo_mpeak", "dex(solMass)"),
        ("halo_vx", "km"),
    ],
)
def test_units_that_cannot_be_converted_are_refused(few, tmp_path, column, unit):
    table = few.copy()
    table.meta["units"] = {column: unit}
    table.write(tmp_path / "halos.ecsv")
    with pytest.raises(ValueError, match=rf"halos\.ecsv: {column} is in '.*'; expected '"):
        load_halos(tmp_path / "halos.ecsv")


@pytest.mark.filterwarnings("ignore:Keyword name")
def test_formats_of_the_same_rows_have_one_hash(few, tmp_path):
    """FITS is big-endian."""
    single = few.copy()
    single["halo_mpeak"] = single["halo_mpeak"].astype(np.float32)
    for table in (few, single):
        table.write(tmp_path / "few.fits", overwrite=True)
        table.write(tmp_path / "few.hdf5", path="halos", serialize_meta=True, overwrite=True)
        hashes = {load_halos(tmp_path / name).sha256 for name in ("few.fits", "few.hdf5")}
        assert hashes == {made(table).sha256}


def test_under_the_hash_halos_are_all_in_one_file(few, tmp_path):
    few.write(tmp_path / "few.hdf5", path="halos", serialize_meta=True)
    with h5py.File(tmp_path / "linked.hdf5", "w") as file:
        file["halos"] = h5py.ExternalLink("few.hdf5", "/halos")
    with pytest.raises(ValueError, match=r"linked\.hdf5: /halos is a link to '/halos' in the file"):
        load_halos(tmp_path / "linked.hdf5")


@pytest.mark.parametrize("name", ["bundled", "bolplanck"])
def test_names_that_are_ambiguous_list_both(few, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    few.write(tmp_path / name, format="ascii.ecsv")
    with pytest.raises(
        ValueError, match=rf"'{name}' is both the name of .* and the file {tmp_path}/{name}"
    ):
        load_halos(name)


def test_names_with_a_tilde_are_below_the_home(few, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    few.write(tmp_path / "few.ecsv")
    assert load_halos("~/few.ecsv").name == "few.ecsv"


def test_absent_catalogues_say_what_to_do(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Use 'bundled', 'bolplanck', 'bolshoi', .* or the path"
    ):
        load_halos(tmp_path / "nothing.hdf5")
    with pytest.raises(FileNotFoundError, match="download_processed_halo_table"):
        load_halos("bolplanck")


def test_bolplanck_comes_from_the_cache_of_halotools(few, tmp_path):
    """A small catalogue put into an empty cache under Bolshoi-Planck's name, by halotools itself."""
    from halotools.sim_manager.supported_sims import BolPlanck

    table = few.copy()  # halotools checks the box and the particle mass
    for name in POSITION:
        table[name] *= max(BolPlanck().Lbox) / 80
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
    expected = (
        "True bolplanck 250.0 True flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96 "
        "halotools_v0p4: a test"
    )
    assert result.stdout.strip() == expected, result.stderr


def test_hosts_alone_need_concentrations(small_halos):
    hosts = small_halos.columns["halo_upid"] == -1
    columns = {name: values[hosts] for name, values in small_halos.columns.items()}
    where = "hosts only", columns, 80.0, 0.0, 3.8e9
    with pytest.raises(
        ValueError, match=r"hosts only has neither subhalos .* nor halo_nfw_conc.*Om0="
    ):
        HaloCatalogue.from_columns(*where)
    with pytest.raises(ValueError, match=r"hosts only needs subhalos, rows with halo_upid != -1"):
        HaloCatalogue.from_columns(*where, cosmology=load_halos().cosmology, satellites="subhalos")
    halos = HaloCatalogue.from_columns(*where, cosmology=load_halos().cosmology)
    assert (halos.satellites, halos.subhalo_mass_bins) == ("nfw", None)
    assert "Diemer & Joyce" in halos.notes[0]
    # Diemer & Joyce 2019 in this cosmology: 10.7 at 1e12 Msun/h, 6.1 at 1e14.
    for mass, expected in ((1e12, 10.7), (1e14, 6.1)):
        near = np.abs(np.log10(columns["halo_mvir"] / mass)) < 0.05
        assert np.median(halos.columns["halo_nfw_conc"][near]) == pytest.approx(expected, rel=0.03)
    # Their concentrations are under the hash.
    given = {**columns, "halo_nfw_conc": np.full(hosts.sum(), 5.0)}
    other = HaloCatalogue.from_columns("hosts only", given, 80.0, 0.0, 3.8e9)
    assert other.sha256 != halos.sha256
    given["halo_nfw_conc"][7] = np.nan
    with pytest.raises(
        ValueError, match="halo_nfw_conc is nan in row 7; expected a positive number"
    ):
        HaloCatalogue.from_columns("hosts only", given, 80.0, 0.0, 3.8e9)


def test_subhalos_can_be_left_out(few):
    halos = made(few, satellites="nfw", cosmology=load_halos().cosmology)
    n_subhalos = int((few["halo_upid"] != -1).sum())
    assert halos.dropped == {"subhalos, as satellites follow NFW profiles": n_subhalos}
    assert len(halos.columns["halo_id"]) == len(few) - n_subhalos
    with pytest.raises(ValueError, match="satellites is 'NFW'; expected 'subhalos' or 'nfw'"):
        made(few, satellites="NFW")


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
