"""Files of other codes: the same halos from each, and what is refused."""

import gzip
import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos, summarise, write_halos
from iaemu_likelihood.emulator.halos.readers import FORMATS, Format
from iaemu_likelihood.emulator.halos.readers.assembling import top_hosts, wrapped
from iaemu_likelihood.emulator.halos.readers.compaso import concentration_of
from iaemu_likelihood.emulator.halos.readers.soap import major_axes
from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, POSITION, VELOCITY
from iaemu_likelihood.emulator.halos.summary import preferred_direction
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.physics.bins import R_EDGES

from .files import (
    BOX,
    COSMOLOGY,
    OM0,
    PARTICLE_MASS,
    REDSHIFT,
    ROCKSTAR,
    WITHOUT_PARENTS,
    H,
    Simulated,
)

# Real files of other codes, which are not part of the package: a folder in this variable.
SAMPLES = os.environ.get("IAEMU_HALO_SAMPLES")
STATED = {"box": BOX, "particle_mass": PARTICLE_MASS}
LINES = (
    f"#a = {1 / (1 + REDSHIFT):.6f}",
    f"#Om = {OM0}; Ol = {1 - OM0}; h = {H}",
    f"#Particle mass: {PARTICLE_MASS:.5e} Msun/h",
    f"#Box size: {BOX:.6f} Mpc/h",
    "#Units: Masses in Msun / h",
)


@pytest.fixture(scope="module")
def halos():
    return Simulated.make()


def check(catalogue, halos, rtol=1e-6):
    """Each host with its subhalos in order, as `GalaxySites` has them."""
    sites = GalaxySites.of(catalogue)
    hosts = np.flatnonzero(halos.parent == -1)
    hosts = hosts[np.argsort(halos.mass[hosts])]
    assert (catalogue.box, catalogue.redshift) == pytest.approx((BOX, REDSHIFT), rel=1e-5)
    assert catalogue.particle_mass == pytest.approx(PARTICLE_MASS, rel=1e-5)
    np.testing.assert_allclose(10**sites.logM, halos.mass[hosts], rtol=10 * rtol)
    np.testing.assert_allclose(sites.position, halos.position[hosts], atol=rtol * BOX)
    axis = halos.axis[hosts] / np.linalg.norm(halos.axis[hosts], axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((sites.axis * axis).sum(axis=1)), 1, rtol=100 * rtol)
    owner = halos.host
    expected = []
    for host in hosts:
        own = np.flatnonzero((owner == host) & (halos.parent != -1))
        own = own[np.argsort(-halos.peak_mass[own])]
        offset = halos.position[own] - halos.position[host]
        expected.append(offset - BOX * np.round(offset / BOX))
    np.testing.assert_allclose(sites.offset, np.concatenate(expected), atol=2 * rtol * BOX)
    return sites


@pytest.mark.parametrize("kind", ROCKSTAR)
def test_rockstar_finds_columns_by_name(halos, tmp_path, kind):
    path = tmp_path / "halos.list"
    ranked = (
        halos
        if "mpeak" in ROCKSTAR[kind].lower()
        else Simulated(**{**vars(halos), "peak_mass": halos.mass})
    )
    path.write_text(halos.rockstar(ROCKSTAR[kind], LINES))
    found = load_halos(path)
    check(found, ranked)
    assert found.cosmology == f"flat LCDM Om0={OM0} h={H}"
    hosts = halos.parent == -1
    rvir = found.columns["halo_rvir"][found.columns["halo_upid"] == -1]
    np.testing.assert_allclose(np.sort(rvir), np.sort(halos.rvir[hosts]), rtol=1e-6)
    # In Mpc/h, and compressed.
    text = halos.rockstar(ROCKSTAR[kind], LINES, in_kpc=False)
    (tmp_path / "halos.list.gz").write_bytes(gzip.compress(text.encode()))
    again = load_halos(tmp_path / "halos.list.gz")
    np.testing.assert_allclose(again.columns["halo_rvir"], found.columns["halo_rvir"], rtol=1e-6)
    assert "rvir is in Mpc/h in the file." in again.notes


