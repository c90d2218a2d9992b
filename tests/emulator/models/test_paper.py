import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from iaemu_likelihood.emulator.datasets.dataset import DataSet
from iaemu_likelihood.emulator.models import Emulator, paper
from iaemu_likelihood.emulator.models.paper import PaperEmulator
from iaemu_likelihood.emulator.networks.iaemu import PaperNetwork
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.watson import p2
from iaemu_likelihood.emulator.training import paper as paper_training
from iaemu_likelihood.emulator.training.cards import write_weights
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config
from iaemu_likelihood.emulator.training.paper import (
    Catalogues,
    PaperTraining,
    beta_nll,
    tensors_of,
)
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

N_BINS = 3
DOMAIN = Domain.of()


class Noise:
    """Gaussian, of one covariance for all points."""

    def __init__(self, scale=0.02):
        rng = np.random.default_rng(7)
        factor = torch.as_tensor(np.tril(rng.normal(size=(3 * N_BINS, 3 * N_BINS))))
        self.factor = scale * factor / factor.norm(dim=1, keepdim=True)

    def sigma(self, theta):
        return self.factor.norm(dim=1).reshape(1, 3, N_BINS).expand(len(theta), -1, -1).to(theta)

    def draw_noise(self, theta, generator):
        z = torch.randn(len(theta), 3 * N_BINS, dtype=torch.float64, generator=generator)
        return (z @ self.factor.T).reshape(-1, 3, N_BINS)


def data_set(n, seed=1):
    """Templates that are simple functions of the parameters."""
    hod = DOMAIN.sample(n, seed)[:, 2:]
    unit = DOMAIN.to_unit(hod)
    slopes = np.random.default_rng(2).normal(size=(5, 6 * N_BINS))
    templates = np.exp(unit @ slopes / 4).reshape(n, 6, N_BINS) - 0.5
    split = np.arange(n) % 8 // 7
    edges = np.logspace(-1, 1.2, N_BINS + 1)
    return DataSet("expectation", hod, split, edges, {"templates": templates}, {})


CONFIG = DEFAULT_CONFIG.with_name("paper.yaml")


@pytest.fixture(scope="module")
def data():
    return data_set(1024)


@pytest.fixture(scope="module")
def config():
    return replace(
        read_training_config(CONFIG), epochs=9, batch=32, n_passes=8, network={"dropout": 0.1}
    )


def fit(module, **options):
    quiet = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "accelerator": "cpu", "gradient_clip_val": 1.0,
    }  # fmt: skip
    if "callbacks" not in options:
        quiet["enable_checkpointing"] = False
    path = options.pop("ckpt_path", None)
    trainer = Trainer(**{**quiet, "max_epochs": module.config.epochs, **options})
    trainer.fit(module, ckpt_path=path, weights_only=True)
    return trainer


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_epoch_start(self, trainer, module):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture(scope="module")
def trained(data, config):
    module = PaperTraining(data, Noise(), config)
    before = module.network.decoders[0][2].layers[1].running_mean.clone()
    module.rates = Rates()
    module.trainer_of_fixture = fit(module, callbacks=[module.rates], enable_checkpointing=False)
    assert not torch.equal(before, module.network.decoders[0][2].layers[1].running_mean)
    return module


@pytest.fixture(scope="module")
def emulator(trained, config):
    return PaperEmulator(tensors_of(trained), card_of(config))


def card_of(config):
    return {"redshift": 0.0, "domain": DOMAIN.to_dict(), "training": asdict(config)}


@pytest.fixture(scope="module")
def theta():
    return torch.as_tensor(DOMAIN.sample(6, 5))


# ---------------------------------------------------------------- network


def test_the_network_is_the_papers():
    network = PaperNetwork(7, 3, 20)
    # Of the released code, counted there.
    assert sum(p.numel() for p in network.parameters()) == 660_602
    for decoder in network.decoders:
        assert decoder[-1].bias[1] == 0
    shortcuts = [type(block.shortcut).__name__ for block in network.embedding]
    assert shortcuts == ["NoneType", "NoneType", "Linear", "Identity", "NoneType"]
    for decoder in network.decoders:
        with_shortcut = [i for i in range(6) if decoder[2 + i].shortcut is not None]
        assert with_shortcut == [2, 5]
    mean, variance = network(torch.randn(9, 7))
    assert mean.shape == variance.shape == (9, 3, 20)
    assert (variance > 0).all()


