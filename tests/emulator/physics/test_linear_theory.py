import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.linear_theory import (
    MATCHED,
    Cosmology,
    KaiserCorrection,
    LinearTheory,
    _modes,
    amplitude,
    continuation,
)
from scipy.special import hyp2f1, j0, spherical_jn

WORDS = "flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96"
COSMOLOGY = Cosmology.from_words(WORDS)
THEORY = LinearTheory(COSMOLOGY, 0.0)
IN_BOX = LinearTheory(COSMOLOGY, 0.0, 250.0)
R_EDGES = np.logspace(-1, 2.05, 62)


def around(r, half_width=1e-4):
    """Edges of a thin shell, in which a mean is the value at r."""
    return np.array([r * (1 - half_width), r * (1 + half_width)])


def test_the_bundled_catalogue_says_its_cosmology():
    assert Cosmology.from_words(load_halos().cosmology) == COSMOLOGY


def test_numbers_may_come_in_any_order():
    words = "flat LCDM ns=0.96, sigma8 = 0.823, h=.678, Ob0=0.048, Om0=0.307"
    assert Cosmology.from_words(words) == COSMOLOGY


@pytest.mark.parametrize(
    "words",
    [
        None, "", "Planck 2018", WORDS.replace("flat ", ""), WORDS + " w0=-0.9",
        WORDS.replace(" ns=0.96", ""), WORDS + " ns=0.97", WORDS.replace("0.96", "one"),
    ],
)  # fmt: skip
def test_another_cosmology_is_refused(words):
    with pytest.raises(ValueError, match="must read 'flat LCDM'"):
        Cosmology.from_words(words)


@pytest.mark.parametrize(("old", "new"), [("Om0=0.307", "Om0=30.7"), ("Ob0=0.048", "Ob0=0.48")])
def test_impossible_numbers_are_refused(old, new):
    name, value = new.split("=")
    with pytest.raises(ValueError, match=f"{name} of the cosmology is {value}"):
        Cosmology.from_words(WORDS.replace(old, new))


