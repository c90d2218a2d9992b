"""One prediction and many: both emulators beside halotools-IA, the tabulation and TabCorr.

python benchmarks/predict.py [--smoke] [--json FILE]

Wall time, on as many threads as it says. Ratios are points per second to catalogues per second of
halotools-IA, populated and measured at the same parameters in the same run. The floor is what the
networks' matrix products would take if they were all there was to do: for many points the operations
over what a plain product reaches here, for one point the bytes of the weights over what reading
matrices from memory reaches.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.backend import as_array, enter
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.models.base import AT_A_TIME, AT_A_TIME_ON_GPU
from iaemu_likelihood.emulator.models.weights import read_card, read_weights, weights_folder
from iaemu_likelihood.emulator.networks.iaemu import PaperNetwork
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
from measuring import floors, main, seconds, show, threads
from torch.utils.flop_counter import FlopCounterMode

# TNG300's sample 1 with the paper's fit, and a faint sample: about 30,000 and 300,000 galaxies.
POINTS = {
    "3e4 galaxies": [0.8, 0.32, 12.54, 0.26, 12.68, 13.48, 1.0],
    "3e5 galaxies": [0.6, 0.4, 11.45, 0.26, 11.50, 12.75, 1.0],
}
THETA = POINTS["3e4 galaxies"]
SIZES = {"templates": (1, 32, 1024, 32_768, 1_000_000), "paper": (1, 1024, 32_768)}
N_TABULATED = 100
KINDS = ("means", "and aleatoric sigma", "and epistemic sigma")


def wall(function, smoke, budget=1.0):
    return seconds(function, smoke, budget, time.perf_counter)


def operations(emulator):
    """Of all matrix products and convolutions that one point takes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        emulator(torch.tensor([THETA], dtype=torch.float64), epistemic=False)
    return counter.get_total_flops()


def emulators(smoke, floor):
    """Rows by emulator, precision, threads, number of points and what is predicted."""
    rows = []
    # On a GPU the same calls with tensors that are there; it is waited for at the end of each.
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for name, sizes in SIZES.items():
        n_operations = operations(Emulator.load(name))
        for device in devices:
            for dtype in ("float64", "float32"):
                emulator = Emulator.load(name).to(device, getattr(torch, dtype))
                for n_threads in (1, 2) if device == "cpu" else (1,):
                    for n in sizes[: 1 if smoke else None]:
                        if (
                            n == 1_000_000
                            and (dtype, n_threads) != ("float32", 2)
                            and device == "cpu"
                        ):
                            continue
                        if (name, dtype) == ("paper", "float64") and n > 1024:
                            continue
                        theta = np.array([THETA]) if n == 1 else emulator.domain.sample(n, seed=1)
                        for kind in KINDS:
                            if name == "paper" and (
                                kind == "means" or (kind != KINDS[1] and n > 1)
                            ):
                                continue  # which come together; and fifty passes
                            with threads(n_threads):
                                s = wall(
                                    call(emulator, theta, kind, device),
                                    smoke,
                                    3.0 if n > 1 else 1.0,
                                )
                            row = {
                                "emulator": name, "device": device, "dtype": dtype, "threads": n_threads,
                                "points": n, "predicts": kind, "seconds": s,
                            }  # fmt: skip
                            if kind == KINDS[1] and device == "cpu":
                                of = floor[n_threads]
                                row["floor_s"] = n * n_operations / of[f"{dtype}_operations_per_s"]
                                if name == "templates" and n == 1:  # each weight is used once
                                    size = 4 if dtype == "float32" else 8
                                    read = n_operations / 2 * size
                                    row["floor_s"] = read / of[f"{dtype}_bytes_per_s"]
                            rows.append(row)
    return rows


def call(emulator, theta, kind, device):
    """What a user would call for this."""
    if kind == "means":
        points = torch.as_tensor(theta, device=device)
        some = emulator.statistics
        at_a_time = AT_A_TIME if device == "cpu" else AT_A_TIME_ON_GPU

        @torch.inference_mode()
        def means():
            for part in points.split(at_a_time):
                mu, hod = emulator.space.split(*enter(part))
                result, _ = emulator.at(hod, some)(mu, some)
            return as_array(result)

        return means
    return lambda: emulator.predict(theta, epistemic=kind == "and epistemic sigma")


def plain_network():
    """The paper's network as its layers stand there: a pass, and fifty of them with dropout."""
    folder = weights_folder("paper")
    card = read_card(folder)
    sizes = len(DEFAULT_SPACE), len(DEFAULT_STATISTICS), len(R_EDGES) - 1
    network = PaperNetwork(*sizes, **card["training"]["network"])
    tensors = read_weights(folder, card)
    prefix = "network."
    network.load_state_dict(
        {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}
    )
    network.eval()
    inputs = torch.rand(1024, len(DEFAULT_SPACE))

    @torch.inference_mode()
    def passes():
        for module in network.modules():
            if hasattr(module, "rate"):
                module.train()
        results = [network(inputs[:1]) for _ in range(50)]
        network.eval()
        return results

    return torch.inference_mode()(lambda n: network(inputs[:n])), passes