def test_a_block_adds_its_shortcut_to_normalised_then_activated_values():
    block = PaperNetwork(7, 3, N_BINS).embedding[2].train()
    linear, norm, _, dropout = block.layers
    dropout.rate = 0.0
    x = torch.randn(50, 128)
    y = linear(x)
    normalised = (y - y.mean(0)) / (y.var(0, unbiased=False) + norm.eps).sqrt()
    expected = torch.where(normalised > 0, normalised, 0.01 * normalised) + block.shortcut(x)
    torch.testing.assert_close(block(x), expected)


def test_statistics_are_told_apart():
    """Each decoder feeds its own statistic, and mean and variance are different channels."""
    network = PaperNetwork(7, 3, N_BINS).eval()
    x = torch.randn(4, 7)
    before = torch.stack(network(x))
    with torch.no_grad():
        network.decoders[1][-1].bias[1] += 3
    changed = (torch.stack(network(x)) != before).flatten(3).any(-1).any(1)
    assert changed.tolist() == [[False, False, False], [False, True, False]]


def test_masks_drop_the_given_share_and_keep_the_mean():
    network = PaperNetwork(7, 3, 20, dropout=0.3)
    masks = network.draw_masks(20, torch.Generator().manual_seed(1))
    assert len(masks) == 5 + 3 * 7
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (masks[5] == 0).float().mean() == pytest.approx(0.3, abs=0.02)


def test_passes_are_separate_networks_and_leave_no_trace():
    network = PaperNetwork(7, 3, N_BINS).eval()
    masks = network.draw_masks(2, torch.Generator().manual_seed(1))
    x = torch.randn(4, 7)
    plain = network(x)[0]
    with network.thinned(masks):
        both = network(x.repeat(2, 1))[0].unflatten(0, (2, 4))
    for i in range(2):
        with network.thinned([mask[i : i + 1] for mask in masks]):
            torch.testing.assert_close(network(x)[0], both[i])
    assert (both[0] - both[1]).abs().min() > 0
    with network.thinned([torch.ones_like(mask[:1]) for mask in masks]):
        torch.testing.assert_close(network(x)[0], plain)
    with pytest.raises(RuntimeError), network.thinned(masks):
        network(torch.randn(4, 6))
    assert torch.equal(network(x)[0], plain)


# ---------------------------------------------------------------- training


def test_drawn_catalogues_have_the_mean_and_the_covariance_of_the_noise(data):
    """At one HOD point, many times: 1 + xi is a positive log-normal even if noise is large."""
    n = 60_000
    noise = Noise(0.8)
    columns = torch.as_tensor(data.columns["templates"][:1]).repeat(n, 1, 1)
    columns[:, 1:] = 0  # so that mu, different in each draw, does not matter
    xi = columns[0, 0]
    catalogues = Catalogues(torch.as_tensor(data.parameters[:1]).repeat(n, 1), columns, noise)
    theta, values = catalogues.draw(torch.Generator().manual_seed(3))
    one_plus_xi = values[:, 0].exp()
    sigma = noise.sigma(theta)[0]
    assert (1 + xi - 2 * sigma[0] < 0).any()
    torch.testing.assert_close(one_plus_xi.mean(0), 1 + xi, rtol=0.02, atol=0)
    torch.testing.assert_close(one_plus_xi.std(0), sigma[0], rtol=0.05, atol=0)
    covariance = values[:, 1:].flatten(1).T.cov()
    expected = (noise.factor @ noise.factor.T)[N_BINS:, N_BINS:]
    torch.testing.assert_close(covariance, expected, rtol=0, atol=0.02)
    assert values[:, 1:].mean(0).abs().max() < 0.02
    mu = theta[:, :2]
    assert mu.min() < -0.99
    assert mu.max() > 0.99
    assert mu.T.corrcoef()[0, 1].abs() < 0.02


