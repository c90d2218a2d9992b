"""Figures of chains as files beside them, and their constraints: what `iaemu plot` makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iaemu_likelihood.cobaya.inputs import updated_file
from iaemu_likelihood.plots.chains import load
from iaemu_likelihood.plots.constraints import Constraints
from iaemu_likelihood.plots.corner import corner_plot
from iaemu_likelihood.plots.labels import distinct_samples, without_sample
from iaemu_likelihood.plots.posterior_prediction import prediction_plot, predictions
from iaemu_likelihood.plots.style import check_format, write_figure

Source = str | Path


def chain_names(sources: Sequence[Source]) -> list[str]:
    """What distinguishes chains in a legend: their files' names, or their paths where these agree."""
    names = [Path(source).name for source in sources]
    return names if len(set(names)) == len(names) else [str(source) for source in sources]


def constraints_of(sources: Sequence[Source], run: Source | None = None) -> list[Constraints]:
    """Constraints of chains, with their convergence.

    If each chain is of one sample, and each of another, it is called by its sample, and parameters
    have the same names in all: ``mu_cen`` for ``mu_cen_sample1``.
    """
    chains = [load(source, run) for source in sources]
    samples = distinct_samples(chains)
    if samples is None:
        return [Constraints(*each) for each in zip(chain_names(sources), chains, strict=True)]
    return [
        Constraints(sample, without_sample(chain, sample))
        for sample, chain in zip(samples, chains, strict=True)
    ]


def corner_figure(
    *sources: Source,
    suffix: str = "png",
    run: Source | None = None,
    out: str | None = None,
    parameters: Sequence[str] = (),
) -> Path:
    """Draw the corner plot of chains over each other into a file.

    Chains of different samples have their parameters in the same panels.

    Parameters
    ----------
    *sources : str or Path
        Chains, as for `iaemu_likelihood.plots.load`.
    suffix : str
        Format of the file.
    run : str or Path, optional
        Cobaya input of chains that do not name their parameters.
    out : str, optional
        Prefix of the file; when left out, it is beside the first chain, and named as the chains are.
    parameters : sequence of str, optional
        As of `corner_plot`.

    Returns
    -------
    Path
        OUT_corner.SUFFIX
    """
    path = _file(sources, out, "corner", suffix)
    found = constraints_of(sources, run)
    labels = [each.label for each in found] if len(found) > 1 else None
    apart = labels is not None and labels != chain_names(sources)
    figure = corner_plot([each.samples for each in found], labels, apart, parameters)
    return write_figure(figure, path)


def prediction_figure(
    *sources: Source, suffix: str = "png", run: Source | None = None, out: str | None = None
) -> Path:
    """Draw data against the predictions of chains, side by side, into a file.

    Parameters
    ----------
    *sources, suffix, run, out
        As of `corner_figure`. `run` is needed for all chains but Cobaya's.

    Returns
    -------
    Path
        OUT_prediction.SUFFIX
    """
    path = _file(sources, out, "prediction", suffix)
    fits, labels = [], []
    for name, source in zip(chain_names(sources), sources, strict=True):
        for fit in predictions(source, run=run):
            fits.append(fit)
            # Two chains of the same data are told apart by their names.
            labels.append((fit.measurement.name, name))
    data = [label[0] for label in labels]
    same = len(set(data)) < len(data)
    return write_figure(
        prediction_plot(fits, [f"{d}, {c}" if same else d for d, c in labels]), path
    )


def has_input(source: Source) -> bool:
    """Whether the Cobaya input of a chain is beside it, so that predictions need no other."""
    return updated_file(source).is_file()


def plot_chains(*sources: Source, suffix: str = "png", run: Source | None = None) -> list[Path]:
    """Draw corner plot and prediction of chains into files beside the first."""
    return [
        corner_figure(*sources, suffix=suffix, run=run),
        prediction_figure(*sources, suffix=suffix, run=run),
    ]


def _file(sources: Sequence[Source], out: str | None, name: str, suffix: str) -> Path:
    """A figure's file."""
    check_format(suffix)
    first = str(sources[0])
    others = [Path(source).stem for source in sources[1:]]
    if Path(first).is_file():
        first = str(Path(first).with_suffix(""))
    root = out or "+".join([first, *others])
    return Path(f"{root}{'' if root.endswith('/') else '_'}{name}.{suffix}")
