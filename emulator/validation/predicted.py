"""Predictions of an emulator at many points, as arrays over all statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics import PerStatistic, Statistic
from numpy.typing import NDArray

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.models.base import Emulator

Array = NDArray[Any]

# Points predicted in one call.
BATCH = 250


@dataclass(frozen=True)
class Predicted:
    """Predictions at points.

    Attributes
    ----------
    statistics : tuple of Statistic
    mean, epistemic : ndarray, shape (n, n_statistics, n_bins)
    aleatoric : ndarray, shape (n, n_statistics, n_bins), or None
        None if the weights do not predict it.
    """

    statistics: tuple[Statistic, ...]
    mean: Array
    epistemic: Array
    aleatoric: Array | None


def each(statistics: Sequence[Statistic], function: Callable[[int], Any]) -> dict[str, Any]:
    """A function of the place of each statistic in arrays, by the statistics' names."""
    return {statistic.name: function(i) for i, statistic in enumerate(statistics)}


def predict(emulator: Emulator, sets: Sequence[Array], progress: bool = True) -> list[Predicted]:
    """Predict at several sets of points, in batches.

    Parameters
    ----------
    emulator : Emulator
    sets : sequence of ndarray, shape (n, n_parameters)
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Predicted
        One for each set.
    """
    from rich.progress import Progress

    def stack(values: PerStatistic) -> Array:
        return np.stack([values[statistic.name] for statistic in emulator.statistics], axis=1)

    result = []
    with Progress(disable=not progress) as bar:
        task = bar.add_task("predictions", total=sum(map(len, sets)))
        for points in sets:
            means, epistemic, aleatoric = [], [], []
            for start in range(0, len(points), BATCH):
                p = emulator.predict(points[start : start + BATCH])
                means.append(stack(p))
                assert p.epistemic is not None  # it is asked for unless told otherwise
                epistemic.append(stack(p.epistemic))
                if p.aleatoric is not None:
                    aleatoric.append(stack(p.aleatoric))
                bar.advance(task, len(means[-1]))
            result.append(
                Predicted(
                    emulator.statistics,
                    np.concatenate(means),
                    np.concatenate(epistemic),
                    np.concatenate(aleatoric) if aleatoric else None,
                )
            )
    return result
