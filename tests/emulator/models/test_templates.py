import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import CARD_FILE, WEIGHTS_FILE, weights_folder
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import ETA, OMEGA
from iaemu_likelihood.emulator.physics.templates import templates_of
from safetensors.torch import load_file, save_file

POINT = np.array([0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0])


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def points(emulator):
    rng = np.random.default_rng(4)
    unit = rng.uniform(-1, 1, (64, 7))
    return np.concatenate([unit[:, :2], emulator.domain.from_unit(unit[:, 2:])], axis=1)


def test_forms_of_input_agree_and_come_out_in_double_precision(emulator):
    one = emulator.predict(POINT)
    assert one.xi.shape == one.omega.shape == one.eta.shape == one.r.shape == (20,)
    assert one.xi.dtype == one.epistemic.omega.dtype == np.float64
    named = emulator.predict(**dict(zip(DEFAULT_SPACE.names, POINT, strict=True)))
    np.testing.assert_array_equal(one.omega, named.omega)
    many = emulator.predict(np.tile(POINT, (3, 1)))
    assert many.eta.shape == (3, 20)


def test_batch_equals_single_points(emulator, points):
    together = emulator.predict(points)
    for i, point in enumerate(points):
        one = emulator.predict(point)
        for name in ("xi", "omega", "eta"):
            np.testing.assert_allclose(
                getattr(together, name)[i], getattr(one, name), rtol=1e-10, atol=1e-13
            )


def test_many_points_at_once_are_the_same_in_any_order(emulator):
    """Many are computed some at a time, and network after network."""
    theta = emulator.domain.sample(1500, seed=4)
    many = emulator.predict(theta)
    assert many.omega.shape == (1500, 20)
    some = np.array([3, 700, 1400])
    few = emulator.predict(theta[some])
    for name in ("xi", "omega", "eta"):
        np.testing.assert_allclose(getattr(many, name)[some], getattr(few, name), rtol=1e-10)
        for kind in ("aleatoric", "epistemic"):
            a, b = (getattr(getattr(p, kind), name) for p in (many, few))
            np.testing.assert_allclose(a[some], b, rtol=1e-8)


@pytest.mark.parametrize("statistics", [("xi", "omega", "eta"), ("omega",), ("xi", "eta")])
def test_arrays_for_a_few_points_and_tensors_with_gradients_agree(emulator, points, statistics):
    theta = torch.as_tensor(points)
    errors = ("aleatoric", "epistemic")
    arrays, tensors = emulator(theta), emulator(theta.clone().requires_grad_())
    for which in ("aleatoric", "epistemic"):
        for name in ("xi", "omega", "eta"):
            a, b = (getattr(getattr(x, which), name).detach() for x in (arrays, tensors))
            torch.testing.assert_close(a, b, rtol=1e-9, atol=0)
    # One occupation first for strengths without gradients, then for strengths that have some.
    mu, hod = theta[:, :2], theta[:, 2:]
    some = emulator.chosen(statistics)
    occupied = emulator.at(hod, some)
    mean, found_errors = occupied(mu, some, errors)
    with_gradients = mu.clone().requires_grad_(), hod.clone().requires_grad_()
    for found, known in (
        (occupied(with_gradients[0], some, errors), ()),
        (emulator.at(with_gradients[1], some)(mu, some, errors), with_gradients[1:]),
    ):
        torch.testing.assert_close(found[0], mean, rtol=1e-10, atol=1e-13)
        for kind in errors:
            scale = found_errors[kind].abs().amax(dim=(-2, -1), keepdim=True)
            assert ((found[1][kind] - found_errors[kind]).abs() / scale).max() < 1e-8
        assert found[0].requires_grad
        assert found[1]["aleatoric"].requires_grad
        for inputs in known:
            assert torch.autograd.grad(found[0].sum(), inputs)[0].isfinite().all()
    again, _ = occupied(mu, some, errors)
    torch.testing.assert_close(again, mean, rtol=0, atol=0)