@pytest.mark.parametrize("kind", WITHOUT_PARENTS)
def test_rockstar_without_parents_is_refused(halos, tmp_path, kind):
    (tmp_path / "out_1.list").write_text(halos.rockstar(WITHOUT_PARENTS[kind], LINES))
    with pytest.raises(ValueError, match=r"has neither upid nor pid.* find_parents"):
        load_halos(tmp_path / "out_1.list")


def test_what_a_file_does_not_say_is_asked_for_by_name(halos, tmp_path):
    path = tmp_path / "hlist.list"
    path.write_text(halos.rockstar(ROCKSTAR["hlist, 2015"]))
    for given, name in (({}, "box"), ({"box": BOX}, "particle mass")):
        with pytest.raises(ValueError, match=rf"does not say its {name}\. State it, in M"):
            load_halos(path, **given)
    found = load_halos(path, **STATED, cosmology=COSMOLOGY)
    check(found, halos)
    assert found.cosmology == COSMOLOGY
    for wrong, message in (
        ({"redshift": 0.7}, "its redshift is 0.5, but --redshift is 0.7"),
        ({"box": 61.0}, "its box is 60 Mpc/h, but --box is 61"),
        (
            {"cosmology": COSMOLOGY.replace("0.3 ", "0.31 ")},
            "says that Om0 is 0.3, but --cosmology 0.31",
        ),
    ):
        path.write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
        with pytest.raises(ValueError, match=message):
            load_halos(path, **wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.replace("#Box size: 60.000000 Mpc/h", "#Box size: 60.0 ly"),
            "is in 'ly'; expected",
        ),
        (lambda t: t.replace(" A[y](47)", ""), r"lacks the column\(s\) a\[y\]"),
        (lambda t: t.replace("sam_mvir(9)", "Mvir(9)"), "has the column 'mvir' 2 times"),
        (lambda t: t + "1 2 3\n", "after 0 rows of numbers"),
        (lambda t: t.replace("0.666666667", "0.5", 1), "scale factors from 0.5 to 0.66"),
        (lambda t: "\n".join(x for x in t.splitlines() if x[0] == "#") + "\n", "has no rows"),
    ],
)
def test_damaged_rockstar_is_refused_by_name(halos, tmp_path, change, message):
    text = change(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    (tmp_path / "hlist.list").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_halos(tmp_path / "hlist.list")


@pytest.mark.parametrize("mass", [np.nan, -np.inf, -1e12])
def test_a_mass_that_is_none_is_refused_and_not_called_light(halos, tmp_path, mass):
    wrong = Simulated(
        **{**vars(halos), "mass": np.where(np.arange(len(halos.id)) == 7, mass, halos.mass)}
    )
    (tmp_path / "hlist.list").write_text(wrong.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    with pytest.raises(ValueError, match=re.escape(f"halo {halos.id[7]}, in row 7, is {mass:g};")):
        load_halos(tmp_path / "hlist.list")


def test_bytes_that_are_no_text_are_refused_with_their_rows(halos, tmp_path):
    text = halos.rockstar(ROCKSTAR["hlist, 2015"], LINES).encode()
    place = text.rindex(b"0.666666667")
    (tmp_path / "hlist.list").write_bytes(text[:place] + b"\xb2" + text[place + 1 :])
    with pytest.raises(
        ValueError, match=r"hlist\.list, after 0 rows of numbers: could not convert"
    ):
        load_halos(tmp_path / "hlist.list")


def test_radii_and_masses_that_do_not_belong_together_are_refused(halos, tmp_path):
    wrong = Simulated(**{**vars(halos), "rvir": halos.rvir * 30})
    (tmp_path / "hlist.list").write_text(wrong.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    with pytest.raises(
        ValueError, match=r"would have an rvir of \d+, which is neither in Mpc/h nor"
    ):
        load_halos(tmp_path / "hlist.list")


def test_parents_lead_to_hosts():
    """0 is a halo's number; the third is a subhalo of a subhalo; the last one's host is not there."""
    ids, parent = np.array([0, 5, 9, 7]), np.array([-1, 0, 5, 4])
    np.testing.assert_array_equal(top_hosts(ids, parent, "x"), [0, 0, 0, -1])
    for loop in ([-1, 9, 5, -1], [-1, 9, 5, 7]):
        with pytest.raises(
            ValueError, match="x: the parents of halo 5, in row 1, do not lead to a host"
        ):
            top_hosts(ids, np.array(loop), "x")
    with pytest.raises(ValueError, match="x: halo 9, in row 2, is its own parent"):
        top_hosts(ids, np.array([-1, 0, 9, 9]), "x")


def test_positions_just_beyond_a_face_are_wrapped():
    """-0.017 and 50.005 in a box of 50, and a rounding below 0, whose remainder is the box itself."""
    position = np.array([[-0.017, 50.005, -1e-18], [50.0, 25.0, -3.0]])
    expected = [[49.983, 0.005, 0.0], [0.0, 25.0, -3.0]]
    np.testing.assert_allclose(wrapped(position, 50.0), expected, atol=1e-12)


def test_lost_subhalos_and_light_hosts_are_counted(halos, tmp_path):
    path = tmp_path / "hlist.list"
    lines = halos.rockstar(ROCKSTAR["hlist, 2015"], LINES).splitlines()
    del lines[len(LINES) + 1]  # the heaviest host
    path.write_text("\n".join(lines) + "\n")
    found = load_halos(path, min_mass=1e13)
    light = (halos.mass[halos.host] < 1e13).sum()
    assert found.dropped == {
        "subhalos whose host is not in the file": 2,
        "hosts lighter than 1e+13 Msun/h, and their subhalos": light,
    }
    assert len(found.columns["halo_id"]) == len(halos.id) - 3 - light
    with pytest.raises(ValueError, match="no host is left, of 239 in the file"):
        load_halos(path, min_mass=1e17)


@pytest.mark.parametrize("options", [{}, {"physical": True}, {"own_host": True}])
def test_soap(halos, tmp_path, options):
    halos.write_soap(tmp_path / "soap.hdf5", **options)
    found = load_halos(tmp_path / "soap.hdf5")
    check(found, halos)
    assert found.cosmology == f"flat LCDM Om0={OM0} Ob0=0.05 h={H}"
    nfw = load_halos(tmp_path / "soap.hdf5", satellites="nfw")
    hosts = halos.parent == -1
    np.testing.assert_allclose(
        np.sort(nfw.columns[CONCENTRATION]), np.sort(halos.concentration[hosts]), rtol=0.016
    )


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("Header", "Redshift", "1e400", "redshift is 1 but the scale factor 0.66"),
        ("Header", "Redshift", None, "swiftsimio cannot read the redshift. The file is damaged"),
        ("Cosmology", "h", 1e-300, "h is 1e-300; expected a number from 0.2 to 2"),
        ("Header", "BoxSize", None, "swiftsimio cannot read the side of the box"),
    ],
)
def test_garbled_metadata_of_soap_are_refused_by_name(halos, tmp_path, group, key, value, message):
    halos.write_soap(tmp_path / "soap.hdf5")
    with h5py.File(tmp_path / "soap.hdf5", "r+") as file:
        del file[group].attrs[key]
        if value is not None:
            file[group].attrs[key] = value
    with pytest.raises(ValueError, match=message):
        load_halos(tmp_path / "soap.hdf5")


def test_tensors_of_soap_are_stored_diagonal_first():
    """For 4, 2, 1, 0.5, 0, 0 the major axis lies in the plane of x and y, at 13.28 degrees."""
    tensor = [[4, 2, 1, 0.5, 0, 0], [1, 2, 4, 0, 0, 0.5], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0.9, 0]]
    x, y, z = np.abs(major_axes(np.array(tensor, np.float32))).T
    angle = np.radians(13.2825)
    np.testing.assert_allclose(x, [np.cos(angle), 0, 0, 0.5**0.5], atol=1e-6)
    np.testing.assert_allclose(y[:2], [np.sin(angle), np.sin(np.arctan(0.5 / 1) / 2)], atol=1e-6)
    np.testing.assert_allclose(z[[0, 2, 3]], [0, 0, 0.5**0.5], atol=1e-6)


