"""Halo catalogues of one simulation: one or more redshifts, at each one box or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.digest import joint_sha256
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT, Redshifts

# Points over the bands of an occupation among which the smallest number of galaxies is looked for.
_N_POINTS = 256
# Steps in which a domain is made smaller, dex.
_STEP = 0.01


@dataclass(frozen=True)
class Catalogued:
    """What a model keeps of a halo catalogue.

    Attributes
    ----------
    source : str
        See `load_halos`.
    sha256, cosmology, satellites
        As of the `HaloCatalogue`.
    box : float
        Mpc/h.
    redshift : float
    abundance : HostAbundance
    """

    source: str
    sha256: str
    box: float
    redshift: float
    cosmology: str | None
    satellites: str
    abundance: HostAbundance

    @classmethod
    def of(cls, source: str, halos: HaloCatalogue) -> Catalogued:
        """From a catalogue and where it comes from."""
        return cls(
            source, halos.sha256, halos.box, halos.redshift, halos.cosmology, halos.satellites,
            halos.abundance,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Of the source, without the folder of a file."""
        return Path(self.source).name


@dataclass(frozen=True)
class Snapshots:
    """Catalogues of one simulation, which differ in redshift or in phases.

    Attributes
    ----------
    catalogues : tuple of Catalogued
        In ascending redshift.

    Raises
    ------
    ValueError
        If a catalogue or a name is there twice, or they differ in box, cosmology, or where satellites are.
    """

    catalogues: tuple[Catalogued, ...]

    @classmethod
    def of(cls, catalogues: Sequence[Catalogued]) -> Snapshots:
        """Order catalogues by redshift."""
        return cls(tuple(sorted(catalogues, key=lambda each: each.redshift)))

    def __post_init__(self) -> None:
        first = self.catalogues[0]
        for other in self.catalogues[1:]:
            for what in ("box", "cosmology", "satellites"):
                here, there = getattr(first, what), getattr(other, what)
                if here != there:
                    raise ValueError(
                        f"Halo catalogues of one model must be of one simulation: {first.name} has "
                        f"{what} {here!r}, {other.name} has {there!r}."
                    )
        for what in ("sha256", "name"):
            several = [getattr(each, what) for each in self.catalogues]
            for each in self.catalogues:
                if several.count(getattr(each, what)) > 1:
                    raise ValueError(
                        f"The halo catalogue {each.name} is given twice."
                        if what == "sha256"
                        else f"Two halo catalogues have the name {each.name}. Rename one."
                    )

    @property
    def box(self) -> float:
        """Side of each box, Mpc/h."""
        return self.catalogues[0].box

    @property
    def cosmology(self) -> str | None:
        """In words."""
        return self.catalogues[0].cosmology

    @property
    def name(self) -> str:
        """Names of all."""
        return ", ".join(each.name for each in self.catalogues)

    @property
    def sha256(self) -> str:
        """Of the only catalogue, or of the hashes of all."""
        return joint_sha256([each.sha256 for each in self.catalogues])

    @property
    def by_redshift(self) -> list[list[Catalogued]]:
        """The boxes at each redshift, ascending."""
        groups: list[list[Catalogued]] = []
        for each in self.catalogues:
            if groups and each.redshift - groups[-1][0].redshift <= SAME_REDSHIFT:
                groups[-1].append(each)
            else:
                groups.append([each])
        return groups

    @property
    def abundances(self) -> list[HostAbundance]:
        """Of the hosts at each redshift, ascending; the mean of its boxes."""
        return [HostAbundance.mean([x.abundance for x in boxes]) for boxes in self.by_redshift]

    def redshifts(self, domain: Domain, least: float) -> Redshifts:
        """Where a model that is made from these catalogues is valid.

        Parameters
        ----------
        domain : Domain
            Of all redshifts.
        least : float
            Mean number of galaxies in a box that is to be expected everywhere. The upper end of the
            domain's first occupation parameter is lowered at each redshift until it is.

        Raises
        ------
        ValueError
            If so many are expected nowhere in the domain.
        """
        highest = [_highest(domain, hosts, self.box, least) for hosts in self.abundances]
        return Redshifts(tuple(x[0].redshift for x in self.by_redshift), tuple(highest))


def _highest(domain: Domain, hosts: HostAbundance, box: float, least: float) -> float:
    """The largest first parameter at which enough galaxies are expected all over the bands."""
    low, high = domain.bands.first
    unit = np.random.default_rng(0).uniform(-1, 1, (_N_POINTS, domain.space.n_occupation))

    def fewest(first: float) -> float:
        unit[:, 0] = 2 * (first - low) / (high - low) - 1
        found = hosts.galaxies(domain.space.occupation, domain.from_unit(unit))
        return float(found.sum(axis=1).min()) * box**3

    first = high
    while least and fewest(first) < least:
        first = round(first - _STEP, 10)
        if first <= low:
            raise ValueError(
                f"Nowhere in the domain are {least:g} galaxies expected in a box of {box:g} Mpc/h all "
                f"over its bands. Lower least_galaxies, or begin the domain below {low:g}."
            )
    return first
