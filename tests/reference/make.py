"""Makes predictions.npz: what the bundled weights predict, and the TNG300 log-likelihoods.

Also makes the folder begun, with chains that later versions go on with. All of it is made again only
when the bundled weights change:

python tests/reference/make.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from cobaya.run import run
from iaemu_likelihood.emulator import Emulator

from iaemu_likelihood import posterior
from iaemu_likelihood.sampling import run_nuts

SAMPLES = {
    "sample1": [12.54, 0.26, 12.68, 13.48, 1.0],
    "sample2": [11.93, 0.26, 12.05, 12.85, 1.0],
    "sample3": [11.61, 0.26, 11.80, 12.60, 1.0],
}
ERRORS = ("none", "aleatoric", "epistemic", "total")
NAMES = ("logMmin", "sigma_logM", "logM0", "logM1", "alpha")
STATISTICS = ("xi", "omega", "eta")


def run_of(sample, error, fixed):
    """The Cobaya input of a TNG300 fit, with the occupation fixed or sampled."""
    values = dict(zip((f"{n}_{sample}" for n in NAMES), SAMPLES[sample], strict=True))
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": [sample]}},
        "likelihood": {f"iaemu_likelihood.tng300.{sample.capitalize()}": {"emulator_error": error}},
        "params": values if fixed else {f"mu_cen_{sample}": {"prior": {"min": -1, "max": 1}}},
    }


def predictions(weights, theta, n_covariances):
    """Means, both uncertainties and covariances in float64, of many points and of single ones."""
    emulator = Emulator.load(weights).to(dtype=torch.float64)
    many = emulator.predict(theta)
    single = [emulator.predict(point) for point in theta[:n_covariances]]
    found = {}
    for kind, parts in (("many", [many]), ("single", single)):
        for name in STATISTICS:
            for part in ("mean", "aleatoric", "epistemic"):
                values = [getattr(p if part == "mean" else getattr(p, part), name) for p in parts]
                found[f"{weights}/{kind}/{part}/{name}"] = np.stack(values).reshape(-1, 20)
    found[f"{weights}/covariance"] = emulator.covariance(theta[:n_covariances])
    return found


def log_likelihoods():
    """Of the TNG300 samples at three strengths and, all seven sampled, with gradients."""
    mu = np.array([[0.8, 0.3], [0.5, 0.05], [-0.2, 0.9]])
    found = {"mu": mu}
    for sample, hod in SAMPLES.items():
        for error in ERRORS:
            found[f"{sample}/{error}"] = posterior(run_of(sample, error, True)).log_likelihood(mu)
        free = posterior(run_of(sample, "aleatoric", False))
        points = np.column_stack([mu, np.tile(hod, (len(mu), 1))])
        order = [f"{n}_{sample}" for n in ("mu_cen", "mu_sat", *NAMES)]
        points = points[:, [order.index(name) for name in free.names]]
        value, gradient = free.value_and_gradient(points)
        found[f"{sample}/free"], found[f"{sample}/gradient"] = value, gradient
    return found


def everything():
    """All arrays by name."""
    domain = Emulator.load().domain
    theta = domain.sample(200, seed=31)
    found = {"theta": theta}
    found |= predictions("templates", theta, 8) | predictions("paper", theta[:16], 2)
    found |= predictions("z0", theta[:16], 2)
    return found | log_likelihoods()


def begin(folder):
    """A Cobaya chain and a NUTS chain of a TNG300 fit, for later versions to go on with."""
    info = run_of("sample1", "none", True)
    sampler = {"mcmc": {"max_samples": 60, "seed": 1, "output_every": 10}}
    run({**info, "sampler": sampler, "output": str(folder / "begun")}, force=True)
    path = folder / "begun.input.yaml"
    path.write_text(path.read_text().replace(str(folder / "begun"), "begun"))
    # The checkpoint of a chain of 400 samples after 50 of them.
    states = {}
    with TemporaryDirectory() as other:
        for n in (50, 400):
            run_nuts(info, Path(other) / str(n), warm_up=200, samples=n, seed=1, progress=False)
            states[n] = dict(np.load(Path(other) / f"{n}.nuts" / "chain_1.npz", allow_pickle=False))
    path = folder / "nuts_begun.nuts"
    path.mkdir(exist_ok=True)
    np.savez(path / "chain_1.npz", **states[50] | {"key": states[400]["key"]})


if __name__ == "__main__":
    here = Path(__file__).parent
    np.savez_compressed(here / "predictions.npz", **everything())
    begin(here / "begun")
