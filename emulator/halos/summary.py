"""What a halo catalogue holds, as tables: what was understood of a file, and what was left out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.halos.catalogue import HaloCatalogue
from iaemu_likelihood.emulator.halos.rows import AXES, CONCENTRATION, richness
from iaemu_likelihood.emulator.halos.theory import mass_function
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology
from iaemu_likelihood.emulator.tables import Table

# Width of the rows by mass, in log10.
STEP = 0.5


def summarise(halos: HaloCatalogue) -> list[Table]:
    """A table of the whole catalogue, and one by the mass of hosts.

    Parameters
    ----------
    halos : HaloCatalogue

    Returns
    -------
    list of Table
    """
    column = halos.columns
    is_host = column["halo_upid"] == -1
    mass = column["halo_mvir"][is_host]
    rows = [
        ["box", f"{halos.box:g} Mpc/h"],
        ["redshift", f"{halos.redshift:g}"],
        ["cosmology", halos.cosmology or "not known"],
        ["particle mass", f"{halos.particle_mass:.4g} Msun/h"],
        ["hosts", f"{is_host.sum()}"],
        [
            "lowest mass",
            f"{mass.min():.4g} Msun/h, {mass.min() / halos.particle_mass:.0f} particles",
        ],
        ["highest mass", f"{mass.max():.4g} Msun/h"],
    ]
    if halos.satellites == "nfw":
        middle = np.median(column[CONCENTRATION])
        about = f"none: satellites follow NFW profiles, of median concentration {middle:.3g}"
        rows.append(["subhalos", about])
    else:
        rows.append(["subhalos", f"{(~is_host).sum()}"])
    largest, scatter = preferred_direction(halos)
    rows.append(
        ["axes", f"largest |<e_i e_j> - delta_ij / 3|: {largest:.2g}; {scatter:.2g} if isotropic"]
    )
    rows += [
        ["dropped", f"{number} row{'s' * (number > 1)}: {reason}"]
        for reason, number in halos.dropped.items()
    ]
    rows += [["note", note] for note in halos.notes]
    rows += [["origin", halos.provenance]] if halos.provenance else []
    rows.append(["sha256", halos.sha256])
    return [Table(halos.name, ["", ""], rows), _by_mass(halos)]


def preferred_direction(halos: HaloCatalogue) -> tuple[float, float]:
    """Largest element of <e e^T> - 1/3 of the hosts' major axes, and its mean if they are isotropic.

    Axes along the grid of a simulation or of a finder are a known artefact.
    """
    hosts = halos.columns["halo_upid"] == -1
    e = np.stack([halos.columns[key][hosts] for key in AXES])
    largest = float(np.abs(e @ e.T / e.shape[1] - np.eye(3) / 3).max())
    # Variances of 4/45 on the diagonal and 1/15 beside it; the largest of six such numbers.
    drawn = np.random.default_rng(0).normal(size=(4000, 6)) * np.sqrt([4 / 45] * 3 + [1 / 15] * 3)
    return largest, float(np.abs(drawn).max(axis=1).mean() / np.sqrt(e.shape[1]))


def _by_mass(halos: HaloCatalogue) -> Table:
    column = halos.columns
    is_host = column["halo_upid"] == -1
    logM = np.log10(column["halo_mvir"][is_host])
    edges = STEP * np.arange(np.floor(logM.min() / STEP), np.floor(logM.max() / STEP) + 2)
    number = np.histogram(logM, edges)[0]
    columns = ["log10 M", "hosts", "(h/Mpc)^3 dex"]
    shown = [number, [f"{n / halos.box**3 / STEP:.3g}" for n in number]]
    try:
        cosmology = Cosmology.from_words(halos.cosmology)
    except ValueError:
        pass  # none is known
    else:
        # Of the lowest and the highest range a part may be empty.
        fine = np.linspace(edges[:-1], edges[1:], 21)
        within = (fine >= logM.min()) & (fine <= logM.max() + 1e-9)
        density = mass_function(10 ** fine.ravel(), halos.redshift, cosmology).reshape(fine.shape)
        expected = np.trapezoid(np.where(within, density, 0), fine, axis=0) * halos.box**3
        columns.append("over theory")
        shown.append(
            [f"{n / e:.2f}" if e > 0 else "" for n, e in zip(number, expected, strict=True)]
        )
    if halos.satellites == "subhalos":
        of_subhalos = np.histogram(logM, edges, weights=richness(column))[0]
        columns.append("subhalos per host")
        shown.append(
            [f"{s / n:.3g}" if n else "" for s, n in zip(of_subhalos, number, strict=True)]
        )
    else:
        columns.append("concentration")
        place = np.digitize(logM, edges) - 1
        c = column[CONCENTRATION][is_host]
        shown.append([f"{c[place == i].mean():.3g}" if n else "" for i, n in enumerate(number)])
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    rows = [[str(cell) for cell in row] for row in zip(labels, *shown, strict=True)]
    return Table("Hosts by mass", columns, rows)
