import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.halotools_ia import UNSAMPLED_MU, drawable
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.occupations.zheng07 import Zheng07
from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import STATISTICS, Statistic

POINT = [0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0]


@pytest.fixture(scope="module")
def model(small_halos):
    return HalotoolsIA(small_halos)


def test_same_seed_same_galaxies_and_axes(model, small_halos):
    first = model.populate(POINT, seed=5)
    again = model.populate(POINT, seed=5)
    fresh = HalotoolsIA(small_halos).populate(POINT, seed=5)
    for other in (again, fresh):
        for a, b in zip(positions_and_axes(first), positions_and_axes(other), strict=True):
            np.testing.assert_array_equal(a, b)
    different = model.populate(POINT, seed=6)
    assert len(different) != len(first) or not np.array_equal(first["x"], different["x"])


@pytest.mark.parametrize("ending", ["hdf5", "fits", "ecsv"])
def test_galaxies_are_written_and_measured_with_their_box(ending, model, tmp_path, iaemu):
    galaxies = model.populate(POINT, seed=5)
    path = tmp_path / f"galaxies.{ending}"
    galaxies.write(path, **({"path": "galaxies"} if ending == "hdf5" else {}))
    read = Table.read(path)
    np.testing.assert_array_equal(read["x"], galaxies["x"])
    assert list(read["gal_type"].astype(str)) == list(galaxies["gal_type"])
    assert set(galaxies["gal_type"]) == {"centrals", "satellites"}
    options = ["--r-min", "1", "--bins", "2", "--jackknife", "2", "--out", "m.ecsv"]
    result = iaemu("measure", path.name, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    measured = Table.read(tmp_path / "m.ecsv")
    expected = correlations(*positions_and_axes(galaxies), model.box, np.logspace(0, 1.2, 3))
    np.testing.assert_allclose(measured["omega"], expected.omega, rtol=1e-5)


def test_numpy_state_is_left_alone(model):
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    model.populate(POINT, seed=5)
    assert np.random.random() == expected  # noqa: NPY002


def test_numpy_errors_change_nothing_and_are_as_they_were(model):
    expected = model.populate([1.0, -1.0, *POINT[2:]], seed=0)
    with np.errstate(all="raise"):
        found = model.populate([1.0, -1.0, *POINT[2:]], seed=0)
        assert {*np.geterr().values()} == {"raise"}
    for a, b in zip(positions_and_axes(found), positions_and_axes(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "from iaemu_likelihood.emulator.physics.occupations import ZHENG07 as z; z.halotools_components()",
        "from iaemu_likelihood.emulator.mocks import correlations as c; c(np.ones((2, 3)), np.ones((2, 3)), 60.0)",
        "from iaemu_likelihood.emulator.mocks import halotools_occupation",
    ],
)
def test_the_import_of_halotools_leaves_numpys_errors_as_they_were(use):
    code = f"import numpy as np; before = np.geterr(); {use}; assert np.geterr() == before"
    check = "; import sys; assert 'halotools' in sys.modules"
    subprocess.run([sys.executable, "-c", code + check], check=True)


def test_perfect_alignment_follows_the_reference_axes(model):
    galaxies = model.populate([1.0, -1.0, *POINT[2:]], seed=0)
    central = np.asarray(galaxies["gal_type"] == "centrals")
    position, axes = positions_and_axes(galaxies)
    halo_axes = np.stack([galaxies[f"halo_axisA_{x}"] for x in "xyz"], axis=-1)
    cosine = np.abs(np.sum(axes * halo_axes, axis=1))
    np.testing.assert_allclose(cosine[central], 1, atol=1e-6)
    host = np.stack([galaxies[f"halo_{x}"] for x in "xyz"], axis=-1)
    assert np.isfinite(position).all()
    assert host.shape == position.shape


@pytest.mark.parametrize(
    ("index", "value", "left"), [(5, 25.0, "centrals"), (2, 25.0, "satellites")]
)
def test_one_population_may_be_empty(model, index, value, left):
    point = list(POINT)
    point[index] = value
    galaxies = model.populate(point, seed=0)
    assert set(galaxies["gal_type"]) == {left}
    assert np.isfinite(positions_and_axes(galaxies)[1]).all()


def test_strengths_that_cannot_be_drawn_are_errors(model):
    with pytest.raises(ValueError, match=r"mu_sat = 0.99912: its sampler fails"):
        model.populate([0.5, 0.99912, *POINT[2:]], seed=0)
    with pytest.raises(ValueError, match=r"mu_cen = -1.5 is outside \[-1, 1\]"):
        model.populate([-1.5, 0.0, *POINT[2:]], seed=0)
    # Exactly 2/pi, which halotools takes for infinite strength, is drawn as its neighbour.
    galaxies = model.populate([2 / np.pi, 0.0, *POINT[2:]], seed=0)
    assert len(galaxies)


def test_strengths_are_moved_to_the_nearest_that_can_be_drawn():
    low, high = UNSAMPLED_MU
    theta = np.array([[0.99911, 0.99914, *POINT[2:]], POINT])
    moved = drawable(theta)
    np.testing.assert_array_equal(moved, [[low, high, *POINT[2:]], POINT])
    assert theta[0, 0] == 0.99911


def test_several_points_at_once_are_an_error(model):
    with pytest.raises(ValueError, match=r"Expected one value each of mu_cen, .*; got \(2, 7\)"):
        model.populate([POINT, POINT], seed=0)


class Other(Zheng07):
    """The same with a parameter that halotools' components do not have."""

    name = "other"
    parameters = (*Zheng07.parameters, Parameter("f_max", "f", 0.1))


class Unknown(Zheng07):
    """As if halotools had no components for it."""

    name = "unknown"

    def halotools_components(self):
        return None


def test_components_that_halotools_lacks_are_made_of_the_mean_numbers(small_halos, model):
    """Of an occupation that halotools has, so that the galaxies must be the same."""
    unknown = HalotoolsIA(small_halos, ParameterSpace(occupation=Unknown()))
    for seed in (0, 1):
        found, expected = unknown.populate(POINT, seed), model.populate(POINT, seed)
        assert list(found["gal_type"]) == list(expected["gal_type"])
        for a, b in zip(positions_and_axes(found), positions_and_axes(expected), strict=True):
            np.testing.assert_array_equal(a, b)


def test_parameters_that_halotools_components_lack_are_an_error(small_halos):
    with pytest.raises(ValueError, match=r"occupation other have no parameter\(s\) f_max; theirs"):
        HalotoolsIA(small_halos, ParameterSpace(occupation=Other()))


def test_statistics_without_a_function_of_halotools_are_counted(monkeypatch):
    rng = np.random.default_rng(2)
    x, e = rng.uniform(0, 60, (400, 3)), rng.normal(size=(400, 3))
    edges = np.array([1.0, 4.0, 9.0, 15.0])
    for statistic in tuple(STATISTICS.values()):
        name = f"counted_{statistic.name}"
        same = Statistic(name, "", "", "", statistic.kernel, statistic.is_ratio)
        monkeypatch.setitem(STATISTICS, name, same)
        got = correlations(x, e, 60.0, edges, (name, statistic.name))
        assert list(got) == [name, statistic.name]
        np.testing.assert_allclose(got[name], got[statistic.name], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="No statistic zeta; there are xi"):
        correlations(x, e, 60.0, edges, ("zeta",))


def test_estimators_against_a_direct_sum():
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 60, (400, 3))
    e = rng.normal(size=(400, 3))
    edges = np.array([1.0, 4.0, 9.0, 15.0])
    got = correlations(x, 3 * e, 60.0, edges)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    d = x[:, None] - x[None]
    d -= 60 * np.round(d / 60)
    r = np.linalg.norm(d, axis=2)
    for b in range(3):
        i, j = np.nonzero((r > edges[b]) & (r <= edges[b + 1]))
        random = 400**2 * 4 / 3 * np.pi * (edges[b + 1] ** 3 - edges[b] ** 3) / 60**3
        rhat = d[i, j] / r[i, j, None]
        assert got.xi[b] == pytest.approx(len(i) / random - 1, rel=1e-10)
        assert got.omega[b] == pytest.approx(
            np.mean(np.sum(e[i] * rhat, 1) ** 2) - 1 / 3, abs=1e-10
        )
        assert got.eta[b] == pytest.approx(np.mean(np.sum(e[i] * e[j], 1) ** 2) - 1 / 3, abs=1e-10)


def test_galaxy_without_axis_is_an_error():
    x, e = np.full((3, 3), 1.0), np.eye(3)
    for nothing in (0, np.nan, np.inf):
        e[1] = nothing
        with pytest.raises(ValueError, match="Galaxy 1 has no axis"):
            correlations(x, e, 60.0, R_EDGES)
