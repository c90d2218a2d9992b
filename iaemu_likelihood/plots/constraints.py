"""Constraints of chains with their convergence, as a table for the terminal and one for LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.plots.chains import rows_of_chains, shown_parameters
from iaemu_likelihood.plots.labels import plain, printable_in_tex

if TYPE_CHECKING:
    from getdist import MCSamples


@dataclass(frozen=True)
class Constraints:
    """Constraints of one chain.

    Attributes
    ----------
    label : str
    samples : getdist.MCSamples
    """

    label: str
    samples: MCSamples

    @property
    def r_minus_1(self) -> float | None:
        """Gelman and Rubin's R-1 of the worst combination of parameters, as Cobaya's.

        It is of several chains, or of the halves of a single one; None for nested samplers, whose
        points are no chain, and where the samples are too few.
        """
        from getdist.chains import WeightedSamples

        s = self.samples
        if s.sampler == "nested" or not s.paramNames.numNonDerived():
            return None
        parts = rows_of_chains(s)
        if len(parts) < 2:
            middle = np.searchsorted(np.cumsum(s.weights), s.weights.sum() / 2)
            parts = [slice(None, middle), slice(middle, None)]
        chains = [WeightedSamples(samples=s.samples[x], weights=s.weights[x]) for x in parts]
        if min(len(chain.samples) for chain in chains) < 2:
            return None
        found = s.getGelmanRubinEigenvalues(chainlist=chains)
        return None if found is None else float(np.max(found))

    def effective(self, name: str) -> float:
        """Number of independent samples that would give the mean of a parameter as well."""
        s = self.samples
        if s.sampler == "nested":
            return float(s.weights.sum() ** 2 / (s.weights**2).sum())
        return float(s.getEffectiveSamples(s.paramNames.numberOfName(name)))

    @property
    def numbers(self) -> dict[str, Any]:
        """All numbers, for a JSON file."""
        s = self.samples
        return {
            "chain": self.label,
            "samples": int(s.numrows),
            "r_minus_1": self.r_minus_1,
            "parameters": {
                name: {
                    "mean": float(s.mean(name)),
                    "std": float(s.std(name)),
                    "effective_samples": self.effective(name),
                }
                for name in shown_parameters(s)
            },
        }

    def table(self) -> Table:
        """Table with a row for each sampled parameter, and each derived one of galaxies."""
        n = self.numbers
        rows = [
            [name, _rounded(x["mean"], x["std"]), f"{x['effective_samples']:.0f}"]
            for name, x in n["parameters"].items()
        ]
        ratio = n["r_minus_1"]
        converged = "" if ratio is None else f", R-1 = {ratio:.2g}"
        title = f"{self.label}: {n['samples']} samples{converged}"
        return Table(title, ["parameter", "mean ± sigma", "effective samples"], rows)


def _rounded(mean: float, std: float) -> str:
    """Mean and standard deviation to two digits of the latter."""
    digits = max(0, 1 - math.floor(math.log10(std))) if std > 0 else 3
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def latex_table(chains: Sequence[Constraints], limit: int = 1) -> str:
    """A LaTeX table, a row for each parameter and a column for each chain.

    Parameters
    ----------
    chains : sequence of Constraints
    limit : int
        1 gives limits of 68 %, 2 of 95 %.

    Returns
    -------
    str
        To be read by ``\\input``. Labels that TeX would read otherwise than matplotlib are the
        names of the parameters.
    """
    labels: dict[str, str] = {}
    for chain in chains:
        parameters = chain.samples.paramNames
        for name in shown_parameters(chain.samples):
            labels.setdefault(name, printable_in_tex(parameters.parWithName(name).label, name))
    columns = [_limits(chain.samples, limit) for chain in chains]
    heads = " & ".join(f"${plain(chain.label)}$" for chain in chains)
    lines = [
        rf"\begin{{tabular}}{{l{'c' * len(chains)}}}",
        r"\hline",
        rf"Parameter & {heads} \\",
        r"\hline",
        *(
            " & ".join([f"${label}$", *(column.get(name, "--") for column in columns)]) + r" \\"
            for name, label in labels.items()
        ),
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _limits(samples: MCSamples, limit: int) -> dict[str, str]:
    """Limits of each sampled parameter in LaTeX, rounded by GetDist."""
    names = samples.paramNames.getRunningNames()
    _, found = samples.getLatex(names, limit)
    return {name: f"${text}$" for name, text in zip(names, found, strict=True)}
