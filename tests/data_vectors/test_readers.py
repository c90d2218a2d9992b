"""Files of other codes: written by these codes themselves, or changed as others were found to be."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import treecorr
from astropy.io import fits
from astropy.table import Table
from iaemu_likelihood.emulator.mocks.projected import projected_correlations
from iaemu_likelihood.emulator.physics.conventions import Conventions
from measureia import MeasureIABox
from typer.main import get_command
from typer.testing import CliRunner

from iaemu_likelihood.cli import app
from iaemu_likelihood.data_vectors.galaxy_catalogue import GalaxyCatalogue
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.data_vectors.readers import FORMATS, Given, format_of, read_file, write_file
from iaemu_likelihood.data_vectors.readers.sacc import TYPES

BOX, PI_MAX = 60.0, 16.0
EDGES = np.geomspace(1.0, 8.0, 5)
MEASUREIA = Given(unit="Mpc/h", edges="log", ellipticity="distortion", responsivity="none", box=BOX)
TREECORR = Given(unit="Mpc/h", ellipticity="distortion", responsivity="none")


@pytest.fixture(scope="module")
def galaxies():
    """Positions of clustered galaxies, and ellipticities that point at their neighbours."""
    rng = np.random.default_rng(4)
    centres = rng.uniform(0, BOX, (150, 3))
    offsets = rng.normal(0, 1.5, (1200, 3))
    angle = np.arctan2(offsets[:, 1], offsets[:, 0]) + rng.normal(0, 0.4, 1200)
    e = rng.uniform(0.1, 0.6, 1200)
    shapes = np.stack([e * np.cos(2 * angle), e * np.sin(2 * angle)], axis=1)
    return (np.repeat(centres, 8, axis=0) + offsets) % BOX, shapes


@pytest.fixture(scope="module")
def measureia(galaxies, tmp_path_factory):
    """A file of MeasureIA: all projected correlations, and multipoles."""
    positions, shapes = galaxies
    e, angle = np.hypot(*shapes.T), np.arctan2(shapes[:, 1], shapes[:, 0]) / 2
    q = np.sqrt((1 - e) / (1 + e))
    axes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    data = {
        "Position": positions, "Position_shape_sample": positions, "Axis_Direction": axes, "q": q,
        "Axis_Direction_density_sample": axes, "q_density_sample": q, "LOS": 2,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("measureia") / "measured.hdf5"
    measure = MeasureIABox(
        data, str(path), simulation=None, snapshot=None, separation_limits=[EDGES[0], EDGES[-1]],
        num_bins_r=4, num_bins_pi=8, pi_max=PI_MAX, boxsize=BOX, num_overlap=0,
    )  # fmt: skip
    options = {"num_jk": 8, "temp_file_path": False, "responsivity": False}
    measure.measure_xi_w("galaxies", "all", **options)
    measure.measure_xi_multipoles("galaxies", "both", **options)
    return path


@pytest.fixture
def changed(measureia, tmp_path):
    """A copy of MeasureIA's file, open to be changed."""
    shutil.copy(measureia, tmp_path / "changed.hdf5")
    with h5py.File(tmp_path / "changed.hdf5", "r+") as file:
        yield file


@pytest.fixture
def projected():
    return Measurement.read("tng300.projected_z0")


