import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks.projected import along_all_sides, projected_correlations
from iaemu_likelihood.emulator.mocks.projected_jackknife import projected_jackknife
from iaemu_likelihood.emulator.mocks.sky_regions import neighbouring_volumes
from iaemu_likelihood.emulator.physics.shapes import project

BOX, RP_EDGES, PI_MAX = 60.0, np.array([1.0, 3.0, 8.0, 15.0]), 12.0
NAMES = "w_gg", "w_gplus", "w_plusplus"


def catalogue(n=300, seed=0, box=BOX):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(n, 3))
    return rng.uniform(0, box, (n, 3)), axes / np.linalg.norm(axes, axis=1, keepdims=True)


def clusters(seed, box=BOX):
    """Groups of galaxies that point at their centres, about 1,000 in all."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(250)
    centre = np.repeat(rng.uniform(0, box, (n, 3)), rng.poisson(4, n), axis=0)
    step = rng.normal(size=centre.shape)
    axes = step + rng.normal(0, 0.5, step.shape)
    return (centre + step) % box, axes / np.linalg.norm(axes, axis=1, keepdims=True)


def views(axes, sides=(0, 1, 2), q=0.5):
    return {side: project(axes, q, side) for side in sides}


@pytest.mark.parametrize("pi_max", [12.0, 19.0])
@pytest.mark.parametrize("side", [0, 1, 2])
def test_values_are_those_of_halotools(side, pi_max):
    x, axes = clusters(0)
    e = project(axes, 0.5, side)
    expected = projected_correlations(x, e, BOX, RP_EDGES, pi_max, side)
    found = projected_jackknife(x, {side: e}, BOX, RP_EDGES, pi_max, 3)
    assert tuple(found) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-9, atol=1e-11)
    assert (found.n_galaxies, found.n_jackknife) == (len(x), 9)
    random = len(x) ** 2 * np.pi * np.diff(RP_EDGES**2) * 2 * pi_max / BOX**3
    np.testing.assert_allclose(2 * found.n_pairs, (found.w_gg / (2 * pi_max) + 1) * random)


def test_all_lines_of_sight_are_averaged():
    x, axes = clusters(1)
    expected = along_all_sides(x, axes, 0.6, BOX, RP_EDGES, PI_MAX)
    found = projected_jackknife(x, views(axes, q=0.6), BOX, RP_EDGES, PI_MAX, 3)
    for name in NAMES:
        each = np.mean([getattr(one, name) for one in expected], axis=0)
        np.testing.assert_allclose(found[name], each, rtol=1e-9, atol=1e-11)
    assert found.n_jackknife == 27


def neighbours(x, y, side):
    """Each pair of a point of x and one of y in the bins: both, the bin, and twice the angle on the sky."""
    sky = [(side + 1) % 3, (side + 2) % 3]
    found = []
    for i, one in enumerate(x):
        d = y - one
        d -= BOX * np.round(d / BOX)
        rp = np.hypot(*d[:, sky].T)
        second = np.flatnonzero(
            (rp > RP_EDGES[0]) & (rp <= RP_EDGES[-1]) & (np.abs(d[:, side]) <= PI_MAX)
        )
        bins = np.searchsorted(RP_EDGES, rp[second]) - 1
        angle = 2 * np.arctan2(d[second, sky[1]], d[second, sky[0]])
        found.append((np.full(len(second), i), second, bins, angle))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def by_hand(x, e, side, label, places, label_of_place, n_regions):
    """The statistics, leaving out one region after the other, with random pairs as with places."""
    first, second, bins, angle = neighbours(x, x, side)
    plus = [e[i, 0] * np.cos(angle) + e[i, 1] * np.sin(angle) for i in (first, second)]
    galaxy, place, bins_of_places, _ = neighbours(x, places, side)
    volume = np.pi * np.diff(RP_EDGES**2) * 2 * PI_MAX
    kept_of_pair = np.array([1, 1 - 1 / np.sqrt(2), 0])  # by how many are in the region

    def total(bins, weight):
        return np.bincount(bins, weight, len(volume))

    samples = []
    for region in range(n_regions):
        density = np.sum(label != region) / (BOX**3 * (1 - 1 / n_regions))
        kept = kept_of_pair[(label[first] == region).astype(int) + (label[second] == region)]
        random = density**2 * BOX**3 * (1 - 1 / n_regions) * volume
        w_gplus = total(bins, (label[first] != region) * plus[0]) / random
        w_plusplus = total(bins, kept * plus[0] * plus[1]) / random
        mixed = kept_of_pair[
            (label[galaxy] == region).astype(int) + (label_of_place[place] == region)
        ]
        # Galaxies of other places: all are the same, so that RR is DR of places.
        dr = total(bins_of_places, mixed) * BOX**3 / len(places)
        samples.append((total(bins, kept), dr, density, w_gplus, w_plusplus))
    dd, dr, density, w_gplus, w_plusplus = (np.array(one) for one in zip(*samples, strict=True))
    rr = np.mean(dr, axis=0) / (len(x) / BOX**3)
    w_gg = dd / density[:, None] ** 2 / rr - 2 * dr / density[:, None] / rr + 1
    return 2 * PI_MAX * np.stack([w_gg, w_gplus, w_plusplus], axis=1)


@pytest.mark.parametrize("sides", [(0,), (1,), (2,), (0, 1, 2)])
def test_against_leaving_out_one_region_after_the_other(sides):
    x, axes = clusters(2)
    x, axes = x[:250], axes[:250]
    n_side, seen = 2, views(axes, sides)
    grid = (np.arange(44) + 0.5) * BOX / 44
    places = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    places += np.random.default_rng(0).uniform(-0.5, 0.5, places.shape) * BOX / 44
    found = projected_jackknife(x, seen, BOX, RP_EDGES, PI_MAX, n_side)
    samples = []
    for side, e in seen.items():
        kept = [0, 1, 2] if len(sides) > 1 else [(side + 1) % 3, (side + 2) % 3]
        labels = [
            np.floor(y * n_side / BOX).astype(int)[:, kept] @ n_side ** np.arange(len(kept))[::-1]
            for y in (x, places)
        ]
        samples.append(by_hand(x, e, side, labels[0], places, labels[1], n_side ** len(kept)))
    samples = np.mean(samples, axis=0)
    samples = samples.reshape(len(samples), -1)
    expected = np.cov(samples.T, bias=True) * (len(samples) - 1)
    n = len(RP_EDGES) - 1
    np.testing.assert_allclose(found.covariance[n:, n:], expected[n:, n:], rtol=1e-8)
    # Places are counted, so their noise is in this w_gg.
    scale = np.sqrt(np.diag(expected))
    scaled = [matrix / np.outer(scale, scale) for matrix in (found.covariance, expected)]
    np.testing.assert_allclose(*scaled, atol=0.07)


@pytest.mark.parametrize(("n_side", "strides"), [(3, [3, 1, 0]), (3, [9, 3, 1]), (2, [1, 4, 2])])
def test_volumes_of_regions_about_galaxies_against_random_points(n_side, strides):
    rng = np.random.default_rng(1)
    x, _ = catalogue(20)
    places = rng.uniform(0, BOX, (300_000, 3))
    labels = [np.floor(y * n_side / BOX).astype(int) @ strides for y in (x, places)]
    every, own = neighbouring_volumes(
        x, labels[0], n_side, np.array(strides), BOX, RP_EDGES, PI_MAX
    )
    volume = np.pi * np.diff(RP_EDGES**2) * 2 * PI_MAX
    np.testing.assert_allclose(every.sum(axis=0), len(x) * volume)
    galaxy, place, bins, _ = neighbours(x, places, 2)
    where = labels[1][place]
    for found, kept in ((every, ...), (own, where == labels[0][galaxy])):
        expected = np.zeros_like(found)
        np.add.at(expected, (where[kept], bins[kept]), BOX**3 / len(places))
        sigma = np.sqrt(np.maximum(found, 1) * BOX**3 / len(places))
        assert np.abs((found - expected) / sigma).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize(("sides", "n_side"), [((2,), 5), ((0, 1, 2), 3)])
def test_errors_agree_with_the_scatter_of_many_catalogues(sides, n_side):
    """Also beyond the width of the regions."""
    edges = np.array([0.5, 2.0, 6.0, 15.0])
    runs = []
    for seed in range(200):
        x, axes = clusters(seed)
        runs.append(projected_jackknife(x, views(axes, sides), BOX, edges, PI_MAX, n_side))
    scatter = np.std([np.concatenate(list(run.values())) for run in runs], axis=0)
    errors = np.sqrt(np.mean([np.diag(run.covariance) for run in runs], axis=0))
    np.testing.assert_allclose(errors / scatter, 1, atol=0.2)


def test_errors_of_one_and_of_all_lines_of_sight():
    """Three views of the same galaxies are no three catalogues, but more than one."""
    x, axes = clusters(3)
    one = projected_jackknife(x, views(axes, (2,)), BOX, RP_EDGES, PI_MAX, 4)
    each = projected_jackknife(x, views(axes), BOX, RP_EDGES, PI_MAX, 3)
    share = np.diag(each.covariance)[3:6] / np.diag(one.covariance)[3:6]
    assert 1 / 6 < share.mean() < 1


def test_a_galaxy_on_the_face_of_the_box_is_at_zero():
    x, axes = clusters(4)
    x[0, 1] = x[1, 2] = BOX
    wrapped = np.where(x == BOX, 0, x)
    found, expected = (
        projected_jackknife(y, views(axes), BOX, RP_EDGES, PI_MAX, 2) for y in (x, wrapped)
    )
    np.testing.assert_array_equal(found.covariance, expected.covariance)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_side": 1}, "1 jackknife regions per side; choose 2 to 10"),
        ({"n_side": 11}, "11 jackknife regions per side; choose 2 to 10"),
        ({"box": np.nan}, "the side of the box is nan Mpc/h"),
        ({"box": 50.0}, "outside the box, 0 to 50 Mpc/h"),
        ({"box": 400.0}, "the positions do not fill the box"),
        ({"rp_edges": [0.0, 1.0]}, "Bin edges must be two or more increasing, positive numbers"),
        ({"rp_edges": [3.0, 1.0]}, "Bin edges must be two or more increasing, positive numbers"),
        ({"rp_edges": [1.0]}, "Bin edges must be two or more"),
        ({"rp_edges": [1.0, 20.0]}, "The bins reach to 20 Mpc/h, but must end below a third .*, 20"),
        ({"pi_max": 30.0}, "pi_max is 30 Mpc/h; it must be above 0 and below half of the box, 30"),
        ({"pi_max": 0.0}, "pi_max is 0 Mpc/h"),
        ({"shapes": {}}, "Lines of sight are 0, 1 or 2; got none"),
        ({"shapes": {3: np.zeros((300, 2))}}, "Lines of sight are 0, 1 or 2; got 3"),
        ({"shapes": {2: np.zeros((299, 2))}}, r"got \(300, 3\) and \(299, 2\)"),
        ({"shapes": {2: np.full((300, 2), np.nan)}}, "Ellipticities must be finite"),
        ({"n_side": 10}, "of the 100 jackknife regions hold none of the 300 galaxies"),
        ({"rp_edges": [1e-4, 1e-3, 5.0]}, "1 of 2 bins hold no pair of galaxies: 0.0001-0.001"),
    ],
)  # fmt: skip
def test_bad_arguments(change, message):
    x, axes = catalogue()
    arguments = {"positions": x, "shapes": {2: project(axes, 0.5)}, "box": BOX,
                 "rp_edges": RP_EDGES, "pi_max": PI_MAX, "n_side": 3}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        projected_jackknife(**arguments | change)
