"""AbacusSummit's CompaSO halos, by abacusutils: a folder such as ``halos/z0.500``.

There are no subhalos among them: satellites follow NFW profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.nfw import CONCENTRATIONS, radius_of
from iaemu_likelihood.emulator.halos.readers.assembling import Halos
from iaemu_likelihood.emulator.halos.readers.stated import Stated
from iaemu_likelihood.emulator.halos.theory import virial_radius
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIELDS = ("id", "N", "x_L2com", "v_L2com", "r25_L2com", "r98_L2com", "sigman_eigenvecsMaj_L2com")
MERGED = "halos without particles, which cleaning gave to others"
_IN_HEADER = (
    "BoxSizeHMpc",
    "BoxSize",
    "Redshift",
    "ParticleMassHMsun",
    "Omega_M",
    "H0",
    "SODensityL1",
)


def recognises(path: Path) -> bool:
    """Whether a folder holds such halos of one redshift."""
    return path.is_dir() and (path / "halo_info").is_dir()


def read(path: Path, stated: Stated | None = None) -> HaloCatalogue:
    """Read such a folder; see `load_halos`."""
    from abacusnbody.data.compaso_halo_catalog import CompaSOHaloCatalog

    stated = stated or Stated()
    path = path.resolve()
    if stated.satellites == "subhalos":
        raise ValueError(
            f"{path} holds CompaSO halos, which have no subhalos; leave satellites out."
        )
    simulation = path.parents[1]
    cleaned = (simulation.parent / "cleaning" / simulation.name / path.name).is_dir()
    found = CompaSOHaloCatalog(path, cleaned=cleaned, fields=list(FIELDS))
    header: Mapping[str, Any] = found.header
    lacking = [key for key in _IN_HEADER if key not in header]
    if lacking:
        raise ValueError(f"{path}: the header lacks {', '.join(lacking)}.")
    table = found.halos
    box, particle_mass = float(header["BoxSizeHMpc"]), float(header["ParticleMassHMsun"])
    mass = np.asarray(table["N"], np.float64) * particle_mass
    Om0 = float(header["Omega_M"])
    concentration = concentration_of(
        np.asarray(table["r25_L2com"], np.float64), np.asarray(table["r98_L2com"], np.float64)
    )
    halos = Halos(
        id=np.asarray(table["id"]).astype(np.int64),
        parent=np.full(len(table), -1),
        # The box is centred on 0 in these files, and in units of the run.
        position=np.asarray(table["x_L2com"], np.float64) * (box / float(header["BoxSize"])) + box / 2,
        velocity=np.asarray(table["v_L2com"], np.float64),
        axis=np.asarray(table["sigman_eigenvecsMaj_L2com"], np.float64),
        mass=mass,
        rvir=virial_radius(mass, float(header["SODensityL1"]), Om0),
        peak_mass=mass,
        concentration=concentration,
        notes=[
            "CompaSO has no subhalos.",
            f"rvir is the radius of a sphere of {header['SODensityL1']:.4g} times the mean density.",
            "Concentrations are those of NFW profiles with the same r25 over r98.",
            "The catalogue is cleaned." if cleaned else
            f"The catalogue is not cleaned: there is no {simulation.parent / 'cleaning'}.",
        ],
    )  # fmt: skip
    merged = mass == 0
    return halos.without(merged, MERGED).catalogue(
        f"{header.get('SimName', simulation.name)}/{path.name}",
        stated.number("box", box, path),
        stated.number("redshift", float(header["Redshift"]), path),
        stated.number("particle_mass", particle_mass, path),
        stated.words({"Om0": Om0, "h": float(header["H0"]) / 100}, path),
        f"CompaSO, {'cleaned' if cleaned else 'not cleaned'}, {simulation.name}, {path.name}",
        stated,
    )


def concentration_of(r25: Array, r98: Array) -> Array:
    """Concentrations of NFW profiles whose radii of 25 and 98 % of the mass have these ratios.

    Parameters
    ----------
    r25, r98 : ndarray, shape (n,)
        In any unit.

    Returns
    -------
    ndarray, shape (n,)
        Beyond the ends of `CONCENTRATIONS` by a little where no profile of these has the ratio.
    """
    ends = CONCENTRATIONS[0] * 0.99, CONCENTRATIONS[-1] * 1.01
    nodes = np.geomspace(*ends, 400)
    ratio = radius_of(0.25, nodes) / radius_of(0.98, nodes)  # falls with concentration
    with np.errstate(divide="ignore", invalid="ignore"):
        given = np.nan_to_num(r25 / r98, nan=ratio[0])
    return np.exp(np.interp(-given, -ratio, np.log(nodes)))