def two_point(path, order=("WPP", "WGG", "WGP"), unit=None, **header):
    """A 2pt FITS file of TNG300's correlations at z = 0 and 0.3, big-endian as FITS is.

    The blocks of the covariance stand in `order`, which is not that of the tables.
    """
    each = [Measurement.read(f"tng300.projected_{z}") for z in ("z0", "z0300")]
    names = {"WGG": "w_gg", "WGP": "w_gplus", "WPP": "w_plusplus"}
    hdus, n = [fits.PrimaryHDU()], 12
    for table, s in names.items():
        rows = {
            "BIN": np.repeat([0, 1], n),
            "SEP": np.concatenate([np.sqrt(m.r_min * m.r_max) for m in each]),
            "VALUE": np.concatenate([m.values[s] for m in each]),
        }
        columns = [
            fits.Column(name=k, array=v, format="J" if k == "BIN" else "D", unit=unit if k == "SEP" else None)
            for k, v in rows.items()
        ]  # fmt: skip
        hdus.append(fits.BinTableHDU.from_columns(columns, name=table))
        hdus[-1].header.update({"SNAPSHOT_0": 99, "SNAPSHOT_1": 78})
    matrix = np.zeros((6 * n, 6 * n))
    for i, first in enumerate(order):
        for j, second in enumerate(order):
            for k, m in enumerate(each):
                a, b = names[first], names[second]
                block = m.covariances[a, b] if (a, b) in m.covariances else m.covariances[b, a].T
                rows, across = (slice((2 * x + k) * n, (2 * x + k + 1) * n) for x in (i, j))
                matrix[rows, across] = block
    hdus.append(fits.ImageHDU(matrix, name="COVMAT"))
    # The numbers of the keys are those of the tables, so that STRT_i does not ascend.
    for i, table in enumerate(names):
        hdus[-1].header.update({f"NAME_{i}": table, f"STRT_{i}": 2 * n * order.index(table)})
    hdus[-1].header.update({"NREAL": 64, **header})
    fits.HDUList(hdus).writeto(path)
    return path


DES = Given(
    unit="Mpc/h", edges="0.1:68", pi_max=68.0, ellipticity="distortion", responsivity="none",
    box=205.0, inside="BIN=0",
)  # fmt: skip


def same(a, b, rtol=1e-12):
    """Whether two measurements hold the same numbers, measured in the same way."""
    assert list(a.values) == list(b.values)
    np.testing.assert_allclose(a.r_edges, b.r_edges, rtol=1e-5)
    for s in a.values:
        np.testing.assert_allclose(a.values[s], b.values[s], rtol=rtol)
        np.testing.assert_allclose(a.errors[s], b.errors[s], rtol=max(rtol, 1e-5))
        for t in a.values:
            np.testing.assert_allclose(a._block(s, t), b._block(s, t), rtol=rtol)
    assert a.conventions == b.conventions
    assert a.n_jackknife == b.n_jackknife
    return True


def test_measureia_is_read_as_it_measured_and_measures_as_we_do(measureia, galaxies, tmp_path):
    measured, notes = read_file(measureia, MEASUREIA)
    assert notes == ["Left out: xi, xi_gplus_2. --statistics chooses others."]
    np.testing.assert_allclose(measured.r_edges, EDGES, rtol=1e-12)
    assert measured.conventions == Conventions(PI_MAX, box=BOX)
    with h5py.File(measureia) as file:
        for s, group in (("w_gg", "w_gg"), ("w_gplus", "w_g_plus"), ("w_plusplus", "w_plus_plus")):
            np.testing.assert_array_equal(measured.values[s], file[f"{group}/galaxies"])
            np.testing.assert_allclose(measured.errors[s], file[f"{group}/galaxies_jackknife_8"])
        # (n - 1) / n times the sum over realisations, for covariances between statistics, too.
        each = [
            np.array([file[f"{group}/galaxies_jk8/galaxies_{i}"] for i in range(8)])
            for group in ("w_gg", "w_g_plus")
        ]
    between = 7 * np.cov(*[x[:, :1].T for x in each], bias=True)[0, 1]
    assert measured.covariances["w_gg", "w_gplus"][0, 0] == pytest.approx(between)
    (x, y, z), (e1, e2) = galaxies[0].T, galaxies[1].T
    Table({"x": x, "y": y, "z": z, "e1": e1, "e2": e2}).write(tmp_path / "g.ecsv")
    catalogue = GalaxyCatalogue.read(tmp_path / "g.ecsv", BOX, shape=("e1", "e2"))
    ours = catalogue.measure_projected(EDGES, PI_MAX, ellipticity="distortion", n_side=3)
    assert (ours.values["w_gplus"][:2] > 0).all()
    for s in ("w_gplus", "w_plusplus", "w_gg"):
        np.testing.assert_allclose(measured.values[s], ours.values[s], rtol=1e-10)


