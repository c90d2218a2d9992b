"""Where weights are, and what is read of them: tensors and card, checked against each other."""

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

# Schema 1 had no noise; it loads, without `Prediction.aleatoric`.
SCHEMA = 2
READABLE = (1, 2)
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.yaml"
# Where weights of the user are found by name.
USER_FOLDER = Path(
    os.environ.get("IAEMU_WEIGHTS", Path.home() / ".local/share/iaemu_likelihood/weights")
)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def bundled_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return _names(FOLDER / "weights")


def user_weights() -> list[str]:
    """Names of the weights in `USER_FOLDER` ($IAEMU_WEIGHTS), that load by name as well."""
    return _names(USER_FOLDER)


def weights_folder(source: str | Path) -> Path:
    """Folder of weights given by name, bundled or the user's, or by path.

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the names.
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
    """SHA-256 of a weights file; empty if there is none."""
    try:
        return sha256(weights_folder(source) / WEIGHTS_FILE)
    except FileNotFoundError:
        return ""


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder of weights, of a schema that this version reads.

    Raises
    ------
    ValueError
        If it cannot be read, or is of another schema.
    """
    try:
        card = yaml.safe_load((folder / CARD_FILE).read_text())
        schema, _, _ = card["schema"], card["kind"], card["weights_sha256"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CARD_FILE} is not a readable card: {error}") from error
    if schema not in READABLE:
        raise ValueError(
            f"{folder} has schema {schema}, this version of iaemu_likelihood reads "
            f"{' and '.join(map(str, READABLE))}. Install version {card.get('version', '?')}, which "
            "the card names, or train again with `iaemu train`."
        )
    return dict(card)


def domain_of(card: Mapping[str, Any]) -> Domain:
    """The domain of weights with its parameter space; cards before these were named have the paper's."""
    space = ParameterSpace.named(
        card.get("occupation", ZHENG07.name), card.get("alignment", WATSON.name)
    )
    return Domain.from_dict(card["domain"], space)


def read_weights(folder: Path, card: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a folder, which must be those that its card describes.

    Raises
    ------
    FileNotFoundError
        If there is no weights file beside the card.
    ValueError
        If it is damaged, or not the one that the card describes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing beside its card.")
    # Read once: what was hashed is what is used, whatever happens to the file meanwhile.
    content = path.read_bytes()
    found, digest = hashlib.sha256(content).hexdigest(), card["weights_sha256"]
    if found != digest:
        raise ValueError(
            f"{path} is not the file that its card describes: SHA-256 {found[:12]}..., the card "
            f"says {digest[:12]}.... It was changed or truncated."
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
