"""Trained emulators; get one with `Emulator.load`.

To add a kind, write a subclass of `Emulator` that names its kind, and import it here.
"""

from iaemu_likelihood.emulator.models.base import Emulator, Occupied, Prediction
from iaemu_likelihood.emulator.models.exact import ExactEmulator
from iaemu_likelihood.emulator.models.paper import PaperEmulator
from iaemu_likelihood.emulator.models.templates import TemplatesEmulator

__all__ = [
    "Emulator",
    "ExactEmulator",
    "Occupied",
    "PaperEmulator",
    "Prediction",
    "TemplatesEmulator",
]
