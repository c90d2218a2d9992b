"""Hamiltonian Monte Carlo (NUTS, by Pyro) of the posterior that a Cobaya input describes.

Pyro gets the potential and its gradient directly, without tracing a model at every step. Each of
several chains runs in a process of its own, on one thread, and writes checkpoints. A chain that was
stopped and resumed ends in the same samples as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.cobaya.likelihood import likelihood_label
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.atomic import atomic_write, check_writable, read_arrays
from iaemu_likelihood.emulator.backend import unaffected
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.physics.statistics import OMEGA
from iaemu_likelihood.emulator.reading import expanded
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.evaluation import one_thread
from iaemu_likelihood.sampling.fingerprint import fingerprint
from iaemu_likelihood.sampling.posterior import Posterior, check_whole, posterior
from iaemu_likelihood.sampling.potential import potential_of

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Seconds between checkpoints.
CHECKPOINT_INTERVAL = 10.0
# Divergent steps, of all, that are worth a warning.
DIVERGENT_SHARE = 0.003
# R-hat is that of the halves of a chain, which need a variance.
MIN_SAMPLES = 4
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
        If the occupation is to be fixed, but the measurement does not hold one, or holds something
        else than numbers.
    """
    hod = Measurement.read(data_file).hod
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
        By parameter, for all chains together; effective sample size and split R-hat by Pyro. The
        last two are NaN if a chain has fewer than 4 samples, or all of them are equal; and so are
        standard deviations of a single sample.
    wall_s : float
        Time from the call to the result.
    warm_up : int
        Number of steps of each chain before its samples.
    emulator_errors : list of str
        The option emulator_error of each likelihood.
    """

    names: list[str]
    chains: list[Chain]
    means: dict[str, float]
    stds: dict[str, float]
    ess: dict[str, float]
    rhat: dict[str, float]
    wall_s: float
    warm_up: int
    emulator_errors: list[str]

    @property
    def sampling_s(self) -> float:
        """Time that the slowest chain took, in all runs that were resumed, in seconds."""
        return max(chain.wall_s for chain in self.chains)

    @property
    def n_divergent(self) -> int:
        """Number of divergent steps of all chains."""
        return sum(chain.n_divergent for chain in self.chains)

    def sentences(self) -> list[str]:
        """What there is to know before these numbers are used; nothing if all is well."""
        n = sum(len(chain.samples) for chain in self.chains)
        lines = []
        if self.n_divergent > DIVERGENT_SHARE * n:
            lines.append(
                f"{self.n_divergent} of {n} steps diverged, {1000 * self.n_divergent / n:.1f} per "
                "mille: the chains may have missed a part of the posterior. Do not trust their means "
                "and errors, even if R-hat is near 1. The warm-up may be too short; or parameters "
                "and priors that are functions lead out of the emulator's domain or end abruptly. "
                "Warm up longer, narrow the priors, or take another sampler."
            )
        unknown = [
            name for name in self.names if not np.isfinite([self.ess[name], self.rhat[name]]).all()
        ]
        if unknown:
            lines.append(
                f"There is no R-hat or number of effective samples of {', '.join(unknown)}: they "
                f"take at least {MIN_SAMPLES} samples a chain, which differ. Take more steps."
            )
        return lines

    def tables(self) -> list[Table]:
        """Table with a row for each parameter."""
        title = (
            f"NUTS: {len(self.chains)} x {len(self.chains[0].samples)} samples after {self.warm_up} "
            f"steps, {self.n_divergent} divergent; {self.sampling_s:.0f} s; emulator_error: "
            + ", ".join(dict.fromkeys(self.emulator_errors))
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
            "emulator_errors": self.emulator_errors,
            "warnings": self.sentences(),
            "gradients": sum(chain.n_gradients for chain in self.chains),
            "chains": [
                {"wall_s": c.wall_s, "step_size": c.step_size, "n_samples": len(c.samples)}
                for c in self.chains
            ],
        }


@unaffected(gradients=True)
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
        Number of chains; several run in processes of their own, as many at a time as there are
        cores.
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
        If a number is out of range, OUT is a folder, OUT.nuts holds a run with other settings,
        weights or data, or the input holds a function whose source is not known; also as
        `posterior`.
    OSError
        If another run is at work on OUT, OUT cannot be written, a file there is not of such a run,
        or the process of a chain was killed.
    """
    start = time.perf_counter()
    check_whole("n_chains", n_chains, 1)
    check_whole("warm_up", warm_up, 0)
    check_whole("samples", samples, 1)
    check_whole("seed", seed, 0)
    root = expanded(out).absolute()
    if root.is_dir() or str(out).endswith(os.sep):
        raise ValueError(
            f"{out} is a folder; give the beginning of the names of files, such as {root / 'nuts'}."
        )
    target = posterior(run)
    settings = {"warm_up": warm_up, "samples": samples, "seed": seed, "version": 1}
    text = json.dumps({"run": target.identity, **settings}, sort_keys=True, default=fingerprint)
    key = hashlib.sha256(text.encode()).hexdigest()
    folder = root.with_name(f"{root.name}.nuts")
    root.parent.mkdir(parents=True, exist_ok=True)
    check_writable(_chain_file(root, 1))
    folder.mkdir(exist_ok=True)
    with exclusive(folder):
        found = _own_chains(folder)
        numbers = range(1, n_chains + 1)
        if force:
            for i, checkpoint in found.items():
                checkpoint.unlink()
                _chain_file(root, i).unlink(missing_ok=True)
        else:
            _refuse_files_of_others(root, [i for i in numbers if i not in found])
        jobs = [(folder / f"chain_{i}.npz", key, i, warm_up, samples, seed, progress) for i in numbers]  # fmt: skip
        for path, *_ in jobs:
            _Checkpoint(path, key).read()
        chains = [_run_chain(target, *jobs[0])] if n_chains == 1 else _run_chains(target, jobs)
        for i in _own_chains(folder).keys() - numbers:
            _chain_file(root, i).unlink(missing_ok=True)  # of this run, when it had more chains
        _write(target, chains, root)
    result = _summarise(target, chains, time.perf_counter() - start, warm_up)
    for sentence in result.sentences():
        log.warning("%s", sentence)
    return result


