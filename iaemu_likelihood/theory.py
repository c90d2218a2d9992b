"""The emulator as a Cobaya theory code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from cobaya.log import LoggedError
from cobaya.theory import Theory
from cobaya.typing import InfoDict, empty_dict

from iaemu_likelihood.binning import PairWeightedBinning
from iaemu_likelihood.emulator.estimators import STATISTICS
from iaemu_likelihood.emulator.parameters import PARAMETERS
from iaemu_likelihood.emulator.prediction import Emulator, TemplatesEmulator, weights_sha256
from iaemu_likelihood.emulator.templates import combine_templates
from iaemu_likelihood.emulator.watson import p2

OUT_OF_DOMAIN = ("reject", "error", "extrapolate")


def parameter_names(sample: str | None) -> list[str]:
    """Names of the seven parameters of a sample, suffixed by its label if it has one."""
    return [f"{p}_{sample}" if sample else p for p in PARAMETERS]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of torch: two stall each other at single points."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class IAEmu(Theory):
    """IAEmu: xi, omega and eta of galaxies from halo-occupation and alignment parameters."""

    samples: Sequence[str] | None
    weights: str
    weights_sha256: str
    out_of_domain: str

    _enforce_types = True
    _at_resume_prefer_new = [*Theory._at_resume_prefer_new, "weights"]

    @classmethod
    def get_modified_defaults(
        cls, defaults: InfoDict, input_options: InfoDict = empty_dict
    ) -> InfoDict:
        """One set of the seven parameters per sample, and the hash of the weights as an option.

        As an option, the hash is written to the updated yaml, and a chain is not resumed with
        other weights than it was begun with.
        """
        samples = input_options.get("samples", defaults["samples"])
        if samples:
            defaults["params"] = {
                name: {**info, "latex": rf"{info['latex']}^{{\mathrm{{{sample}}}}}"}
                for sample in samples
                for name, info in zip(
                    parameter_names(sample), defaults["params"].values(), strict=True
                )
            }
        defaults["weights_sha256"] = weights_sha256(
            input_options.get("weights", defaults["weights"])
        )
        return defaults

    def initialize(self) -> None:
        if self.out_of_domain not in OUT_OF_DOMAIN:
            raise LoggedError(
                self.log,
                "out_of_domain is %r; it must be one of %s.",
                self.out_of_domain,
                OUT_OF_DOMAIN,
            )
        labels: list[str | None] = list(self.samples) if self.samples else [None]
        for label in labels:
            if label is not None and not (f"x_{label}".isidentifier() and labels.count(label) == 1):
                raise LoggedError(
                    self.log,
                    "samples must be distinct labels of letters, digits and '_'; got %r.",
                    self.samples,
                )
        self._labels = labels
        self._rejected = 0
        # Templates depend on the occupation only, which often stays where it is.
        self._hod = np.empty(0)
        self._binnings: dict[tuple[float, ...], PairWeightedBinning] = {}
        try:
            self._emulator = Emulator.load(self.weights)
        except (OSError, ValueError) as error:
            raise LoggedError(self.log, "%s", error) from error
        if self._emulator.card["weights_sha256"] != self.weights_sha256:
            raise LoggedError(
                self.log,
                "The weights %r (%s...) are not those of this run (%s...). Restore them, or start "
                "a new chain.",
                self.weights,
                self._emulator.card["weights_sha256"][:12],
                self.weights_sha256[:12],
            )
        self._names = [parameter_names(label) for label in labels]

    def get_version(self) -> str:
        return f"{version('iaemu_likelihood')}+w{self.weights_sha256[:8]}"

    def get_can_provide(self) -> list[str]:
        return ["ia_correlations"]

    def must_provide(self, **requirements: Any) -> None:
        super().must_provide(**requirements)
        options = requirements.get("ia_correlations") or {}
        sample = options.get("sample")
        if sample not in self._labels:
            raise LoggedError(
                self.log,
                "No sample %r: IAEmu was given %s. Add it to the option 'samples' of the theory, or "
                "set the likelihood's 'sample'.",
                sample,
                f"samples: {list(self.samples)}" if self.samples else "no samples (leave it out)",
            )
        unknown = [s for s in options.get("statistics", STATISTICS) if s not in STATISTICS]
        if unknown:
            raise LoggedError(self.log, "No statistic %s; there are %s.", unknown, STATISTICS)
        if options.get("r_edges") is not None:
            try:
                self._binning(options["r_edges"])
            except ValueError as error:
                raise LoggedError(self.log, "%s", error) from error

    def _binning(self, r_edges: Any) -> PairWeightedBinning:
        key = tuple(np.asarray(r_edges, float).tolist())
        if key not in self._binnings:
            self._binnings[key] = PairWeightedBinning(self._emulator.r_edges, key)
        return self._binnings[key]

    def initialize_with_provider(self, provider: Any) -> None:
        """Compare what is fixed or has a prior with the emulator's domain before anything runs."""
        super().initialize_with_provider(provider)
        model = provider.model
        constants = model.parameterization.constant_params()
        priors = dict(zip(model.parameterization.sampled_params(), model.prior.pdf, strict=True))
        for names in self._names:
            low, high = np.full(7, np.nan), np.full(7, np.nan)
            for i, name in enumerate(names):
                if name in constants:
                    low[i] = high[i] = constants[name]
                elif name in priors:
                    low[i], high[i] = priors[name].interval(1)
            domain = self._emulator.domain
            outer_low, outer_high = domain.outer_limits()
            for i in np.flatnonzero((low < outer_low) | (high > outer_high)).tolist():
                self.log.warning(
                    "The prior of %s, [%g, %g], reaches beyond the emulator's domain, [%g, %g]; "
                    "points outside: %s.",
                    names[i], low[i], high[i], outer_low[i], outer_high[i], self.out_of_domain,
                )  # fmt: skip
            if self.out_of_domain == "extrapolate" or not (low == high)[2:].all():
                continue
            point = np.concatenate([np.zeros(2), low[2:]])
            if not domain.contains(point):
                try:
                    domain.check(point)
                except ValueError as error:
                    raise LoggedError(
                        self.log, "The fixed parameters %s: %s", ", ".join(names[2:]), error
                    ) from error

    def calculate(
        self, state: InfoDict, want_derived: bool = True, **params_values_dict: Any
    ) -> bool:
        theta = np.array([[params_values_dict[p] for p in names] for names in self._names])
        mu, hod = theta[:, :2], theta[:, 2:]
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        if (np.abs(mu) > 1).any() or not (
            self.out_of_domain == "extrapolate" or self._emulator.domain.contains(theta).all()
        ):
            if self.out_of_domain == "error":
                self._emulator.domain.check(theta)
            self._rejected += 1
            return False
        if isinstance(self._emulator, TemplatesEmulator):
            if not np.array_equal(hod, self._hod):
                self._hod, self._templates = hod, self._evaluate(self._emulator, hod)
            each = combine_templates(self._templates, *p2(mu).T[..., None])
        else:
            with _one_thread():
                p = self._emulator.predict(theta, extrapolate=True, epistemic=False)
            each = p.xi, p.omega, p.eta
        correlations = np.stack(each)
        if not np.isfinite(correlations).all():
            self._rejected += 1
            return False
        state["ia_correlations"] = {
            label: correlations[:, i] for i, label in enumerate(self._labels)
        }
        return True

    @staticmethod
    def _evaluate(emulator: TemplatesEmulator, hod: np.ndarray) -> np.ndarray:
        """Mean of the ensemble, (n_samples, 6, 20)."""
        with _one_thread(), torch.inference_mode():
            return emulator.templates(torch.as_tensor(hod)).mean(0).numpy()

    def get_ia_correlations(
        self,
        sample: str | None = None,
        statistics: Sequence[str] = STATISTICS,
        r_edges: Sequence[float] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Predicted correlation functions of a sample, as new arrays.

        Parameters
        ----------
        sample : str, optional
            One of the option `samples`; left out if there is none.
        statistics : sequence of str
            Any of xi, omega, eta.
        r_edges : sequence of float, optional
            Bin edges, Mpc/h; the emulator's own when left out.
        """
        values = self.current_state["ia_correlations"][sample]
        binned = values.copy() if r_edges is None else self._binning(r_edges)(*values)
        named = dict(zip(STATISTICS, binned, strict=True))
        return {name: named[name] for name in statistics}

    def close(self, *args: Any) -> None:
        if self._rejected:
            self.log.info(
                "%d point(s) outside the emulator's domain were rejected.", self._rejected
            )
