"""Trained networks as the first guess of others."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.models.weights import (
    domain_of,
    entry,
    learned_of,
    read_card,
    read_weights,
    redshifts_of,
    statistics_of,
    weights_folder,
)
from iaemu_likelihood.emulator.networks.perceptron import layers
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import named
from iaemu_likelihood.emulator.training.configuration import TemplatesConfig
from torch import Tensor


@lru_cache(maxsize=1)
def _read(start: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = weights_folder(start)
    card = read_card(folder)
    if card["kind"] != "templates":
        raise ValueError(
            f"start is {start!r}, weights of kind {card['kind']}; give some of kind templates."
        )
    return card, read_weights(folder, card)


def check_start(config: TemplatesConfig) -> None:
    """Refuse weights, `start` of a configuration, whose networks are not of the shape of its own.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    ValueError
        If networks of the means differ in anything that their tensors depend on; all are listed.
    """
    if not config.start:
        return
    card, _ = _read(config.start)
    theirs: dict[str, Any] = {
        "statistics": [s.name for s in statistics_of(card)],
        "domain": _in_words(domain_of(card)),
        "n_networks": entry(card, "training", "n_networks", kind=int),
    }
    own: dict[str, Any] = {
        "statistics": [s.name for s in named(config.statistics)],
        "domain": _in_words(config.region),
        "n_networks": config.n_networks,
    }
    for name in ("means", "projected"):
        settings = getattr(config, name)
        if settings:
            trained = card["training"].get(name) or {}
            own[name] = settings.width, settings.depth
            theirs[name] = trained.get("width"), trained.get("depth")
    if config.projected:
        own["learned"] = [s.name for s in config.learned]
        theirs["learned"] = [s.name for s in learned_of(card)]
    redshifts = redshifts_of(card).values
    if len(redshifts) > 1:
        own["redshifts"], theirs["redshifts"] = config.redshifts.values, redshifts
    differing = [f"{key} {theirs[key]} (here {own[key]})" for key in own if own[key] != theirs[key]]
    if differing:
        raise ValueError(
            f"start is {config.start!r}, whose networks cannot begin this training, as they have other "
            f"{'; '.join(differing)}. Make these the same, or leave start out."
        )


def _in_words(domain: Domain) -> str:
    """Its numbers, without the last digits of fitted lines, which depend on the machine."""
    each = (
        f"{key} {np.array2string(np.array(x), precision=6)}" for key, x in domain.to_dict().items()
    )
    return ", ".join(each)


def first_guess(
    config: TemplatesConfig, prefix: str, member: int, scaling: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Weights and biases of one network of the means; see `Perceptron.tensors`.

    Parameters
    ----------
    config : TemplatesConfig
        With `start`, that `check_start` has checked. Weights of one redshift begin the networks of
        every snapshot.
    prefix : str
        With which the names of the ensemble's tensors begin.
    member : int
    scaling : dict of str to torch.Tensor
        The mean and scale of outputs, with which the network will be trained.
    """
    card, tensors = _read(config.start)
    weights, biases = ([x[member] for x in each] for each in layers(tensors, prefix))
    redshifts = config.redshifts
    if redshifts.are_several and not redshifts_of(card).are_several:
        n = len(redshifts.values)
        weights, biases = (
            [x.expand(n, *x.shape).clone() for x in each] for each in (weights, biases)
        )
        no_slope = weights[0].new_zeros(n, 1, weights[0].shape[-1])
        weights[0] = torch.cat([weights[0], no_slope], dim=-2)
    (mean, scale), (own_mean, own_scale) = (
        [x[f"{at}{name}"].double() for name in ("mean", "scale")]
        for x, at in ((tensors, prefix), (scaling, ""))
    )
    weights[-1] = (weights[-1].double() * scale / own_scale).float()
    biases[-1] = ((biases[-1].double() * scale + mean - own_mean) / own_scale).float()
    found = {f"weights.{i}": x for i, x in enumerate(weights)}
    return found | {f"biases.{i}": x for i, x in enumerate(biases)}
