"""A tabulation of the bundled catalogue: time to make, size, memory, and time for one point.

    python benchmarks/tabulation.py [--smoke] [--json FILE]

Of all statistics in all fine bins, on all cores; points are evaluated on one, one at a time and many
together, for the paper's statistics in the paper's bins and for everything. Memory in use is that of a
process that has loaded and evaluated it; the peak while it is made is what `run.py` prints. TabCorr's, of
xi alone in the paper's bins, is made of the same hosts if it is installed; the memory is the peak of both
making and using it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numba
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, STATISTICS
from measuring import main, seconds, show
from threadpoolctl import threadpool_limits

# Prints the peak memory of a process that uses the tabulation in a file, in kilobytes on Linux.
IN_USE = """
import resource, sys
from iaemu_likelihood.emulator.expectation import Tabulation
Tabulation.read(sys.argv[1]).templates([12.54, 0.26, 12.68, 13.48, 1.0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

# Prints what TabCorr's tabulation takes: to make, on disk, to load, and in memory.
OF_TABCORR = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
from astropy.cosmology import FlatLambdaCDM
from halotools.empirical_models import NFWPhaseSpace, PrebuiltHodModelFactory
from halotools.mock_observables import tpcf
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from tabcorr import TabCorr
path, share = sys.argv[1], float(sys.argv[2])
catalogue = load_halos().to_halotools()
catalogue.cosmology, catalogue.simname = FlatLambdaCDM(67.8, 0.307), "bundled"
start = time.perf_counter()
TabCorr.tabulate(
    catalogue, tpcf, R_EDGES, Num_ptcl_requirement=1, prim_haloprop_bins=30,
    sec_haloprop_key="halo_mvir", redshift_space_distortions=False, downsample=share,
    sats_prof_model=NFWPhaseSpace(redshift=0.0, conc_mass_model="dutton_maccio14", mdef="vir"),
    sats_per_prim_haloprop=3e-12 if share == 1 else 1e-12,
).write(path, overwrite=True)
made = time.perf_counter()
table = TabCorr.read(path)
loaded = time.perf_counter()
table.predict(PrebuiltHodModelFactory("zheng07", redshift=0, prim_haloprop_key="halo_mvir"))
print(json.dumps({
    "make_s": made - start, "load_s": loaded - made, "file_mb": os.path.getsize(path) / 1e6,
    "in_use_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def of_tabcorr(folder: Path, smoke: bool) -> dict | None:
    """Numbers of TabCorr's tabulation; None if it is not installed."""
    if find_spec("tabcorr") is None:
        return None
    arguments = [str(folder / "tabcorr.hdf5"), "0.002" if smoke else "1"]
    command = [sys.executable, "-c", OF_TABCORR, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def used(path: Path, smoke: bool) -> dict:
    """Numbers of the tabulation in a file."""
    start = time.perf_counter()
    whole = Tabulation.read(path)
    load = time.perf_counter() - start
    command = [sys.executable, "-c", IN_USE, str(path)]
    memory = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    names = [s.name for s in whole.statistics if s.name in DEFAULT_STATISTICS]
    edges = R_EDGES[: int((whole.r_edges[-1] * 1.001 > R_EDGES).sum())]
    domain = Domain.of()
    _, hod = domain.space.split(domain.sample(256, 0))
    times = {}
    numba.set_num_threads(1)
    with threadpool_limits(1):
        for label, table in (
            ("paper", whole.coarser(edges, names)),
            ("everything", whole),
        ):
            one = seconds(lambda table=table: [table.templates(x) for x in hod[:16]], smoke) / 16
            many = seconds(lambda table=table: table.templates(hod), smoke) / len(hod)
            times[label] = {"one_ms": 1e3 * one, "many_ms": 1e3 * many}
    return {
        "file_mb": path.stat().st_size / 1e6,
        "load_s": load,
        "in_use_mb": memory / 1024,
        "point": times,
    }


def run(smoke: bool) -> dict:
    edges, statistics = (R_EDGES[:9], ("xi",)) if smoke else (FAR_EDGES, STATISTICS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tabulation.hdf5"
        start = time.perf_counter()
        Tabulation.build(load_halos(), edges, statistics=statistics).write(path)
        numbers = {"make_s": time.perf_counter() - start, **used(path, smoke)}
        tabcorr = of_tabcorr(Path(folder), smoke)
    show(
        "Tabulation of the bundled catalogue",
        ["to make", "file", "to load", "memory in use", "point: paper's", "everything"],
        [
            [
                f"{numbers['make_s']:.0f} s",
                f"{numbers['file_mb']:.0f} MB",
                f"{numbers['load_s']:.1f} s",
                f"{numbers['in_use_mb']:.0f} MB",
                *(
                    f"{x['one_ms']:.1f} ms; of many {x['many_ms']:.2f} ms"
                    for x in numbers["point"].values()
                ),
            ]
        ],
    )
    if tabcorr is not None:
        show(
            "TabCorr, xi in the paper's bins",
            ["to make", "file", "to load", "peak of memory"],
            [
                [
                    f"{tabcorr['make_s']:.0f} s", f"{tabcorr['file_mb']:.1f} MB",
                    f"{tabcorr['load_s']:.2f} s", f"{tabcorr['in_use_mb']:.0f} MB",
                ]
            ],
        )  # fmt: skip
        numbers["tabcorr"] = tabcorr
    return numbers


if __name__ == "__main__":
    main(run, __doc__)
