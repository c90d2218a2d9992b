"""Parameters are taken by name wherever they have names, and what is no number is refused."""

import math
from fractions import Fraction

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, QTable, Table
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

pandas = pytest.importorskip("pandas")

NAMES = DEFAULT_SPACE.names
POINTS = np.array(
    [[0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0], [0.5, 0.1, 12.6, 0.3, 12.7, 13.5, 1.1]]
)
# mu_cen and mu_sat the other way round than the parameters' order.
ORDER = ["mu_sat", "mu_cen", *NAMES[2:]]
COLUMNS = {name: POINTS[:, NAMES.index(name)] for name in ORDER}
ROWS = [dict(zip(NAMES, point, strict=True)) for point in POINTS.tolist()]


def structured():
    found = np.zeros(2, [(name, float) for name in ORDER])
    for name in ORDER:
        found[name] = COLUMNS[name]
    return found


TABLES = {
    "mapping": COLUMNS,
    "DataFrame": pandas.DataFrame(COLUMNS),
    "astropy": Table(COLUMNS),
    "structured array": structured(),
    "record array": structured().view(np.recarray),
    "list of mappings": [dict(reversed(row.items())) for row in ROWS],
    "list of Series": [row for _, row in pandas.DataFrame(COLUMNS).iterrows()],
    "tuple of rows": tuple(Table(COLUMNS)),
    "list of structured rows": list(structured()),
    "units without dimension": Table({k: v * u.one for k, v in COLUMNS.items()}),
    "no entry is masked": Table({k: MaskedColumn(v, mask=False) for k, v in COLUMNS.items()}),
    "nullable": pandas.DataFrame(COLUMNS).convert_dtypes(),
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_are_taken_by_name(form):
    np.testing.assert_array_equal(DEFAULT_SPACE.array(TABLES[form]), POINTS)


@pytest.mark.parametrize(
    "row",
    [ROWS[0], pandas.DataFrame(COLUMNS).iloc[0], Table(COLUMNS)[0], structured()[0]],
    ids=["mapping", "Series", "astropy", "structured"],
)
def test_one_row_is_taken_by_name(row):
    np.testing.assert_array_equal(DEFAULT_SPACE.array(row), POINTS[0])


def test_predictions_of_a_table_are_those_of_its_names():
    emulator = Emulator.load()
    expected = emulator.predict(POINTS)
    for form in ("DataFrame", "astropy", "list of mappings"):
        np.testing.assert_array_equal(emulator.predict(TABLES[form]).omega, expected.omega)
    np.testing.assert_array_equal(
        emulator.covariance(pandas.DataFrame(COLUMNS)), emulator.covariance(POINTS)
    )


@pytest.mark.parametrize("form", ["mapping", "DataFrame", "astropy"])
def test_names_that_are_missing_or_unknown_are_said(form):
    table = TABLES[form].copy()
    table["weight"] = np.ones(2)
    del table["alpha"]
    with pytest.raises(TypeError, match="missing: alpha; unknown: weight"):
        DEFAULT_SPACE.array(table)


def test_columns_without_names_and_names_that_are_there_twice_are_refused():
    with pytest.raises(TypeError, match="unknown: 0, 1, 2"):
        DEFAULT_SPACE.array(pandas.DataFrame(POINTS))
    with pytest.raises(TypeError, match="unknown: 0, 1, 2"):
        DEFAULT_SPACE.array(pandas.Series(POINTS[0]))
    frame = pandas.DataFrame(COLUMNS)
    with pytest.raises(TypeError, match=r"wanted once; got mu_sat, mu_cen, .*, alpha, alpha"):
        DEFAULT_SPACE.array(pandas.concat([frame, frame["alpha"]], axis=1))
    misspelled = {"alfa" if name == "alpha" else name: x for name, x in ROWS[1].items()}
    with pytest.raises(TypeError, match="missing in row 1: alpha; unknown: alfa"):
        DEFAULT_SPACE.array([ROWS[0], misspelled])
    with pytest.raises(TypeError, match=r"Row 0 has names, but row 1 is \[0.5"):
        DEFAULT_SPACE.array([ROWS[0], POINTS[1].tolist()])


def with_value(value):
    return [*POINTS[0, :6].tolist(), value]


@pytest.mark.parametrize(
    "given",
    [
        POINTS + 0.1j, POINTS + 0j, with_value(1 + 0j), with_value("1.0"), POINTS.astype(str),
        with_value(None), POINTS > 0, with_value(b"1"), with_value([1.0]),
        POINTS.astype("datetime64[s]"), {*POINTS[0]}, iter(POINTS[0]),
        torch.tensor(POINTS, dtype=torch.complex128),
    ],
)  # fmt: skip
def test_what_is_no_real_number_is_refused(given):
    with pytest.raises((TypeError, ValueError), match="The parameters must be"):
        DEFAULT_SPACE.array(given)


@pytest.mark.parametrize("value", ["1.0", None, True, 1j, np.datetime64(0, "s"), {}, math])
def test_what_is_no_real_number_is_refused_by_name(value):
    with pytest.raises(TypeError, match="alpha must be real numbers; got "):
        DEFAULT_SPACE.array({**ROWS[0], "alpha": value})


@pytest.mark.parametrize(
    "to", [lambda x: x.bfloat16(), lambda x: x.to_sparse(), lambda x: x.to("meta")]
)
def test_tensors_that_are_no_arrays_are_refused(to):
    with pytest.raises(TypeError, match="the tensor cannot be taken as an array"):
        DEFAULT_SPACE.array(to(torch.tensor(POINTS)))


def test_numbers_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match="The parameters: a number is too large"):
        DEFAULT_SPACE.array(with_value(10**400))
    with pytest.raises(ValueError, match="alpha: a number is too large"):
        DEFAULT_SPACE.array({**ROWS[0], "alpha": 10**400})


