"""Correlation functions, by name.

To add one, put a `Statistic` into `STATISTICS` under its name.
"""

from collections import ChainMap
from collections.abc import Iterable

from iaemu_likelihood.emulator.physics.statistics.base import (
    CENTRAL,
    SATELLITE,
    Observable,
    PairKernel,
    Reweighted,
    Source,
    Statistic,
    Template,
)
from iaemu_likelihood.emulator.physics.statistics.eta import ETA, ETA_0, ETA_1
from iaemu_likelihood.emulator.physics.statistics.omega import OMEGA, OMEGA_4
from iaemu_likelihood.emulator.physics.statistics.projected import (
    W_GG,
    W_GPLUS,
    W_PLUSPLUS,
    XI_GPLUS_2,
    ProjectedStatistic,
)
from iaemu_likelihood.emulator.physics.statistics.values import PerStatistic
from iaemu_likelihood.emulator.physics.statistics.xi import PAIRS, XI

__all__ = [
    "CENTRAL",
    "DEFAULT_STATISTICS",
    "ETA",
    "ETA_0",
    "ETA_1",
    "OBSERVABLES",
    "OMEGA",
    "OMEGA_4",
    "PAIRS",
    "PROJECTED",
    "SATELLITE",
    "STATISTICS",
    "W_GG",
    "W_GPLUS",
    "W_PLUSPLUS",
    "XI",
    "XI_GPLUS_2",
    "Observable",
    "PairKernel",
    "PerStatistic",
    "ProjectedStatistic",
    "Reweighted",
    "Source",
    "Statistic",
    "Template",
    "named",
]

# The paper's statistics, in the order of every array that holds all of them.
DEFAULT_STATISTICS = (XI.name, OMEGA.name, ETA.name)

STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic for statistic in (XI, OMEGA, ETA, OMEGA_4, ETA_0, ETA_1)
}

# What surveys measure, made of the statistics above.
PROJECTED: dict[str, ProjectedStatistic] = {
    statistic.name: statistic for statistic in (W_GG, W_GPLUS, W_PLUSPLUS, XI_GPLUS_2)
}

# A view of both, so that what is added to either is here, too.
OBSERVABLES: ChainMap[str, Observable] = ChainMap(PROJECTED, STATISTICS)  # type: ignore[arg-type]


def named(names: Iterable[str]) -> tuple[Statistic, ...]:
    """Statistics by their names, in the same order.

    Raises
    ------
    ValueError
        If there is no such statistic, or one is there twice.
    """
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in STATISTICS]
    if unknown:
        raise ValueError(f"No statistic {', '.join(unknown)}; there are {', '.join(STATISTICS)}.")
    if len({*wanted}) < len(wanted):
        raise ValueError(f"A statistic is there twice: {', '.join(wanted)}.")
    return tuple(STATISTICS[name] for name in wanted)