def test_compaso(halos, tmp_path):
    path, kept = halos.write_compaso(tmp_path)
    found = load_halos(path)
    assert found.dropped == {"halos without particles, which cleaning gave to others": 3}
    assert (found.satellites, found.box, found.redshift) == ("nfw", BOX, REDSHIFT)
    assert found.cosmology == f"flat LCDM Om0={OM0} h={H}"
    position = np.stack([found.columns[x] for x in POSITION], axis=-1)
    np.testing.assert_allclose(position, halos.position[kept], atol=1e-4)
    np.testing.assert_allclose(found.columns["halo_mvir"], halos.mass[kept], rtol=1e-3)
    # A sphere of 250 times the mean density, 2.775e11 Om0 h^2 Msun / Mpc^3.
    volume = found.columns["halo_mvir"] / (250 * 2.77536627e11 * OM0)
    np.testing.assert_allclose(found.columns["halo_rvir"], (volume * 0.75 / np.pi) ** (1 / 3))
    np.testing.assert_allclose(np.linalg.norm([found.columns[x] for x in AXES], axis=0), 1)
    with pytest.raises(ValueError, match="have no subhalos; leave satellites out"):
        load_halos(path, satellites="subhalos")
    with pytest.raises(ValueError, match="is a folder, but not one of CompaSO"):
        load_halos(tmp_path)