def test_multipoles_of_measureia(measureia):
    measured, _ = read_file(measureia, replace(MEASUREIA, statistics=("xi_gplus_2", "xi")))
    assert measured.separation == "r"
    assert measured.conventions.pi_max is None
    with h5py.File(measureia) as file:
        np.testing.assert_array_equal(
            measured.values["xi_gplus_2"], file["multipoles_g_plus/galaxies"]
        )
        np.testing.assert_array_equal(measured.values["xi"], file["multipoles_gg/galaxies"])


def test_clustering_of_a_version_of_measureia_that_added_one(measureia, changed):
    right, _ = read_file(measureia, MEASUREIA)
    for name in ("galaxies", *(f"galaxies_jk8/galaxies_{i}" for i in range(8))):
        changed[f"w/xi_gg/{name}"][...] += 2  # DD/RR + 1 for DD/RR - 1
        changed[f"w_gg/{name}"][...] += 4 * PI_MAX
    changed.flush()
    found, notes = read_file(changed.filename, MEASUREIA)
    assert same(found, right, rtol=1e-8)
    assert "(0.2.1): 4 Pi_max is subtracted" in notes[-1]


def test_measureia_in_a_group_of_a_snapshot_and_several_names(measureia, changed):
    right, _ = read_file(measureia, MEASUREIA)
    for key in list(changed):
        changed.move(key, f"Snapshot_99/{key}")
    changed.flush()
    assert same(read_file(changed.filename, MEASUREIA).measurement, right)
    for name in ("", "_rp"):
        changed[f"Snapshot_99/w_gg/red{name}"] = changed[f"Snapshot_99/w_gg/galaxies{name}"][()]
    changed.flush()
    with pytest.raises(ValueError, match="one of Snapshot_99/galaxies, Snapshot_99/red"):
        read_file(changed.filename, MEASUREIA)
    for inside in ("galaxies", "Snapshot_99/galaxies"):
        assert same(
            read_file(changed.filename, replace(MEASUREIA, inside=inside)).measurement, right
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # np.cov of the realisations instead of (n - 1) / n times the sum: here 49/8 times too small.
        (lambda f: f["w_gg/galaxies_jackknife_cov_8"].write_direct(f["w_gg/galaxies_jackknife_cov_8"][()] * 8 / 49), r"w_gg is not \(n - 1\) / n times the sum"),
        (lambda f: f["w/xi_g_plus/galaxies"].write_direct(f["w/xi_g_plus/galaxies"][()] * 2), "w/xi_g_plus/galaxies summed over its bins of Pi is not"),
        (lambda f: f.__delitem__("w_gg/galaxies_jackknife_cov_8"), "jackknife covariances of all of its statistics.*num_jk"),
        (lambda f: f.__setitem__("w_gg/link", h5py.ExternalLink("other.hdf5", "/x")), "link to '/x' in the file 'other.hdf5'"),
    ],
)  # fmt: skip
def test_damaged_files_of_measureia(changed, change, message):
    change(changed)
    changed.flush()
    with pytest.raises(ValueError, match=message):
        read_file(changed.filename, MEASUREIA)


def test_what_a_file_does_not_say_is_asked_for_at_once(measureia):
    with pytest.raises(ValueError, match="does not say, so give") as error:
        read_file(measureia)
    for option in ("--unit", "--edges", "--ellipticity", "--responsivity", "or log"):
        assert option in str(error.value)
    assert "--pi-max" not in str(error.value)  # of which the grid speaks


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"edges": "1:9"}, "--edges 1:9 does not fit .*as the arithmetic mean of the edges of"),
        ({"edges": "linear"}, "does not fit"),
        ({"edges": "1,2,8"}, "--edges has 2 bins, but .* has 4"),
        ({"edges": "8:1"}, "expected LOW:HIGH"),
        ({"edges": "few"}, "expected LOW:HIGH"),
        ({"pi_max": 60.0}, r"says pi_max = 16.0, but --pi-max 60.0 is given"),
        ({"n_jackknife": 27}, "jackknife covariances of 8 regions"),
        ({"unit": "Mpc"}, "--hubble"),
        ({"unit": "deg"}, "unit is in 'deg'; expected 'Mpc/h'"),
        ({"sign": "tangential"}, "says sign = radial, but --sign tangential is given"),
        ({"statistics": ("omega",)}, "galaxies has w_gg.*; got omega"),
        ({"ellipticity": "shear"}, "must be one of distortion, epsilon"),
    ],
)  # fmt: skip
def test_what_contradicts_a_file_is_refused(measureia, given, message):
    with pytest.raises(ValueError, match=message):
        read_file(measureia, replace(MEASUREIA, **given))