def test_drawn_catalogues_follow_their_mu(data):
    """Without noise, omega and eta are those of the templates at the mu drawn beside them."""
    few = data.select(np.arange(20))
    theta, values = Catalogues.of(few, Noise(1e-9), "cpu").draw(torch.Generator().manual_seed(1))
    c, s = p2(theta[:, :2].numpy()).T[:, :, None]
    xi, omega_c, omega_s, cc, cs, ss = few.columns["templates"].transpose(1, 0, 2)
    expected = [np.log1p(xi), c * omega_c + s * omega_s, c**2 * cc + c * s * cs + s**2 * ss]
    np.testing.assert_allclose(values, np.stack(expected, axis=1), atol=1e-7)


def test_only_expectations_are_trained_on(data, config):
    with pytest.raises(ValueError, match="expectation, not of halotools"):
        PaperTraining(replace(data, kind="halotools"), Noise(), config)
    with pytest.raises(ValueError, match="896 training points do not fill a batch of 1000"):
        PaperTraining(data, Noise(), replace(config, batch=1000))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_nll(beta):
    m, v, y = torch.tensor([0.3, -1.0]), torch.tensor([0.2, 4.0]), torch.tensor([0.5, 2.0])
    m.requires_grad_()
    v.requires_grad_()
    loss = beta_nll(m, v, y, beta)
    loss.sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(loss, v**beta * 0.5 * (torch.log(v) + (y - m) ** 2 / v))
        torch.testing.assert_close(m.grad, v**beta * (m - y) / v)
        torch.testing.assert_close(v.grad, v**beta * 0.5 * (1 / v - (y - m) ** 2 / v**2))


def test_batches_follow_from_seed_and_epoch(data, config):
    def batches(seed, epoch):
        module = PaperTraining(data, Noise(), replace(config, seed=seed))
        torch.rand(epoch + 3)  # the state of the global generator does not matter
        trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        trainer.fit_loop.epoch_progress.current.completed = epoch
        module.trainer = trainer
        module.on_train_epoch_start()
        return module._inputs, module._targets, torch.tensor(module._dropout_seeds)

    first, again = batches(1, 2), batches(1, 2)
    assert first[0].shape == (28, 32, 7)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    for other in (batches(1, 3), batches(2, 2)):
        for a, b in zip(first, other, strict=True):
            assert not torch.equal(a, b)


@pytest.mark.slow
def test_targets_and_inputs_are_scaled(trained):
    targets, inputs = trained._targets.flatten(0, 1), trained._inputs.flatten(0, 1)
    torch.testing.assert_close(targets.mean((0, 2)), torch.zeros(3), rtol=0, atol=0.1)
    torch.testing.assert_close(targets.std((0, 2)), torch.ones(3), rtol=0.1, atol=0)
    torch.testing.assert_close(inputs.std(0), torch.ones(7), rtol=0.1, atol=0)


@pytest.mark.slow
def test_training_learns_and_steps_down(trained, emulator, config):
    assert trained.rates.rates == pytest.approx([0.01] * 3 + [0.001] * 3 + [0.0001] * 3)
    assert "loss" in trained.trainer_of_fixture.callback_metrics
    test = data_set(256, seed=9)
    theta, values = Catalogues.of(test, Noise(1e-9), "cpu").draw(torch.Generator().manual_seed(11))
    p = emulator(theta, epistemic=False)
    found = torch.stack([p.xi.log1p(), p.omega, p.eta], dim=1)
    # 1 for the mean of the training points.
    error = ((found - values).square().mean((0, 2)) / values.var((0, 2))).sqrt()
    assert (error < torch.tensor([0.8, 0.75, 0.9])).all()


def test_validation_loss_is_the_documented_one(trained):
    trainer = Trainer(
        logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False
    )
    (found,) = trainer.validate(trained, verbose=False)
    inputs, targets = trained.validation.tensors
    assert len(inputs) == 128
    with torch.no_grad():
        mean, variance = trained.network.eval()(inputs)
    nll = 0.5 * (variance.log() + (targets - mean) ** 2 / variance)
    expected = 0.7 * ((targets - mean) ** 2).mean() + 0.3 * nll.mean()
    assert found["validation"] == pytest.approx(float(expected), rel=1e-5)


