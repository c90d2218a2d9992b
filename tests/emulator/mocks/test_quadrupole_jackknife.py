import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks import correlations
from iaemu_likelihood.emulator.mocks.quadrupole_jackknife import quadrupole_jackknife
from iaemu_likelihood.emulator.physics.shapes import project, response

BOX, EDGES = 60.0, np.array([1.0, 3.0, 8.0, 15.0])


def clusters(seed, n=250):
    """Groups of galaxies that point at their centres, about four times n in all."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(n)
    centre = np.repeat(rng.uniform(0, BOX, (n, 3)), rng.poisson(4, n), axis=0)
    step = rng.normal(size=centre.shape)
    axes = step + rng.normal(0, 0.5, step.shape)
    return (centre + step) % BOX, axes / np.linalg.norm(axes, axis=1, keepdims=True)


def views(axes, sides=(0, 1, 2), q=0.5):
    return {side: project(axes, q, side) for side in sides}


@pytest.mark.parametrize("sides", [(0,), (1,), (2,), (0, 1, 2)])
def test_against_leaving_out_one_cube_after_the_other(sides):
    x, axes = clusters(0)
    seen, n_side = views(axes, sides), 2
    label = np.floor(x * n_side / BOX).astype(int) @ [4, 2, 1]
    d = x[None] - x[:, None]
    d -= BOX * np.round(d / BOX)
    r = np.linalg.norm(d, axis=2)
    first, second = np.nonzero((r > EDGES[0]) & (r <= EDGES[-1]))
    d, r = d[first, second], r[first, second]
    bins = np.searchsorted(EDGES, r) - 1
    volume = 4 / 3 * np.pi * np.diff(EDGES**3)

    def values(region):
        found, kept = [], label[first] != region
        density = np.sum(label != region) / BOX**3
        share = 7 / 8 if region >= 0 else 1
        for side, e in seen.items():
            dx, dy, dz = d[:, [(side + 1) % 3, (side + 2) % 3, side]].T
            angle, mu = 2 * np.arctan2(dy, dx), dz / r
            plus = e[first, 0] * np.cos(angle) + e[first, 1] * np.sin(angle)
            # The mean over mu is half the integral.
            term = 2 * 5 / 48 * 3 * (1 - mu**2) * plus
            random = density**2 / share * BOX**3 * volume
            found.append(np.bincount(bins[kept], term[kept], len(volume)) / random)
        return np.mean(found, axis=0)

    got = quadrupole_jackknife(x, seen, BOX, EDGES, n_side)
    np.testing.assert_allclose(got.xi_gplus_2, values(-1), rtol=1e-9, atol=1e-12)
    samples = np.array([values(region) for region in range(8)])
    expected = np.cov(samples.T, bias=True) * 7
    np.testing.assert_allclose(got.covariance, expected, rtol=1e-8, atol=1e-14)
    assert (got.n_galaxies, got.n_jackknife) == (len(x), 8)
    np.testing.assert_array_equal(got.n_pairs, np.bincount(bins) / 2)


def test_it_is_the_response_times_half_of_omega():
    """a_2 / 2 (1 + xi) omega, as the model has it, of isotropic galaxies."""
    x, axes = clusters(1, 6000)
    q, edges = 0.6, np.array([0.3, 1.0, 2.0, 4.0])
    direct = correlations(x, axes, BOX, edges)
    found = quadrupole_jackknife(x, views(axes, q=q), BOX, edges, 3)
    expected = response(q) / 2 * (1 + direct.xi) * direct.omega
    np.testing.assert_allclose(found.xi_gplus_2[:2], expected[:2], rtol=0.03)
    z = (found.xi_gplus_2 - expected) / np.sqrt(np.diag(found.covariance))
    assert np.abs(z).max() < 3


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(2,), (0, 1, 2)])
def test_errors_agree_with_the_scatter_of_many_catalogues(sides):
    runs = []
    for seed in range(200):
        x, axes = clusters(seed)
        runs.append(quadrupole_jackknife(x, views(axes, sides), BOX, [0.5, 2.0, 6.0, 15.0], 3))
    scatter = np.std([run.xi_gplus_2 for run in runs], axis=0)
    errors = np.sqrt(np.mean([np.diag(run.covariance) for run in runs], axis=0))
    np.testing.assert_allclose(errors / scatter, 1, atol=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_side": 6}, "6 jackknife regions per side; choose 2 to 5"),
        ({"r_edges": [1.0, 20.0]}, "must end below a third of the box, 20"),
        ({"shapes": {}}, "Lines of sight are 0, 1 or 2; got none"),
        ({"r_edges": [1e-5, 1e-4, 5.0]}, "1 of 2 bins hold no pair of galaxies"),
    ],
)
def test_bad_arguments(change, message):
    x, axes = clusters(2)
    arguments = {"positions": x, "shapes": views(axes), "box": BOX, "r_edges": EDGES, "n_side": 2}
    with pytest.raises(ValueError, match=message):
        quadrupole_jackknife(**arguments | change)