@pytest.mark.parametrize("edges", ["log", "1:8", ",".join(map(str, EDGES))])
def test_edges_in_three_ways(measureia, edges):
    found, _ = read_file(measureia, replace(MEASUREIA, edges=edges))
    np.testing.assert_allclose(found.r_edges, EDGES, rtol=1e-12)


@pytest.mark.parametrize(
    ("unit", "h", "factor"), [("Mpc", 0.7, 0.7), ("kpc/h", None, 1e-3), ("kpc", 0.5, 5e-4)]
)
def test_lengths_become_comoving_megaparsecs_over_h(measureia, unit, h, factor):
    """All that has the unit of a length, but not the dimensionless quadrupole."""
    plain, _ = read_file(measureia, MEASUREIA)
    found, _ = read_file(measureia, replace(MEASUREIA, unit=unit, h=h))
    np.testing.assert_allclose(found.r_edges, factor * plain.r_edges, rtol=1e-12)
    assert found.conventions.pi_max == pytest.approx(factor * PI_MAX)
    assert found.conventions.box == pytest.approx(factor * BOX)
    np.testing.assert_allclose(
        found.values["w_gplus"], factor * plain.values["w_gplus"], rtol=1e-12
    )
    pair = "w_gg", "w_gplus"
    np.testing.assert_allclose(
        found.covariances[pair], factor**2 * plain.covariances[pair], rtol=1e-12
    )
    quadrupole = replace(MEASUREIA, unit=unit, h=h, statistics=("xi_gplus_2",))
    with h5py.File(measureia) as file:
        expected = file["multipoles_g_plus/galaxies"][()]
    found, _ = read_file(measureia, quadrupole)
    np.testing.assert_array_equal(found.values["xi_gplus_2"], expected)


@pytest.mark.parametrize(
    "order", [("WPP", "WGG", "WGP"), ("WGG", "WGP", "WPP"), ("WGP", "WPP", "WGG")]
)
def test_blocks_of_a_2pt_file_in_any_order(tmp_path, projected, order):
    found, _ = read_file(two_point(tmp_path / "2pt.fits", order), DES)
    assert same(found, projected)
    assert all(x.dtype.isnative for x in (*found.values.values(), *found.covariances.values()))
    later, _ = read_file(tmp_path / "2pt.fits", replace(DES, inside="BIN=1"))
    assert same(later, Measurement.read("tng300.projected_z0300"))


def test_2pt_files_that_do_not_say_enough(tmp_path):
    path = two_point(tmp_path / "2pt.fits")
    with pytest.raises(
        ValueError, match=r"BIN=0 \(snapshot 99\); BIN=1 \(snapshot 78\)\. Say --inside"
    ):
        read_file(path, replace(DES, inside=None))
    with pytest.raises(ValueError, match=r"(?s)--unit.*--edges.*--pi-max") as error:
        read_file(path, Given(inside="BIN=0"))
    assert "or log" not in str(error.value)  # how SEP follows from the edges is not known
    with pytest.raises(ValueError, match=r"is not known\. Give the first and the last edge"):
        read_file(path, replace(DES, edges="log"))
    with pytest.raises(ValueError, match=r"it gives 0\.131"):
        read_file(path, replace(DES, edges="1:68"))
    with pytest.raises(ValueError, match="rows of the tables in COVMAT overlap"):
        read_file(two_point(tmp_path / "overlap.fits", STRT_1=12), DES)
    with pytest.raises(ValueError, match="does not say where the rows of WGP begin"):
        read_file(two_point(tmp_path / "unnamed.fits", NAME_1="wg+"), DES)


