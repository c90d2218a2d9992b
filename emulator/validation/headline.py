"""The numbers of a validation that go into the card of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import read_card
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT
from iaemu_likelihood.emulator.validation.metrics import ACCURACY, GAUSSIAN_COVERAGE
from iaemu_likelihood.emulator.validation.targets import judged


def add_validation(
    folder: str | Path, numbers: Mapping[str, Any], command: str, redshift: float | None = None
) -> None:
    """Put the headline numbers of a validation into the card of a folder of weights.

    Parameters
    ----------
    folder : str or Path
    numbers : mapping
        `iaemu_likelihood.emulator.validation.weights.Validation.numbers`.
    command : str
        That gives these numbers.
    redshift : float, optional
        Of the validation, if it is not the weights' first one.
    """
    card, found = read_card(Path(folder)), headline(numbers, command)
    if redshift is not None and abs(redshift - card["redshift"]) > SAME_REDSHIFT:
        others = card.get("other_redshifts", {}) | {f"z = {redshift:g}": found}
        found = {"other_redshifts": dict(sorted(others.items()))}
    write_card(folder, card | found)


def headline(numbers: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The blocks ``accuracy`` and ``calibration`` of a card, numbers to four digits."""
    statistics = list(numbers["expectation"]["all"])

    def each(block: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        return {s: {key: _rounded(block[s][key]) for key in keys} for s in statistics}

    def covered(block: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {
            s: {f"{name}_{k}_sigma": _rounded(block[s][name][str(k)]) for k in GAUSSIAN_COVERAGE}
            for s in statistics
        }

    data, mean = numbers["data"], numbers["ten_realisations"]
    met, missed = judged(numbers["targets"])
    unit, in_sigma = list(numbers["sigma_units"].items())[-1]
    calibration: dict[str, Any] = {"command": command}
    if "calibration" in numbers:
        found = numbers["calibration"]
        single = covered(found, "coverage")
        for s, entry in single.items():
            entry["bias_of_sigma_dex"] = _rounded(numbers["aleatoric"][s]["bias_dex"])
            entry["crps_relative"] = _rounded(found[s]["crps_relative"])
            entry["chi2_per_degree"] = _rounded(found[s]["chi2"]["per_degree"])
        calibration["single_catalogues"] = single
        calibration["all_statistics_together"] = {
            "chi2_per_degree": _rounded(found["chi2"]["per_degree"]),
            "fraction_beyond_95": _rounded(found["chi2"]["fraction_beyond_95"]),
        }
    calibration["epistemic"] = covered(numbers["epistemic"], "coverage")
    return {
        "accuracy": {
            "command": command,
            "version": data["version"],
            "n_points": data["n_points"],
            "n_points_with_realisations": data["n_points_with_realisations"],
            "seed": data["seed"],
            "targets_met": met,
            **({"targets_missed": missed} if missed else {}),
            "expectation": each(numbers["expectation"]["all"], ACCURACY),
            "ten_realisations": each(mean["emulator"]["all"], ACCURACY),
            "perfect_against_ten_realisations": each(mean["perfect"]["all"], ACCURACY),
            f"error_in_{unit}_sigma": each(in_sigma, ("median", "p95", "p99")),
        },
        "calibration": calibration,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
