"""Trained emulators: what `Emulator.load` gives.

Another kind is a subclass of `Emulator` that names its kind, imported here.
"""

from iaemu_likelihood.emulator.models.base import Emulator, Occupied, Prediction
from iaemu_likelihood.emulator.models.paper import PaperEmulator
from iaemu_likelihood.emulator.models.templates import TemplatesEmulator

__all__ = ["Emulator", "Occupied", "PaperEmulator", "Prediction", "TemplatesEmulator"]
