"""Trained emulators; get one with `Emulator.load`.

To add a kind, write a subclass of `Emulator` that names its kind, and import it here.
"""

from importlib import import_module
from typing import Any

from iaemu_likelihood.emulator.models.base import Emulator, Occupied, Prediction
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


def __getattr__(name: str) -> Any:
    # On demand, because it needs the extra forward.
    if name == "ExactEmulator":
        return import_module(f"{__name__}.exact").ExactEmulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