def test_concentrations_follow_from_two_radii():
    from iaemu_likelihood.emulator.halos.nfw import radius_of

    c = np.array([2.0, 5.0, 7.3, 19.0])
    found = concentration_of(0.3 * radius_of(0.25, c), 0.3 * radius_of(0.98, c))
    np.testing.assert_allclose(found, c, rtol=1e-4)
    np.testing.assert_allclose(concentration_of(np.array([0.0, 1.0]), np.ones(2)), [20.2, 1.98])


@pytest.mark.skipif(not SAMPLES, reason="IAEMU_HALO_SAMPLES names no folder of real files")
def test_compaso_of_abacusutils():
    """The small box that comes with abacusutils' tests: 381 halos, one of them without particles."""
    found = load_halos(Path(SAMPLES) / "compaso/Mini_N64_L32/halos/z0.000")
    assert len(found.columns["halo_id"]) == 380
    assert found.n_dropped == 1
    assert (found.box, found.redshift) == (32.0, 0.0)
    assert found.particle_mass == pytest.approx(1.0882e10, rel=1e-4)
    assert len(GalaxySites.of(found).logM) == 380


@pytest.mark.parametrize("far", [False, True])
def test_compact_form_keeps_what_expectations_need(halos, tmp_path, far):
    """Offsets of subhalos beyond the virial radius do not fit whole numbers, and are kept, too."""
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    found = load_halos(tmp_path / "hlist.list", cosmology=COSMOLOGY)
    if far:
        found.columns["halo_rvir"][:] /= 5
    write_halos(found, tmp_path / "compact.hdf5")
    again = load_halos(tmp_path / "compact.hdf5")
    check(again, halos, rtol=3e-6)
    assert again.cosmology == COSMOLOGY
    assert again.provenance.startswith("Rockstar, hlist.list rvir is in")
    np.testing.assert_array_equal(again.subhalo_mass_bins, found.subhalo_mass_bins)
    with h5py.File(tmp_path / "compact.hdf5") as file:
        assert file["subhalos/offset"].dtype.kind == ("f" if far else "i")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_halos(found, tmp_path / "compact.hdf5")
    light = load_halos(tmp_path / "compact.hdf5", min_mass=1e13)
    assert light.n_dropped == (halos.mass[halos.host] < 1e13).sum()
    nfw = load_halos(tmp_path / "hlist.list", satellites="nfw")
    write_halos(nfw, tmp_path / "nfw.hdf5")
    back = load_halos(tmp_path / "nfw.hdf5")
    np.testing.assert_array_equal(
        np.sort(back.columns[CONCENTRATION]), np.sort(nfw.columns[CONCENTRATION])
    )


