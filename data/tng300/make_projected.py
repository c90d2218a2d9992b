"""Makes projected_z*.ecsv, and the covariance of w_g+ between redshifts, from published tables.

python data/tng300/make_projected.py VALUES.csv COVARIANCE.csv

They are projected statistics of TNG300-1 galaxies: the tables are those of 2pt_tng_jkcov.fits (github.com/ssamuroff/hydro_ias, data/2pt/fits) as text.
VALUES has the columns snapshot, redshift, statistic, rp_min, rp_max (Mpc/h), value and error (Mpc/h):
w_gg, then w_gplus, then w_plusplus, in each the redshifts one after the other. COVARIANCE is the matrix
of all its rows, without a header.
"""

import sys
from pathlib import Path

import numpy as np
from astropy.table import Table
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import mean_square
from scipy.optimize import brentq

from iaemu_likelihood.data_vectors import Measurement, write_covariance

N_REGIONS = 64
STATISTICS = "w_gg", "w_gplus", "w_plusplus"
# Of each snapshot: rms of one component of the ellipticity, and galaxies in (Mpc/h)^3.
GALAXIES = {99: (0.148, 0.0133), 78: (0.154, 0.0133), 62: (0.161, 0.0130), 50: (0.168, 0.0123)}

table = Table.read(sys.argv[1], format="ascii.csv")
covariance = np.loadtxt(sys.argv[2], delimiter=",")
if covariance.shape != (len(table), len(table)):
    raise SystemExit(
        f"{sys.argv[2]} has shape {covariance.shape}, not {len(table)} rows and columns."
    )


def file_name(redshift: float) -> str:
    """Of the measurement at a redshift."""
    return f"projected_z{round(1000 * redshift):04d}".replace("z0000", "z0")


for snapshot, (rms, density) in GALAXIES.items():
    rows = {
        s: np.flatnonzero((table["snapshot"] == snapshot) & (table["statistic"] == s))
        for s in STATISTICS
    }
    first = table[rows["w_gg"]]
    redshift = float(first["redshift"][0])
    axis_ratio = brentq(lambda q, rms=rms: mean_square(q) - 2 * rms**2, 0.1, 1)
    Measurement(
        name=f"TNG300 projected, z = {redshift:g}",
        r_min=np.array(first["rp_min"]),
        r_max=np.array(first["rp_max"]),
        values={s: np.array(table["value"][rows[s]]) for s in STATISTICS},
        errors={s: np.array(table["error"][rows[s]]) for s in STATISTICS},
        covariances={
            (a, b): covariance[np.ix_(rows[a], rows[b])]
            for i, a in enumerate(STATISTICS)
            for b in STATISTICS[i:]
        },
        n_jackknife=N_REGIONS,
        conventions=Conventions(pi_max=68.0, ellipticity="distortion", box=205.0),
        metadata={
            "schema": 1,
            "simulation": "IllustrisTNG300-1",
            "snapshot": snapshot,
            "redshift": redshift,
            "number_density": density,
            "axes": "of the projected, non-reduced inertia tensor",
            "ellipticity_rms": rms,
            "axis_ratio": round(axis_ratio, 3),
            "about": {
                "number_density": "(Mpc/h)^-3; the source gives no error",
                "ellipticity_rms": "of one component",
                "axis_ratio": "of prolate galaxies, all alike, with this rms: an upper guide to how "
                "elongated they are in effect, as a spread of shapes has a smaller response",
            },
            "citation": [
                "Samuroff, Mandelbaum & Blazek 2021, arXiv:2009.10735 (measurements)",
                "Nelson et al. 2019, arXiv:1812.05609 (IllustrisTNG)",
            ],
        },
    ).write(
        Path(__file__).with_name(f"{file_name(redshift)}.ecsv"),
        overwrite=True,
    )

(shapes,) = np.nonzero(table["statistic"] == "w_gplus")
samples = [file_name(redshift).removeprefix("projected_") for redshift in table["redshift"][shapes]]
write_covariance(
    Path(__file__).with_name("projected_w_gplus_covariance.ecsv"),
    [
        (sample, "w_gplus", float(row["rp_min"]), float(row["rp_max"]))
        for sample, row in zip(samples, table[shapes], strict=True)
    ],
    covariance[np.ix_(shapes, shapes)],
    N_REGIONS,
)
