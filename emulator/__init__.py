"""Emulator of galaxy alignment correlations, and all that it takes to train one.

`Emulator.load` gives a trained one. The way there goes through the rooms in this order: `physics`
(parameters, occupations, alignment, statistics), `halos`, `mocks` (halotools-IA), `expectation` (the
exact mean of all mocks), `noise` (the scatter of one), `datasets`, `networks`, `training`, `models`
(the `Emulator`) and `validation`; `build` does it all. Nothing here knows a sampler or a framework.
"""

from typing import Any

__all__ = ["Emulator"]


def __getattr__(name: str) -> Any:
    # On demand, so that what needs no network does not wait for torch.
    if name == "Emulator":
        from iaemu_likelihood.emulator.models import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
