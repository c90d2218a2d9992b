"""Correlation functions, by name.

To add one, put a `Statistic` into `STATISTICS` under its name.
"""

from collections.abc import Iterable

from iaemu_likelihood.emulator.physics.statistics.base import (
    CENTRAL,
    SATELLITE,
    PairKernel,
    Statistic,
    Template,
)
from iaemu_likelihood.emulator.physics.statistics.eta import ETA
from iaemu_likelihood.emulator.physics.statistics.omega import OMEGA
from iaemu_likelihood.emulator.physics.statistics.values import PerStatistic
from iaemu_likelihood.emulator.physics.statistics.xi import PAIRS, XI

__all__ = [
    "CENTRAL",
    "DEFAULT_STATISTICS",
    "ETA",
    "OMEGA",
    "PAIRS",
    "SATELLITE",
    "STATISTICS",
    "XI",
    "PairKernel",
    "PerStatistic",
    "Statistic",
    "Template",
    "named",
]

# The paper's statistics, in the order of every array that holds all of them.
DEFAULT_STATISTICS = (XI.name, OMEGA.name, ETA.name)

STATISTICS: dict[str, Statistic] = {statistic.name: statistic for statistic in (XI, OMEGA, ETA)}


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