def test_masked_values_are_refused():
    mask = np.zeros(POINTS.shape, bool)
    mask[1, 3] = True
    with pytest.raises(TypeError, match="The parameters: some values are masked"):
        DEFAULT_SPACE.array(np.ma.array(POINTS, mask=mask))
    table = Table(COLUMNS, masked=True)
    table["logM1"].mask[0] = True
    with pytest.raises(TypeError, match="logM1: some values are masked"):
        DEFAULT_SPACE.array(table)
    with pytest.raises(TypeError, match="logM1: some values are masked"):
        Emulator.load().predict(table[0])
    frame = pandas.DataFrame(COLUMNS).convert_dtypes()
    frame.loc[1, "alpha"] = pandas.NA
    with pytest.raises(ValueError, match="alpha in row 1 is nan, not a finite number"):
        DEFAULT_SPACE.array(frame)


def test_units_are_refused():
    for unit in (u.Msun, u.percent):
        table = QTable({**COLUMNS, "logM1": COLUMNS["logM1"] * unit})
        with pytest.raises(TypeError, match=f"logM1 in {unit}: give numbers without a unit"):
            DEFAULT_SPACE.array(table)
    with pytest.raises(TypeError, match="The parameters in Mpc"):
        DEFAULT_SPACE.array(POINTS * u.Mpc)


def test_lengths_that_differ_are_said():
    with pytest.raises(ValueError, match=r"different shapes: mu_cen \(2,\), .* alpha \(3,\)"):
        DEFAULT_SPACE.array({**COLUMNS, "alpha": np.ones(3)})
    with pytest.raises(ValueError, match="as many in each row"):
        DEFAULT_SPACE.array([POINTS[0].tolist(), POINTS[1, :3].tolist()])


def test_any_layout_of_numbers_is_taken_and_none_is_kept():
    read_only, reversed_twice = POINTS.copy(), POINTS[::-1].copy()[::-1]
    read_only.flags.writeable = False
    for given in (
        read_only, reversed_twice, np.asfortranarray(POINTS), POINTS.astype(">f8"), POINTS.tolist(),
        POINTS.astype(object), POINTS.astype(np.longdouble), torch.tensor(POINTS),
        torch.tensor(POINTS, requires_grad=True), [[Fraction(x) for x in row] for row in POINTS.tolist()],
        np.ma.array(POINTS), np.asmatrix(POINTS),
    ):  # fmt: skip
        found = DEFAULT_SPACE.array(given)
        np.testing.assert_array_equal(found, POINTS)
        assert type(found) is np.ndarray
        assert found.flags.writeable
        assert found.flags.c_contiguous
        assert not np.shares_memory(found, POINTS)
