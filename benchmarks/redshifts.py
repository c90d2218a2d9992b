"""Fits of TNG300 at four redshifts: bias and alignment amplitude beside those of the source.

    python benchmarks/redshifts.py [--weights NAME_OR_FOLDER] [--json FILE]

At each redshift, yaml_examples/tng300_projected.yaml with the data and the number density of that
redshift: the best fit, and means and errors over the posterior by importance sampling, as `iaemu covmat`
draws. Then the occupation from w_gg and the number density alone, as lines for
yaml_examples/tng300_evolution.yaml, and that joint fit of w_g+ with these occupations, with an alignment
that evolves and with one that does not.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.models.derived import BOX_ERROR
from iaemu_likelihood.emulator.physics.domain import Domain
from measuring import show
from scipy.stats import chi2 as chi2_distribution

from iaemu_likelihood import posterior, yaml_examples
from iaemu_likelihood.cobaya.inputs import model_of, read_input
from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.data_vectors.measurement import TNG300_PROJECTED
from iaemu_likelihood.sampling import best_fit
from iaemu_likelihood.sampling.proposal import find_proposal

EXAMPLES = Path(yaml_examples.__file__).parent
AT_ZERO, EVOLUTION = "tng300_projected.yaml", "tng300_evolution.yaml"
THEORY, LIKELIHOOD = "iaemu_likelihood.IAEmu", "iaemu_likelihood.IACorrelations"
# Of the source's analytic covariance, arXiv:2009.10735, by redshift: linear bias, and alignment amplitude
# of ellipticities that are not divided by 2 R.
OF_SOURCE = {0.0: (1.17, 1.8), 0.3: (1.33, 2.6), 0.625: (1.51, 2.6), 1.0: (1.79, 3.6)}
# Relative error of the number densities, to which the source gives none.
DENSITY_ERROR = 0.05
DERIVED = ("n_gal", "f_sat", "b_g", "A_IA_e")
# Of the alignment, where only positions are fitted: they do not depend on it.
ANY_ALIGNMENT = {"mu_cen": 0.5, "mu_sat": 0.5}


def input_at(name: str, weights: str, statistics: list[str]) -> dict[str, Any]:
    """The example of z = 0 with the data of another redshift."""
    info = read_input(EXAMPLES / AT_ZERO)
    measured = Measurement.read(f"tng300.{name}")
    density = measured.metadata["number_density"]
    info["theory"] = {THEORY: {"weights": weights, "redshift": measured.redshift}}
    info["likelihood"][LIKELIHOOD] |= {
        "data_file": f"tng300.{name}",
        "statistics": statistics,
        "number_density": {"value": density, "error": DENSITY_ERROR * density},
    }
    # Priors of the theory, which are those of the redshift.
    info["params"] = {name: {"derived": True} for name in DERIVED}
    return info


def summary(info: dict[str, Any], derived: bool = True) -> dict[str, Any]:
    """Best fit, chi^2, and means and standard deviations over the posterior."""
    target = posterior(copy.deepcopy(info))
    best = best_fit(target)
    model = model_of(copy.deepcopy(info))
    at = model.logposterior(dict(zip(target.names, best.x.tolist(), strict=True)))
    columns = dict(zip(model.parameterization.derived_params(), at.derived, strict=True))
    chi2 = float(next(x for name, x in columns.items() if name.startswith("ia_chi2")))
    core = target.likelihoods[0]
    degrees = core.n_data - len(target.names)
    proposal = find_proposal(target)
    used = proposal.weights > 1e-6 * proposal.weights.max()
    values = dict(zip(target.names, proposal.points[used].T, strict=True))
    values |= target.derived(proposal.points[used]) if derived else {}
    weights = proposal.weights[used] / proposal.weights[used].sum()
    means = {name: float(weights @ x) for name, x in values.items()}
    return {
        "best_fit": dict(zip(target.names, best.x.tolist(), strict=True)),
        "chi2": chi2,
        "degrees": degrees,
        "p": float(chi2_distribution.sf(chi2, degrees)),
        "effective_draws": proposal.n_effective,
        "means": means,
        "stds": {n: float((weights @ (x - means[n]) ** 2) ** 0.5) for n, x in values.items()},
    }


def rounded(domain: Domain, point: dict[str, float]) -> dict[str, float]:
    """An occupation in few digits, inside the domain also where the fit is at its edge."""
    names = domain.space.occupation.names
    unit = domain.to_unit(np.array([[point[name] for name in names]]))
    (inside,) = domain.from_unit(np.clip(unit, -0.999, 0.999))
    return {name: round(float(x), 4) for name, x in zip(names, inside, strict=True)}


def evolution(occupations: dict[str, dict[str, float]], weights: str, evolves: bool) -> Any:
    """The joint fit of w_g+ at all redshifts, at given occupations."""
    info = read_input(EXAMPLES / EVOLUTION)
    info["theory"][THEORY]["weights"] = weights
    for sample, values in occupations.items():
        info["params"] |= {f"{name}_{sample}": x for name, x in values.items()}
    if not evolves:
        info["params"] |= {
            "p_cen": {"value": 0.0, "drop": True},
            "p_sat": {"value": 0.0, "drop": True},
        }
    return summary(info, derived=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="templates", help="name or folder of weights")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    arguments = parser.parse_args()
    weights = arguments.weights
    for redshift in OF_SOURCE:
        Emulator.load(weights).at_redshift(redshift)  # raises if it is not known
    found, occupations = {}, {}
    for name, redshift in zip(TNG300_PROJECTED, OF_SOURCE, strict=True):
        found[redshift] = summary(input_at(name, weights, ["w_gg", "w_gplus"]))
        of_positions = input_at(name, weights, ["w_gg"])
        of_positions["params"] = dict(ANY_ALIGNMENT)
        point = summary(of_positions, derived=False)["best_fit"]
        domain = Emulator.load(weights).at_redshift(redshift).domain
        occupations[name.removeprefix("projected_")] = rounded(domain, point)
    show(
        "w_gg, w_g+ and number density: means over the posterior, and the source's b_g and A_IA",
        ["z", "chi^2 / dof", "p", "n_gal", "f_sat", "b_g", "source", "A_IA_e", "source"],
        [
            [
                f"{z:g}",
                f"{x['chi2']:.1f} / {x['degrees']}",
                f"{x['p']:.2g}",
                *(f"{x['means'][n]:.4g} ± {x['stds'][n]:.2g}" for n in DERIVED[:3]),
                f"{OF_SOURCE[z][0]:g}",
                f"{x['means']['A_IA_e']:.3g} ± {x['stds']['A_IA_e']:.2g}",
                f"{OF_SOURCE[z][1]:g}",
            ]
            for z, x in found.items()
        ],
    )
    print(
        f"One box: b_g {100 * BOX_ERROR['b_g']:g} %, A_IA {100 * BOX_ERROR['A_IA']:g} %. Effective draws: "
        + ", ".join(f"{x['effective_draws']:.0f}" for x in found.values())
    )
    print("\nOccupations from w_gg and the number density:\n")
    for sample, values in occupations.items():
        print("\n".join(f"  {name}_{sample}: {value:g}" for name, value in values.items()))
    joint = {evolves: evolution(occupations, weights, evolves) for evolves in (True, False)}
    show(
        "w_g+ at all four redshifts",
        ["", "evolving", "constant"],
        [
            ["chi^2 / dof", *(f"{x['chi2']:.1f} / {x['degrees']}" for x in joint.values())],
            *(
                [
                    name,
                    *(
                        f"{x['means'][name]:.3g} ± {x['stds'][name]:.2g}"
                        if name in x["means"]
                        else ""
                        for x in joint.values()
                    ),
                ]
                for name in joint[True]["means"]
            ),
        ],
    )
    if arguments.json:
        numbers = {
            "by_redshift": {str(z): x for z, x in found.items()},
            "occupations": occupations,
            "evolving": joint[True],
            "constant": joint[False],
        }
        arguments.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
