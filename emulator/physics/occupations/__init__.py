"""Halo occupation distributions, by name.

Another one is a subclass of `Occupation`, put into `OCCUPATIONS` under its name.
"""

from iaemu_likelihood.emulator.physics.occupations.base import Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.zheng07 import ZHENG07

__all__ = ["OCCUPATIONS", "ZHENG07", "Bands", "Occupation"]

OCCUPATIONS: dict[str, Occupation] = {ZHENG07.name: ZHENG07}
