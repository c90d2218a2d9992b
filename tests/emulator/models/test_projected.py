"""Projected statistics of an emulator, against the sums and integrals that they are."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.projected import (
    ProjectedMap,
    Universe,
    incomplete,
    sources_of,
)
from iaemu_likelihood.emulator.physics.alignment import INCLUDED, WATSON, WATSON_MASS
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, bin_centres
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.linear_theory import (
    Cosmology,
    KaiserCorrection,
    LinearTheory,
    amplitude,
)
from iaemu_likelihood.emulator.physics.projection import projection
from iaemu_likelihood.emulator.physics.shapes import next_response, response
from iaemu_likelihood.emulator.physics.statistics import PROJECTED, STATISTICS
from iaemu_likelihood.emulator.physics.statistics.degree_four import (
    MIXED,
    SATELLITES,
    angular,
    shares,
)
from iaemu_likelihood.emulator.physics.templates import templates_of
from numpy.polynomial.legendre import Legendre, leggauss
from numpy.polynomial.polynomial import Polynomial

POINT = np.array([0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0])
RP_EDGES, R_EDGES, PI_MAX = np.logspace(-0.7, 1.4, 8), np.array([0.5, 1.2, 4.0]), 60.0
AXIS_RATIO = (0.55, 0.75)
INTEGRATED = ("w_gg", "w_gplus", "w_plusplus")
COS2, SIN2 = Polynomial([0, 0, 1.0]), Polynomial([1.0, 0, -1.0])
WORDS = "flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96"


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def points(emulator):
    return emulator.domain.sample(300, seed=3)


def predict(emulator, point=POINT, axis_ratio=AXIS_RATIO, **options):
    """In the box of the training, so that linear theory adds nothing, unless it is told otherwise."""
    conventions = options.pop("conventions", {"box": emulator.card["box"]})
    how = Conventions(**{"pi_max": PI_MAX, **conventions})
    return emulator.predict_projected(
        point, RP_EDGES, r_edges=R_EDGES, axis_ratio=axis_ratio, conventions=how, **options
    )


def watson_moment(degree, mu):
    """The mean Legendre polynomial of a misalignment, by quadrature."""
    cosine, weights = leggauss(300)
    density = np.exp(np.tan(np.pi * mu / 2) * cosine**2) * weights
    return (Legendre.basis(degree)(cosine) * density).sum() / density.sum()


def members(emulator, point=POINT):
    """Templates by each network, (n_networks, n_fine), by name."""
    networks, n_fine = networks_of(emulator)
    inputs = torch.as_tensor(emulator.inputs(point[None, 2:]))
    with torch.no_grad():
        values = networks.templates(inputs, emulator.learned, n_fine)[:, 0].numpy()
    names = [template.name for template in templates_of(emulator.learned)]
    return dict(zip(names, values.swapaxes(0, 1), strict=True))


def networks_of(emulator):
    n_fine = len(emulator.fine_edges) - 1
    return emulator.ensemble(emulator.learned, n_fine), n_fine


def integral(emulator, angular):
    return projection(emulator.fine_edges, RP_EDGES, PI_MAX, angular)


def test_what_is_given_for_one_point_and_many(emulator, points):
    p = predict(emulator)
    assert list(p) == [*INTEGRATED, "xi_gplus_2"]
    np.testing.assert_allclose(p.rp, (RP_EDGES[1:] + RP_EDGES[:-1]) / 2)
    np.testing.assert_allclose(p.r, [0.85, 2.6])
    for name in INTEGRATED:
        assert p[name].shape == p.epistemic[name].shape == (7,)
        assert (p.epistemic[name] > 0).all()
    assert p.xi_gplus_2.shape == (2,)
    assert p.w_gg.dtype == np.float64
    many = predict(emulator, points[:5])
    assert many.w_plusplus.shape == many.epistemic.w_gg.shape == (5, 7)
    assert predict(emulator, epistemic=False).epistemic is None
    named = dict(zip(emulator.space.names, POINT, strict=True))
    np.testing.assert_array_equal(predict(emulator, None, **named).w_gplus, p.w_gplus)
    positions = emulator.predict_projected(POINT, RP_EDGES, PI_MAX)
    assert list(positions) == ["w_gg"]
    assert positions.r is None
    shapes = emulator.predict_projected(POINT, axis_ratio=0.6, r_edges=R_EDGES)
    assert list(shapes) == ["xi_gplus_2"]
    assert shapes.rp is None


def test_equal_sums_of_templates_and_integrals(emulator):
    t = {name: values.mean(0) for name, values in members(emulator).items()}
    a2, a4 = (
        [response(q, degree) * watson_moment(degree, mu) for q, mu in zip(AXIS_RATIO, POINT[:2], strict=True)]
        for degree in (2, 4)
    )  # fmt: skip
    pairs = 1 + t["xi"]
    d2 = pairs * (a2[0] * t["omega_c"] + a2[1] * t["omega_s"])
    d4 = pairs * (a4[0] * t["omega_4_c"] + a4[1] * t["omega_4_s"])
    e = {
        name: pairs * (a2[0] ** 2 * t[f"{name}_cc"] + a2[0] * a2[1] * t[f"{name}_cs"] + a2[1] ** 2 * t[f"{name}_ss"])
        for name in ("eta", "eta_0", "eta_1")
    }  # fmt: skip
    e["eta_2"] = e["eta"] - 1.5 * e["eta_0"] - 4 * e["eta_1"]
    expected = {
        "w_gg": t["xi"] @ integral(emulator, Polynomial([1.0])),
        "w_gplus": d2 @ integral(emulator, 1.5 * SIN2)
        + d4 @ integral(emulator, (7 * COS2 - 1) * SIN2),
        "w_plusplus": e["eta_0"] @ integral(emulator, 2.25 * SIN2**2)
        + e["eta_1"] @ integral(emulator, 4 * COS2 * SIN2)
        + e["eta_2"] @ integral(emulator, (1 + COS2) ** 2 / 4),
    }
    # Terms of degree 4, from those of degree 2.
    by_degree = {
        2: a2,
        4: [
            next_response(response(q, 2)) * watson_moment(4, mu)
            for q, mu in zip(AXIS_RATIO, POINT[:2], strict=True)
        ],
    }
    of_nodes = shares(bin_centres(emulator.fine_edges))
    ss = {name: pairs * t[f"{name}_ss"] for name in ("eta", "eta_0", "eta_1")}
    helicities = [ss["eta_0"], ss["eta_1"], ss["eta"] - 1.5 * ss["eta_0"] - 4 * ss["eta_1"]]
    for (first, second), at_nodes in SATELLITES.items():
        strength = by_degree[first][1] * by_degree[second][1] * (1 if first == second else 2)
        for m in range(first + 1):
            density = sum((of_nodes @ at_nodes[:, m, j]) * helicities[j] for j in range(3))
            expected["w_plusplus"] += (
                strength * density @ integral(emulator, angular(first, second, m))
            )
    for (first, second), at_nodes in MIXED.items():
        density = 9 / 4 * pairs * t["eta_0_cs"] * (of_nodes @ at_nodes)
        strength = by_degree[first][0] * by_degree[second][1]
        expected["w_plusplus"] += strength * density @ integral(emulator, angular(first, second, 0))
    p = predict(emulator)
    np.testing.assert_allclose(p.w_gg, expected["w_gg"], rtol=1e-10)
    np.testing.assert_allclose(p.w_plusplus, expected["w_plusplus"], rtol=1e-6)
    # a_4 follows from a_2 to 1e-4 of it.
    np.testing.assert_allclose(p.w_gplus, expected["w_gplus"], rtol=1e-3)
    quadrupole = PairWeightedBinning(emulator.fine_edges, R_EDGES).of_density(pairs)
    np.testing.assert_allclose(p.xi_gplus_2, d2 / 2 @ quadrupole, rtol=1e-9)


def test_the_error_is_the_scatter_of_the_networks(emulator):
    xi = members(emulator)["xi"] @ integral(emulator, Polynomial([1.0]))
    factor = float(networks_of(emulator)[0].epistemic_factor[0])
    np.testing.assert_allclose(
        predict(emulator).epistemic.w_gg, factor * xi.std(0, ddof=1), rtol=1e-8
    )


def test_many_points_are_single_ones_and_single_precision_is_close(emulator, points):
    a2 = np.random.default_rng(2).uniform(0.1, 0.9, (300, 2))
    many = predict(emulator, points, None, response=a2)
    few = predict(emulator, points[7:9], None, response=a2[7:9])
    one = predict(emulator, points[8], None, response=a2[8])
    single = Emulator.load().to(dtype=torch.float32)
    rough = predict(single, points, None, response=a2)
    for name in many:
        np.testing.assert_allclose(many[name][7:9], few[name], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(many[name][8], one[name], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(many.epistemic[name][8], one.epistemic[name], rtol=1e-6)
        assert rough[name].dtype == np.float32
        scale = np.abs(many[name]).max(1, keepdims=True)
        assert (np.abs(rough[name] - many[name]) / scale).max() < 1e-4


def test_axis_ratios_and_responses_are_two_ways_to_say_the_same(emulator):
    pair = predict(emulator)
    a2 = response(AXIS_RATIO, 2)
    for other in (
        predict(emulator, POINT, None, response=a2),
        predict(emulator, POINT, None, response=a2[None]),
        predict(emulator, POINT, np.array(AXIS_RATIO)),
    ):
        np.testing.assert_array_equal(other.w_gplus, pair.w_gplus)
    both = predict(emulator, POINT, 0.6)
    np.testing.assert_array_equal(both.w_plusplus, predict(emulator, POINT, (0.6, 0.6)).w_plusplus)
    two = np.stack([POINT, POINT])
    each = predict(emulator, two, None, response=[a2, response([0.6, 0.6], 2)])
    np.testing.assert_allclose(each.w_gplus[0], pair.w_gplus, rtol=1e-12)
    np.testing.assert_allclose(each.w_gplus[1], both.w_gplus, rtol=1e-12)


def test_random_axes_show_no_alignment(emulator):
    random = np.array([0.0, 0.0, *POINT[2:]])
    p, aligned = predict(emulator, random), predict(emulator)
    for name in ("w_gplus", "w_plusplus", "xi_gplus_2"):
        np.testing.assert_allclose(p[name], 0, atol=1e-13 * np.abs(aligned[name]).max())
    np.testing.assert_array_equal(p.w_gg, aligned.w_gg)


def test_shapes_respond_linearly_apart_from_degree_4(emulator):
    ratios = 0.5, 0.65, 0.8
    found = [predict(emulator, POINT, q) for q in ratios]
    a2, a4 = response(ratios, 2), response(ratios, 4)
    for i in (1, 2):
        linear = found[0].xi_gplus_2 * a2[i] / a2[0]
        np.testing.assert_allclose(found[i].xi_gplus_2, linear, rtol=1e-12)
        square = found[0].w_plusplus * (a2[i] / a2[0]) ** 2
        assert (np.abs(found[i].w_plusplus / square - 1) > 1e-5).any()
    # The parts of degree 2 and 4 from two axis ratios give the third.
    w = np.stack([p.w_gplus for p in found])
    parts = np.linalg.solve(np.stack([a2, a4], axis=1)[:2], w[:2])
    np.testing.assert_allclose(w[2], a2[2] * parts[0] + a4[2] * parts[1], rtol=2e-3)
    assert (np.abs(w[2] / w[0] - a2[2] / a2[0]) > 1e-3 * a2[2] / a2[0]).any()


def test_how_ellipticities_are_defined_and_divided(emulator):
    box = {"box": emulator.card["box"]}
    plain = predict(emulator)
    divided = predict(emulator, conventions={**box, "responsivity": 0.8})
    np.testing.assert_array_equal(divided.w_gg, plain.w_gg)
    for name, n in (("w_gplus", 1), ("xi_gplus_2", 1), ("w_plusplus", 2)):
        np.testing.assert_allclose(divided[name], plain[name] / 1.6**n, rtol=1e-12)
        np.testing.assert_allclose(
            divided.epistemic[name], plain.epistemic[name] / 1.6**n, rtol=1e-9
        )
    epsilon = predict(emulator, POINT, 0.6, conventions={**box, "ellipticity": "epsilon"})
    ratio = response(0.6, 2, "epsilon") / response(0.6, 2)
    distortion = predict(emulator, POINT, 0.6)
    np.testing.assert_allclose(epsilon.xi_gplus_2, ratio * distortion.xi_gplus_2, rtol=1e-12)
    np.testing.assert_allclose(epsilon.w_gplus, ratio * distortion.w_gplus, rtol=0.05)


def test_a_weight_along_the_line_of_sight(emulator):
    box = {"box": emulator.card["box"]}
    plain = predict(emulator)
    falls, rises, is_one = (
        predict(emulator, conventions={**box, "weight": weight})
        for weight in (((0, 1), (60, 0)), ((0, 0), (60, 1)), ((0, 1), (60, 1)))
    )
    for name in INTEGRATED:
        scale = np.abs(plain[name]).max()
        np.testing.assert_allclose(is_one[name], plain[name], rtol=1e-6, atol=1e-7 * scale)
        total = falls[name] + rises[name]
        np.testing.assert_allclose(total, plain[name], rtol=1e-6, atol=1e-7 * scale)
    assert (falls.w_gg < plain.w_gg).all()
    assert (rises.w_gg > 0).all()
    np.testing.assert_array_equal(falls.xi_gplus_2, plain.xi_gplus_2)


@pytest.mark.parametrize("box", [None, 75.0, 400.0])
def test_other_boxes_and_surveys_have_other_long_modes(emulator, box):
    rp, pi_max = np.array([1.0, 5.0, 20.0]), 30.0
    own = emulator.card["box"]
    in_box, elsewhere = (
        emulator.predict_projected(
            POINT, rp, axis_ratio=AXIS_RATIO, conventions=Conventions(pi_max, box=b)
        )
        for b in (own, box)
    )
    cosmology = Cosmology.from_words(emulator.card["cosmology"])
    # All that enters is nearer than the largest separation in the smallest of these boxes.
    edges = emulator.fine_edges[emulator.fine_edges < 0.75 * 75]
    known, other = (LinearTheory(cosmology, emulator.card["redshift"], b) for b in (own, box))
    difference = other.correlation(edges) - known.correlation(edges)
    bias_squared = members(emulator)["xi"].mean(0) @ amplitude(known, emulator.fine_edges)
    added = bias_squared * difference @ projection(edges, rp, pi_max)
    np.testing.assert_allclose(elsewhere.w_gg - in_box.w_gg, added, rtol=2e-4)
    assert (np.sign(added) == (-1 if box == 75 else 1)).all()
    # Shapes see little of it.
    assert (np.abs(elsewhere.w_gplus / in_box.w_gplus - 1) < 0.05).all()
    np.testing.assert_array_equal(elsewhere.w_plusplus, in_box.w_plusplus)


def test_redshift_space_adds_what_linear_theory_says_to_positions_alone(emulator):
    real, redshift = (
        predict(emulator, conventions={"redshift_space": flag}) for flag in (False, True)
    )
    card = emulator.card
    theory, in_box = (
        LinearTheory(Cosmology.from_words(card["cosmology"]), card["redshift"], box)
        for box in (None, card["box"])
    )
    bias_squared = members(emulator)["xi"].mean(0) @ amplitude(in_box, emulator.fine_edges)
    added = KaiserCorrection(theory, RP_EDGES, PI_MAX)(np.array([bias_squared]))[0]
    np.testing.assert_allclose(redshift.w_gg - real.w_gg, added, rtol=1e-7)
    assert (added > 0).all()
    for name in ("w_gplus", "w_plusplus", "xi_gplus_2"):
        np.testing.assert_array_equal(redshift[name], real[name])


def test_numbers_of_numpy_are_numbers(emulator):
    plain = emulator.predict_projected(POINT, RP_EDGES, 60)
    for pi_max in (np.int64(60), np.float32(60)):
        np.testing.assert_array_equal(
            emulator.predict_projected(POINT, RP_EDGES, pi_max).w_gg, plain.w_gg
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis_ratio": 0.6, "response": 0.5}, "either axis_ratio or response, not both"),
        ({"axis_ratio": 0.0}, r"axis_ratio is 0.0; expected 0 < axis_ratio <= 1"),
        ({"axis_ratio": (0.6, 1.2)}, "axis_ratio is 1.2; expected"),
        ({"axis_ratio": 1.0}, r"response a_2 is 0.0; it must be above 0, that of axis ratio 1"),
        ({"axis_ratio": 0.05}, "response a_2 is .*at most 1.214, that of axis ratio 0.1"),
        ({"response": -0.1}, r"response a_2 is -0.1; it must be above 0"),
        ({"response": [0.5, np.nan]}, "response a_2 is nan"),
        ({"response": [0.5, 0.4, 0.3]}, r"has the shape \(3,\); expected one number, two"),
        ({"pi_max": None}, "w_gg is integrated along the line of sight: give pi_max"),
        ({"pi_max": -60.0}, "pi_max is -60.0; expected a positive number"),
        ({"pi_max": 5e3}, "pi_max = 5000 need pairs up to 5000 Mpc/h apart, but linear theory goes to 1000"),
        ({"rp_edges": [0.05, 1.0]}, r"r_p must be two or more increasing numbers from 0.1 Mpc/h on"),
        ({"rp_edges": [2.0, 1.0]}, "two or more increasing numbers"),
        ({"rp_edges": [1.0]}, "two or more increasing numbers"),
        ({"rp_edges": [1.0, np.nan]}, "two or more increasing numbers"),
        ({"r_edges": [0.5, 1.0]}, "Give rp_edges and pi_max for w_gg, and axis_ratio or response"),
        ({"r_edges": [0.05, 1.0], "axis_ratio": 0.6}, r"bins of r must be two or more increasing"),
        ({"rp_edges": None}, "Give rp_edges and pi_max"),
        ({"conventions": Conventions(40.0)}, "pi_max either by itself or in the conventions"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_refused_by_name(emulator, options, message):
    given = {"rp_edges": RP_EDGES, "pi_max": PI_MAX, **options}
    with pytest.raises(ValueError, match=message):
        emulator.predict_projected(POINT, **given)


def test_points_outside_the_domain_are_refused_as_everywhere(emulator):
    outside = np.array([*POINT[:2], 14.3, *POINT[3:]])
    with pytest.raises(ValueError, match=r"logMmin = 14.3 is outside the emulator's domain"):
        emulator.predict_projected(outside, RP_EDGES, PI_MAX)
    p = emulator.predict_projected(outside, RP_EDGES, PI_MAX, extrapolate=True)
    assert np.isfinite(p.w_gg).all()


def test_separations_must_fit_into_the_box_of_the_data(emulator):
    with pytest.raises(ValueError, match=r"r_p up to 25.* 60 need pairs up to 65 Mpc/h apart, but the "
                       "data's box has them to 56.25 Mpc/h only"):  # fmt: skip
        emulator.predict_projected(POINT, [1.0, 25.0], conventions=Conventions(60.0, box=75.0))


def test_weights_without_far_bins_refuse_by_name():
    paper = Emulator.load("paper")
    with pytest.raises(
        ValueError,
        match=r"of kind paper, do not predict w_gg, w_gplus, w_plusplus: .*key projected",
    ):
        paper.predict_projected(POINT, RP_EDGES, PI_MAX, axis_ratio=0.6)
    with pytest.raises(ValueError, match="No projected statistic gamma; there are w_gg"):
        paper.projected(["gamma"])


def test_a_cosmology_is_needed_only_where_linear_theory_is():
    """Within the box of the table nothing is added."""
    box, statistic = 250.0, PROJECTED["w_gg"]

    def map_of(words, conventions):
        return ProjectedMap(statistic, RP_EDGES, conventions, FAR_EDGES, Universe(words, 0.0, box))

    map_of(None, Conventions(PI_MAX, box=box))
    for conventions in (Conventions(PI_MAX), Conventions(PI_MAX, redshift_space=True, box=box)):
        map_of(WORDS, conventions)
        # When it is made, not when a chain has begun.
        with pytest.raises(ValueError, match="cosmology of the halo catalogue is None"):
            map_of(None, conventions)


def test_which_statistics_lack_degree_4_where_strengths_depend_on_mass():
    every = tuple(PROJECTED.values())
    assert incomplete(every, WATSON) == []
    assert incomplete(every, WATSON_MASS) == incomplete(every, INCLUDED) == ["w_plusplus"]
    known = tuple(STATISTICS.values())
    assert sources_of(every, known, WATSON_MASS) == known
    more = sources_of(every, known, WATSON)
    assert more[: len(known)] == known
    assert len(more) == len(known) + 9
