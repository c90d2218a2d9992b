"""Intrinsic-alignment likelihood for Cobaya, on a neural emulator of halotools-IA.

`IAEmu` is the theory, `IACorrelations` the likelihood of any measurement, and
`iaemu_likelihood.tng300` holds likelihoods of published ones. `posterior` gives other samplers what
a Cobaya input describes. The emulator itself, which knows
nothing of Cobaya, is `iaemu_likelihood.emulator`.
"""

from importlib import import_module
from typing import Any

__all__ = ["IACorrelations", "IAEmu", "posterior"]

_MODULES = {
    "IAEmu": "iaemu_likelihood.cobaya.theory",
    "IACorrelations": "iaemu_likelihood.cobaya.likelihood",
    "posterior": "iaemu_likelihood.sampling.posterior",
}


def __getattr__(name: str) -> Any:
    # On demand, so that the emulator can be used without importing Cobaya.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