def test_a_full_covariance_is_of_a_number_of_realisations_or_analytic(tmp_path, projected):
    path = two_point(tmp_path / "2pt.fits")
    with pytest.raises(ValueError, match="from 64 realisations, so that it is not analytic"):
        read_file(path, replace(DES, analytic=True))
    with fits.open(path, mode="update") as hdus:
        del hdus["COVMAT"].header["NREAL"]
    unsaid, _ = read_file(path, DES)
    with pytest.raises(ValueError, match=r"needs n_jackknife .* or there covariance: analytic"):
        unsaid.covariance(["w_gg"], "full")
    analytic, _ = read_file(path, replace(DES, analytic=True))
    for ending in ("sacc", "ecsv"):
        write_file(analytic, tmp_path / f"m.{ending}")
        found, _ = read_file(tmp_path / f"m.{ending}")
        np.testing.assert_array_equal(
            found.covariance(["w_gplus", "w_gg"], "full"),
            projected.covariance(["w_gplus", "w_gg"], "full"),
        )
    counted, _ = read_file(path, replace(DES, n_jackknife=64))
    assert same(counted, projected)


def test_a_wrong_label_of_the_unit_is_refused_until_the_right_one_is_given(tmp_path, projected):
    path = two_point(tmp_path / "2pt.fits", unit="rad")
    with pytest.raises(ValueError, match="SEP is in 'rad', which is no length"):
        read_file(path, replace(DES, unit=None))
    found, notes = read_file(path, DES)
    assert same(found, projected)
    assert notes[0] == "SEP is labelled 'rad', and taken as Mpc/h, as given."
    labelled = two_point(tmp_path / "labelled.fits", unit="Mpc/h")
    assert same(read_file(labelled, replace(DES, unit=None)).measurement, projected)
    with pytest.raises(ValueError, match="says unit = Mpc/h, but --unit Mpc is given"):
        read_file(labelled, replace(DES, unit="Mpc", h=0.7))


def test_a_tangential_shear_is_warned_of_and_turned(tmp_path, projected):
    path = two_point(tmp_path / "2pt.fits")
    with fits.open(path, mode="update") as hdus:
        hdus["WGP"].data["VALUE"] *= -1
        wgp = slice(48, 72)  # the last block
        hdus["COVMAT"].data[wgp] *= -1
        hdus["COVMAT"].data[:, wgp] *= -1
    _, notes = read_file(path, DES)
    assert "w_gplus is negative, in the mean by" in notes[0]
    found, notes = read_file(path, replace(DES, sign="tangential"))
    assert same(found, projected)
    assert notes == []
    assert read_file(two_point(tmp_path / "right.fits"), DES).notes == [
        "Shapes along the separation are taken as positive."
    ]


def with_counts(kind, path, x, y=None, **options):
    """Correlations of TreeCorr, of galaxies far away from the observer."""
    correlation = kind(
        min_sep=EDGES[0], max_sep=EDGES[-1], nbins=4, bin_slop=0, brute=True,
        **{"min_rpar": -PI_MAX, "max_rpar": PI_MAX, **options},
    )  # fmt: skip
    correlation.process(x, y or x, metric="Rperp")
    return correlation


@pytest.fixture(scope="module")
def survey(galaxies, tmp_path_factory):
    """Galaxies in the corner of a large box, TreeCorr's files of them, and halotools' correlations."""
    positions, shapes = galaxies
    side, far = 4 * BOX, 1e8
    # Seen along x; TreeCorr's shears are with respect to west and north.
    sky = {"x": far + positions[:, 2], "y": positions[:, 0], "z": positions[:, 1]}
    catalogue = treecorr.Catalog(**sky, g1=shapes[:, 0], g2=-shapes[:, 1])
    nn = with_counts(treecorr.NNCorrelation, None, catalogue)
    ng = with_counts(treecorr.NGCorrelation, None, catalogue)
    # What randoms that fill the box would count, without their noise.
    rr = nn.copy()
    volume = np.pi * np.diff(EDGES**2) * 2 * PI_MAX / side**3
    rr.weight[:] = rr.npairs[:] = rr.tot * volume
    nn.calculateXi(rr=rr)
    folder = tmp_path_factory.mktemp("treecorr")
    nn.write(str(folder / "nn.fits"), rr=rr, write_cov=True)
    ng.write(str(folder / "ng.fits"), write_cov=True)
    with_counts(treecorr.NNCorrelation, None, catalogue).write(str(folder / "counts.fits"))
    one_sided = with_counts(treecorr.NGCorrelation, None, catalogue, min_rpar=0)
    one_sided.write(str(folder / "one_sided.fits"))
    wider = with_counts(treecorr.NNCorrelation, None, catalogue, min_rpar=-20, max_rpar=20)
    wider.write(str(folder / "wider.fits"), rr=rr)
    return folder, projected_correlations(positions, shapes, side, EDGES, PI_MAX)


