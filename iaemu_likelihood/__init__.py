"""Intrinsic-alignment likelihood for Cobaya, on a neural emulator of halotools-IA.

`IAEmu` is the theory, `IACorrelations` the likelihood of any measurement, and
`iaemu_likelihood.tng300` holds likelihoods of published ones. `posterior` gives other samplers what
a Cobaya input describes, and `iaemu_likelihood.plots` draws. The emulator itself, which knows
nothing of Cobaya, is `iaemu_likelihood.emulator`.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["IACorrelations", "IAEmu", "__version__", "posterior"]

__version__ = version("iaemu_likelihood")

_MODULES = {
    "IAEmu": "iaemu_likelihood.cobaya.theory",
    "IACorrelations": "iaemu_likelihood.cobaya.likelihood",
    "posterior": "iaemu_likelihood.sampling.posterior",
}
# Packages whose names docs/api.md lists.
_PACKAGES = ("data_vectors", "emulator", "plots", "sampling", "tng300")


def __getattr__(name: str) -> Any:
    # On demand, so that the emulator can be used without importing Cobaya.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES, *(name for name in globals() if name.startswith("__"))})