def test_single_precision_and_back(points):
    emulator = Emulator.load()
    theta = emulator.domain.sample(600, seed=5)  # enough for the faster matrix product
    double = emulator.predict(theta)
    single = emulator.to(dtype=torch.float32).predict(theta)
    one = emulator.predict(theta[7])
    for name in ("xi", "omega", "eta"):
        a, b = getattr(single, name), getattr(double, name)
        sigma = getattr(double.aleatoric, name)
        assert a.dtype == np.float32
        assert (np.abs(a - b) / sigma).max() < 2e-3
        assert (np.abs(getattr(one, name) - b[7]) / sigma[7]).max() < 2e-3
        np.testing.assert_allclose(getattr(single.aleatoric, name), sigma, rtol=1e-4)
        spread = getattr(double.epistemic, name)
        np.testing.assert_allclose(getattr(single.epistemic, name), spread, rtol=0.05, atol=1e-7)
    again = emulator.to(dtype=torch.float64).predict(theta)
    np.testing.assert_array_equal(again.eta, double.eta)


@pytest.mark.parametrize("name", ["templates", "paper"])
def test_an_impossible_move_leaves_the_emulator_where_it_was(name):
    moving = Emulator.load(name)
    before = moving.predict(POINT).omega
    for dtype in (torch.float16, torch.int64, torch.complex128, "float32", np.float32):
        with pytest.raises(ValueError, match=r"it must be torch\.float32 or torch\.float64"):
            moving.to(dtype=dtype)
    for device in ("nowhere", "cpu:x", "cuda:99", 3.5):
        with pytest.raises(ValueError, match=r"device is .*, which cannot be used"):
            moving.to(device, torch.float64)
    np.testing.assert_array_equal(moving.predict(POINT).omega, before)


@pytest.mark.parametrize("name", ["templates", "paper"])
def test_gradients_after_predictions(name):
    """What predictions leave in memory serves gradients as well."""
    emulator = Emulator.load(name)
    theta = torch.as_tensor(emulator.domain.sample(3, seed=6))
    with torch.inference_mode():
        emulator.at(theta[:, 2:], (OMEGA,))(theta[:, :2], (OMEGA,), ["aleatoric"])
    emulator.predict(theta.numpy())
    point = theta.clone().requires_grad_()
    mean, errors = emulator.at(point[:, 2:], (OMEGA,))(point[:, :2], (OMEGA,), ["aleatoric"])
    (mean.sum() + errors["aleatoric"].sum()).backward()
    assert point.grad.isfinite().all()
    assert (point.grad != 0).all()


def test_the_edges_belong_to_the_domain(emulator, points):
    lower, upper = emulator.domain.limits(points)
    for i in range(7):
        for edge, beyond in ((lower[:, i], -1e-9), (upper[:, i], 1e-9)):
            theta = points.copy()
            theta[:, i] = edge
            # The bands of the others move with logMmin.
            theta[:, 3:] = np.clip(theta[:, 3:], *(x[:, 3:] for x in emulator.domain.limits(theta)))
            assert np.isfinite(emulator.predict(theta).eta).all()
            theta[:, i] += beyond
            with pytest.raises(ValueError, match="outside the emulator's domain"):
                emulator.predict(theta)


@pytest.mark.parametrize("name", ["templates", "paper"])
@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("gradients", [False, True])
def test_everything_is_where_the_emulator_was_moved_to(name, n, gradients):
    # A device without numbers: like a GPU it refuses tensors from elsewhere, and every machine has it.
    moved = Emulator.load(name).to("meta")
    with torch.inference_mode(not gradients):
        theta = torch.empty(n, 7, device="meta", dtype=torch.float64, requires_grad=gradients)
        p = moved(theta)
        mean, errors = moved.at(theta[:, 2:], (OMEGA, ETA))(
            theta[:, :2], (OMEGA, ETA), ("aleatoric", "epistemic")
        )
    tensors = (p.r, p.xi, p.aleatoric.omega, p.epistemic.eta, mean, *errors.values())
    assert {x.device.type for x in tensors} == {"meta"}
    assert p.eta.shape == (n, 20)
    assert errors["aleatoric"].shape == (n, 40, 40)
    assert errors["epistemic"].shape[1:] == mean.shape
    assert p.omega.requires_grad == mean.requires_grad == gradients


