import pytest
from iaemu_likelihood.emulator.validation.weights import validate_emulator

from .artificial import ArtificialEmulator, data_sets


@pytest.fixture(scope="session")
def validation():
    """Of an artificial emulator, with small errors."""
    return validate_emulator(ArtificialEmulator(0.001, 0.002), *data_sets(), progress=False)
