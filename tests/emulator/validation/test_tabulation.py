import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.validation.points import CHECK_POINTS
from iaemu_likelihood.emulator.validation.tabulation import tabulation_against_exact


@pytest.mark.slow
def test_what_a_tabulation_leaves_out_is_measured(small_halos):
    """A tabulation of few functions and wide intervals is told from a usual one."""
    options = {"n": 3, "n_catalogues": 6, "progress": False}
    largest = []
    for settings in ({}, {"tolerance": 0.3, "interval_dex": 0.1}):
        table = Tabulation.build(small_halos, R_EDGES, progress=False, **settings)
        check = tabulation_against_exact(small_halos, table, **options)
        rows = check.numbers["templates"]
        assert list(rows) == ["xi", "omega_c", "omega_s", "eta_cc", "eta_cs", "eta_ss"]
        assert check.numbers["n_points"] == len(CHECK_POINTS) + options["n"]
        largest.append([row["percentile_95"] for row in rows.values()])
        for row in rows.values():
            assert row["median"] <= row["percentile_95"] <= row["largest"]
            assert len(row["check_points"]) == len(CHECK_POINTS)
            assert np.max(row["check_points"]) <= row["largest"] * 1.001
    usual, crude = np.array(largest)
    assert (usual < 0.2).all()
    assert (crude > 2 * usual).sum() >= 4
    (table,) = check.tables()
    assert len(table.rows) == len(rows)