def test_beta_is_one_in_the_warm_up_alone(data, config, monkeypatch):
    seen = []

    def spy(mean, variance, target, beta):
        seen.append(torch.as_tensor(beta).flatten().tolist())
        return beta_nll(mean, variance, target, beta)

    monkeypatch.setattr(paper_training, "beta_nll", spy)
    module = PaperTraining(data, Noise(), replace(config, epochs=2, warm_up=0.5))
    fit(module, limit_train_batches=1, limit_val_batches=0)
    assert seen == [[1.0], pytest.approx([0.9, 0.5, 0.5])]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training(data, config):
    module = PaperTraining(data, Noise(), config)

    class Spoil(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            if (trainer.current_epoch, index) == (1, 3):
                module._targets[3, 0, 0, 0] = torch.nan

    with pytest.raises(ValueError, match="nan in epoch 1, batch 3"):
        fit(module, callbacks=[Spoil()], enable_checkpointing=False)


@pytest.mark.slow
def test_a_resumed_training_ends_at_the_same_weights(trained, data, config, tmp_path):
    # Stopped on the way, as a run of the same length that was killed.
    stopped = PaperTraining(data, Noise(), config)
    torch.rand(5)
    fit(stopped, max_epochs=3, callbacks=[ModelCheckpoint(tmp_path, filename="last")])
    resumed = PaperTraining(data, Noise(), config)
    fit(resumed, ckpt_path=tmp_path / "last.ckpt")
    state = trained.network.state_dict()
    assert not torch.equal(stopped.network.embedding[0].layers[0].weight, state["embedding.0.layers.0.weight"])  # fmt: skip
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, state[name]), name


# ---------------------------------------------------------------- emulator


def test_predictions_have_shapes_and_do_not_change(emulator, theta):
    p = emulator(theta)
    torch.manual_seed(99)
    again = emulator(theta)
    before = torch.get_rng_state()
    for name in ("xi", "omega", "eta"):
        assert getattr(p, name).shape == (6, N_BINS)
        assert getattr(p, name).dtype == torch.float64
        assert torch.equal(getattr(p, name), getattr(again, name))
        for sigma in ("aleatoric", "epistemic"):
            values = getattr(getattr(p, sigma), name)
            assert values.shape == (6, N_BINS)
            assert (values > 0).all()
            assert torch.equal(values, getattr(getattr(again, sigma), name))
    assert torch.equal(before, torch.get_rng_state())
    assert not any(module.training for module in emulator._network.modules())
    assert not p.epistemic.xi.requires_grad
    quick = emulator(theta, epistemic=False)
    assert quick.epistemic is None
    assert torch.equal(quick.eta, p.eta)


def test_folded_batch_normalisation_changes_nothing():
    torch.manual_seed(3)
    network = PaperNetwork(7, 3, N_BINS)
    x = torch.randn(64, 7)
    for _ in range(3):
        network(x)  # so that the running statistics are not trivial
    network.eval()
    masks = network.draw_masks(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = network(x)
        with network.thinned(masks):
            thinned = network(x)
        network.fold()
        assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in network.modules())
        torch.testing.assert_close(network(x), plain, rtol=1e-4, atol=1e-5)
        with network.thinned(masks):
            torch.testing.assert_close(network(x), thinned, rtol=1e-4, atol=1e-5)
        omega = network(x, [1])
    for some, all_three in zip(omega, plain, strict=True):
        torch.testing.assert_close(some[:, 0], all_three[:, 1], rtol=1e-4, atol=1e-5)