def test_damaged_compact_file_is_refused_by_name(halos, tmp_path):
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    path = tmp_path / "compact.hdf5"
    write_halos(load_halos(tmp_path / "hlist.list"), path)
    with h5py.File(path, "a") as file:
        file["hosts/n_subhalos"][0] += 1
    with pytest.raises(ValueError, match="its hosts have 481 subhalos, but there are 480"):
        load_halos(path)
    with h5py.File(path, "a") as file:
        del file["hosts/rvir"], file.attrs["redshift"]
    with pytest.raises(ValueError, match="lacks rvir, redshift; is it complete"):
        load_halos(path)


def test_what_libraries_stumble_over_is_an_error(halos, tmp_path):
    """Columns of other lengths, a part that is no group, and half of a file."""
    path = tmp_path / "soap.hdf5"
    halos.write_soap(path)
    whole = path.read_bytes()
    with h5py.File(path, "a") as file:
        del file["SO/BN98/TotalMass"]
    with pytest.raises(ValueError, match=r"lacks spherical_overdensity_bn98\.total_mass"):
        load_halos(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        mass = file["SO/BN98/TotalMass"]
        attributes = dict(mass.attrs)
        del file["SO/BN98/TotalMass"]
        file["SO/BN98/TotalMass"] = np.ones(3)
        file["SO/BN98/TotalMass"].attrs.update(attributes)
    with pytest.raises(ValueError, match=r"soap\.hdf5: .*total_mass has 3 rows; expected 720"):
        load_halos(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError), match=r"soap\.hdf5 is not a readable"):
        load_halos(path)


def test_another_format_is_a_pair_of_functions(halos, tmp_path, monkeypatch):
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    mine = load_halos(tmp_path / "hlist.list")
    (tmp_path / "halos.mine").write_text("")
    formats = {
        "mine": Format("mine", lambda path: path.suffix == ".mine", lambda path, stated: mine)
    }
    monkeypatch.setattr("iaemu_likelihood.emulator.halos.readers.FORMATS", {**formats, **FORMATS})
    assert load_halos(tmp_path / "halos.mine") is mine


@pytest.mark.slow
def test_rockstar_and_compact_form_give_one_tabulation(small_halos, tmp_path):
    """Templates at two occupations, to a thousandth of the scatter of one catalogue of galaxies."""
    columns = small_halos.columns
    upid = columns["halo_upid"]
    halos = Simulated(
        id=columns["halo_id"],
        parent=upid,
        position=np.stack([columns[x] for x in POSITION], axis=-1),
        velocity=np.stack([columns[x] for x in VELOCITY], axis=-1),
        axis=np.stack([columns[x] for x in AXES], axis=-1),
        mass=columns["halo_mvir"],
        rvir=columns["halo_rvir"],
        peak_mass=columns["halo_mpeak"],
        concentration=np.full(len(upid), 8.0),
    )
    header = "#id upid mvir rvir rs x y z vx vy vz A[x] A[y] A[z] mpeak"
    (tmp_path / "hlist.list").write_text(halos.rockstar(header))
    stated = {"box": small_halos.box, "redshift": 0.0, "particle_mass": 3.8e9}
    text = load_halos(tmp_path / "hlist.list", **stated)
    write_halos(text, tmp_path / "compact.hdf5")
    points = [[12.0, 0.26, 12.1, 12.9, 1.0], [12.5, 0.3, 12.6, 13.4, 1.0]]
    one, other = (
        Tabulation.build(each, R_EDGES, progress=False).templates(points)
        for each in (text, load_halos(tmp_path / "compact.hdf5"))
    )
    np.testing.assert_allclose(one.n_galaxies, other.n_galaxies, rtol=1e-6)
    sites, rng = GalaxySites.of(text), np.random.default_rng(0)
    for i, point in enumerate(points):
        mocks = np.array(
            [
                measure(populate(sites, point, rng), (0.8, 0.3), sites.box, R_EDGES, rng).templates
                for _ in range(20)
            ]
        )
        off = np.abs(one.values[i] - other.values[i]) / mocks.std(axis=0, ddof=1)
        counted = np.isfinite(off)
        assert counted.sum() > 100
        assert off[counted].max() < 1e-3


