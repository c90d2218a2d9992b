import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks.projected import along_all_sides, projected_correlations
from iaemu_likelihood.emulator.physics.shapes import project

BOX, RP_EDGES, PI_MAX = 60.0, np.array([1.0, 3.0, 8.0, 15.0]), 12.0


def catalogue(n=300, seed=0):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(n, 3))
    return rng.uniform(0, BOX, (n, 3)), axes / np.linalg.norm(axes, axis=1, keepdims=True)


def by_hand(x, e, sky, depth):
    """w_gg, w_g+ and w_++ from every pair, one after the other."""
    n = len(x)
    pairs, carried, both = (np.zeros(len(RP_EDGES) - 1) for _ in range(3))
    for i in range(n):
        d = x - x[i]
        d -= BOX * np.round(d / BOX)
        rp = np.hypot(d[:, sky[0]], d[:, sky[1]])
        angle = 2 * np.arctan2(d[:, sky[1]], d[:, sky[0]])

        def plus(e, angle=angle):
            return e[..., 0] * np.cos(angle) + e[..., 1] * np.sin(angle)

        for b in range(len(pairs)):
            inside = (RP_EDGES[b] < rp) & (rp <= RP_EDGES[b + 1]) & (np.abs(d[:, depth]) < PI_MAX)
            pairs[b] += inside.sum()
            carried[b] += plus(e[i])[inside].sum()
            both[b] += (plus(e[i]) * plus(e))[inside].sum()
    random = n**2 * np.pi * np.diff(RP_EDGES**2) * 2 * PI_MAX / BOX**3
    return 2 * PI_MAX * (pairs / random - 1), *(2 * PI_MAX * x / random for x in (carried, both))


@pytest.mark.parametrize("side", [0, 1, 2])
def test_halotools_estimators_against_every_pair(side):
    """They have a cell size of the one sample for the other, and normalise orientations."""
    x, axes = catalogue()
    e = project(axes, 0.5, side)
    found = projected_correlations(x, e, BOX, RP_EDGES, PI_MAX, side)
    expected = by_hand(x, e, [(side + 1) % 3, (side + 2) % 3], side)
    for name, value in zip(("w_gg", "w_gplus", "w_plusplus"), expected, strict=True):
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-6, atol=1e-6, err_msg=name)


def test_radial_alignment_is_positive():
    """Spheroids that point at one point of the sky."""
    rng = np.random.default_rng(1)
    centre = np.array([30.0, 30.0, 30.0])
    x = centre + rng.normal(0, 3.0, (400, 3))
    x = x[np.linalg.norm((x - centre)[:, :2], axis=1) > 1]
    radial = (x - centre) / np.linalg.norm(x - centre, axis=1, keepdims=True)
    both = np.concatenate([x, centre[None] + rng.normal(0, 0.1, (50, 3))])
    axes = np.concatenate([radial, np.tile([0, 0, 1.0], (50, 1))])
    for found in along_all_sides(both, axes, 0.5, BOX, [1.0, 3.0], PI_MAX):
        assert found.w_gplus[0] > 0


@pytest.mark.parametrize("rp_edges", [[0.0, 1.0], [2.0, 1.0], [1.0, 30.0]])
def test_impossible_bins(rp_edges):
    x, axes = catalogue(20)
    with pytest.raises(ValueError, match="below a third of the box"):
        projected_correlations(x, project(axes, 0.5), BOX, rp_edges, PI_MAX)
    with pytest.raises(ValueError, match="pi_max = 25"):
        projected_correlations(x, project(axes, 0.5), BOX, RP_EDGES, 25.0)