def test_exact_limits(emulator, points):
    random = points.copy()
    random[:, :2] = 0
    p = emulator.predict(random)
    np.testing.assert_allclose(p.omega, 0, atol=1e-14)
    np.testing.assert_allclose(p.eta, 0, atol=1e-14)
    # xi does not know about orientations, to the last bit.
    np.testing.assert_array_equal(p.xi, emulator.predict(points).xi)
    # Satellites alone: the sign of omega and the size of eta follow P2(mu_sat).
    one, half = random.copy(), random.copy()
    one[:, 1], half[:, 1] = 1.0, -1.0  # P2 = 1 and -1/2
    np.testing.assert_allclose(
        emulator.predict(half).omega, -0.5 * emulator.predict(one).omega, rtol=1e-9, atol=1e-13
    )
    np.testing.assert_allclose(
        emulator.predict(half).eta, 0.25 * emulator.predict(one).eta, rtol=1e-9, atol=1e-13
    )


def test_gradients_against_finite_differences(emulator):
    theta = torch.tensor(POINT, requires_grad=True)
    for name in ("xi", "omega", "eta"):
        jacobian = torch.autograd.functional.jacobian(
            lambda t, name=name: getattr(emulator(t), name), theta
        )
        for i in range(7):
            step = np.zeros(7)
            step[i] = 1e-5
            up, down = (getattr(emulator.predict(POINT + s), name) for s in (step, -step))
            difference = (up - down) / 2e-5
            np.testing.assert_allclose(
                jacobian[:, i].numpy(),
                difference,
                rtol=1e-5,
                atol=1e-7 * np.abs(difference).max() + 1e-9,
            )


def test_tensor_call_equals_predict(emulator, points):
    p, q = emulator(torch.as_tensor(points)), emulator.predict(points)
    np.testing.assert_allclose(p.omega.numpy(), q.omega, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(p.epistemic.xi.numpy(), q.epistemic.xi, rtol=1e-9)


def test_domain_is_kept_unless_told_otherwise(emulator):
    outside = POINT.copy()
    outside[2] = 14.3
    with pytest.raises(
        ValueError, match=r"logMmin = 14.3 is outside the emulator's domain \[11.4, 14\]"
    ):
        emulator.predict(outside)
    assert np.isfinite(emulator.predict(outside, extrapolate=True).xi).all()
    meaningless = POINT.copy()
    meaningless[0] = 1.01
    with pytest.raises(ValueError, match=r"mu_cen = 1.01 is outside"):
        emulator.predict(meaningless, extrapolate=True)
    with pytest.raises(ValueError, match="alpha is nan"):
        emulator.predict([*POINT[:6], np.nan])


def test_accuracy_on_stored_expectations(emulator):
    """Templates tabulated on the bundled catalogue; tests/emulator/expectation/reference.py made the file."""
    with np.load(
        Path(__file__).parents[1] / "expectation/reference.npz", allow_pickle=False
    ) as file:
        hod, truth = file["hod"], file["templates"]
    with torch.inference_mode():
        xi, *others = emulator.templates(torch.as_tensor(hod)).mean(0).numpy().swapaxes(0, 1)
    guess = np.stack(emulator.binning(xi, *others), axis=1)
    limits = {
        "xi": 0.01,
        "omega_c": 0.01,
        "omega_s": 0.01,
        "eta_cc": 0.05,
        "eta_cs": 0.03,
        "eta_ss": 0.03,
    }
    for i, name in enumerate(template.name for template in templates_of(emulator.statistics)):
        counted = np.abs(truth[:, i]) > 0.03 * np.abs(truth[:, i]).max(axis=0)
        error = np.abs(guess[:, i] / truth[:, i] - 1)[counted]
        assert np.median(error) < limits[name], name


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(weights_folder("templates"), tmp_path / "copy")


def test_loads_from_a_folder(copied):
    np.testing.assert_array_equal(
        Emulator.load(copied).predict(POINT).xi, Emulator.load().predict(POINT).xi
    )


def test_tampered_truncated_and_foreign_weights_are_refused(copied, tmp_path):
    path, card = copied / "weights.safetensors", copied / "card.yaml"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"weights.safetensors is not the file that its card describes"
    ):
        Emulator.load(copied)
    path.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="changed or truncated"):
        Emulator.load(copied)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="missing beside its card"):
        Emulator.load(copied)
    fields = yaml.safe_load(card.read_text())
    card.write_text(yaml.safe_dump({**fields, "schema": 99}))
    with pytest.raises(
        ValueError, match="schema 99, but this version of iaemu_likelihood reads 1, 2, 3"
    ):
        Emulator.load(copied)
    write_card(copied, {**fields, "kind": "forest"})
    with pytest.raises(ValueError, match="kind is 'forest'; it must be one of paper, templates"):
        Emulator.load(copied)
    card.write_text("just words")
    with pytest.raises(ValueError, match="not a readable card"):
        Emulator.load(copied)
    with pytest.raises(
        FileNotFoundError,
        match=r"neither bundled \(paper, templates, z0\), nor in .*, nor a folder",
    ):
        Emulator.load(tmp_path / "nothing")


