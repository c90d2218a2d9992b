"""Hamiltonian Monte Carlo (NUTS, by Pyro) of the posterior that a Cobaya input describes.

Pyro gets the potential and its gradient directly, without tracing a model at every step. Each of
several chains runs in a process of its own, on one thread, and writes checkpoints. A chain that was
stopped and resumed ends in the same samples as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from iaemu_likelihood.cobaya.inputs import read_input
from iaemu_likelihood.cobaya.likelihood import likelihood_label
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.physics.statistics import OMEGA
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.evaluation import one_thread
from iaemu_likelihood.sampling.posterior import Posterior, posterior

Array = NDArray[np.float64]

# Seconds between checkpoints.
CHECKPOINT_INTERVAL = 10.0
# First step size, as in the paper (arXiv:2504.05235); Pyro adapts it during the warm-up.
STEP_SIZE = 0.005


def measurement_run(
    data_file: str, weights: str = "templates", emulator_error: str = "none", free_hod: bool = False
) -> dict[str, Any]:
    """The Cobaya input of the paper's experiment: a fit of omega of a sample at fixed occupation.

    Parameters
    ----------
    data_file : str
        ``tng300.sample1``, 2 or 3, or the path of a measurement whose metadata hold ``hod``.
    weights : str
        Weights of the emulator.
    emulator_error : str
        As in `IACorrelations.yaml`.
    free_hod : bool
        Sample the occupation, too, with priors that enclose the emulator's domain.

    Raises
    ------
    ValueError
        If the occupation is to be fixed, but the measurement does not hold one.
    """
    hod = Measurement.read(data_file).metadata.get("hod", {})
    if not hod and not free_hod:
        raise ValueError(
            f"{data_file} does not say at which occupation to fit (hod in its metadata). Give a "
            "Cobaya input instead, or sample the occupation, too."
        )
    data = {"data_file": data_file, "emulator_error": emulator_error}
    # Cobaya does not accept an empty dictionary, so chi^2 is always there.
    params = {f"ia_chi2_{likelihood_label(None, [OMEGA.name])}": {"derived": True}}
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"weights": weights}},
        "likelihood": {"data": {"class": "iaemu_likelihood.IACorrelations", **data}},
        "params": params if free_hod else {**params, **hod},
    }


# Takes an array, (d,), and returns a value and its gradient, (d,).
Function = Callable[[Array], tuple[float, Array]]


class Unconstrained:
    """Map from unbounded numbers to the sampled parameters.

    A parameter with limits is a logistic function of its number. If all occupation parameters of a
    sample are sampled, their limits are those of the emulator's domain inside the prior, which
    depend on the first of these parameters, so that no step leaves the domain.

    Parameters
    ----------
    posterior : Posterior

    Attributes
    ----------
    stays_inside : bool
        Whether all points of the map are inside the emulator's domain and all priors are flat.
    left_out : float
        Log-density of the priors if `stays_inside`, else 0.
    """

    def __init__(self, posterior: Posterior) -> None:
        self._domain = posterior.emulator.domain
        low, high = torch.as_tensor(posterior.bounds).unbind(-1)
        self._limited = low.isfinite() & high.isfinite()
        self._low = torch.where(self._limited, low, 0.0)
        self._width = torch.where(self._limited, high - low, 1.0)
        self._all_limited = bool(self._limited.all())
        # Columns of the first and of the other occupation parameters, for each sample in a band.
        self._bands: list[tuple[int, list[int]]] = []
        for names in posterior.parameters.values():
            _, hod = self._domain.space.split(names)
            if all(name in posterior.names for name in hod):
                first, *others = (posterior.names.index(name) for name in hod)
                self._bands.append((first, others))
        self.stays_inside = posterior.bounded and all(
            _stays_inside(posterior, names) for names in posterior.parameters.values()
        )
        self.left_out = float(posterior.log_prior_inside) if self.stays_inside else 0.0

    def _limits(self, share: Tensor) -> tuple[Tensor, Tensor]:
        low, width = self._low, self._width
        for first, others in self._bands:
            leading = low[first] + width[first] * share[first]
            lower, upper = self._domain.occupation_limits(leading)
            lower = torch.maximum(lower, low[others])
            upper = torch.minimum(upper, low[others] + width[others])
            index = torch.tensor(others)
            low, width = low.index_put((index,), lower), width.index_put((index,), upper - lower)
        return low, width

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters at z, shape (d,), and the logarithm of the Jacobian determinant."""
        share = torch.sigmoid(z)
        low, width = self._limits(share)
        # The last two terms are logsigmoid(z) + logsigmoid(-z), the log of the logistic slope.
        point, slopes = low + width * share, width.log() + 2 * logsigmoid(z) - z
        if not self._all_limited:
            point, slopes = torch.where(self._limited, point, z), slopes * self._limited
        return point, slopes.sum()

    def composed(self, function: Function) -> Function | None:
        """The sum of a function of the point and the log-Jacobian, as a function of z, in numpy.

        None if the limits depend on z, because their derivatives would be needed, too.
        """
        if self._bands or not self._all_limited:
            return None
        low, width = self._low.numpy(), self._width.numpy()
        log_width = np.log(width).sum()

        def of_z(z: Array) -> tuple[float, Array]:
            share = expit(z)
            value, gradient = function(low + width * share)
            jacobian = log_width + (log_expit(z) + log_expit(-z)).sum()
            return value + jacobian, gradient * width * share * (1 - share) + 1 - 2 * share

        return of_z

    def inverse(self, point: Array) -> Tensor:
        """The numbers z that give a point, shape (d,)."""
        x = torch.as_tensor(point)
        share = (x - self._low) / self._width
        low, width = self._limits(share)
        inner = ((x - low) / width).clamp(1e-9, 1 - 1e-9)
        return torch.where(self._limited, torch.logit(inner), x)


