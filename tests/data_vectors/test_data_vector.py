"""Data vectors of one or several samples: cuts, covariances, and the files these come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.table import Table
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.physics.conventions import Conventions

from iaemu_likelihood.data_vectors.data_vector import (
    DataVector,
    Part,
    read_covariance,
    write_covariance,
)
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions, hash_of
from iaemu_likelihood.likelihood.model import CorrelationModel


def part(sample="sample1", statistics=("omega",), r_min=0.0, r_max=1000.0):
    return Part.of(Measurement.read(f"tng300.{sample}"), sample, statistics, r_min, r_max)


def random_covariance(parts, seed=0):
    """Of the data points of some parts, with about the standard deviations that their errors say."""
    scale = np.concatenate([part.errors for part in parts])
    n = len(scale)
    root = np.random.default_rng(seed).normal(size=(n, 3 * n))
    return root @ root.T / (3 * n) * np.outer(scale, scale)


def test_one_cut_for_all_statistics():
    both = part(statistics=("xi", "omega"), r_min=0.5, r_max=5.0)
    assert both.keep.all()
    assert both.r_edges[0] == pytest.approx(0.5179, abs=1e-4)
    assert both.r_edges[-1] == pytest.approx(4.0471, abs=1e-4)


def test_cuts_per_statistic():
    cut = part(statistics=("xi", "omega"), r_min={"xi": 1.0, "omega": 0.3}, r_max={"xi": 1000.0, "omega": 5.0, "eta": 1.0})  # fmt: skip
    data = DataVector.of([cut], "diagonal")
    measured = Measurement.read("tng300.sample1")
    for name, low, high in (("xi", 1.0, 10**1.2), ("omega", 0.3, 5.0)):
        inside = (measured.r_min >= low) & (measured.r_max <= high)
        mine = [i for i, p in enumerate(data.points) if p[1] == name]
        np.testing.assert_array_equal(data.values[mine], measured.values[name][inside])
        expected = measured.errors[name][inside] ** 2
        np.testing.assert_array_equal(np.diag(data.covariance)[mine], expected)
        assert [data.points[i][2] for i in mine] == measured.r_min[inside].tolist()
    assert len(data.values) == len(data.points) == cut.keep.sum()
    assert "omega in 6 bins, 0.3433 to 4.047 Mpc/h; dropped 0.1-0.1509" in cut.describe()


def test_cuts_that_leave_a_gap_between_statistics():
    apart = part(statistics=("xi", "omega"), r_min={"xi": 5.0, "omega": 0.1}, r_max={"xi": 1000.0, "omega": 0.5})  # fmt: skip
    data = DataVector.of([apart], "diagonal")
    assert len(data.values) == apart.keep.sum() < apart.keep.size / 2
    assert {p[1] for p in data.points if p[2] > 4} == {"xi"}


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ({"r_min": {"xi": 1.0}}, "one for each of xi, omega; got {'xi': 1.0}"),
        ({"r_max": {"xi": 1.0, "omega": 1.0, "gamma": 1.0}}, "got {'xi': 1.0, 'omega': 1.0, 'gam"),
        ({"r_min": {"xi": 0.1, "omega": 14.0}}, "no bin lies wholly between 14 and 15.8489"),
        ({"r_min": float("nan")}, "no bin lies wholly between nan"),
    ],
)
def test_cuts_that_are_none(cuts, message):
    with pytest.raises(ValueError, match=message):
        part(statistics=("xi", "omega"), **cuts)


def survey():
    """w_gg and w_gplus in seven bins of r_p, with errors."""
    edges = np.geomspace(0.1, 60.0, 8)
    names = ("w_gg", "w_gplus")
    return Measurement(
        "survey",
        edges[:-1],
        edges[1:],
        {name: np.arange(7.0) + 10 * i for i, name in enumerate(names)},
        {name: np.full(7, 0.5 + i) for i, name in enumerate(names)},
        conventions=Conventions(60.0),
    )


def test_projected_statistics_are_cut_in_r_p_each_by_itself():
    measured = survey()
    cut = Part.of(
        measured, None, ["w_gg", "w_gplus"], {"w_gg": 1.0, "w_gplus": 5.0}, {"w_gg": 1e9, "w_gplus": 30.0}
    )  # fmt: skip
    inside = [(measured.r_min >= 1.0), (measured.r_min >= 5.0) & (measured.r_max <= 30.0)]
    np.testing.assert_array_equal(cut.chosen, inside)
    assert measured.r_max[cut.chosen[0]][-1] == 60.0  # beyond the bins of the emulator
    assert [p[1] for p in cut.points].count("w_gplus") == inside[1].sum() == 1
    whole = Part.of(measured, None, ["w_gg"], 0.0, np.inf)
    assert whole.keep.all()
    assert "w_gg in 7 bins, 0.1 to 60 Mpc/h" in whole.describe()


def test_what_is_known_limits_a_statistic():
    limits = {"w_gg": (0.0, 20.0), "w_gplus": (0.5, 1e9)}
    cut = Part.of(survey(), None, ["w_gg", "w_gplus"], 0.0, 1e9, limits.__getitem__)
    np.testing.assert_array_equal(cut.chosen.sum(axis=1), [5, 5])
    with pytest.raises(
        ValueError, match=r"no bin lies wholly between 0 and 0.2 .* of r_p go from 0.1"
    ):
        Part.of(survey(), None, ["w_gg"], 0.0, 1e9, lambda name: (0.0, 0.2))
    assert len(part(r_min=0.2).values) < len(part().values) == 12


def test_a_covariance_of_projected_statistics_may_declare_its_unit(tmp_path):
    whole = Part.of(survey(), None, ["w_gg", "w_gplus"], 0.0, 1e9)
    matrix = random_covariance([whole])
    write_covariance(tmp_path / "c.ecsv", whole.points, matrix)
    np.testing.assert_array_equal(
        DataVector.of([whole], "full", tmp_path / "c.ecsv").covariance, matrix
    )
    table = Table.read(tmp_path / "c.ecsv")
    table["covariance"] = np.array(table["covariance"]) * 1e6
    table.meta["units"]["covariance"] = "kpc2/h2"
    table.write(tmp_path / "c.ecsv", overwrite=True)
    found = DataVector.of([whole], "full", tmp_path / "c.ecsv").covariance
    np.testing.assert_allclose(found, matrix, rtol=1e-14)
    table.meta["units"]["covariance"] = "Mpc/h"
    table.write(tmp_path / "c.ecsv", overwrite=True)
    with pytest.raises(ValueError, match="covariance is in 'Mpc/h'; expected 'Mpc2 / h2'"):
        DataVector.of([whole], "full", tmp_path / "c.ecsv")


def test_full_covariance_of_cut_data_is_a_part_of_it():
    cut = part("sample3", r_min=0.3, r_max=10.0)
    data = DataVector.of([cut], "full")
    measured = Measurement.read("tng300.sample3")
    keep = (measured.r_min >= 0.3) & (measured.r_max <= 10.0)
    block = measured.covariances["omega", "omega"]
    np.testing.assert_array_equal(data.covariance, block[np.ix_(keep, keep)])
    assert data.n_jackknife == 27
    scale = np.sqrt(np.diag(data.covariance))
    eigenvalues = np.linalg.eigvalsh(data.covariance / np.outer(scale, scale))
    assert data.condition_number == pytest.approx(eigenvalues[-1] / eigenvalues[0])


def test_samples_follow_each_other_and_are_independent_without_a_file():
    data = DataVector.of([part("sample1"), part("sample2", r_min=1.0)], "diagonal")
    assert data.n_jackknife is None
    labels = [p[0] for p in data.points]
    assert labels == ["sample1"] * 12 + ["sample2"] * 6
    np.testing.assert_array_equal(data.values[:12], Measurement.read("tng300.sample1").values["omega"][:12])  # fmt: skip
    assert np.count_nonzero(data.covariance) == 18


def test_the_least_regions_count_for_several_samples():
    first, second = part("sample3"), part("sample3")
    second = replace(second, measured=replace(second.measured, n_jackknife=20))
    assert DataVector.of([first, second], "full").n_jackknife == 20


@pytest.fixture
def joint(tmp_path):
    """Two samples, a covariance between all of their points, and its file."""
    parts = [part("sample1", ("xi", "omega"), 1.0), part("sample2", ("omega",), 0.5, 5.0)]
    points = [point for p in parts for point in p.points]
    matrix = random_covariance(parts)
    return parts, points, matrix, tmp_path / "covariance.ecsv"


def test_a_covariance_between_samples_is_read_in_any_order(joint):
    parts, points, matrix, path = joint
    order = np.random.default_rng(3).permutation(len(points))
    write_covariance(path, [points[i] for i in order], matrix[np.ix_(order, order)], 40)
    data = DataVector.of(parts, "diagonal", path)
    np.testing.assert_array_equal(data.covariance, matrix)
    assert data.covariance[0, -1] != 0
    assert data.n_jackknife == 40


def test_points_that_are_cut_may_stay_in_the_file(joint):
    parts, points, matrix, path = joint
    write_covariance(path, points, matrix)
    fewer = [part("sample1", ("omega",), 1.0), parts[1]]
    data = DataVector.of(fewer, "diagonal", path)
    kept = [i for i, p in enumerate(points) if p[:2] != ("sample1", "xi")]
    np.testing.assert_array_equal(data.covariance, matrix[np.ix_(kept, kept)])
    assert data.n_jackknife is None


def test_one_sample_without_a_label(tmp_path):
    alone = replace(part("sample1"), sample=None)
    matrix = random_covariance([alone])
    write_covariance(tmp_path / "c.ecsv", alone.points, matrix)
    data = DataVector.of([alone], "diagonal", tmp_path / "c.ecsv")
    np.testing.assert_array_equal(data.covariance, matrix)


def test_the_likelihood_uses_the_covariance_between_samples(joint):
    _, points, matrix, path = joint
    write_covariance(path, points, matrix, 60)
    options = LikelihoodOptions(
        data_file=["tng300.sample1", "tng300.sample2"],
        sample=["sample1", "sample2"],
        r_min=1.0,
        r_max=5.0,
        covariance_file=str(path),
        covariance_correction="hartlap",
        emulator_error="none",
    )
    likelihood = CorrelationLikelihood(options)
    chosen = [points.index(p) for p in likelihood.data.points]
    block = matrix[np.ix_(chosen, chosen)]
    d = len(chosen)
    offset = np.linspace(-1, 1, d) * 1e-2
    expected = (60 - d - 2) / 59 * offset @ np.linalg.inv(block) @ offset
    _, chi2 = likelihood.comparison(torch.as_tensor(likelihood.data.values + offset))
    assert float(chi2) == pytest.approx(expected)
    assert "full, from 60 jackknife regions for 6 data points" in " ".join(likelihood.describe())


def test_damaged_covariances_say_where(joint):
    parts, points, matrix, path = joint

    def message_of(points=points, matrix=matrix, n_jackknife=None, change=None):
        write_covariance(path, points, matrix, n_jackknife)
        if change:
            table = Table.read(path, format="ascii.ecsv")
            table = change(table) or table
            table.write(path, format="ascii.ecsv", overwrite=True)
        with pytest.raises(ValueError, match=r"covariance\.ecsv") as caught:
            DataVector.of(parts, "diagonal", path)
        return str(caught.value)

    def without(i):
        keep = [k for k in range(len(points)) if k != i]
        return [points[k] for k in keep], matrix[np.ix_(keep, keep)]

    assert "has 0 rows for omega of sample sample2 in 0.5179-0.7814 Mpc/h" in message_of(
        *without(points.index(next(p for p in points if p[0] == "sample2")))
    )
    twice = [*points, points[3]]
    assert "has 2 rows for xi of sample sample1" in message_of(twice, np.eye(len(twice)))

    bad = matrix.copy()
    bad[4, 6] = bad[6, 4] = np.nan
    assert "NaN" in message_of(matrix=bad)
    assert "sample1 xi" in message_of(matrix=bad)
    bad = matrix.copy()
    bad[4, 6] *= 2
    assert "not symmetric between" in message_of(matrix=bad)
    bad = matrix.copy()
    bad[2, 5] = bad[5, 2] = 2 * np.sqrt(bad[2, 2] * bad[5, 5])
    assert "not positive definite" in message_of(matrix=bad)
    bad = matrix.copy()
    bad[-1, -1] = 0
    assert (
        "variance that is not positive or beyond what can be inverted (1e-280 to 1e+280), at sample2 omega"
        in message_of(matrix=bad)
    )

    assert f"{len(points)} jackknife regions cannot give" in message_of(n_jackknife=len(points))
    assert "n_jackknife is 40.5; it must be a whole number" in message_of(n_jackknife=40.5)
    assert "n_jackknife is 'many'" in message_of(n_jackknife="many")

    assert "has shape" in message_of(matrix=matrix[:, :5])
    assert "not a covariance with its labels: it lacks statistic" in message_of(
        change=lambda table: table.remove_column("statistic")
    )
    # A kpc/h among Mpc/h is no bin of the data.
    assert "has 0 rows" in message_of([(s, n, 1e3 * a, 1e3 * b) for s, n, a, b in points])

    for content in ("", "# %ECSV 1.0\n# ---\nnonsense", "\x00\xff"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"covariance\.ecsv is not a readable ECSV table"):
            read_covariance(path, points)
    whole = path.with_name("whole.ecsv")
    write_covariance(whole, points, matrix)
    path.write_text(whole.read_text()[:-400])
    with pytest.raises(ValueError, match=r"covariance\.ecsv"):
        read_covariance(path, points)
    with pytest.raises(FileNotFoundError, match="No covariance at"):
        read_covariance(path.with_name("none.ecsv"), points)


def test_numbers_that_are_missing_in_a_file_are_no_data(tmp_path):
    path = tmp_path / "m.ecsv"
    Measurement.read("tng300.sample3").write(path)
    table = Table.read(path, format="ascii.ecsv", guess=False)
    table = Table(table, masked=True)
    table["omega"].mask[3] = True
    table.write(path, format="ascii.ecsv", overwrite=True)
    with pytest.raises(ValueError, match=r"omega bin 3 \(.* Mpc/h\) is nan; expected a finite"):
        Measurement.read(path).data_vector(["omega"])
    table["omega"] = ["text"] * 14
    table.write(path, format="ascii.ecsv", overwrite=True)
    with pytest.raises(ValueError, match="column omega does not hold numbers"):
        Measurement.read(path)


@pytest.mark.parametrize("regions", ["27", 27.5, 1, -3, True])
def test_regions_are_a_whole_number(regions):
    with pytest.raises(ValueError, match=r"n_jackknife is .*; it must be a whole number above 1"):
        replace(Measurement.read("tng300.sample3"), n_jackknife=regions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"statistics": "omega"},
            r"must be a list without repetitions, of xi, omega, eta\b.*; got 'omega'",
        ),
        ({"statistics": ["omega", "omega"]}, "list without repetitions"),
        ({"statistics": []}, "must be one or more of those in .*; got none"),
        ({"statistics": ["gamma"]}, "got gamma"),
        ({"emulator_error": "both"}, "must be one of none, aleatoric, epistemic, total"),
        ({"n_realisations": 0}, "n_realisations must be 1 or more"),
        ({"volume_factor": float("inf")}, "volume_factor positive and finite"),
        ({"r_min": None}, "r_min is null"),
        ({"sample": ["a", "b"]}, r"data_file names 1 file\(s\), but sample has 2"),
        ({"data_file": ["tng300.sample1"] * 2, "sample": ["a", "a"]}, "has a label twice"),
        ({"covariance_correction": "hartlap"}, "hartlap corrects .*, but covariance is diagonal"),
        ({"covariance": "round"}, "covariance must be one of diagonal, full"),
        ({"data_file": "none.ecsv"}, r"No measurement at .*none\.ecsv"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CorrelationLikelihood(LikelihoodOptions(**{"data_file": "tng300.sample1", **options}))


def test_the_hash_is_of_all_files(tmp_path):
    one = tmp_path / "one.ecsv"
    Measurement.read("tng300.sample1").write(one)
    before = hash_of({"data_file": str(one)})
    assert len(before) == 64
    two = hash_of({"data_file": [str(one), "tng300.sample2"]})
    covariance = tmp_path / "c.ecsv"
    covariance.write_text("x")
    with_covariance = hash_of({"data_file": str(one), "covariance_file": str(covariance)})
    assert len({before, two, with_covariance}) == 3
    one.write_text(one.read_text() + "\n")
    assert hash_of({"data_file": str(one)}) != before
    covariance.write_text("y")
    assert hash_of({"data_file": str(one), "covariance_file": str(covariance)}) != with_covariance
    assert hash_of({"data_file": str(tmp_path / "none.ecsv")}) == ""


def with_sense(change, statistics=("omega",), r_max=10.0, covariance="diagonal"):
    """The data vector of a measurement after a change of its columns."""
    measured = change(Measurement.read("tng300.sample3"))
    return DataVector.of([Part.of(measured, "s", statistics, 0.1, r_max)], covariance)


@pytest.mark.parametrize(
    ("column", "of", "bins", "value"),
    [
        ("values", "xi", slice(None), np.nan),  # of another statistic
        ("errors", "xi", slice(3, 5), 0.0),
        ("errors", "omega", slice(-3, None), 0.0),  # beyond r_max
        ("values", "omega", slice(-3, None), np.inf),
    ],
)
def test_sense_is_asked_only_of_what_is_used(column, of, bins, value):
    def change(measured):
        each = {name: x.copy() for name, x in getattr(measured, column).items()}
        each[of][bins] = value
        return replace(measured, **{column: each})

    expected = with_sense(lambda measured: measured)
    got = with_sense(change)
    np.testing.assert_array_equal(got.values, expected.values)
    np.testing.assert_array_equal(got.covariance, expected.covariance)
    with pytest.raises(ValueError, match=rf"{of}.* bin \d+ .* expected a"):
        with_sense(change, statistics=("xi", "omega"), r_max=31.0).covariance.sum()


def test_sense_is_not_asked_of_an_innermost_bin_from_zero():
    def from_zero(measured):
        r_min = measured.r_min.copy()
        r_min[0] = 0.0
        return replace(measured, r_min=r_min)

    expected = with_sense(lambda measured: measured.cut(0.15, 40.0))
    np.testing.assert_array_equal(with_sense(from_zero).values, expected.values)


@pytest.mark.parametrize("left_out", [[4], [0, 5, 6], [3, 7, 8]])
def test_a_bin_that_is_left_out_leaves_the_others_as_they_are(left_out):
    """The same as if a covariance had an infinite error there: the bin is only dropped."""
    whole = Measurement.read("tng300.sample3")
    rows = np.setdiff1d(np.arange(len(whole.r_min)), left_out)

    def without(measured):
        return replace(
            measured,
            **{name: getattr(measured, name)[rows] for name in ("r_min", "r_max")},
            **{
                name: {
                    key: x[np.ix_(*[rows] * x.ndim)] for key, x in getattr(measured, name).items()
                }
                for name in ("values", "errors", "covariances")
            },
        )

    statistics, emulator = ("xi", "omega"), Emulator.load()
    for covariance, chosen in (("diagonal", statistics), ("full", ("omega",))):
        got = with_sense(without, chosen, covariance=covariance)
        expected = with_sense(lambda measured: measured, chosen, covariance=covariance)
        kept = [i for i, p in enumerate(expected.points) if p in set(got.points)]
        assert len(kept) == len(got.points) < len(expected.points)
        np.testing.assert_array_equal(got.values, expected.values[kept])
        np.testing.assert_array_equal(got.covariance, expected.covariance[np.ix_(kept, kept)])
        at = CorrelationModel(emulator, chosen).at(np.array([list(whole.hod.values())]))
        moments = at(np.array([[0.8, 0.3]]))
        one, other = (
            at.binned(moments, chosen, part.r_edges)[0][0][part.keep.ravel()]
            for part in (*got.parts, *expected.parts)
        )
        np.testing.assert_allclose(one, other[kept], rtol=1e-12)
    (part,) = got.parts
    assert part.keep.shape[1] == len(part.r_edges) - 1
    assert f"omega in {len(kept)} bins" in part.describe()


def test_sense_a_covariance_does_not_contradict_the_errors(joint):
    """A matrix of correlations; per cent squared; a jackknife's missing factor of n - 1."""
    parts, points, matrix, path = joint
    sigma = np.sqrt(np.diag(matrix))
    for wrong in (matrix / np.outer(sigma, sigma), 1e4 * matrix, matrix / 26):
        write_covariance(path, points, wrong, 60)
        with pytest.raises(
            ValueError, match=r"covariance\.ecsv: by the covariance .*correct one of"
        ):
            DataVector.of(parts, "full", path)
    block = Measurement.read("tng300.sample3").covariances["omega", "omega"]
    scale = np.sqrt(np.diag(block))
    for wrong in (block / np.outer(scale, scale), 1e4 * block, block / 26):
        with pytest.raises(ValueError, match=r"sample3\.ecsv: by the covariance .* of omega bin 0"):
            with_sense(
                lambda m, wrong=wrong: replace(m, covariances={("omega", "omega"): wrong}),
                covariance="full",
            )
