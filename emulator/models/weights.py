"""Finding weights, and reading their tensors and card, which are checked against each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from iaemu_likelihood.data import FOLDER, sha256
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.space import ParameterSpace

if TYPE_CHECKING:
    from torch import Tensor

# Weights of schema 1 have no noise; they load, without `Prediction.aleatoric`.
SCHEMA = 2
READABLE = (1, 2)
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.yaml"
# Folder in which weights of the user are found by name.
USER_FOLDER = Path(
    os.environ.get("IAEMU_WEIGHTS", Path.home() / ".local/share/iaemu_likelihood/weights")
)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def bundled_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return _names(FOLDER / "weights")


def user_weights() -> list[str]:
    """Names of the weights in `USER_FOLDER` ($IAEMU_WEIGHTS), which load by name as well."""
    return _names(USER_FOLDER)


def weights_folder(source: str | Path) -> Path:
    """Folder of weights that are given by name (bundled or the user's) or by path.

    Raises
    ------
    FileNotFoundError
        If there are no such weights; the message lists the names.
    """
    if str(source) in bundled_weights():
        return FOLDER / "weights" / str(source)
    for folder in (Path(source), USER_FOLDER / source):
        if (folder / CARD_FILE).is_file():
            return folder
    raise FileNotFoundError(
        f"No weights {str(source)!r}: neither bundled ({', '.join(bundled_weights())}), nor in "
        f"{USER_FOLDER} ({', '.join(user_weights()) or 'none there'}), nor a folder with {CARD_FILE}."
    )


def weights_sha256(source: str | Path) -> str:
    """SHA-256 of a weights file; empty if the file does not exist."""
    try:
        return sha256(weights_folder(source) / WEIGHTS_FILE)
    except FileNotFoundError:
        return ""


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a folder of weights.

    Raises
    ------
    ValueError
        If it is damaged, or of a schema that this version does not read.
    """
    try:
        card = yaml.safe_load((folder / CARD_FILE).read_text())
        schema, _, _ = card["schema"], card["kind"], card["weights_sha256"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CARD_FILE} is not a readable card: {error}") from error
    if schema not in READABLE:
        raise ValueError(
            f"{folder} has schema {schema}, but this version of iaemu_likelihood reads "
            f"{' and '.join(map(str, READABLE))}. Install version {card.get('version', '?')}, which "
            "the card names, or train again with `iaemu train`."
        )
    return dict(card)


def domain_of(card: Mapping[str, Any]) -> Domain:
    """Domain and parameter space of weights; older cards, which name no space, have the paper's."""
    space = ParameterSpace.named(
        card.get("occupation", ZHENG07.name), card.get("alignment", WATSON.name)
    )
    return Domain.from_dict(card["domain"], space)


def read_weights(folder: Path, card: dict[str, Any]) -> dict[str, Tensor]:
    """Read the tensors of a folder, which must be those that its card describes.

    Raises
    ------
    FileNotFoundError
        If there is no weights file beside the card.
    ValueError
        If the file is damaged, or is not the one that the card describes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing beside its card.")
    # Read once, so that the bytes that are hashed are those that are used.
    content = path.read_bytes()
    found, digest = hashlib.sha256(content).hexdigest(), card["weights_sha256"]
    if found != digest:
        raise ValueError(
            f"{path} is not the file that its card describes: its SHA-256 is {found[:12]}..., but the "
            f"card says {digest[:12]}.... It was changed or truncated."
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