def _stays_inside(posterior: Posterior, names: list[str]) -> bool:
    """Whether limits of the sampled parameters keep a sample inside the emulator's domain."""
    space = posterior.emulator.space
    strengths, hod = space.split(names)
    low, high = space.alignment.limits
    limits = [posterior.bounds[posterior.names.index(x)] for x in strengths if x in posterior.names]
    return (
        all(name in posterior.names or name in posterior.fixed for name in names)
        and (all(x in posterior.names for x in hod) or all(x in posterior.fixed for x in hod))
        and all(low <= lower and upper <= high for lower, upper in limits)
    )


@dataclass(frozen=True)
class Chain:
    """One chain after its warm-up.

    Attributes
    ----------
    samples : ndarray, shape (n, d)
    log_posterior : ndarray, shape (n,)
    n_divergent : int
    n_gradients : int
        Number of gradients of the potential, warm-up included.
    step_size : float
    wall_s : float
        Total over all runs, resumed ones included.
    """

    samples: Array
    log_posterior: Array
    n_divergent: int
    n_gradients: int
    step_size: float
    wall_s: float


@dataclass(frozen=True)
class NUTSResult:
    """Chains with their diagnostics.

    Attributes
    ----------
    names : list of str
    chains : list of Chain
    means, stds, ess, rhat : dict of str to float
        By parameter, for all chains together; effective sample size and split R-hat by Pyro.
    wall_s : float
        Time from the call to the result.
    warm_up : int
        Number of steps of each chain before its samples.
    """

    names: list[str]
    chains: list[Chain]
    means: dict[str, float]
    stds: dict[str, float]
    ess: dict[str, float]
    rhat: dict[str, float]
    wall_s: float
    warm_up: int

    @property
    def n_divergent(self) -> int:
        """Number of divergent steps of all chains."""
        return sum(chain.n_divergent for chain in self.chains)

    def tables(self) -> list[Table]:
        """Table with a row for each parameter."""
        title = (
            f"NUTS: {len(self.chains)} x {len(self.chains[0].samples)} samples after {self.warm_up} "
            f"steps, {self.n_divergent} divergent; {self.wall_s:.0f} s"
        )
        rows = [
            [
                name,
                f"{self.means[name]:.4g} ± {self.stds[name]:.2g}",
                f"{self.ess[name]:.0f}",
                f"{self.rhat[name]:.4f}",
            ]
            for name in self.names
        ]
        return [Table(title, ["parameter", "mean ± sigma", "effective samples", "R-hat"], rows)]

    @property
    def numbers(self) -> dict[str, Any]:
        """All numbers, for a JSON file."""
        return {
            "wall_s": self.wall_s,
            "means": self.means,
            "stds": self.stds,
            "ess": self.ess,
            "rhat": self.rhat,
            "divergences": self.n_divergent,
            "gradients": sum(chain.n_gradients for chain in self.chains),
            "chains": [
                {"wall_s": c.wall_s, "step_size": c.step_size, "n_samples": len(c.samples)}
                for c in self.chains
            ],
        }


