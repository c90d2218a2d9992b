"""Labels of parameters: from files, so that each is checked, and the same for several samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iaemu_likelihood.cobaya.inputs import latex_text
from iaemu_likelihood.plots.chains import rows_of_chains
from iaemu_likelihood.plots.samplers import known_parameters

if TYPE_CHECKING:
    from getdist import MCSamples

# What means more to TeX than to matplotlib: the end of mathematics, comments, cells of tables,
# characters by their codes, and text, in which matplotlib looks for no commands.
_TEX_ONLY = re.compile(r"[$%&#~]|\^\^|\\\\|\\text\b|[^\x20-\x7e]")


def drawable(label: str, name: str) -> str:
    """A label, or the parameter's name where matplotlib cannot draw the label."""
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(f"${label}$")
    except ValueError:
        return plain(name)
    return label


def printable_in_tex(label: str, name: str) -> str:
    r"""A label that TeX reads as matplotlib does, or the parameter's name.

    matplotlib knows no command that reads or writes files, as ``\input`` does.
    """
    return plain(name) if _TEX_ONLY.search(label) else drawable(label, name)


def plain(name: str) -> str:
    """A name as upright text in mathematics; characters that TeX reads otherwise become ?."""
    harmless = re.sub(r"[^\w.+-]", "?", name, flags=re.ASCII)
    return rf"\mathrm{{{latex_text(harmless)}}}"


def distinct_samples(chains: Sequence[MCSamples]) -> list[str] | None:
    """The label of the sample of each chain, if each is of one sample, and each of another.

    A chain is of a sample if all sampled parameters end with its label: ``mu_cen_LRG`` is of LRG.
    """
    found = [_sample(each) for each in chains]
    labels = [sample for sample in found if sample is not None]
    return labels if 1 < len(set(labels)) == len(found) else None


def _sample(chain: MCSamples) -> str | None:
    known = sorted(known_parameters(), key=len, reverse=True)
    found = set()
    for name in chain.paramNames.getRunningNames():
        base = next((x for x in known if name.startswith(f"{x}_")), None)
        found.add(None if base is None else name.removeprefix(f"{base}_"))
    return found.pop() if len(found) == 1 else None


def without_sample(chain: MCSamples, sample: str) -> MCSamples:
    """The same chain, with names and labels of parameters that do not name its sample."""
    from getdist import MCSamples

    superscript = rf"^{{\mathrm{{{latex_text(sample)}}}}}"
    short = {x.name: x.name.removesuffix(f"_{sample}") for x in chain.paramNames.names}
    parts = rows_of_chains(chain)
    limits = chain.ranges
    return MCSamples(
        samples=[chain.samples[rows] for rows in parts],
        weights=[chain.weights[rows] for rows in parts],
        loglikes=None if chain.loglikes is None else [chain.loglikes[rows] for rows in parts],
        names=[short[x.name] + "*" * x.isDerived for x in chain.paramNames.names],
        labels=[x.label.replace(superscript, "") for x in chain.paramNames.names],
        ranges={n: (limits.getLower(x), limits.getUpper(x)) for x, n in short.items()},
        sampler=chain.sampler,
    )