def test_colossus_stays_as_the_caller_set_it(tmp_path, monkeypatch):
    from colossus import settings
    from colossus.cosmology import cosmology

    monkeypatch.setattr(settings, "BASE_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cosmology, "current_cosmo", None)
    own = cosmology.setCosmology("WMAP9", persistence="")
    LinearTheory(COSMOLOGY, 1.0, 250.0).correlation([20.0, 30.0])
    assert cosmology.getCurrent() is own
    assert not list(tmp_path.iterdir())


def test_fluctuations_in_spheres_are_sigma8():
    k = np.geomspace(1e-5, 1e2, 20_000)
    window = 3 * spherical_jn(1, 8 * k) / (8 * k)
    variance = np.trapezoid(k**3 * THEORY.power(k) * window**2, np.log(k)) / (2 * np.pi**2)
    assert variance**0.5 == pytest.approx(COSMOLOGY.sigma8, rel=1e-3)


@pytest.mark.parametrize("z", [0.0, 0.3, 1.0, 3.0])
def test_growth(z):
    """Of a flat universe, in closed form."""

    def growth(a):
        ratio = (1 - COSMOLOGY.Om0) / COSMOLOGY.Om0
        return a * hyp2f1(1 / 3, 1, 11 / 6, -ratio * a**3)

    theory, a, step = LinearTheory(COSMOLOGY, z), 1 / (1 + z), 1e-4
    rate = np.log(growth(a * (1 + step)) / growth(a * (1 - step))) / (2 * step)
    om = COSMOLOGY.Om0 * (1 + z) ** 3 / (COSMOLOGY.Om0 * (1 + z) ** 3 + 1 - COSMOLOGY.Om0)
    assert theory.growth == pytest.approx(growth(a) / growth(1.0), rel=1e-4)
    assert theory.growth_rate == pytest.approx(rate, rel=1e-5)
    assert theory.growth_rate == pytest.approx(om**0.55, rel=0.006)
    np.testing.assert_allclose(
        theory.correlation(R_EDGES), theory.growth**2 * THEORY.correlation(R_EDGES), rtol=1e-6
    )


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_the_integral_by_direct_quadrature(degree):
    k = np.linspace(1e-5, 25, 400_001)
    for low, high in ([20.0, 23.0], [60.0, 66.0]):
        nodes, weights = np.polynomial.legendre.leggauss(6)
        r = (low + high) / 2 + (high - low) / 2 * nodes
        volume = weights * r**2 / (weights * r**2).sum()
        mean = sum(w * spherical_jn(degree, k * x) for w, x in zip(volume, r, strict=True))
        # The integral is cut off smoothly, which changes it by less than 1e-3.
        integrand = k**2 * THEORY.power(k) * mean * np.exp(-((0.15 * k) ** 2)) / (2 * np.pi**2)
        found = THEORY.correlation([low, high], degree)
        np.testing.assert_allclose(found, np.trapezoid(integrand, k), rtol=1e-3)


@pytest.mark.parametrize("r", [5.0, 40.0, 100.0])
def test_higher_degrees_are_moments_of_the_first(r):
    """Hamilton 1992: what j_2 and j_4 give, from xi inside r."""
    edges = np.geomspace(0.05, r, 4001)
    xi, middle = THEORY.correlation(edges), (edges[1:] + edges[:-1]) / 2
    inside = shell_volumes(edges) * xi
    mean = inside.sum() / (4 / 3 * np.pi * r**3)
    fourth = 5 * (inside * middle**2).sum() / (4 * np.pi * r**5)
    at_r = THEORY.correlation(around(r))
    found = [THEORY.correlation(around(r), degree) for degree in (2, 4)]
    np.testing.assert_allclose(found[0], mean - at_r, rtol=1e-4)
    np.testing.assert_allclose(found[1], at_r + 5 / 2 * mean - 7 / 2 * fourth, rtol=1e-3)
    assert found[0] > 0


def test_numbers_of_modes():
    k, count = _modes(100.0, 0.5)
    whole = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3), -1).reshape(-1, 3)
    square, expected = np.unique((whole**2).sum(1), return_counts=True)
    chosen = (square > 0) & (square <= (0.5 * 100 / 2 / np.pi) ** 2)
    np.testing.assert_allclose(k, 2 * np.pi / 100 * square[chosen] ** 0.5)
    np.testing.assert_array_equal(count, expected[chosen])


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_a_box_by_a_sum_over_its_modes(degree):
    box, smoothing, n = 80.0, 0.5, 100
    square = (np.arange(-n, n + 1) ** 2)[:, None, None]
    square = (square + square.reshape(1, -1, 1) + square.reshape(1, 1, -1)).ravel()
    count = np.bincount(square)[: n**2]
    k = 2 * np.pi / box * np.arange(1, n**2) ** 0.5
    spectrum = count[1:] * THEORY.power(k) * np.exp(-((k * smoothing) ** 2)) / box**3
    for r in (15.0, 39.0, 59.0):
        by_sum = (spectrum * spherical_jn(degree, k * r)).sum()
        infinite = THEORY._integral(around(r), degree, smoothing)
        found = LinearTheory(COSMOLOGY, 0.0, box).correlation(around(r), degree)
        expected = THEORY.correlation(around(r), degree) + by_sum - infinite
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=4e-5)


def test_a_large_box_is_nearly_infinite():
    edges = np.logspace(1, 2, 11)
    missing = [
        np.abs(
            LinearTheory(COSMOLOGY, 0.0, box).correlation(edges) - THEORY.correlation(edges)
        ).max()
        for box in (250.0, 500.0, 1000.0)
    ]
    assert missing[0] > 4 * missing[1] > 16 * missing[2] > 0


@pytest.mark.parametrize("degree", [0, 2])
def test_an_amplitude_is_recovered(degree):
    functional = amplitude(IN_BOX, R_EDGES, degree)
    assert functional @ (1.7 * IN_BOX.correlation(R_EDGES, degree)) == pytest.approx(1.7)
    outside = (R_EDGES[:-1] < 0.999 * MATCHED[0]) | (R_EDGES[1:] > 1.001 * MATCHED[1])
    assert (functional[outside] == 0).all()


def test_an_amplitude_has_the_least_variance():
    """With the noise of pair counts, against another unbiased functional of the same shells."""
    best, expected = amplitude(IN_BOX, R_EDGES), IN_BOX.correlation(R_EDGES)
    inside, variance = best != 0, 1 / shell_volumes(R_EDGES)
    plain = inside * expected / (inside * expected**2).sum()
    assert plain @ expected == pytest.approx(1)
    assert (best**2 * variance).sum() < 0.9 * (plain**2 * variance).sum()
    below_50 = R_EDGES[1:] < 50.5
    assert (best * expected)[below_50].sum() > 0.9