def test_summary_says_what_was_understood(halos, tmp_path):
    """Numbers of the whole catalogue and by mass, what was dropped and why, and how it was read."""
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    found = load_halos(tmp_path / "hlist.list", cosmology=COSMOLOGY, min_mass=1e12)
    whole, by_mass = summarise(found)
    told = dict(whole.rows)
    assert (told["box"], told["redshift"]) == ("60 Mpc/h", "0.5")
    assert told["cosmology"] == COSMOLOGY
    kept = halos.mass[halos.host] >= 1e12
    hosts = kept & (halos.parent == -1)
    assert told["hosts"] == str(hosts.sum())
    assert told["subhalos"] == str(2 * hosts.sum())
    lowest = halos.mass[hosts].min()
    assert told["lowest mass"] == f"{lowest:.4g} Msun/h, {lowest / PARTICLE_MASS:.0f} particles"
    assert told["dropped"] == (
        f"{(~kept).sum()} rows: hosts lighter than 1e+12 Msun/h, and their subhalos"
    )
    assert told["note"] == "rvir is in kpc/h in the file."
    assert told["sha256"] == found.sha256
    first = by_mass.rows[0]
    number = (hosts & (halos.mass < 10**12.5)).sum()
    assert (first[0], first[1], first[-1]) == ("12 to 12.5", str(number), "2")
    nfw = dict(summarise(load_halos(tmp_path / "hlist.list", satellites="nfw"))[0].rows)
    assert nfw["subhalos"].startswith("none: satellites follow NFW profiles, of median conc")


def test_axes_along_the_grid_are_seen_in_the_summary(halos, tmp_path):
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    along = Simulated(**{**vars(halos), "axis": halos.axis.copy()})
    along.axis[::2] = [0, 0, 1]
    (tmp_path / "along.list").write_text(along.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    for name, many in (("hlist.list", False), ("along.list", True)):
        largest, isotropic = preferred_direction(load_halos(tmp_path / name))
        assert isotropic == pytest.approx(1.6 * np.sqrt(4 / 45 / 240), rel=0.2)
        assert (largest > 4 * isotropic) == many


def test_command_shows_draws_and_writes(halos, tmp_path, iaemu):
    (tmp_path / "hlist.list").write_text(halos.rockstar(ROCKSTAR["hlist, 2015"], LINES))
    result = iaemu(
        "halos", "hlist.list", "--out", "c.hdf5", "--plot", "c.png", cwd=tmp_path, columns=80
    )
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "240 hosts and 480 subhalos in a box of 60 Mpc/h, z = 0.5" in result.stderr
    written, drawn = result.stdout.splitlines()[-2:]
    assert (written, Path(drawn)) == ("c.hdf5", tmp_path / "c.png")
    again = iaemu("halos", "c.hdf5", cwd=tmp_path)
    assert "sha256" in again.stdout
    for options, message in (
        (["--out", "c.hdf5"], "pass --overwrite to replace it"),
        (["--box", "70"], "its box is 60 Mpc/h, but --box is 70"),
        (["--satellites", "all"], "satellites is 'all'; expected 'subhalos' or 'nfw'"),
    ):
        result = iaemu("halos", "hlist.list", *options, cwd=tmp_path)
        assert result.returncode == 1
        assert message in result.stderr
