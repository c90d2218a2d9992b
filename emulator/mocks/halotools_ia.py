"""halotools-IA: the paper's galaxy model, populated from seven parameters and a seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from iaemu_likelihood.emulator.physics.parameters import (
    ALIGNMENT_PARAMETERS,
    PARAMETERS,
    parameter_array,
)
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from astropy.table import Table
    from halotools.sim_manager import UserSuppliedHaloCatalog

# halotools' Watson sampler never accepts a draw for mu in this interval and below 1e-16.
UNSAMPLED_MU = (0.999102, 0.999146)

_RANDOM_MODULES = (
    "halotools.empirical_models.ia_models.ia_model_components",
    "halotools.empirical_models.occupation_models.occupation_model_template",
    "halotools.utils.array_indexing_manipulations",
    "halotools.utils.mcrotations",
)
_NORMALISING_MODULES = (
    "halotools.empirical_models.ia_models.ia_model_components",
    "halotools.utils.vector_utilities",
    "halotools.utils.rotations3d",
)


def drawable(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move alignment strengths that halotools cannot draw to the nearest that it can.

    Parameters
    ----------
    parameters : ndarray, shape (n, 7)

    Returns
    -------
    ndarray, shape (n, 7)
        A mu inside `UNSAMPLED_MU` changes by less than 5e-5.
    """
    low, high = UNSAMPLED_MU
    moved = parameters.copy()
    mu = moved[:, : len(ALIGNMENT_PARAMETERS)]
    bad = (mu > low) & (mu < high)
    mu[bad] = np.where(mu[bad] - low < high - mu[bad], low, high)
    return moved


class HalotoolsIA:
    """The composite model of Van Alfen et al. 2024 (arXiv:2311.07374) on one halo catalogue.

    `Zheng07Cens` at host centres with `CentralAlignment` to the halo's major axis, and
    `Zheng07Sats` on subhalos (`SubhaloPhaseSpace`) with `RadialSatelliteAlignment`.

    Parameters
    ----------
    halos : halotools.sim_manager.UserSuppliedHaloCatalog
        From `iaemu_likelihood.emulator.halos.catalogue.load_halos`.
    """

    def __init__(self, halos: UserSuppliedHaloCatalog) -> None:
        from halotools.empirical_models import (
            HodModelFactory,
            SubhaloPhaseSpace,
            TrivialPhaseSpace,
            Zheng07Cens,
            Zheng07Sats,
        )
        from halotools.empirical_models.ia_models.ia_model_components import (
            CentralAlignment,
            RadialSatelliteAlignment,
        )

        self.halos = halos
        self.box = float(np.max(halos.Lbox))
        # SubhaloPhaseSpace has its own default bins, of another catalogue.
        satellites = SubhaloPhaseSpace("satellites", halos.subhalo_mass_bins)
        self._model = HodModelFactory(
            centrals_occupation=Zheng07Cens(),
            centrals_profile=TrivialPhaseSpace(),
            satellites_occupation=Zheng07Sats(),
            satellites_profile=satellites,
            centrals_orientation=CentralAlignment(),
            satellites_orientation=RadialSatelliteAlignment(),
            model_feature_calling_sequence=(
                "centrals_occupation",
                "centrals_profile",
                "satellites_occupation",
                "satellites_profile",
                "centrals_orientation",
                "satellites_orientation",
            ),
        )

    def populate(self, parameters: ArrayLike, seed: int) -> Table:
        """Draw one galaxy catalogue.

        Parameters
        ----------
        parameters : array_like, shape (7,)
            mu_cen, mu_sat, logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
        seed : int
            The same seed gives the same galaxies with the same axes.

        Returns
        -------
        astropy.table.Table
            halotools' galaxy table: x, y, z (Mpc/h), galaxy_axisA_x, ..., gal_type, ... Either
            population may be empty.

        Raises
        ------
        ValueError
            If a mu is one that halotools cannot sample, or outside [-1, 1].
        """
        theta = parameter_array(parameters)
        if theta.ndim != 1:
            raise ValueError(
                f"Expected the seven values {', '.join(PARAMETERS)}; got {theta.shape}."
            )
        for name, mu in zip(PARAMETERS[:2], theta, strict=False):
            if not -1 <= mu <= 1:
                raise ValueError(f"{name} = {mu} is outside [-1, 1].")
            if UNSAMPLED_MU[0] < mu < UNSAMPLED_MU[1] or 0 < abs(mu) < 1e-15:
                raise ValueError(
                    f"halotools cannot draw angles for {name} = {mu}: its sampler fails for mu in "
                    f"{UNSAMPLED_MU} and for 0 < |mu| < 1e-15."
                )
        # At exactly 2/pi halotools takes its angle for infinity.
        mu_cen, mu_sat = (np.nextafter(mu, 1) if mu == 2 / np.pi else mu for mu in theta[:2])
        self._model.param_dict.update(
            central_alignment_strength=mu_cen,
            satellite_alignment_strength=mu_sat,
            **dict(zip(PARAMETERS[2:], theta[2:], strict=True)),
        )
        with _seeded(seed):
            if hasattr(self._model, "mock"):
                self._model.mock.populate()
            else:
                self._model.populate_mock(self.halos, Num_ptcl_requirement=0)
        return self._model.mock.galaxy_table.copy()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make halotools' draws follow one seed, and let a population be empty.

    halotools passes no seed to the functions that draw axes; they then take entropy from the
    operating system through astropy's `NumpyRNGContext(None)`. Inside this context that does
    nothing, so that all draws come from numpy's global generator, whose state is restored.
    halotools also fails to normalise zero vectors of an empty population.
    """
    from importlib import import_module

    from astropy.utils.misc import NumpyRNGContext
    from halotools.utils.vector_utilities import normalized_vectors

    def reseed(value: int | None) -> Any:
        return nullcontext() if value is None else NumpyRNGContext(value)

    def normalise(vectors: Any) -> Any:
        return vectors if len(vectors) == 0 else normalized_vectors(vectors)

    with ExitStack() as stack:
        for module in _RANDOM_MODULES:
            stack.enter_context(patch.object(import_module(module), "NumpyRNGContext", reseed))
        for module in _NORMALISING_MODULES:
            stack.enter_context(
                patch.object(import_module(module), "normalized_vectors", normalise)
            )
        # "alignment_strength not detected in the table", at every call.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        stack.enter_context(NumpyRNGContext(seed))
        yield
