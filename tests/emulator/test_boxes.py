"""Points in a cubic box."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.boxes import check_filled, first_repeat, inside, inside_array

BOX = 80.0


def filled(points, box=BOX):
    check_filled(dict(zip("xyz", points.T, strict=True)), box, "points")


@pytest.mark.parametrize(
    ("n", "n_groups"), [(1, 1), (8, 2), (27, 27), (300, 20), (5000, 20), (5000, 200)]
)
def test_sense_points_in_groups_may_leave_room_by_chance(n, n_groups):
    """Such as the galaxies of the heaviest hosts alone."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        groups = rng.uniform(0, BOX, (n_groups, 3))
        points = groups[rng.integers(0, n_groups, n)] + rng.normal(0, 0.5, (n, 3))
        filled(points % BOX)


@pytest.mark.parametrize("share", [1e-9, 1e-3, 0.5, 0.6774, 0.73])
@pytest.mark.parametrize("n", [150, 100_000])
def test_sense_points_in_another_unit_than_the_side_do_not_fill_it(share, n):
    points = np.random.default_rng(1).uniform(0, BOX, (n, 3)) * share
    with pytest.raises(
        ValueError, match=r"points: the positions do not fill the box, 0 to 80 Mpc/h"
    ):
        filled(points)


def test_sense_a_slab_does_not_fill_a_cube():
    points = np.random.default_rng(1).uniform(0, BOX, (2000, 3)) * [1, 1, 0.7]
    with pytest.raises(ValueError, match=r"z from 0.\d+ to 55.\d+. Give the side"):
        filled(points)


def test_points_on_the_faces_stay_there():
    on_faces = np.array([[0.0, BOX, 40.0], [BOX, 0.0, 40.0]])
    np.testing.assert_array_equal(inside_array(on_faces, BOX, "points"), on_faces)
    columns = {"x": np.float32([0, 80, 40]), "y": np.ones(3), "z": np.ones(3)}
    assert inside(columns, BOX, "points")["x"].dtype == np.float32


@pytest.mark.parametrize("n", [0, 1])
def test_few_points(n):
    assert inside_array(np.full((n, 3), 5.0), BOX, "points").shape == (n, 3)
    filled(np.full((n, 3), 5.0))
    assert first_repeat(np.zeros(n), np.zeros(n)) is None


def test_the_first_repeat():
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows = rng.integers(0, 6, (12, 2)).astype(float)
        pairs = [(i, j) for j in range(12) for i in range(j) if (rows[i] == rows[j]).all()]
        first = min(pairs, default=None)
        assert first_repeat(*rows.T) == first