def _chain_file(root: Path, index: int) -> Path:
    """The file of a chain for GetDist."""
    return root.with_name(f"{root.name}_{index}.txt")


def _own_chains(folder: Path) -> dict[int, Path]:
    """Checkpoints in a folder, by the numbers of their chains."""
    found = ((re.fullmatch(r"chain_(\d+)\.npz", path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match}


def _refuse_files_of_others(root: Path, new: Sequence[int]) -> None:
    """Raise a FileExistsError if chains without a checkpoint would replace a file."""
    for path in (_chain_file(root, i) for i in new):
        if path.exists():
            raise FileExistsError(
                f"{path} exists and is not of a run that could go on, of which {root.name}.nuts would "
                "have a checkpoint. Move it, choose another output, or replace it (--force)."
            )


def _run_chains(target: Posterior, jobs: Sequence[tuple[Any, ...]]) -> list[Chain]:
    """Run several chains, each in a process of its own, which ends with this one."""
    pickle.dumps(target)  # or raise, before there are processes
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    n_processes = min(len(jobs), os.cpu_count() or 1)
    pool = ProcessPoolExecutor(n_processes, context, initializer=_end_with, initargs=(theirs,))
    try:
        with ours, theirs, pool:
            try:
                return list(pool.map(_run_chain, [target] * len(jobs), *zip(*jobs, strict=True)))
            except BaseException:
                ours.close()  # so that no chain goes on after an interruption or an error
                raise
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "A chain's process ended before its chain. Was it killed, for its memory perhaps? In a "
            'script, run_nuts must be called below `if __name__ == "__main__":`, because processes '
            "of chains import the script. Chains go on from their checkpoints when run again."
        ) from error


def _end_with(parent: Connection) -> None:
    """End this process as soon as the other end of a pipe is closed, however its process ended."""

    def watch() -> None:
        wait([parent])
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts the parent, too
    logging.disable(logging.INFO)  # the parent has logged the same
    Thread(target=watch, daemon=True).start()


# What a checkpoint holds, and the shape of each: n samples of d parameters.
_SHAPES = {
    "z": "d", "inverse_mass": "dd", "samples": "nd", "log_posterior": "n", "step_size": "",
    "divergent": "", "gradients": "", "wall_s": "",
}  # fmt: skip


def _check_state(state: Mapping[str, Array], path: Path) -> None:
    """Raise a ValueError if something is missing from a checkpoint, or could not be its content."""
    missing = [name for name in ("key", *_SHAPES, "rng") if name not in state]
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    size = {"d": state["z"].size, "n": state["log_posterior"].size}
    for name, axes in _SHAPES.items():
        x, shape = state[name], tuple(size[axis] for axis in axes)
        if x.shape != shape or x.dtype.kind not in "iuf" or not np.isfinite(x).all():
            raise ValueError(
                f"{path} is damaged: {name} does not hold finite numbers of the shape {shape}."
            )
    rng = torch.get_rng_state().numpy()
    if (state["rng"].dtype, state["rng"].shape) != (rng.dtype, rng.shape):
        raise ValueError(f"{path} is damaged: rng is no state of random numbers.")


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
            state = read_arrays(self.path)
            _check_state(state, self.path)
        except ValueError as error:
            raise ValueError(f"{error} Remove it, or start again (--force).") from error
        if str(state["key"]) != self.key:
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
@torch.random.fork_rng(devices=())
def _run_chain(
    target: Posterior,
    path: Path,
    key: str,
    index: int,
    warm_up: int,
    n_samples: int,
    seed: int,
    progress: bool,
) -> Chain:
    from pyro.infer.mcmc import NUTS
    from tqdm import tqdm

    start = time.perf_counter()
    evaluations = 0
    free, constrain = potential_of(target)

    def potential(z: dict[str, Tensor]) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return free(z)

    bar = tqdm(
        total=warm_up + n_samples, desc=f"NUTS, chain {index}", position=index - 1,
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
    unknown = torch.full_like(flat[0], torch.nan)
    ess, rhat = unknown, unknown
    if draws.shape[1] >= MIN_SAMPLES:
        moved = (draws != draws[:, :1]).any(1).all(0)
        ess = torch.where(moved, effective_sample_size(draws), unknown)
        rhat = torch.where(moved, split_gelman_rubin(draws), unknown)
    std = flat.std(0) if len(flat) > 1 else unknown
    means, stds, sizes, ratios = map(by_name, (flat.mean(0), std, ess, rhat))
    errors = [likelihood.options.emulator_error for likelihood in target.likelihoods]
    return NUTSResult(target.names, chains, means, stds, sizes, ratios, wall, warm_up, errors)


def _write(target: Posterior, chains: list[Chain], root: Path) -> None:
    for_getdist = target.getdist(
        [chain.samples for chain in chains], log_posterior=[chain.log_posterior for chain in chains]
    )
    for_getdist.saveChainsAsText(str(root), properties={"burn_removed": "T", "sampler": "mcmc"})
    try:
        _write_for_arviz(target, chains, Path(f"{root}.nc"))
    except Exception as error:  # an import or a file system may raise anything; chains are complete
        log.warning("%s.nc, for ArviZ, is missing: %s: %s", root, type(error).__name__, error)


def _write_for_arviz(target: Posterior, chains: list[Chain], path: Path) -> None:
    if find_spec("arviz") is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ announces its next version, also in the log
        logging.getLogger("arviz.preview").setLevel(logging.WARNING)
        import arviz
    columns = np.stack([chain.samples for chain in chains])
    data = arviz.from_dict(
        posterior={name: columns[..., i] for i, name in enumerate(target.names)},
        sample_stats={"lp": np.stack([chain.log_posterior for chain in chains])},
    )
    with atomic_write(path) as unfinished:
        data.to_netcdf(str(unfinished))
