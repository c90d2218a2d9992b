"""The fit of TNG300's w_gg, w_g+ and number density at z = 0: every number of it that docs/survey.md gives.

    python benchmarks/projected_fit.py [--chain PREFIX] [--figures PREFIX] [--json FILE]

The best fit of yaml_examples/tng300_projected.yaml comes from a minimiser, with chi^2 by parts and the
probability of a larger one; the posterior comes from a chain of that input, which Cobaya runs first if
PREFIX has none (chains/tng300_projected when left out), and is compared with what the source of the data
takes for its own covariance. Figures are drawn if their PREFIX is given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from cobaya.model import get_model
from cobaya.run import run as run_cobaya
from iaemu_likelihood.emulator.models.derived import BOX_ERROR, DERIVED
from measuring import show
from scipy.stats import chi2 as chi2_distribution

from iaemu_likelihood import posterior, yaml_examples
from iaemu_likelihood.cobaya.inputs import read_input
from iaemu_likelihood.plots import constraints_of, corner_figure, prediction_figure
from iaemu_likelihood.plots.figures import has_input
from iaemu_likelihood.sampling import best_fit

INPUT = Path(yaml_examples.__file__).parent / "tng300_projected.yaml"
# Of the source's analytic covariance, arXiv:2009.10735: of ellipticities that are not divided by 2 R.
OF_SOURCE = {"n_gal": 0.0133, "b_g": 1.17, "A_IA_e": 1.8}
SHOWN = ("logMmin", "logM1", "alpha", "mu_cen", "mu_sat", "f_sat", "b_g", "A_IA_e")


def fit():
    """Best fit, and what it misses."""
    target = posterior(INPUT)
    found = best_fit(target)
    model = get_model(
        {k: x for k, x in read_input(INPUT).items() if k not in ("sampler", "output")}
    )
    names = list(model.parameterization.sampled_params())
    point = dict(zip(target.names, found.x.tolist(), strict=True))
    at = model.logposterior([point[name] for name in names])
    derived = dict(zip(model.parameterization.derived_params(), at.derived, strict=True))
    likelihood = next(iter(model.likelihood.values()))
    core = likelihood.core
    chi2 = derived[next(name for name in derived if name.startswith("ia_chi2"))]
    degrees = core.n_data - len(names)
    mean, _ = core.model(likelihood.moments())
    pulls = (mean[0].numpy() - core.data.values) / np.diag(core.data.covariance) ** 0.5
    return {
        "point": point,
        "derived": {name: float(derived[name]) for name in DERIVED},
        "chi2": float(chi2),
        "chi2_of_density": float(((derived["n_gal"] - 0.0133) / 0.000665) ** 2),
        "degrees": degrees,
        "p": float(chi2_distribution.sf(chi2, degrees)),
        "pulls": [
            {"of": statistic, "r_p": [low, high], "pull": float(pull)}
            for (_, statistic, low, high), pull in zip(core.data.points, pulls, strict=True)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--chain", default="chains/tng300_projected", help="output prefix of the run"
    )
    parser.add_argument("--figures", help="prefix of the figures")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    arguments = parser.parse_args()
    best = fit()
    print(
        f"Best fit: chi^2 = {best['chi2']:.1f} for {best['degrees']} degrees of freedom (p = "
        f"{best['p']:.2g}); {best['chi2_of_density']:.2f} of it from the number density."
    )
    show(
        "Best fit less data, over the data's errors",
        ["", "r_p [Mpc/h]", "pull"],
        [[x["of"], "{:.2f}-{:.2f}".format(*x["r_p"]), f"{x['pull']:+.2f}"] for x in best["pulls"]],
    )
    if not has_input(arguments.chain):
        run_cobaya(read_input(INPUT) | {"output": arguments.chain})
    (found,) = constraints_of([arguments.chain])
    numbers = found.numbers
    show(
        f"{numbers['samples']} samples, R-1 = {numbers['r_minus_1']:.2g}",
        ["", "posterior", "best fit", "one box", "source"],
        [
            [
                name, f"{x['mean']:.4g} ± {x['std']:.2g}",
                f"{({**best['point'], **best['derived']})[name]:.4g}",
                f"{100 * BOX_ERROR[name]:g} %" if name in BOX_ERROR else "",
                str(OF_SOURCE.get(name, "")),
            ]
            for name, x in numbers["parameters"].items()
        ],
    )  # fmt: skip
    if arguments.figures:
        corner_figure(arguments.chain, out=arguments.figures, parameters=SHOWN)
        prediction_figure(arguments.chain, out=arguments.figures)
    if arguments.json:
        arguments.json.write_text(json.dumps({"best_fit": best, "posterior": numbers}, indent=1))


if __name__ == "__main__":
    main()