@pytest.mark.parametrize("degree", [0, 2])
def test_a_density_goes_from_its_box_to_an_infinite_universe(degree):
    beyond = np.array([R_EDGES[-1], 130.0, 150.0])
    found = (
        1.7
        * IN_BOX.correlation(R_EDGES, degree)
        @ continuation(IN_BOX, THEORY, R_EDGES, beyond, degree)
    )
    expected = 1.7 * THEORY.correlation([*R_EDGES, *beyond[1:]], degree)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_in_the_same_universe_what_is_known_stays():
    same = continuation(IN_BOX, IN_BOX, R_EDGES, R_EDGES[-1:])
    np.testing.assert_array_equal(same, np.eye(len(R_EDGES) - 1))
    longer = continuation(IN_BOX, IN_BOX, R_EDGES, [R_EDGES[-1], 120.0])
    np.testing.assert_array_equal(longer[:, :-1], same)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match=r"from 0\.05 to 187\.5 Mpc/h"):
        IN_BOX.correlation([100.0, 190.0])
    with pytest.raises(ValueError, match="increasing numbers"):
        THEORY.correlation([30.0, 20.0])
    with pytest.raises(ValueError, match=r"degree must be one of \(0, 2, 4\); got 1"):
        THEORY.correlation([20.0, 30.0], 1)
    with pytest.raises(ValueError, match=r"redshift is -0\.1"):
        LinearTheory(COSMOLOGY, -0.1)
    with pytest.raises(ValueError, match="box is 0"):
        LinearTheory(COSMOLOGY, 0.0, 0)
    with pytest.raises(ValueError, match=r"No bin lies between 19\.95 and 79\.43"):
        amplitude(THEORY, np.logspace(-1, 1.2, 21))
    with pytest.raises(
        ValueError, match=r"must begin where r_edges end, at 112.202 Mpc/h; got 120"
    ):
        continuation(IN_BOX, THEORY, R_EDGES, [120.0, 130.0])


def test_velocities_change_nothing_if_nothing_grows():
    still = LinearTheory(COSMOLOGY, 0.0)
    still.growth_rate = 0.0
    assert not KaiserCorrection(still, [1.0, 10.0, 20.0], 40.0)(np.array([1.0, 2.0])).any()


def test_along_the_whole_line_of_sight_no_pair_is_lost():
    rp_edges = np.logspace(0, 1.5, 6)
    at = {pi: KaiserCorrection(THEORY, rp_edges, pi) for pi in (40.0, 900.0)}
    bias = np.array([1.5])
    assert (np.abs(at[900.0](bias)) < 0.01 * at[40.0](bias)).all()
    w_0, w_2, w_4 = at[900.0].integrals
    np.testing.assert_allclose(w_2, -w_0 / 2, rtol=2e-2)
    np.testing.assert_allclose(w_4, 3 / 8 * w_0, rtol=2e-2)


@pytest.mark.parametrize("pi_max", [40.0, 80.0])
def test_kaiser_by_a_brute_force_fourier_integral(pi_max):
    """Of (b + f mu^2)^2 P(k) less b^2 P(k), over wavevectors across and along the line of sight."""
    b, f, smoothing = 1.3, THEORY.growth_rate, 1.0
    across = np.linspace(1e-4, 3, 1500)[:, None]
    along = np.linspace(1e-4, 3, 3000)
    k = np.hypot(across, along)
    excess = (b + f * (along / k) ** 2) ** 2 - b**2
    power = THEORY.power(k.ravel()).reshape(k.shape) * np.exp(-((k * smoothing) ** 2))
    window = 2 * np.sin(along * pi_max) / along  # of |Pi| < pi_max
    of_across = np.trapezoid(excess * power * window, along, axis=1) / np.pi
    for rp in (5.0, 20.0):
        integrand = across[:, 0] * of_across * j0(across[:, 0] * rp)
        expected = np.trapezoid(integrand, across[:, 0]) / (2 * np.pi)
        found = KaiserCorrection(THEORY, around(rp, 1e-2), pi_max)(np.array([b**2]))
        np.testing.assert_allclose(found, [[expected]], rtol=5e-3)


def test_a_weight_of_a_step_is_a_smaller_pi_max():
    def step(pi):
        return (pi < 40.0).astype(float)

    rp_edges, bias = [1.0, 5.0, 20.0], np.array([1.3])
    found = KaiserCorrection(THEORY, rp_edges, 60.0, step)(bias)
    np.testing.assert_allclose(found, KaiserCorrection(THEORY, rp_edges, 40.0)(bias), rtol=2e-2)


def test_tensors_and_gradients():
    correction = KaiserCorrection(THEORY, [1.0, 5.0, 20.0], 60.0)
    bias = torch.tensor([1.2, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(correction, bias)
    as_array = correction(bias.detach().numpy())
    np.testing.assert_allclose(correction(bias).detach(), as_array, rtol=1e-14)
    assert torch.isfinite(torch.autograd.grad(correction(0 * bias).sum(), bias)[0]).all()
