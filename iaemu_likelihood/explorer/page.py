"""The page: what it shows of an emulator, and the file that holds it all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood import yaml_examples
from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.binned import MEASURED
from iaemu_likelihood.emulator.models.projected import ProjectedMap, project
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import largest_response, response
from iaemu_likelihood.emulator.physics.statistics import PROJECTED
from iaemu_likelihood.explorer.labels import parts
from iaemu_likelihood.explorer.program import Constants, trace
from iaemu_likelihood.plots.correlations import scale, separation_label, value_label

Array = NDArray[np.float64]

# Measurements that are shown where the redshift is theirs.
SAMPLES = ("tng300.sample1", "tng300.sample2", "tng300.sample3")
ON_THE_SKY = (
    "tng300.projected_z0", "tng300.projected_z0300", "tng300.projected_z0625",
    "tng300.projected_z1000",
)  # fmt: skip
# Inputs of the programs: the emulator's parameters, and the response of shapes.
THETA, RESPONSE = "theta", "response"


def write_explorer(
    path: str | Path, weights: str = "templates", redshifts: Sequence[float] = ()
) -> Path:
    """Write the page of some weights: HTML that holds scripts, weights and TNG300's measurements.

    Parameters
    ----------
    path : str or Path
        File to write; a file that is there is replaced.
    weights : str
        Name or folder of weights of the kind ``templates``.
    redshifts : sequence of float
        Between which the page's slider chooses, that of the weights when left out. Each makes the page
        larger by the weights of its networks, which are twice as many between two snapshots.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the weights are of another kind, or do not know a redshift.
    """
    emulator = Emulator.load(weights)
    if emulator.card["kind"] != "templates":
        raise ValueError(
            f"{weights} are weights of the kind {emulator.card['kind']}; the page takes weights of the "
            "kind templates."
        )
    content, constants = page_content(emulator, weights, redshifts)
    with atomic_write(Path(path)) as unfinished:
        unfinished.write_text(page(content, constants), encoding="utf-8")
    return Path(path)


def page(content: Mapping[str, Any], constants: bytes) -> str:
    """The HTML from what `page_content` gives."""
    folder = files(__package__)
    # Within a script no text of a file may look like the script's end.
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    found = folder.joinpath("explorer.html").read_text(encoding="utf-8")
    for mark, inserted in (
        ("/* explorer.css */", folder.joinpath("explorer.css").read_text(encoding="utf-8")),
        ("/* program.js */", folder.joinpath("program.js").read_text(encoding="utf-8")),
        ("/* explorer.js */", folder.joinpath("explorer.js").read_text(encoding="utf-8")),
        ("/* content */", text),
        ("/* constants */", base64.b64encode(constants).decode("ascii")),
    ):
        found = found.replace(mark, inserted, 1)
    return found


def page_content(
    emulator: Emulator, name: str, redshifts: Sequence[float] = ()
) -> tuple[dict[str, Any], bytes]:
    """What the page shows, as JSON takes it, and the constants of its programs.

    Parameters
    ----------
    emulator : Emulator
    name : str
        Of the weights, for the reader.
    redshifts : sequence of float
        See `write_explorer`.
    """
    projected = [Measurement.read(source) for source in ON_THE_SKY]
    example = projected[0]
    conventions = example.conventions
    assert conventions is not None
    statistics = [
        PROJECTED[known]
        for known in example.values
        if set(PROJECTED[known].learned) <= set(emulator.learned)
    ]
    start = _start(emulator)
    axis_ratio = example.axis_ratio or (0.6, 0.6)
    shape = float(response(axis_ratio[0], 2, conventions.ellipticity))
    constants, programs = Constants(), []
    chosen = sorted({float(z) for z in redshifts} or {emulator.redshift})
    for redshift in chosen:
        there = emulator.at_redshift(redshift)
        maps = [
            ProjectedMap(s, example.r_edges, conventions, there.fine_edges, there.universe)
            for s in statistics
        ]
        inputs = {THETA: start} | ({RESPONSE: [shape]} if maps else {})
        programs.append(trace(_predictions(there, maps, conventions), inputs, constants))
    rows = [(s.name, emulator.predict(start).r) for s in emulator.statistics]
    rows += [(s.name, (example.r_min + example.r_max) / 2) for s in statistics]
    lower, upper = (x.tolist() for x in emulator.domain.outer_limits())
    parameters = [
        {"name": p.name, "label": parts(p.latex), "low": low, "high": high, "value": value}
        for p, low, high, value in zip(emulator.space.parameters, lower, upper, start, strict=True)
    ]
    content = {
        "weights": name,
        "about": _about(emulator),
        "parameters": parameters,
        "response": {
            "low": 0.01,
            "high": largest_response(conventions.ellipticity),
            "value": shape,
        } if statistics else None,
        "redshifts": chosen,
        "redshift": chosen[0],
        "panels": [_panel(statistic, r) for statistic, r in rows],
        "data": [_data(m) for m in (*map(Measurement.read, SAMPLES), *projected)],
        "presets": _presets(emulator),
        "programs": programs,
        "shapes": constants.shapes,
    }  # fmt: skip
    return content, constants.to_bytes()


def _predictions(
    emulator: Emulator, maps: Sequence[ProjectedMap], conventions: Conventions
) -> Callable[..., dict[str, Tensor]]:
    """The function that the page computes: everything that it draws, and the limits of its sliders."""

    def of(theta: Tensor, shape: Tensor | None = None) -> dict[str, Tensor]:
        prediction = emulator(theta)
        limits: Any = emulator.domain.limits(theta)
        found: dict[str, Tensor] = dict(zip(("lower", "upper"), limits, strict=True))
        for statistic, mean in prediction.items():
            found[f"{statistic} mean"] = mean
            for error in ("aleatoric", "epistemic"):
                sigma = getattr(prediction, error)
                if sigma is not None:
                    found[f"{statistic} {error}"] = sigma[statistic]
        if maps and shape is not None:
            mu, hod = emulator.space.split(theta)
            both = torch.cat([shape, shape], dim=1)
            each = iter(project(emulator, maps, conventions, True, mu, hod, both))
            for what in ("mean", "epistemic"):
                found |= {f"{m.statistic.name} {what}": next(each) for m in maps}
        return found

    return of


def _start(emulator: Emulator) -> list[float]:
    """A point inside the domain: that of the first sample, or the centre."""
    names = emulator.space.names
    for values in (preset["values"] for preset in _presets(emulator)):
        point = [values[name] for name in names]
        if emulator.domain.contains(point):
            return point
    middle = emulator.domain.from_unit(np.zeros(emulator.space.n_occupation))
    return [float(x) for x in (*np.full(emulator.space.n_alignment, 0.5), *middle)]


def _presets(emulator: Emulator) -> list[dict[str, Any]]:
    """Fits of measurements, as far as the weights have their parameters."""
    found = {}
    for measurement in map(Measurement.read, SAMPLES):
        fit = measurement.metadata["published_fits"]["IAEmu"]
        found[measurement.name] = {k: mean for k, (mean, *_) in fit.items()} | measurement.hod
    # Where the chains of the projected fit begin.
    example = files(yaml_examples).joinpath("tng300_projected.yaml").read_text(encoding="utf-8")
    parameters = yaml.safe_load(example)["params"].items()
    begin = {k: p["ref"]["loc"] for k, p in parameters if "ref" in p}
    found[Measurement.read(ON_THE_SKY[0]).name] = begin
    return [
        {"label": label, "values": values}
        for label, values in found.items()
        if set(values) == set(emulator.space.names)
    ]


def _about(emulator: Emulator) -> str:
    card = emulator.card
    return (
        f"Halo catalogue {card['halos']['name']}, {card.get('cosmology') or 'cosmology unknown'}; box of "
        f"{card['box']:g} Mpc/h; made by iaemu_likelihood {card['version']}."
    )


def _panel(statistic: str, r: Array) -> dict[str, Any]:
    return {
        "name": statistic,
        "label": parts(value_label(statistic)),
        "separation": parts(separation_label(statistic)),
        "r": r.tolist(),
        "factor": scale(statistic, r).tolist(),
    }


def _data(measurement: Measurement) -> dict[str, Any]:
    (binned,) = measurement.binned()
    panels = {
        name: {
            "r": binned.centres.tolist(),
            "values": (scale(name, binned.centres) * values).tolist(),
            "errors": (scale(name, binned.centres) * binned.errors[MEASURED][name]).tolist(),
        }
        for name, values in binned.values.items()
    }
    return {"label": measurement.name, "redshift": measurement.redshift or 0.0, "panels": panels}
