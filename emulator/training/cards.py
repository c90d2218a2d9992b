"""Weights and their card, as a training writes them."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.atomic import write_tensors
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.datasets.sources import snapshots
from iaemu_likelihood.emulator.halos.snapshots import Snapshots
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import SCHEMA, TENSORS_HASH, WEIGHTS_FILE
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.training.configuration import Config
from torch import Tensor


def card_of(
    config: Config, data: DataSet, description: str, learning_curve: dict[str, Any]
) -> dict[str, Any]:
    """The card of weights, without the hashes.

    Parameters
    ----------
    config : TemplatesConfig or PaperConfig
    data : DataSet
        Of expectations, that they were trained on.
    description : str
        Of the networks, in sentences.
    learning_curve : dict
        See `draw_learning_curves`.
    """
    halos = snapshots(config.recipe("expectation", 1).catalogues)
    return {
        "schema": SCHEMA,
        "kind": config.kind,
        "description": description,
        "occupation": config.occupation_model,
        "alignment": config.alignment,
        "statistics": list(config.statistics),
        **({"learned": [s.name for s in data.statistics]} if config.kind == "templates" else {}),
        "halos": {"name": halos.name, "sha256": halos.sha256, **_by_redshift(halos)},
        **({"cosmology": halos.cosmology} if halos.cosmology else {}),
        "redshift": float(data.attributes["redshift"]),
        **_redshifts(config),
        "box": float(data.attributes["box"]),
        "box_unit": "Mpc/h",
        "r_edges_unit": "Mpc/h",
        "domain": config.region.to_dict(),
        **_domain_note(config.region),
        **({"note": config.note} if config.note else {}),
        "version": version("iaemu_likelihood"),
        "license": "BSD-3-Clause",
        "citation": ["arXiv:2504.05235", "arXiv:2311.07374", "arXiv:1606.04106"],
        "training": asdict(config),
        "learning_curve": learning_curve,
    }


def _by_redshift(halos: Snapshots) -> dict[str, Any]:
    """Which catalogue is of which redshift, if there are several."""
    if len(halos.catalogues) == 1:
        return {}
    each = [{"name": x.name, "redshift": x.redshift, "sha256": x.sha256} for x in halos.catalogues]
    return {"snapshots": each}


def _redshifts(config: Config) -> dict[str, Any]:
    """Redshifts, and the domain at each, if it is not the same as that of a single one."""
    found = config.redshifts
    several = found.are_several or config.least_galaxies
    return {"redshifts": found.to_dict()} if several else {}


def _domain_note(domain: Domain) -> dict[str, str]:
    """Where the bands are cut, if they are."""
    bands = domain.bands
    _, *others = domain.space.occupation.parameters
    # At both ends of the first parameter, between which the bands are monotonic.
    middle = np.array(bands.intercept) + np.array(bands.first)[:, None] * np.array(bands.slope)
    low, high = (middle - bands.half_width).min(axis=0), (middle + bands.half_width).max(axis=0)
    cuts = []
    for i, parameter in enumerate(others):
        if low[i] < bands.minimum[i] - 1e-9:
            why = " (so that it stays positive)" if parameter.positive else ""
            cuts.append(f"{parameter.name} >= {bands.minimum[i]:g}{why}")
        if high[i] > bands.maximum[i] + 1e-9:
            cuts.append(f"{parameter.name} <= {bands.maximum[i]:g}")
    return {"domain_note": f"the bands are cut to {', '.join(cuts)}"} if cuts else {}


def write_weights(folder: Path, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write the tensors, and the card with its hashes."""
    write_tensors(tensors, folder / WEIGHTS_FILE)
    write_card(folder, card | {TENSORS_HASH: sha256(folder / WEIGHTS_FILE)})