def test_a_point_does_not_depend_on_its_company(emulator, theta, monkeypatch):
    many = emulator(theta)
    one = emulator(theta[2])
    assert one.xi.shape == one.aleatoric.eta.shape == one.epistemic.omega.shape == (N_BINS,)
    monkeypatch.setattr(paper, "MAX_ROWS", 4)
    parts = emulator(theta)
    for get in (lambda p: p.xi, lambda p: p.aleatoric.eta, lambda p: p.epistemic.omega):
        torch.testing.assert_close(get(one), get(many)[2], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(get(parts), get(many), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_epistemic_is_the_scatter_between_dropout_passes(emulator, theta):
    """Against torch's own dropout, of which the masks are one draw."""
    network = emulator._network
    inputs = (theta - emulator._scaling["input_mean"]) / emulator._scaling["input_scale"]
    try:
        for layer in network._dropouts:
            layer.train()
        with torch.no_grad():
            omega = torch.stack([network(inputs.float())[0][:, 1] for _ in range(200)])
    finally:
        network.eval()
    scatter = emulator._scaling["target_scale"][1] * omega.std(0)
    more = torch.Generator().manual_seed(4)
    masks, emulator._masks = emulator._masks, network.draw_masks(200, more)
    found = emulator(theta).epistemic.omega
    emulator._masks = masks
    torch.testing.assert_close(found, scatter.double(), rtol=0.4, atol=0)
    assert (found / scatter).mean() == pytest.approx(1, abs=0.05)


def test_back_transform_against_draws(emulator):
    m = torch.tensor([0.3, 0.5, -0.2]).double()[None, :, None].expand(1, 3, N_BINS)
    v = torch.tensor([3.0, 0.3, 2.0]).double()[None, :, None].expand(1, 3, N_BINS)
    mean, variance = emulator._physical(m, v)
    z = torch.randn(200_000, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = m + v.sqrt() * z
    scale, centre = emulator._scaling["target_scale"], emulator._scaling["target_mean"]
    drawn = centre[:, None] + scale[:, None] * drawn
    drawn[:, 0] = torch.expm1(drawn[:, 0])
    torch.testing.assert_close(mean[0], drawn.mean(0), rtol=0, atol=5e-3)
    torch.testing.assert_close(variance[0], drawn.var(0), rtol=0.02, atol=0)


@pytest.mark.slow
def test_gradients_against_finite_differences(emulator, theta):
    emulator._network.double()  # differences are rounded away in single precision
    try:
        point = theta[1].clone().requires_grad_()

        def total(x):
            parts = (x - emulator._scaling["input_mean"]) / emulator._scaling["input_scale"]
            mean, variance = emulator._physical(*emulator._network(parts[None]))
            return mean.sum() + variance.sqrt().sum()

        (exact,) = torch.autograd.grad(total(point), point)
        step = 1e-6 * torch.eye(7, dtype=torch.float64)
        numeric = torch.stack([(total(point + h) - total(point - h)) / 2e-6 for h in step])
    finally:
        emulator._network.float()
    torch.testing.assert_close(exact, numeric, rtol=1e-4, atol=1e-7)
    p = emulator(point)
    everything = sum(x.sum() for x in (p.xi, p.omega, p.eta))
    everything += sum(x.sum() for x in (p.aleatoric.xi, p.aleatoric.omega, p.aleatoric.eta))
    (single,) = torch.autograd.grad(everything, point)
    torch.testing.assert_close(single, exact, rtol=1e-3, atol=1e-4)


def test_covariance_is_the_diagonal_of_the_aleatoric_variances(emulator, theta):
    covariance = emulator.covariance(theta.numpy())
    assert covariance.shape == (6, 3 * N_BINS, 3 * N_BINS)
    sigma = emulator(theta).aleatoric
    expected = np.concatenate([sigma.xi[3], sigma.omega[3], sigma.eta[3]]) ** 2
    np.testing.assert_allclose(covariance[3], np.diag(expected), rtol=1e-4)
    assert emulator.covariance(theta[0].numpy()).shape == (3 * N_BINS, 3 * N_BINS)


def test_weights_load_from_their_files(emulator, trained, config, theta, tmp_path):
    write_weights(tmp_path, tensors_of(trained), Emulator.load("paper").card | card_of(config))
    p = Emulator.load(tmp_path).predict(theta.numpy())
    expected = emulator(theta)
    np.testing.assert_array_equal(p.xi, expected.xi)
    np.testing.assert_array_equal(p.aleatoric.omega, expected.aleatoric.omega)
    np.testing.assert_array_equal(p.epistemic.eta, expected.epistemic.eta)


def test_prediction_needs_none_of_the_training():
    """As installed without extras."""
    code = (
        "import sys, iaemu_likelihood.emulator.models.paper; "
        "print(*({'lightning', 'h5py', 'halotools', 'numba'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_configuration_errors_name_the_keys(tmp_path):
    fields = yaml.safe_load(CONFIG.read_text())
    del fields["epochs"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**fields, "epoch": 3}))
    with pytest.raises(ValueError, match="unknown keys: epoch; missing keys: epochs"):
        read_training_config(path)
    with pytest.raises(ValueError, match="n_passes is 1"):
        replace(read_training_config(CONFIG), n_passes=1)