def test_weights_of_the_first_schema_load_without_noise(copied, points):
    """As version 0.1.0 first wrote them: no noise, no epistemic factor."""
    tensors = load_file(copied / WEIGHTS_FILE)
    later = ("occupation", "shape", "projected", "epistemic_factor")
    old = {k: v for k, v in tensors.items() if k.split(".")[0] not in later}
    save_file(old, copied / WEIGHTS_FILE)
    card = yaml.safe_load((copied / CARD_FILE).read_text())
    card |= {"schema": 1, "weights_sha256": sha256(copied / WEIGHTS_FILE)}
    del card["content_sha256"], card["learned"]
    (copied / CARD_FILE).write_text(yaml.safe_dump(card))
    loaded, new = Emulator.load(copied), Emulator.load()
    p, q = loaded.predict(points), new.predict(points)
    np.testing.assert_array_equal(p.omega, q.omega)
    assert p.aleatoric is None
    factor = q.epistemic.omega / p.epistemic.omega
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"have no noise \(schema 1\); train again"):
        loaded.covariance(points)


def test_weights_from_before_projected_statistics(copied, points):
    """As version 0.1.0 had them: the paper's bins alone, and no word of what else was learned."""
    new, tensors = Emulator.load(), load_file(copied / WEIGHTS_FILE)
    n_fine = new.n_fine()
    every_other = np.arange(6)[:, None] * n_fine + np.arange(0, n_fine, 2)
    last = {max(name for name in tensors if name.startswith(x)) for x in ("weights.", "biases.")}
    old = {
        name: x[..., every_other.ravel()].contiguous() if name in {*last, "mean", "scale"} else x
        for name, x in tensors.items()
        if name != "fine_edges" and not name.startswith("projected.")
    }
    save_file(old, copied / WEIGHTS_FILE)
    card = yaml.safe_load((copied / CARD_FILE).read_text())
    for key in ("learned", "content_sha256"):
        del card[key]
    del card["training"]["projected"]
    write_card(copied, card | {"weights_sha256": sha256(copied / WEIGHTS_FILE)})
    loaded = Emulator.load(copied)
    assert loaded.learned == loaded.statistics == new.statistics
    np.testing.assert_array_equal(loaded.fine_edges, loaded.r_edges)
    hod = torch.as_tensor(points[:, 2:])
    with torch.inference_mode():
        expected = new.templates(hod)[..., ::2]
        torch.testing.assert_close(loaded.templates(hod), expected, rtol=1e-10, atol=1e-13)
    p = loaded.predict(points)
    np.testing.assert_allclose(p.xi, expected.mean(0)[:, 0], rtol=1e-10)
    np.testing.assert_array_equal(loaded.covariance(points[:3]), new.covariance(points[:3]))
    with pytest.raises(
        ValueError, match=r"do not predict w_gg: they know xi, omega, eta up to 15.85"
    ):
        loaded.predict_projected(points, [1.0, 2.0], 60.0)


