"""halotools' occupation components of any occupation, which draw from its mean numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.occupations import Occupation
from numpy.typing import NDArray

with np.errstate():  # importing halotools changes numpy's error state for good
    from halotools.empirical_models import OccupationComponent

Array = NDArray[np.float64]


class _Component(OccupationComponent):
    """Centrals or satellites of an occupation, whose parameters halotools keeps in `param_dict`."""

    # Both components have all parameters, which halotools would warn of.
    _suppress_repeated_param_warning = True

    def __init__(self, occupation: Occupation, gal_type: str, upper_bound: float) -> None:
        super().__init__(
            gal_type=gal_type,
            threshold=0.0,  # of luminosity, which has no meaning here
            upper_occupation_bound=upper_bound,
            prim_haloprop_key="halo_mvir",
        )
        self._occupation = occupation
        self.param_dict = dict.fromkeys(occupation.names, np.nan)

    def mean_occupation(self, **kwargs: Any) -> Array:
        """Mean number in hosts of given mass.

        Parameters
        ----------
        table : astropy.table.Table, optional
            Hosts with ``halo_mvir``, Msun/h.
        prim_haloprop : array_like, shape (m,), optional
            Host masses, Msun/h, if there is no table.

        Returns
        -------
        ndarray, shape (m,)
        """
        table = kwargs.get("table")
        mass = kwargs["prim_haloprop"] if table is None else table[self.prim_haloprop_key]
        logM = np.log10(np.atleast_1d(np.asarray(mass, np.float64)))
        hod = [self.param_dict[name] for name in self._occupation.names]
        centrals, satellites = self._occupation.means(logM, hod)
        return (centrals if self.gal_type == "centrals" else satellites)[0]


def components(occupation: Occupation) -> tuple[_Component, _Component]:
    """Components of centrals and of satellites for halotools' `HodModelFactory`.

    Centrals are Bernoulli and satellites Poisson distributed. halotools would take a mean number of
    centrals above 1 for 1; these components refuse it (see `Occupation.means`).
    """
    return _Component(occupation, "centrals", 1.0), _Component(occupation, "satellites", np.inf)