def tabcorr(halos, smoke):
    """Seconds of a prediction of xi alone; None if TabCorr is not installed."""
    try:
        from tabcorr import TabCorr
    except ImportError:
        return None
    from astropy.cosmology import FlatLambdaCDM
    from halotools.empirical_models import NFWPhaseSpace, PrebuiltHodModelFactory
    from halotools.mock_observables import tpcf

    catalogue = halos.to_halotools()
    catalogue.cosmology, catalogue.simname = FlatLambdaCDM(67.8, 0.307), "bundled"
    profile = NFWPhaseSpace(redshift=0.0, conc_mass_model="dutton_maccio14", mdef="vir")
    # The cost of a prediction does not depend on how many of the halos were counted.
    table = TabCorr.tabulate(
        catalogue, tpcf, R_EDGES, Num_ptcl_requirement=1, prim_haloprop_bins=30,
        sec_haloprop_key="halo_mvir", sats_prof_model=profile, redshift_space_distortions=False,
        downsample=0.002 if smoke else 0.02, sats_per_prim_haloprop=1e-12,
    )  # fmt: skip
    model = PrebuiltHodModelFactory("zheng07", redshift=0, prim_haloprop_key="halo_mvir")
    return wall(lambda: table.predict(model), smoke)


def run(smoke: bool) -> dict:
    warnings.simplefilter("ignore")  # halotools', of a catalogue that is not in its cache
    floor = {n: floors(smoke, n) for n in (1, 2)}
    halos = load_halos()
    model = HalotoolsIA(halos)
    peers = {}
    for name, theta in list(POINTS.items())[: 1 if smoke else None]:

        def catalogue(theta=theta):
            return correlations(*positions_and_axes(model.populate(theta, seed=1)), model.box)

        start = time.perf_counter()
        catalogue()  # fills its tables
        once = time.perf_counter() - start
        again = wall(catalogue, smoke) if once < 5 else once
        peers[f"halotools-IA, one catalogue, {name}"] = min(once, again)
    rows = emulators(smoke, floor)
    one_pass, passes = plain_network()
    with threads(1):
        peers["the paper's network as it stands there, 1 point"] = wall(lambda: one_pass(1), smoke)
        peers["the same, fifty passes with dropout"] = wall(passes, smoke)
        if not smoke:
            many = wall(lambda: one_pass(1024), smoke)
            peers["the same, one pass, 1,024 points, each"] = many / 1024
    if not smoke:
        with tempfile.TemporaryDirectory() as folder:
            table = Tabulation.cached(Path(folder) / "t.hdf5", halos, progress=False)
            domain = Emulator.load().domain
            _, hod = domain.space.split(domain.sample(N_TABULATED, seed=1))
            spent = wall(lambda: table.templates(hod), smoke)
            peers["tabulation, the same means exactly, each"] = spent / N_TABULATED
    tabulated = tabcorr(halos, smoke)
    if tabulated is not None:
        peers["TabCorr, xi alone"] = tabulated

    catalogues = {name: s for name, s in peers.items() if name.startswith("halotools")}
    sparse, *dense = catalogues.values()
    show(
        "Predictions of xi, omega and eta in 20 bins, wall time",
        ["emulator", "precision", "threads", "points", "predicts means", "in all", "a point [us]",
         "times its floor", "points / catalogues per second: 3e4, 3e5 galaxies"],
        [
            [
                f"{r['emulator']}{' on the GPU' if r['device'] == 'cuda' else ''}", r["dtype"], f"{r['threads']}", f"{r['points']:,}", r["predicts"],
                f"{1e3 * r['seconds']:.4g} ms", f"{1e6 * r['seconds'] / r['points']:.3g}",
                f"{r['seconds'] / r['floor_s']:.1f}" if "floor_s" in r else "",
                ", ".join(f"{s * r['points'] / r['seconds']:.1e}" for s in (sparse, *dense)),
            ]
            for r in rows
        ],
    )  # fmt: skip
    show("Peers", ["", "seconds"], [[name, f"{s:.3g}"] for name, s in peers.items()])
    show(
        "What matrix products reach here",
        ["threads", *(name.replace("_", " ") for name in floor[1])],
        [[f"{n}", *(f"{1e-9 * x:.0f}e9" for x in of.values())] for n, of in floor.items()],
    )
    return {"rows": rows, "peers_s": peers, "floors": floor}


if __name__ == "__main__":
    main(run, __doc__)