def test_noise_of_the_emulator(emulator, points):
    p = emulator.predict(points)
    covariance = emulator.covariance(points)
    assert covariance.shape == (len(points), 60, 60)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).reshape(-1, 3, 20)
    for i, name in enumerate(("xi", "omega", "eta")):
        np.testing.assert_allclose(sigma[:, i], getattr(p.aleatoric, name), rtol=1e-9)
    scaled = covariance / (sigma.reshape(-1, 60, 1) * sigma.reshape(-1, 1, 60))
    assert np.linalg.eigvalsh(scaled).min() > 1e-6
    np.testing.assert_allclose(emulator.covariance(points[3]), covariance[3], rtol=1e-8, atol=1e-18)
    # xi does not know about orientations.
    aligned = points.copy()
    aligned[:, :2] = 1.0
    q = emulator.predict(aligned)
    np.testing.assert_array_equal(q.aleatoric.xi, p.aleatoric.xi)
    with pytest.raises(ValueError, match="outside the emulator's domain"):
        emulator.covariance([*POINT[:6], 3.0])


def test_gradients_of_the_noise(emulator):
    theta = torch.tensor(POINT, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda t: emulator(t).aleatoric.omega, theta)
    for i in range(7):
        step = np.zeros(7)
        step[i] = 1e-5
        up, down = (emulator.predict(POINT + s).aleatoric.omega for s in (step, -step))
        difference = (up - down) / 2e-5
        np.testing.assert_allclose(
            jacobian[:, i], difference, rtol=1e-5, atol=1e-7 * np.abs(difference).max() + 1e-12
        )


def test_card_cannot_run_code(copied):
    (copied / "card.yaml").write_text("schema: !!python/object/apply:os.getcwd []")
    with pytest.raises(ValueError, match="not a readable card"):
        Emulator.load(copied)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_edges_in_lower_precision_belong_to_the_domain(emulator, kind):
    """11.4 in single precision is less than 11.4 in double."""
    domain = emulator.domain
    points = domain.sample(40, seed=3)
    points[:8, 2], points[8:16, 2] = domain.bands.first
    points[:, 3:] = domain.from_unit(2 * np.random.default_rng(1).random((40, 5)) - 1)[:, 1:]
    lower, upper = domain.limits(points)
    points[::2, 3:], points[1::2, 3:] = lower[::2, 3:], upper[1::2, 3:]
    rounded = points.astype(kind)
    assert not domain.contains(rounded.astype(np.float64)).all()
    found = emulator.predict(rounded)
    by_name = emulator.predict(dict(zip(DEFAULT_SPACE.names, rounded.T, strict=True)))
    exact = emulator.predict(points)
    np.testing.assert_array_equal(found.xi, by_name.xi)
    np.testing.assert_allclose(found.xi, exact.xi, rtol=100 * np.finfo(kind).eps)
    assert emulator.covariance(rounded[:2]).shape == (2, 60, 60)
    # In double precision the same numbers are outside, and no less precise ones far from the edge are in.
    with pytest.raises(ValueError, match="outside the emulator's domain"):
        emulator.predict(rounded.astype(np.float64))
    with pytest.raises(ValueError, match="outside the emulator's domain"):
        emulator.predict(rounded - kind(0.05))
    inside = POINT.astype(kind)
    np.testing.assert_array_equal(
        emulator.predict(inside).eta, emulator.predict(inside.astype(np.float64)).eta
    )


def test_one_number_in_lower_precision_is_on_the_edge(emulator):
    point = dict(zip(DEFAULT_SPACE.names, POINT, strict=True))
    point |= {"logMmin": np.float32(11.4), "logM0": 11.0, "logM1": 12.6}
    assert float(point["logMmin"]) < 11.4
    exact = emulator.predict({**point, "logMmin": 11.4})
    np.testing.assert_array_equal(emulator.predict(point).xi, exact.xi)
    with pytest.raises(ValueError, match="outside"):
        emulator.predict({**point, "logMmin": float(np.float32(11.4))})
    with pytest.raises(ValueError, match="outside"):
        emulator.predict({**point, "logMmin": np.nextafter(np.float32(11.4), np.float32(0))})
    # The other parameters are in double precision, so that nothing is added to their edges.
    _, upper = emulator.domain.limits(POINT[None])
    others = {"logMmin": np.float32(12.54), "logM1": 13.48, "alpha": upper[0, 6] + 1e-6}
    with pytest.raises(ValueError, match=r"alpha = .* is outside"):
        emulator.predict(point | others)
