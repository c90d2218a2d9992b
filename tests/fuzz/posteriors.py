"""Points given to a log-posterior and its gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from iaemu_likelihood import posterior

from .cases import Case
from .changes import Rng, one, same
from .points import FORMS

OCCUPATION = dict(logMmin=12.54, sigma_logM=0.26, logM0=12.68, logM1=13.48, alpha=1.0)


def run_of(error: str = "none", **params: Any) -> dict[str, Any]:
    """The input of a fit of the first sample of TNG300."""
    return {
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {
            "iaemu_likelihood.tng300.Sample1": {"sample": None, "emulator_error": error}
        },
        "params": params,
    }


class Posteriors:
    """See the head of this module."""

    name = "posteriors"
    share = 8.0

    def __init__(self, folder: Path) -> None:
        self._posteriors = {
            "two, closed form": posterior(run_of(**OCCUPATION)),
            "two": posterior(run_of("total", **OCCUPATION)),
            "seven": posterior(run_of(ia_chi2_omega={"derived": True})),
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        which = one(rng, self._posteriors)
        target = self._posteriors[which]
        call = one(rng, ["log-posterior", "gradient"])
        theta = target.emulator.domain.sample(one(rng, [1, 2, 5]), int(rng.integers(1000)), "paper")
        x = theta[:, [target.emulator.space.names.index(name) for name in target.names]].copy()
        if rng.random() < 0.3:
            about, given, meant = self._outside(x, rng)
        else:
            about, given, meant = one(rng, FORMS)(x, tuple(target.names), rng)
            if about in ("not finite", "no points"):  # their posterior is -inf, or nothing
                meant = given

        def run() -> Any:
            return target.value_and_gradient(given) if call == "gradient" else (target(given), None)

        def wrong(found: Any) -> str:
            if meant is None:
                return f"accepted, {found[0]}"
            plain = np.array(meant, float, order="C")
            each = [self._plainly(target, row) for row in np.atleast_2d(plain)]
            values = np.array([value for value, _ in each])
            gradients = np.array([gradient for _, gradient in each]).reshape(-1, plain.shape[-1])
            shape = plain.shape[:-1]
            if np.shape(found[0]) != shape or not same(np.reshape(found[0], -1), values):
                return f"log-posterior {found[0]}, one by one {values}"
            if found[1] is None:
                return ""
            if np.shape(found[1]) != plain.shape or not same(
                np.reshape(found[1], gradients.shape), gradients, 1e-7
            ):
                return f"gradient {found[1]}, one by one {gradients}"
            return ""

        return Case(f"{which}, {call}: {about}, n = {len(x)}", run, wrong)

    def _plainly(self, target: Any, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at one point; -inf and 0 where there is no posterior."""
        if not np.isfinite(point).all():
            return -np.inf, np.zeros(len(point))
        value = target(point)
        if not np.isfinite(value):
            return -np.inf, np.zeros(len(point))
        return value, np.asarray(target.value_and_gradient(point)[1])

    def _outside(self, x: np.ndarray, rng: Rng) -> tuple[str, Any, np.ndarray]:
        """One point, or all, outside the prior or the domain, or not finite."""
        rows = slice(None) if rng.random() < 0.5 else int(rng.integers(len(x)))
        column, value = (
            int(rng.integers(x.shape[1])),
            one(rng, [1e6, -1e6, np.nan, np.inf, -np.inf, 40.0]),
        )
        x[rows, column] = value
        given = x[0] if rng.random() < 0.3 else x
        return (
            f"{value} in column {column} of {'all' if rows == slice(None) else 'one'}",
            given,
            given,
        )
