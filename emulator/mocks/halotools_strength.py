"""halotools' components that give each galaxy an alignment strength by the mass of its host.

halotools' orientation components take the strength of each galaxy from a column, if there is one, and
its own component of strengths by mass fills that of centrals. Its component of satellites' strengths
depends on their distance from the centre, and both keep their parameters under the same keys. So these
components fill the columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.alignment import Alignment
from iaemu_likelihood.emulator.physics.statistics import CENTRAL, SATELLITE

# halotools' Watson sampler fails for mixed strengths of which some are closer to 1 or -1 than this.
STRONGEST = 0.999


class HostMassStrength:
    """Strengths of centrals or of satellites, as halotools' `HodModelFactory` takes components.

    Parameters
    ----------
    alignment : Alignment
        Its parameters are in `param_dict`.
    kind : int
        `CENTRAL` or `SATELLITE`.
    """

    # Both components have all parameters, which halotools would warn of.
    _suppress_repeated_param_warning = True

    def __init__(self, alignment: Alignment, kind: int) -> None:
        name = {CENTRAL: "central", SATELLITE: "satellite"}[kind]
        self._alignment, self._kind = alignment, kind
        self._column = f"{name}_alignment_strength"
        method = f"assign_{self._column}"
        setattr(self, method, self._assign)
        self.gal_type = f"{name}s"
        self.param_dict = dict.fromkeys(alignment.names, np.nan)
        self.list_of_haloprops_needed = ["halo_mvir"]
        self._galprop_dtypes_to_allocate = np.dtype([(self._column, "f8")])
        self._mock_generation_calling_sequence = self._methods_to_inherit = [method]

    def _assign(self, table: Any, **_: Any) -> None:
        """Fill the column of a table of galaxies, whose ``halo_mvir`` is the mass of their host."""
        logM = np.log10(np.asarray(table["halo_mvir"], np.float64))
        parameters = np.array([[self.param_dict[name] for name in self._alignment.names]])
        strengths = self._alignment.mu_in(parameters, logM)[0, self._kind]
        beyond = np.abs(strengths) > STRONGEST
        if beyond.any():
            raise ValueError(
                f"halotools cannot draw angles for a {self._column} of {strengths[beyond][0]:.6g} in a "
                f"host of 10^{logM[beyond][0]:.2f} Msun/h, one of {beyond.sum()} beyond {STRONGEST}: "
                "its sampler fails there. Take smaller strengths or slopes."
            )
        table[self._column][:] = strengths


def strengths_by_mass(alignment: Alignment) -> tuple[HostMassStrength, HostMassStrength]:
    """Components of centrals and of satellites; see the head of this module."""
    return HostMassStrength(alignment, CENTRAL), HostMassStrength(alignment, SATELLITE)