def test_treecorr_is_read_to_what_halotools_measures(survey):
    folder, expected = survey
    found, notes = read_file(folder / "ng.fits", replace(TREECORR, counts=folder / "nn.fits"))
    np.testing.assert_allclose(found.r_edges, EDGES, rtol=1e-12)
    assert found.conventions == Conventions(PI_MAX)
    np.testing.assert_allclose(found.values["w_gg"], expected.w_gg, rtol=1e-5)
    np.testing.assert_allclose(found.values["w_gplus"], expected.w_gplus, rtol=1e-4)
    assert found.values["w_gplus"][0] > 0  # as galaxies point at each other
    assert sum("shape noise only" in note for note in notes) == 2
    alone, _ = read_file(folder / "nn.fits", replace(TREECORR, ellipticity=None, responsivity=None))
    np.testing.assert_array_equal(alone.values["w_gg"], found.values["w_gg"])
    assert alone.covariance(["w_gg"]).shape == (4, 4)


def test_covariance_of_clustering_and_shear_together(survey, tmp_path):
    folder, _ = survey
    given = replace(TREECORR, counts=folder / "nn.fits", n_jackknife=50)
    plain, _ = read_file(folder / "ng.fits", given)
    assert not plain.covariances
    with fits.open(folder / "nn.fits") as nn, fits.open(folder / "ng.fits") as ng:
        xi, gamma = nn[1].data["xi"], ng[1].data["gamT"]
        errors = np.concatenate([nn[1].data["sigma_xi"], ng[1].data["sigma"]]).astype(float)
    correlation = 0.3 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    np.savetxt(tmp_path / "joint.txt", correlation * np.outer(errors, errors))
    found, notes = read_file(folder / "ng.fits", replace(given, covariance=tmp_path / "joint.txt"))
    assert not any("noise only" in note for note in notes)
    # By drawing xi and gamma_t, whose errors are made small so that the map is linear.
    rng, small = np.random.default_rng(0), 1e-4
    drawn = rng.multivariate_normal(
        np.concatenate([xi, gamma]), small**2 * correlation * np.outer(errors, errors), 40_000
    )
    w_gg = 2 * PI_MAX * drawn[:, :4]
    w_gplus = -drawn[:, 4:] * (2 * PI_MAX + w_gg)
    expected = np.cov(np.hstack([w_gg, w_gplus]).T) / small**2
    matrix = found.covariance(["w_gg", "w_gplus"], "full")
    scale = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
    np.testing.assert_allclose(expected / scale, matrix / scale, atol=0.03)
    np.savetxt(tmp_path / "swapped.txt", np.eye(8))
    with pytest.raises(ValueError, match="not those of the files within a factor of two"):
        read_file(folder / "ng.fits", replace(given, covariance=tmp_path / "swapped.txt"))


@pytest.mark.parametrize(
    ("file", "counts", "message"),
    [
        ("ng", None, r"w_g\+ = -gamma_t \(2 Pi_max \+ w_gg\) takes w_gg"),
        ("ng", "counts", r"not compared with those of randoms: write it with nn.write"),
        ("counts", None, "not compared with those of randoms"),
        ("ng", "ng", "is TreeCorr's NG; expected NN"),
        ("ng", "wider", r"Pi_max \(20 and 16\), differ"),
        ("one_sided", "nn", "go from 0.* to 16.*expected -Pi_max to Pi_max"),
    ],
)
def test_files_of_treecorr_that_do_not_belong_together(survey, file, counts, message):
    folder, _ = survey
    given = replace(TREECORR, counts=None if counts is None else folder / f"{counts}.fits")
    with pytest.raises(ValueError, match=message):
        read_file(folder / f"{file}.fits", given)


