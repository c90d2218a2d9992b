"""From a file of MeasureIA to a posterior: the commands of docs/files.md, each with its minutes.

    python benchmarks/survey_file.py [--smoke] [--json FILE]

The galaxies are a mock of the bundled catalogue, with known parameters, of which the occupation is given
to the fit. MeasureIA measures them (pip install measureia); from its file on, everything is a command that
a user types.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.halos import GalaxySites, load_halos
from iaemu_likelihood.emulator.mocks.fast import drawn_axes, populate
from iaemu_likelihood.emulator.physics.shapes import project
from measuring import main, show

from iaemu_likelihood.plots.chains import load_chains

MU, HOD, AXIS_RATIO = (0.8, 0.4), (12.9, 0.3, 12.9, 13.9, 1.0), 0.6
TRUTH = dict(zip(("mu_cen", "mu_sat"), MU, strict=True))
# Of the mock's galaxies one in so many is measured, which changes the noise alone.
THINNED, THINNED_MORE = 3, 12
LIMITS, BINS, PI_MAX, REGIONS = (0.5, 20.0), 8, 40.0, 27
# What a user writes by hand.
INPUT = """\
theory:
  iaemu_likelihood.IAEmu:
likelihood:
  survey:
    class: iaemu_likelihood.IACorrelations
    data_file: survey.ecsv
    statistics: [w_gplus]
    covariance: full
    covariance_correction: hartlap
    emulator_error: none
params: {logMmin: 12.9, sigma_logM: 0.3, logM0: 12.9, logM1: 13.9, alpha: 1.0}
sampler:
  mcmc: {Rminus1_stop: 0.05, seed: 1}
output: chains/survey
"""
COMMANDS = (
    "iaemu convert measured.hdf5 survey.ecsv --unit Mpc/h --edges log --ellipticity distortion "
    f"--responsivity none --box 250 --redshift 0 --axis-ratio {AXIS_RATIO}",
    "iaemu check survey.yaml",
    "cobaya-run survey.yaml",
    "iaemu plot chains/survey",
)


def measure_by_measureia(path, smoke):
    """Number of galaxies of a mock, which MeasureIA measures into a file."""
    from measureia import MeasureIABox

    halos, rng = load_halos(), np.random.default_rng(5)
    galaxies = populate(GalaxySites.of(halos), HOD, rng)
    keep = slice(None, None, THINNED_MORE if smoke else THINNED)
    positions = galaxies.position[keep]
    shapes = project(drawn_axes(galaxies, MU, rng)[keep], AXIS_RATIO)
    e, angle = np.hypot(*shapes.T), np.arctan2(shapes[:, 1], shapes[:, 0]) / 2
    data = {
        "Position": positions,
        "Position_shape_sample": positions,
        "Axis_Direction": np.stack([np.cos(angle), np.sin(angle)], axis=1),
        "q": np.sqrt((1 - e) / (1 + e)),
        "LOS": 2,
    }
    measure = MeasureIABox(
        data, str(path), separation_limits=list(LIMITS), num_bins_r=BINS, num_bins_pi=20,
        pi_max=PI_MAX, boxsize=halos.box, num_overlap=0,
    )  # fmt: skip
    measure.measure_xi_w("galaxies", "both", REGIONS, temp_file_path=False, responsivity=False)
    return len(positions)


def cpu_minutes():
    """Of this process and those that it has run."""
    times = os.times()
    return (times.user + times.system + times.children_user + times.children_system) / 60


def posterior_of(folder, smoke):
    """Wall and CPU minutes of each command, and what the chain says of some parameters."""
    text = INPUT.replace("seed: 1", "seed: 1, max_samples: 200") if smoke else INPUT
    (folder / "survey.yaml").write_text(text)
    minutes = {}
    for command in COMMANDS:
        start = time.perf_counter(), cpu_minutes()
        program, *arguments = command.split()
        # The program of the environment that runs this, whatever is first in PATH.
        whole = [Path(sys.executable).with_name(program), *arguments]
        done = subprocess.run(whole, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")
        minutes[command] = (time.perf_counter() - start[0]) / 60, cpu_minutes() - start[1]
    chain = load_chains(folder / "chains/survey")
    return minutes, {name: (float(chain.mean(name)), float(chain.std(name))) for name in TRUTH}


def run(smoke):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter(), cpu_minutes()
        n_galaxies = measure_by_measureia(Path(folder) / "measured.hdf5", smoke)
        measuring = (time.perf_counter() - start[0]) / 60, cpu_minutes() - start[1]
        minutes, found = posterior_of(Path(folder), smoke)
    minutes = {f"MeasureIA, {n_galaxies} galaxies": measuring, **minutes}
    rows = [[what, *(f"{x:.2f}" for x in each)] for what, each in minutes.items()]
    show("From a file to a posterior", ["", "minutes", "CPU minutes"], rows)
    show(
        "Posterior",
        ["", "truth", "mean", "standard deviation"],
        [[name, f"{TRUTH[name]:g}", *(f"{x:.3g}" for x in each)] for name, each in found.items()],
    )
    return {"minutes": minutes, "posterior": found, "truth": TRUTH}


if __name__ == "__main__":
    main(run, __doc__)
