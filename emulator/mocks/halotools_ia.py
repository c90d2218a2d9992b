"""halotools-IA: the paper's galaxy model, populated from parameters and a seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.nfw import CONCENTRATIONS
from iaemu_likelihood.emulator.halos.rows import CONCENTRATION
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from astropy.table import Table

# halotools' Watson sampler never accepts a draw for mu in this interval and below 1e-16.
UNSAMPLED_MU = (0.999102, 0.999146)

_RANDOM_MODULES = (
    "halotools.empirical_models.ia_models.ia_model_components",
    "halotools.empirical_models.occupation_models.occupation_model_template",
    "halotools.empirical_models.phase_space_models.analytic_models.monte_carlo_helpers",
    "halotools.utils.array_indexing_manipulations",
    "halotools.utils.mcrotations",
)
_NORMALISING_MODULES = (
    "halotools.empirical_models.ia_models.ia_model_components",
    "halotools.utils.vector_utilities",
    "halotools.utils.rotations3d",
)


def drawable(
    parameters: NDArray[np.float64], space: ParameterSpace = DEFAULT_SPACE
) -> NDArray[np.float64]:
    """Move alignment strengths that halotools cannot draw to the nearest that it can.

    Parameters
    ----------
    parameters : ndarray, shape (n, n_parameters)
    space : ParameterSpace

    Returns
    -------
    ndarray, shape (n, n_parameters)
        A mu inside `UNSAMPLED_MU` changes by less than 5e-5.
    """
    low, high = UNSAMPLED_MU
    mu, hod = space.split(parameters)
    nearest = np.where(mu - low < high - mu, low, high)
    return space.join(np.where((mu > low) & (mu < high), nearest, mu), hod)


class HalotoolsIA:
    """The composite model of Van Alfen et al. 2024 (arXiv:2311.07374) on one halo catalogue.

    Centrals at host centres with `CentralAlignment` to the halo's major axis, and satellites on
    subhalos (`SubhaloPhaseSpace`) with `RadialSatelliteAlignment`; as many of them as the components
    of an occupation say: halotools' own, `Zheng07Cens` and `Zheng07Sats` in the paper, or those made of
    the occupation's mean numbers. In a catalogue without subhalos satellites follow NFW profiles
    (`NFWPhaseSpace`).

    Parameters
    ----------
    halos : HaloCatalogue
        From `iaemu_likelihood.emulator.halos.load_halos`.
    space : ParameterSpace
        Of the parameters.

    Raises
    ------
    ValueError
        If halotools' components do not know one of the occupation's parameters.
    """

    @silent
    def __init__(self, halos: HaloCatalogue, space: ParameterSpace = DEFAULT_SPACE) -> None:
        from halotools.empirical_models import (
            HodModelFactory,
            TrivialPhaseSpace,
        )
        from halotools.empirical_models.ia_models.ia_model_components import (
            CentralAlignment,
            RadialSatelliteAlignment,
        )
        from iaemu_likelihood.emulator.mocks.halotools_occupation import components
        from iaemu_likelihood.emulator.mocks.halotools_strength import strengths_by_mass

        occupation, alignment = space.occupation, space.alignment
        centrals, satellites = occupation.halotools_components() or components(occupation)
        strengths = {}
        if alignment.depends_on_mass:
            of_centrals, of_satellites = strengths_by_mass(alignment)
            strengths = {"centrals_strength": of_centrals, "satellites_strength": of_satellites}
        self.halos = halos
        self.box = halos.box
        self.space = space
        self._model = HodModelFactory(
            centrals_occupation=centrals,
            centrals_profile=TrivialPhaseSpace(),
            satellites_occupation=satellites,
            satellites_profile=_satellites_profile(halos),
            centrals_orientation=CentralAlignment(),
            satellites_orientation=RadialSatelliteAlignment(),
            **strengths,
            model_feature_calling_sequence=(
                "centrals_occupation",
                "centrals_profile",
                "satellites_occupation",
                "satellites_profile",
                *strengths,
                "centrals_orientation",
                "satellites_orientation",
            ),
        )
        unknown = [name for name in occupation.names if name not in self._model.param_dict]
        if unknown:
            raise ValueError(
                f"halotools' components of the occupation {occupation.name} have no "
                f"parameter(s) {', '.join(unknown)}; theirs are "
                f"{', '.join(self._model.param_dict)}. Name them alike."
            )

    @silent
    def populate(self, parameters: ArrayLike, seed: int) -> Table:
        """Draw one galaxy catalogue.

        Parameters
        ----------
        parameters : array_like, shape (n_parameters,)
            In the order of the space's names; by default mu_cen, mu_sat, logMmin, sigma_logM,
            logM0, logM1, alpha (masses: log10 of Msun/h).
        seed : int
            The same seed gives the same galaxies with the same axes.

        Returns
        -------
        astropy.table.Table
            halotools' galaxy table: x, y, z (Mpc/h), galaxy_axisA_x, ..., gal_type, ... Either
            population may be empty. Its metadata hold ``Lbox`` (Mpc/h) and ``redshift``, so that
            `iaemu measure` needs nothing but a file of it, in HDF5, FITS or ECSV.

        Raises
        ------
        ValueError
            If a mu is one that halotools cannot sample, or outside its limits, or if the occupation
            expects numbers of galaxies that cannot be, such as more than one central.
        """
        theta = self.space.array(parameters)
        if theta.ndim != 1:
            raise ValueError(
                f"Expected one value each of {', '.join(self.space.names)}; got {theta.shape}."
            )
        mu, hod = self.space.split(theta)
        self.space.alignment.check(mu[None])
        self._model.param_dict.update(
            **self._strengths(mu), **dict(zip(self.space.occupation.names, hod, strict=True))
        )
        with _seeded(seed):
            if hasattr(self._model, "mock"):
                self._model.mock.populate()
            else:
                self._model.populate_mock(self.halos.to_halotools(), Num_ptcl_requirement=0)
        galaxies = self._model.mock.galaxy_table.copy()
        # As objects, which neither HDF5 nor FITS hold.
        galaxies["gal_type"] = galaxies["gal_type"].astype(str)
        galaxies.meta |= {"Lbox": self.box, "redshift": self.halos.redshift}
        return galaxies

    def _strengths(self, mu: NDArray[np.float64]) -> dict[str, float]:
        """halotools' parameters of the alignment."""
        alignment = self.space.alignment
        values = dict(zip(alignment.names, mu.tolist(), strict=True))
        if alignment.depends_on_mass:  # whose component says what cannot be drawn
            return values
        for name, strength in values.items():
            if UNSAMPLED_MU[0] < strength < UNSAMPLED_MU[1] or 0 < abs(strength) < 1e-15:
                raise ValueError(
                    f"halotools cannot draw angles for {name} = {strength}: its sampler fails for "
                    f"mu in {UNSAMPLED_MU} and for 0 < |mu| < 1e-15."
                )
        # At exactly 2/pi halotools takes its angle for infinity.
        mu_cen, mu_sat = np.where(mu == 2 / np.pi, np.nextafter(mu, 1), mu)
        return {"central_alignment_strength": mu_cen, "satellite_alignment_strength": mu_sat}


def _satellites_profile(halos: HaloCatalogue) -> Any:
    """halotools' component that places satellites."""
    from halotools.empirical_models import NFWPhaseSpace, SubhaloPhaseSpace

    if halos.subhalo_mass_bins is None:
        # Only velocities depend on the redshift and on halotools' default cosmology.
        return NFWPhaseSpace(
            conc_mass_model="direct_from_halo_catalog",
            concentration_key=CONCENTRATION,
            concentration_bins=CONCENTRATIONS,
            redshift=halos.redshift,
        )
    # SubhaloPhaseSpace has its own default bins, of another catalogue.
    return SubhaloPhaseSpace("satellites", halos.subhalo_mass_bins)


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