@pytest.mark.parametrize("kind", ["fits", "hdf5"])
@pytest.mark.parametrize("case", ["projected", "weighted", "quadrupole", "three dimensions"])
def test_sacc_and_ecsv_hold_the_same(measureia, projected, tmp_path, case, kind):
    if case == "weighted":
        how = replace(projected.conventions, weight=((0.0, 1.0), (68.0, 0.5)), responsivity=0.9)
        projected = replace(projected, conventions=how)
    if case == "quadrupole":
        projected, _ = read_file(measureia, replace(MEASUREIA, statistics=("xi_gplus_2",)))
    if case == "three dimensions":
        whole = Measurement.read("tng300.sample3")
        with pytest.raises(ValueError, match="no covariance of xi and xi"):
            write_file(whole, tmp_path / "whole.sacc")
        projected, _ = read_file("tng300.sample3", Given(statistics=("omega",)))
    write_file(projected, tmp_path / "m.sacc")
    if kind == "hdf5":
        import sacc

        sacc.Sacc.load(str(tmp_path / "m.sacc")).save_hdf5(str(tmp_path / "m.hdf5"))
        (tmp_path / "m.hdf5").rename(tmp_path / "m.sacc")
    found, notes = read_file(tmp_path / "m.sacc")
    assert notes == []
    assert found.name == projected.name
    assert same(found, projected, rtol=0)
    for key in ("citation", "number_density", "redshift"):
        assert found.metadata.get(key) == projected.metadata.get(key)
    write_file(found, tmp_path / "m.ecsv")
    assert same(Measurement.read(tmp_path / "m.ecsv"), projected, rtol=0)