def run_nuts(
    run: str | Path | Mapping[str, Any],
    out: str | Path,
    n_chains: int = 1,
    warm_up: int = 2000,
    samples: int = 4000,
    seed: int = 1,
    force: bool = False,
    progress: bool = True,
) -> NUTSResult:
    """Sample a posterior. A run that was stopped goes on from its last checkpoint.

    Parameters
    ----------
    run : str, Path or mapping
        A Cobaya input; see `iaemu_likelihood.posterior`. Its sampler is ignored.
    out : str or Path
        Root of the files: GetDist chains OUT_1.txt, ..., with OUT.paramnames and OUT.ranges, and
        OUT.nc for ArviZ if that is installed. Checkpoints are in OUT.nuts.
    n_chains : int
        Number of chains; several run in processes of their own.
    warm_up, samples : int
        Numbers of steps of each chain; the defaults are the paper's (arXiv:2504.05235).
    seed : int
        Chain i draws from (seed, i).
    force : bool
        Start again and discard existing checkpoints.
    progress : bool

    Returns
    -------
    NUTSResult

    Raises
    ------
    ValueError
        If OUT holds a run with other settings, weights or data; also as `posterior`.
    """
    start = time.perf_counter()
    info = read_input(run)
    target = posterior(info)
    folder = Path(f"{out}.nuts")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"warm_up": warm_up, "samples": samples, "seed": seed, "version": 1}
    text = json.dumps({"run": target.identity, **settings}, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()
    if force:
        for file in folder.glob("chain_*.npz"):
            file.unlink()
    jobs = [(info, folder / f"chain_{i}.npz", key, i, warm_up, samples, seed, progress) for i in range(1, n_chains + 1)]  # fmt: skip
    for job in jobs:
        _Checkpoint(job[1], key).read()
    if n_chains == 1:
        chains = [_run_chain(*jobs[0], target=target)]
    else:
        with ProcessPoolExecutor(n_chains, mp_context=get_context("spawn")) as pool:
            chains = list(pool.map(_run_chain, *zip(*jobs, strict=True)))
    result = _summarise(target, chains, time.perf_counter() - start, warm_up)
    _write(target, chains, out)
    return result


def potential_of(target: Posterior) -> tuple[Any, Unconstrained]:
    """Minus the log-posterior in unconstrained numbers, which Pyro samples, and the map from these.

    The constant of a flat prior, `Unconstrained.left_out`, is left out.
    """
    constrain = Unconstrained(target)
    closed_form = target.closed_form if constrain.stays_inside else None
    function = constrain.composed(closed_form.at) if closed_form is not None else None
    density = target.log_likelihood_inside if constrain.stays_inside else target.log_prob

    def potential(z: dict[str, Tensor]) -> Tensor:
        if function is not None:
            return _Potential.apply(z["z"], function)
        point, jacobian = constrain(z["z"])
        return -(density(point[None])[0] + jacobian)

    return potential, constrain


class _Potential(torch.autograd.Function):
    """Minus a `Function` of a tensor, as a single node of the graph, since each node takes time."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, function: Function) -> Tensor:
        value, gradient = function(z.detach().numpy())
        ctx.slope = torch.from_numpy(-gradient)
        return torch.tensor(-value, dtype=torch.float64)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.slope, None


class _Checkpoint:
    """State of a chain in an npz file, without pickle and never half written."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._last = time.perf_counter()

    def read(self) -> dict[str, Array] | None:
        """Content of the file, or None if it does not exist."""
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = dict(file)
            found = str(state["key"])
        except Exception as error:  # numpy raises many kinds for a damaged file
            raise ValueError(
                f"{self.path} is damaged: {error}. Remove it, or start again (--force)."
            ) from error
        if found != self.key:
            raise ValueError(
                f"{self.path} belongs to a run with another input, weights, data, seed or length. "
                "Choose another output, or start again (--force)."
            )
        return state

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.perf_counter() - self._last > CHECKPOINT_INTERVAL

    def write(self, **state: Any) -> None:
        with atomic_write(self.path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, key=self.key, **state)
        self._last = time.perf_counter()


@one_thread()
def _run_chain(
    info: Mapping[str, Any],
    path: Path,
    key: str,
    index: int,
    warm_up: int,
    n_samples: int,
    seed: int,
    progress: bool,
    target: Posterior | None = None,
) -> Chain:
    from pyro.infer.mcmc import NUTS
    from tqdm import tqdm

    if target is None:
        logging.disable(logging.INFO)  # the process that started this one has logged the same
        target = posterior(info)
    start = time.perf_counter()
    evaluations = 0
    free, constrain = potential_of(target)

    def potential(z: dict[str, Tensor]) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return free(z)

    bar = tqdm(
        total=warm_up + n_samples, desc=f"chain {index}", position=index - 1,
        disable=not progress, unit="step", mininterval=0.5,
    )  # fmt: skip
    checkpoint = _Checkpoint(path, key)
    state = checkpoint.read()
    if state is None:
        child = np.random.SeedSequence([seed, index]).generate_state(2)
        torch.manual_seed(int(child[0]))
        z = constrain.inverse(target.start(1, int(child[1]))[0])
        kernel = NUTS(potential_fn=potential, step_size=STEP_SIZE, full_mass=True)
        kernel.initial_params = {"z": z}
        kernel.setup(warm_up)
        params = kernel.initial_params
        for _ in range(warm_up):
            params = kernel.sample(params)
            bar.update()
        inverse_mass = kernel.inverse_mass_matrix[("z",)]
        step_size = float(kernel.step_size)
        z = params["z"]
        drawn, log_posterior = np.empty((0, len(z))), np.empty(0)
        n_divergent, spent = 0, 0.0
    else:
        z, inverse_mass = torch.as_tensor(state["z"]), torch.as_tensor(state["inverse_mass"])
        step_size, evaluations = float(state["step_size"]), int(state["gradients"])
        drawn, log_posterior = state["samples"], state["log_posterior"]
        n_divergent, spent = int(state["divergent"]), float(state["wall_s"])
        torch.set_rng_state(torch.as_tensor(state["rng"]))
        bar.update(warm_up + len(drawn))

    # This kernel is made only from what a checkpoint holds, so that a chain that was stopped goes
    # on exactly as one that was not.
    kernel = NUTS(
        potential_fn=potential, step_size=step_size, adapt_step_size=False,
        adapt_mass_matrix=False, full_mass=True,
    )  # fmt: skip
    kernel.initial_params = {"z": z}
    kernel.setup(0)
    kernel.mass_matrix_adapter.inverse_mass_matrix = {("z",): inverse_mass}
    kernel.clear_cache()
    params = {"z": z}
    new: list[Array] = []
    new_log_posterior: list[float] = []
    before = n_divergent

    def chain() -> Chain:
        """The chain so far."""
        samples = np.concatenate([drawn, np.reshape(new, (-1, drawn.shape[1]))])
        densities = np.concatenate([log_posterior, new_log_posterior])
        wall = spent + time.perf_counter() - start
        return Chain(samples, densities, n_divergent, evaluations, step_size, wall)

    def save() -> None:
        c = chain()
        checkpoint.write(
            z=params["z"].numpy(), inverse_mass=inverse_mass.numpy(), step_size=c.step_size,
            samples=c.samples, log_posterior=c.log_posterior, divergent=c.n_divergent,
            gradients=c.n_gradients, rng=torch.get_rng_state().numpy(), wall_s=c.wall_s,
        )  # fmt: skip

    if state is None:
        save()
    for _ in range(n_samples - len(drawn)):
        params = kernel.sample(params)
        with torch.no_grad():
            point, jacobian = constrain(params["z"])
        new.append(point.numpy())
        energy: Any = kernel._potential_energy_last
        new_log_posterior.append(-float(energy) - float(jacobian) + constrain.left_out)
        n_divergent = before + len(kernel.diagnostics()["divergences"])
        bar.update()
        if checkpoint.due:
            save()
    if new:
        save()
    bar.close()
    return chain()


def _summarise(target: Posterior, chains: list[Chain], wall: float, warm_up: int) -> NUTSResult:
    from pyro.ops.stats import effective_sample_size, split_gelman_rubin

    draws = torch.as_tensor(np.stack([chain.samples for chain in chains]))

    def by_name(values: Any) -> dict[str, float]:
        return dict(zip(target.names, (float(x) for x in values), strict=True))

    flat = draws.flatten(0, 1)
    diagnostics = effective_sample_size(draws), split_gelman_rubin(draws)
    means, stds, ess, rhat = map(by_name, (flat.mean(0), flat.std(0), *diagnostics))
    return NUTSResult(target.names, chains, means, stds, ess, rhat, wall, warm_up)


def _write(target: Posterior, chains: list[Chain], out: str | Path) -> None:
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    for file in Path(out).parent.glob(f"{Path(out).name}_*.txt"):
        file.unlink()  # of a run with more chains
    for_getdist = target.getdist(
        [chain.samples for chain in chains], log_posterior=[chain.log_posterior for chain in chains]
    )
    for_getdist.saveChainsAsText(str(out), properties={"burn_removed": "T", "sampler": "mcmc"})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ArviZ announces its next version, also in the log
            logging.getLogger("arviz.preview").setLevel(logging.WARNING)
            import arviz
    except ImportError:
        return
    columns = np.stack([chain.samples for chain in chains])
    data = arviz.from_dict(
        posterior={name: columns[..., i] for i, name in enumerate(target.names)},
        sample_stats={"lp": np.stack([chain.log_posterior for chain in chains])},
    )
    with atomic_write(Path(f"{out}.nc")) as unfinished:
        data.to_netcdf(str(unfinished))
