"""Halo catalogues: NFW satellites against halotools, and Rockstar's text against the compact form.

    python benchmarks/halos.py [--smoke] [--json FILE]

The bundled catalogue's hosts without their subhalos: xi and omega of halotools-IA with `NFWPhaseSpace`,
in the mean over catalogues of galaxies, against the tabulated expectation. Then the catalogue with its
subhalos, written as an hlist of Rockstar and in the compact form: how far both tabulations are apart, in
units of the scatter of one catalogue of galaxies. With --smoke, in a corner of the box.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue, load_halos, write_halos
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION, VELOCITY
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.templates import templates_of
from measuring import main, show

# mu_cen, mu_sat, and an occupation with a third of satellites.
POINT = np.array([0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0])
CORNER, N_CATALOGUES, N_SCATTER = 80.0, 20, 20


def corner(halos: HaloCatalogue, side: float) -> HaloCatalogue:
    """Hosts in a corner of the box, with their subhalos, as if the corner were periodic."""
    columns = halos.columns
    hosts = columns["halo_upid"] == -1
    inside = hosts & np.all([columns[x] < side for x in POSITION], axis=0)
    keep = np.isin(columns["halo_hostid"], columns["halo_id"][inside])
    kept = {name: values[keep] for name, values in columns.items()}
    kept |= {x: kept[x] % side for x in POSITION}
    return HaloCatalogue.from_columns(
        "corner", kept, side, halos.redshift, halos.particle_mass, cosmology=halos.cosmology
    )


def without_subhalos(halos: HaloCatalogue) -> HaloCatalogue:
    return HaloCatalogue.from_columns(
        "NFW", halos.columns, halos.box, halos.redshift, halos.particle_mass,
        cosmology=halos.cosmology, satellites="nfw",
    )  # fmt: skip


def nfw(halos: HaloCatalogue) -> dict[str, object]:
    alone = without_subhalos(halos)
    mu, hod = DEFAULT_SPACE.split(POINT)
    tabulation = Tabulation.build(alone, R_EDGES, progress=False)
    expected = np.concatenate(tabulation.templates(hod).correlations(*mu))
    model, found = HalotoolsIA(alone), []
    for seed in range(N_CATALOGUES):
        measured = correlations(
            *positions_and_axes(model.populate(POINT, seed)), alone.box, R_EDGES
        )
        found.append([measured.xi, measured.omega])
    mean = np.mean(found, axis=0)
    scatter = np.std(found, axis=0, ddof=1)
    error = scatter / np.sqrt(N_CATALOGUES)
    off = (expected[:2] - mean) / error
    show(
        f"NFW satellites: expectation against {N_CATALOGUES} catalogues of halotools",
        ["r [Mpc/h]", "xi", "halotools", "off [sigma of mean]", "omega", "halotools", "off [sigma of mean]"],
        [
            [f"{low:.3g}-{high:.3g}"]
            + [
                text
                for i in range(2)
                for text in (
                    f"{expected[i, b]:.4g}",
                    f"{mean[i, b]:.4g} ± {error[i, b]:.2g}",
                    f"{off[i, b]:+.1f}",
                )
            ]
            for b, (low, high) in enumerate(pairwise(R_EDGES))
        ],
    )  # fmt: skip
    counted = np.isfinite(off)
    of_one = np.abs(expected[:2] - mean) / scatter
    summary = {
        name: {
            "chi2 per bin": float(np.mean(off[i][counted[i]] ** 2)),
            "largest [scatter of one catalogue]": float(of_one[i][counted[i]].max()),
        }
        for i, name in enumerate(("xi", "omega"))
    }
    show(
        "In short",
        ["", "chi^2 per bin", "largest [scatter of one]"],
        [[name, *(f"{x:.2f}" for x in of.values())] for name, of in summary.items()],
    )
    return {
        "expected": expected[:2].tolist(),
        "halotools": mean.tolist(),
        "error": error.tolist(),
        **summary,
    }


def write_hlist(halos: HaloCatalogue, path: Path) -> None:
    """Text of Rockstar with the columns that are read, radii in kpc/h."""
    columns = halos.columns
    names = "#id upid mvir rvir x y z vx vy vz A[x] A[y] A[z] mpeak"
    keys = ("halo_id", "halo_upid", "halo_mvir", None, *POSITION, *VELOCITY, *AXES, "halo_mpeak")
    table = [columns["halo_rvir"] * 1000 if key is None else columns[key] for key in keys]
    formats = ["%d", "%d", *["%.9g"] * (len(keys) - 2)]
    np.savetxt(path, np.stack(table, axis=-1), formats, header=names, comments="")


def formats(halos: HaloCatalogue) -> dict[str, object]:
    _, hod = DEFAULT_SPACE.split(POINT)
    with tempfile.TemporaryDirectory() as folder:
        text, compact = Path(folder) / "hlist.list", Path(folder) / "compact.hdf5"
        write_hlist(halos, text)
        stated = {
            "box": halos.box,
            "redshift": halos.redshift,
            "particle_mass": halos.particle_mass,
        }
        read = load_halos(text, **stated)
        write_halos(read, compact)
        sizes = {path.name: path.stat().st_size / 1e6 for path in (text, compact)}
        one, other = (
            Tabulation.build(each, R_EDGES, progress=False).templates(hod)
            for each in (read, load_halos(compact))
        )
    sites, rng = GalaxySites.of(read), np.random.default_rng(0)
    drawn = np.array(
        [
            measure(populate(sites, hod, rng), POINT[:2], sites.box, R_EDGES, rng).templates
            for _ in range(N_SCATTER)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # bins with no pairs of centrals
        off = np.abs(one.values[0] - other.values[0]) / drawn.std(axis=0, ddof=1)
    largest = {
        template.name: float(np.nanmax(np.where(np.isfinite(off[i]), off[i], np.nan)))
        for i, template in enumerate(templates_of(one.statistics))
    }
    show(
        f"Rockstar's text ({sizes[text.name]:.0f} MB) and the compact form ({sizes[compact.name]:.0f} MB): "
        "largest difference of templates [scatter of one catalogue]",
        list(largest),
        [[f"{x:.1e}" for x in largest.values()]],
    )
    return {"largest": largest, "MB": sizes}


def run(smoke: bool) -> dict[str, object]:
    halos = load_halos()
    if smoke:
        halos = corner(halos, CORNER)
    return {"box": halos.box, "nfw": nfw(halos), "formats": formats(halos)}


if __name__ == "__main__":
    main(run, __doc__)
