"""Projected statistics from the templates of a tabulation, which have no error of an emulator."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.models.projected import ProjectedMap, ProjectedMoments, sources_of
from iaemu_likelihood.emulator.physics.alignment import WATSON, Alignment
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import (
    Templates,
    bilinear,
    degrees_of,
    template_weights,
)
from numpy.typing import NDArray

Array = NDArray[np.float64]


class ExactlyOccupied:
    """Exact templates at n occupations, as `iaemu_likelihood.emulator.models.base.Occupied`.

    In bins without pairs, where means over pairs are undefined, they are 0.

    Parameters
    ----------
    templates : Templates
    alignment : Alignment
    """

    def __init__(self, templates: Templates, alignment: Alignment = WATSON) -> None:
        self.excess = templates.xi
        self._statistics, self._values = templates.statistics, np.nan_to_num(templates.values)
        self._alignment = alignment

    def __call__(
        self,
        mu: Array,
        statistics: tuple[Statistic, ...],
        errors: Collection[str] = (),
        responses: Any = None,
    ) -> tuple[Array, dict[str, Any]]:
        if errors:
            raise ValueError(f"Exact expectations have no {', '.join(errors)} error.")
        degrees = degrees_of(statistics)
        strengths = self._alignment.strengths(mu, degrees)
        if responses is not None:
            strengths = strengths * responses
        weights = template_weights(bilinear(strengths), statistics, self._statistics, degrees)
        return weights @ self._values, {}


def project_exactly(
    templates: Templates,
    mu: Array,
    maps: Sequence[ProjectedMap],
    conventions: Conventions,
    responses: Array | None = None,
    alignment: Alignment = WATSON,
) -> list[Array]:
    """The exact expectation of projected statistics.

    Parameters
    ----------
    templates : Templates
        At n occupations, in the fine bins of the maps.
    mu : ndarray, shape (n, n_alignment)
    maps : sequence of ProjectedMap
        One for each statistic.
    conventions : Conventions
        Those of the maps.
    responses : ndarray, shape (n, 2) or (1, 2), optional
        a_2 of centrals and of satellites; not needed for positions alone.
    alignment : Alignment

    Returns
    -------
    list of ndarray, shape (n, m)

    Raises
    ------
    ValueError
        If the templates lack a statistic that a map is made of.
    """
    wanted = {source for each in maps for source in each.statistic.sources}
    missing = [source.name for source in wanted if source not in templates.statistics]
    if missing:
        raise ValueError(
            f"{', '.join(each.statistic.name for each in maps)} are made of {', '.join(missing)}, too; "
            f"the templates are those of {', '.join(s.name for s in templates.statistics)}. Tabulate "
            "all of them."
        )
    sources = sources_of([each.statistic for each in maps], templates.statistics)
    occupied = ExactlyOccupied(templates, alignment)
    at = ProjectedMoments(occupied, mu, sources, conventions, responses)
    return [at.mean(each) for each in maps]
