"""A kernel that no bundled statistic has."""

import pytest
from iaemu_likelihood.emulator.physics.statistics import PairKernel


def fourth_moment(dx, dy, dz, r2, a, b):
    """P_4 of the cosine between the first axis and the separation; 0 for an axis that is 0."""
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    c2, aa = ar * ar / r2, a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    return (35 * c2 * c2 - 30 * c2 * aa + 3 * aa * aa) / 8


@pytest.fixture(scope="session")
def hexadecapole():
    return PairKernel("hexadecapole", n_axes=1, degree=4, term=fourth_moment)