def test_sacc_of_others(tmp_path, projected):
    """In any order, with other tracers beside ours, and without our metadata."""
    import sacc

    file, n = sacc.Sacc(), 12
    for name in ("density", "shape"):
        file.add_tracer("Misc", name)
    order = np.random.default_rng(2).permutation(2 * n)
    names = {"w_gg": "galaxy_density_w", "w_gplus": "galaxy_shearDensity_w_plus"}
    for i in order:
        s, k = list(names)[i // n], i % n
        limits = {"rp_min": projected.r_min[k], "rp_max": projected.r_max[k]}
        file.add_data_point(names[s], ("shape", "density"), projected.values[s][k], **limits)
    file.add_data_point(names["w_gg"], ("shape", "shape"), 1.0, rp_min=0.1, rp_max=0.2)
    matrix = np.eye(2 * n + 1)
    matrix[:-1, :-1] = projected.covariance([*names], "full")[np.ix_(order, order)]
    file.add_covariance(matrix)
    path = tmp_path / "other.sacc"
    file.save_fits(str(path))
    given = replace(DES, inside="shape,density", edges=None, n_jackknife=64)
    found, _ = read_file(path, given)
    chosen, _ = read_file("tng300.projected_z0", Given(statistics=("w_gg", "w_gplus")))
    assert same(found, chosen)
    with pytest.raises(ValueError, match="one of shape,density; shape,shape"):
        read_file(path, replace(given, inside=None))
    with pytest.raises(ValueError, match="--unit"):
        read_file(path, replace(given, unit=None))
    angles = sacc.Sacc()
    angles.add_tracer("Misc", "source")
    angles.add_data_point("galaxy_shear_xi_plus", ("source", "source"), 1.0, theta=3.0)
    angles.save_fits(str(tmp_path / "angles.sacc"))
    with pytest.raises(
        ValueError, match=r"types galaxy_shear_xi_plus; expected .*galaxy_density_w \(w_gg\)"
    ):
        read_file(tmp_path / "angles.sacc", given)


def test_formats_are_known_by_content(measureia, survey, projected, tmp_path):
    write_file(projected, tmp_path / "m.sacc")
    files = {
        "measureia": measureia, "treecorr": survey[0] / "ng.fits", "sacc": tmp_path / "m.sacc",
        "2pt": two_point(tmp_path / "2pt.fits"), "ecsv": Path("data/tng300/projected_z0.ecsv").resolve(),
    }  # fmt: skip
    assert set(files) == set(FORMATS)
    for name, file in files.items():
        shutil.copy(file, tmp_path / "unnamed")
        assert format_of(tmp_path / "unnamed") == name
    (tmp_path / "text").write_text("r w\n1 2\n")
    with pytest.raises(ValueError, match="is not recognised as one of ecsv"):
        read_file(tmp_path / "text")
    with pytest.raises(ValueError, match="cannot be MeasureIA, HDF5"):
        read_file(files["2pt"], form="measureia")
    with pytest.raises(ValueError, match="No format 'fits'; there are ecsv, sacc"):
        read_file(files["2pt"], form="fits")
    with pytest.raises(ValueError, match="correct it there, and leave out --unit, --pi-max"):
        read_file(files["ecsv"], Given(unit="Mpc", pi_max=3.0))
    with pytest.raises(FileNotFoundError, match="No file at"):
        read_file(tmp_path / "nothing.fits")
    with pytest.raises(ValueError, match=r"expected \.ecsv or \.sacc"):
        write_file(projected, tmp_path / "m.txt")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_file(projected, tmp_path / "m.sacc")


@pytest.mark.parametrize("length", [0.05, 0.5, 0.95])
def test_files_that_end_early_are_refused_in_words(measureia, survey, projected, tmp_path, length):
    write_file(projected, tmp_path / "m.sacc")
    examples = {
        measureia: MEASUREIA,
        survey[0] / "nn.fits": replace(TREECORR, ellipticity=None, responsivity=None),
        two_point(tmp_path / "2pt.fits"): DES,
        tmp_path / "m.sacc": Given(),
    }
    for path, given in examples.items():
        whole, _ = read_file(path, given)
        content = path.read_bytes()
        (tmp_path / "short").write_bytes(content[: int(length * len(content))])
        found, said = whole, ""  # where all that is missing is padding at the end
        try:
            found, _ = read_file(tmp_path / "short", given)
        except (ValueError, OSError) as error:
            said = str(error)
        assert "short" in said or same(found, whole)


def test_the_command(measureia, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(measureia, "measured.hdf5")
    options = ["--unit", "Mpc", "--hubble", "0.7", "--edges", "log", "--ellipticity", "epsilon"]
    run = CliRunner().invoke
    done = run(app, ["convert", "measured.hdf5", "m.ecsv", *options, "--responsivity", "0.9"])
    assert done.exit_code == 0, done.output
    assert "Left out: xi, xi_gplus_2. --statistics chooses others." in done.output
    measured = Measurement.read("m.ecsv")
    assert measured.conventions == Conventions(
        0.7 * PI_MAX, ellipticity="epsilon", responsivity=0.9
    )
    assert measured.metadata["converted_from"] == "measured.hdf5"
    chosen = ["--statistics", "w_gplus", "--name", "mine"]
    assert run(app, ["convert", "m.ecsv", "m.sacc", *chosen]).exit_code == 0
    found, _ = read_file("m.sacc")
    assert (found.name, list(found.values)) == ("mine", ["w_gplus"])
    for arguments, message in {
        ("measured.hdf5", "m.ecsv"): "m.ecsv exists; pass --overwrite",
        ("measured.hdf5", "m.txt"): "expected .ecsv or .sacc",
        (
            "measured.hdf5",
            "n.ecsv",
            *options,
            "--responsivity",
            "some",
        ): "expected a number, or none",
        ("m.sacc", "m.sacc", "--overwrite"): "is the file to convert itself",
    }.items():
        refused = run(app, ["convert", *arguments])
        assert message in str(refused.exception)
    assert not Path("n.ecsv").exists()


def test_commands_of_the_page_have_options_that_there_are():
    page = (Path(__file__).parents[2] / "docs/files.md").read_text().replace("\\\n", " ")
    command = get_command(app).commands["convert"]
    lines = re.findall(r"^iaemu convert (.*)$", page, re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        command.make_context("convert", line.split())
    for name in set(re.findall(r"`(--[a-z-]+)", page)):
        assert any(name in (*one.opts, *one.secondary_opts) for one in command.params), name
    for name in TYPES.values():
        assert f"`{name}`" in page
    # What the benchmark runs is what the page shows.
    source = (Path(__file__).parents[2] / "benchmarks/survey_file.py").read_text()
    assert re.search(r'INPUT = """\\\n(.*?)"""', source, re.DOTALL)[1] in page
