"""Halo occupation distributions, by name.

To add one, put an instance of a subclass of `Occupation` into `OCCUPATIONS` under its name.
"""

from iaemu_likelihood.emulator.physics.occupations.base import Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.zheng07 import ZHENG07

__all__ = ["OCCUPATIONS", "ZHENG07", "Bands", "Occupation"]

OCCUPATIONS: dict[str, Occupation] = {ZHENG07.name: ZHENG07}
