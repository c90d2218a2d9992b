"""One prediction and many: both emulators beside halotools-IA and the tabulation in the same run.

python benchmarks/predict.py [--smoke] [--json FILE]

CPU time on one thread. Each row says what is predicted of xi, omega and eta; the ratio is that of
points per second to one halotools-IA catalogue at the same parameters, measured, per second.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from iaemu_likelihood.emulator.estimators import correlations, positions_and_axes
from iaemu_likelihood.emulator.galaxies import HalotoolsIA
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.prediction import Emulator
from iaemu_likelihood.emulator.tabulation import Tabulation
from measuring import main, seconds, show

# TNG300's sample 1 with the paper's fit: about 30,000 galaxies.
THETA = [0.8, 0.32, 12.54, 0.26, 12.68, 13.48, 1.0]
SIZES = {"templates": (1, 1024, 32_768), "paper": (1, 1024)}
N_TABULATED = 100


def run(smoke: bool) -> dict:
    torch.set_num_threads(1)
    halos = load_halos()
    model = HalotoolsIA(halos)

    def catalogue():
        return correlations(*positions_and_axes(model.populate(THETA, seed=1)), model.box)

    halotools = seconds(catalogue, smoke)
    rows = {"halotools-IA, one catalogue": {"points": 1, "seconds": halotools}}
    for name, sizes in SIZES.items():
        emulator = Emulator.load(name)
        for n in sizes[: 1 if smoke else None]:
            theta = torch.as_tensor(emulator.domain.sample(n, seed=1))
            if n == 1:
                theta = torch.tensor([THETA], dtype=torch.float64)
            hod, mu = theta[:, 2:], theta[:, :2]
            calls = {
                "means": lambda e=emulator, h=hod, m=mu: e.at(h)(m),
                "means, aleatoric sigma": lambda e=emulator, t=theta: e(t, epistemic=False),
                "means, aleatoric and epistemic sigma": lambda e=emulator, t=theta: e(t),
            }
            if name == "paper" and n > 1:
                del calls["means, aleatoric and epistemic sigma"]  # fifty passes
            with torch.inference_mode():
                for what, call in calls.items():
                    rows[f"{name}: {what}, {n}"] = {"points": n, "seconds": seconds(call, smoke)}
    if not smoke:
        with tempfile.TemporaryDirectory() as folder:
            table = Tabulation.cached(Path(folder) / "t.hdf5", halos)
            hod = Emulator.load().domain.sample(N_TABULATED, seed=1)[:, 2:]
            rows["tabulation: means"] = {
                "points": N_TABULATED,
                "seconds": seconds(lambda: table.templates(hod), smoke),
            }
    for row in rows.values():
        row["us_per_point"] = 1e6 * row["seconds"] / row["points"]
        row["ratio_to_halotools"] = halotools / (row["seconds"] / row["points"])
    show(
        "Predictions of xi, omega and eta in 20 bins",
        ["", "points", "in all", "a point [us]", "points per second / halotools-IA"],
        [
            [
                name,
                f"{row['points']}",
                f"{1e3 * row['seconds']:.3g} ms",
                f"{row['us_per_point']:.4g}",
                f"{row['ratio_to_halotools']:.2g}",
            ]
            for name, row in rows.items()
        ],
    )
    return {"rows": rows}


if __name__ == "__main__":
    main(run, __doc__)
