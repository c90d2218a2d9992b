"""One snapshot predicted from others."""

from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.validation import snapshots
from iaemu_likelihood.emulator.validation.snapshots import Snapshot, left_out


def test_the_same_snapshot_three_times_is_predicted_exactly(small_halos, small_tabulation):
    halos = replace(
        small_halos, redshift=0.5, cosmology="flat LCDM Om0=0.3 Ob0=0.05 h=0.7 sigma8=0.8 ns=0.96"
    )
    others = [Snapshot(z, halos.abundance, small_tabulation) for z in (0.0, 0.2, 1.0)]
    found = left_out(halos, others, small_tabulation, n=3)
    assert set(found.numbers["methods"]) == {
        "ln(1 + z)", "ln D", "parabola in ln(1 + z)", "parabola in ln D"
    }  # fmt: skip
    for row in found.numbers["methods"].values():
        assert row["xi"]["percentile_95"] < 1e-10
        assert row["omega"]["percentile_95"] < 1e-8
    # Their own noise: at small separations most pairs are with the first subhalo of a host.
    (noise,) = found.numbers["noise"].values()
    assert 0.001 < noise["xi"]["median"] < noise["xi"]["percentile_95"] < 1
    assert 0 < noise["omega"]["median"] < noise["omega"]["percentile_95"]
    (table,) = found.tables()
    assert [row[0] for row in table.rows][-2:] == [snapshots.TWO_DRAWS, "target"]
    assert table.title.startswith("z = 0.5 from 0, 0.2, 1, 3 samples")
    with pytest.raises(ValueError, match=r"Redshift 0\.5 is to be predicted .* at 1\."):
        left_out(halos, others[2:], small_tabulation, n=3)


def test_weights_reproduce_lines_and_parabolas(small_halos):
    halos = replace(
        small_halos, redshift=0.5, cosmology="flat LCDM Om0=0.3 Ob0=0.05 h=0.7 sigma8=0.8 ns=0.96"
    )
    values = [0.0, 0.2, 1.0]
    x, at = np.log1p(values), np.log1p(0.5)
    ways = snapshots._ways(halos, values)
    line = ways["ln(1 + z)"]
    assert line[0] == 0
    assert line @ (2 + 3 * x) == pytest.approx(2 + 3 * at)
    assert ways["parabola in ln(1 + z)"] @ x**2 == pytest.approx(at**2)
