"""Halo occupation distributions, by name.

To add one, put an instance of a subclass of `Occupation` into `OCCUPATIONS` under its name.
"""

from iaemu_likelihood.emulator.physics.occupations.base import Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.desi_elg import DESI_ELG
from iaemu_likelihood.emulator.physics.occupations.desi_lrg import DESI_LRG
from iaemu_likelihood.emulator.physics.occupations.zheng07 import ZHENG07

__all__ = ["DESI_ELG", "DESI_LRG", "OCCUPATIONS", "ZHENG07", "Bands", "Occupation"]

OCCUPATIONS: dict[str, Occupation] = {
    occupation.name: occupation for occupation in (ZHENG07, DESI_LRG, DESI_ELG)
}
