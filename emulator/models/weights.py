"""Finding weights, and reading their tensors and card, which are checked against each other.

A card holds two hashes: that of the tensors' file, and one over that hash and all else in the card
that decides what the weights predict. The second is the identity of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from iaemu_likelihood.data import FOLDER
from iaemu_likelihood.emulator.digest import joint_sha256
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.points import is_number
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT, Redshifts
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named

if TYPE_CHECKING:
    from torch import Tensor

# Weights of schema 1 have no noise and no epistemic factor, and cards before schema 3 no hash of
# their own; all of them load.
SCHEMA = 3
READABLE = (1, 2, 3)
FIRST_WITH_NOISE, FIRST_WITH_HASH = 2, 3
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.yaml"
# Kind of the card beside a tabulation, which takes the place of weights.
EXACT = "exact"
TENSORS_HASH, CONTENT_HASH = "weights_sha256", "content_sha256"
# What a card says about weights and no prediction depends on; everything else is hashed.
ABOUT = (
    "schema", "description", "domain_note", "note", "version", "license", "citation", "learning_curve",
    "accuracy", "calibration", "other_redshifts", CONTENT_HASH,
)  # fmt: skip
# What runs know bundled weights by that were begun before these held the hosts of their catalogue, or,
# of the paper's weights, before cards had a hash: the predictions are the same.
KNOWN_AS = {
    "d113f8eee60faa48e5b85437e0c26fba68034999d1ebc4dc9f31a2e01c3046b4":
    "60f0588041692aad78e445fc23271bf8f09a61b382101b882ed33629df63361a",
    "502b0e53b6a738a38a32743f70fc058cf1b17c46b81e95cc5233654da849bfb5":
    "506d0c4eafe2fa2821c2d76cc9e82ab9e69ada9e6158fa0af77ca5b2c4c9ff35",
}  # fmt: skip


def user_folder() -> Path:
    """Folder in which weights of the user are found by name: $IAEMU_WEIGHTS, if it is set."""
    given = os.environ.get("IAEMU_WEIGHTS") or "~/.local/share/iaemu_likelihood/weights"
    return Path(os.path.expanduser(given))


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def bundled_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return _names(FOLDER / "weights")


def user_weights() -> list[str]:
    """Names of the weights in `user_folder`, which load by name as well."""
    return _names(user_folder())


def named_weights() -> list[tuple[str, Path]]:
    """All weights that load by name, with their folders: first those of the package."""
    bundled = [(name, FOLDER / "weights" / name) for name in bundled_weights()]
    return bundled + [(name, user_folder() / name) for name in user_weights()]


def card_path(place: Path) -> Path:
    """The card of weights: in their folder, or beside the file of a tabulation.

    Parameters
    ----------
    place : Path
        As `weights_folder` gives it. The card beside z0.hdf5 is z0.card.yaml.
    """
    return place.with_suffix(f".{CARD_FILE}") if place.is_file() else place / CARD_FILE


def weights_folder(source: str | Path) -> Path:
    """Folder of weights that are given by name (bundled or the user's) or by path.

    Parameters
    ----------
    source : str or Path
        A text without a separator is a name, or a folder in the current one; anything else is a
        path, in which ``~`` is the home folder. The path of a tabulation stands for itself.

    Returns
    -------
    Path
        The folder, or the file of a tabulation, beside which its card is.

    Raises
    ------
    FileNotFoundError
        If there are no such weights; the message lists the names. Or if a tabulation has no card.
    ValueError
        If it is neither, or a name stands for several weights; the message lists their folders.
    """
    if not isinstance(source, str | Path):
        raise ValueError(f"Weights are given by a name or a path; got {source!r}.")
    text = os.fspath(source)
    places = [Path(os.path.expanduser(text))]
    if isinstance(source, str) and text == os.path.basename(text):
        places = [folder for name, folder in named_weights() if name == text] + places
    # A folder by two ways is one.
    found = {place.resolve(): None for place in places if text and card_path(place).is_file()}
    if len(found) > 1:
        folders = " and ".join(map(str, found))
        raise ValueError(
            f"The name {text!r} stands for several weights: {folders}. Give the path of the folder "
            f"({os.path.join(os.curdir, text)} for one in the current folder), or rename one."
        )
    if not found and places[-1].is_file():
        raise FileNotFoundError(
            f"{text} has no card beside it ({card_path(places[-1])}), by which a tabulation is a model. "
            f"`iaemu tabulate {text}` writes one, with --halos of the halo catalogue that was tabulated."
        )
    if not found:
        raise FileNotFoundError(
            f"No weights {text!r}: neither bundled ({', '.join(bundled_weights())}), nor in "
            f"{user_folder()} ({', '.join(user_weights()) or 'none there'}), nor a folder with "
            f"{CARD_FILE}, nor the file of a tabulation."
        )
    return next(iter(found))


def weights_sha256(
    source: str | Path, occupation: str | None = None, alignment: str | None = None
) -> str:
    """The `identity` of weights; empty if they have no readable card."""
    try:
        return identity(read_card(weights_folder(source), occupation, alignment))
    except (OSError, ValueError):
        return ""


def identity(card: Mapping[str, Any]) -> str:
    """The hash to which runs are bound: of everything that decides what weights predict.

    Parameters
    ----------
    card : mapping
        A card that `read_card` has read.
    """
    found = content_sha256(card)
    return KNOWN_AS.get(found, found)


def content_sha256(card: Mapping[str, Any]) -> str:
    """SHA-256 of a card without what it only says about the weights; their hash is in it."""
    content = {key: value for key, value in card.items() if key not in ABOUT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _Plain(yaml.SafeLoader):
    """YAML without aliases, by which a short text can stand for one that fits into no memory."""

    def compose_node(self, *where: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(f"it has an alias, *{self.peek_event().anchor}")
        return super().compose_node(*where)


def read_card(
    folder: Path, occupation: str | None = None, alignment: str | None = None
) -> dict[str, Any]:
    """Read the card of a folder of weights, or that beside a tabulation, and check it.

    Parameters
    ----------
    folder : Path
        As `weights_folder` gives it.
    occupation, alignment : str, optional
        Names of an occupation and an alignment. A tabulation takes any, and the card is then that of
        them, with their domain.

    Raises
    ------
    ValueError
        If it is damaged, of a schema that this version does not read, or was changed; the message
        names the file, and the key where there is one. Or if the weights know another occupation or
        alignment.
    """
    path = card_path(folder)
    try:
        card = yaml.load(path.read_text(encoding="utf-8"), _Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable card: {error}") from error
    try:
        _check(card)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a readable card: {error}") from error
    found, digest = content_sha256(card), card.get(CONTENT_HASH)
    if digest not in (found, None):
        raise ValueError(
            f"{path} was changed: {CONTENT_HASH} is {digest[:12]}..., but what the card says of the "
            f"predictions, such as the domain, gives {found[:12]}.... Restore the file."
        )
    space = domain_of(card).space
    known = {"occupation": space.occupation.name, "alignment": space.alignment.name}
    other = {
        key: name
        for key, name in (("occupation", occupation), ("alignment", alignment))
        if name not in (None, known[key])
    }
    if not other:
        return dict(card)
    if card["kind"] != EXACT:
        key, name = next(iter(other.items()))
        raise ValueError(
            f"{key} is {name!r}, but the weights {folder} were trained on {known[key]}. Leave it out, or "
            f"give the path of a tabulation (iaemu tabulate), which takes any {key}."
        )
    return _of_space(card, ParameterSpace.named(**known | other))


def _of_space(card: Mapping[str, Any], space: ParameterSpace) -> dict[str, Any]:
    """The card of a tabulation for other parameters; what was measured with the first is left out."""
    kept = {k: x for k, x in card.items() if k not in ("accuracy", "calibration", CONTENT_HASH)}
    found = kept | {
        "occupation": space.occupation.name,
        "alignment": space.alignment.name,
        "domain": Domain.of(space).to_dict(),
    }
    return found | {CONTENT_HASH: content_sha256(found)}


def _check(card: Any) -> None:
    """Refuse what is no card, naming the first key that is wrong."""
    schema = entry(card, "schema", kind=int)
    if schema not in READABLE:
        raise ValueError(
            f"it has schema {schema}, but this version of iaemu_likelihood reads "
            f"{', '.join(map(str, READABLE))}. Install version {card.get('version', '?')}, which "
            "the card names, or train again with `iaemu train`."
        )
    for key in ("kind", "description", "version", "license", TENSORS_HASH):
        entry(card, key, kind=str)
    for key in ("name", "sha256"):
        entry(card, "halos", key, kind=str)
    entry(card, "redshift", kind=float)
    for key in ("training", "domain"):
        entry(card, key, kind=dict)
    for text in entry(card, "citation", kind=list):
        if not isinstance(text, str):
            raise ValueError(f"citation is {card['citation']!r}; it must be a list of texts.")
    if schema >= FIRST_WITH_HASH or CONTENT_HASH in card:
        entry(card, CONTENT_HASH, kind=str)
    for key in ("domain_note", "note"):
        if key in card:
            entry(card, key, kind=str)
    for key in ("accuracy", "calibration", "other_redshifts"):
        if key in card:
            _check_measured(entry(card, key, kind=dict), key)
    learned_of(card)
    domain_of(card)
    redshifts_of(card)


def _check_measured(block: Mapping[Any, Any], where: str) -> None:
    """Refuse a block of measured numbers that holds anything but texts and numbers by name."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            _check_measured(value, f"{where}: {key}")
        elif not (
            isinstance(key, str) and (value is None or isinstance(value, str) or is_number(value))
        ):
            raise ValueError(f"{where}: {key} is {value!r}; it must be a number or a text.")


_IN_WORDS = {
    int: "a whole number", float: "a finite number", str: "a text", list: "a list",
    dict: "a mapping of keys to values",
}  # fmt: skip


def entry(card: Any, *keys: str, kind: type) -> Any:
    """A value of a card, that must be there and be of some type.

    Parameters
    ----------
    card : mapping
    *keys : str
        From the outermost mapping inwards.
    kind : type
        int, float (of which whole numbers are some), str, list or dict.

    Raises
    ------
    ValueError
        If it is not; the message names the keys.
    """
    value, where = card, "it"
    for depth, key in enumerate(keys, 1):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {value!r}; it must be {_IN_WORDS[dict]}.")
        where = ": ".join(keys[:depth])
        if key not in value:
            raise ValueError(f"the key {where} is missing.")
        value = value[key]
    fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(
        value, bool
    )
    if not fits or (kind is float and not abs(value) < float("inf")):
        raise ValueError(f"{where} is {value!r}; it must be {_IN_WORDS[kind]}.")
    return value


def statistics_of(card: Mapping[str, Any]) -> tuple[Statistic, ...]:
    """Statistics that weights predict; older cards, which name none, have the paper's."""
    names = card.get("statistics", list(DEFAULT_STATISTICS))
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not known or not names or len({*names}) < len(names):
        raise ValueError(f"statistics is {names!r}; it must be a list of different names.")
    return named(names)


def learned_of(card: Mapping[str, Any]) -> tuple[Statistic, ...]:
    """Statistics whose templates weights hold: those that they predict, and maybe others."""
    names = card.get("learned", [s.name for s in statistics_of(card)])
    if not isinstance(names, list) or names[: len(statistics_of(card))] != [
        s.name for s in statistics_of(card)
    ]:
        raise ValueError(
            f"learned is {names!r}; it must be a list that begins with the statistics."
        )
    return statistics_of({"statistics": names})


def halos_of(card: Mapping[str, Any], redshift: float) -> dict[str, str]:
    """Name and hash of the halo catalogue at a redshift; between snapshots, of all together."""
    halos = card["halos"]
    at = [x for x in halos.get("snapshots", ()) if abs(x["redshift"] - redshift) <= SAME_REDSHIFT]
    if not at:
        return {key: halos[key] for key in ("name", "sha256")}
    return {
        "name": ", ".join(x["name"] for x in at),
        "sha256": joint_sha256([x["sha256"] for x in at]),
    }


def redshifts_of(card: Mapping[str, Any]) -> Redshifts:
    """Redshifts that weights know, with the domain at each; the only one if the card names one."""
    if "redshifts" in card:
        return Redshifts.from_dict(card["redshifts"])
    return Redshifts((float(card["redshift"]),), (domain_of(card).bands.first[1],))


def domain_of(card: Mapping[str, Any]) -> Domain:
    """Domain and parameter space of weights; older cards, which name no space, have the paper's."""
    defaults = {"occupation": ZHENG07.name, "alignment": WATSON.name}
    names = {key: entry({key: value, **card}, key, kind=str) for key, value in defaults.items()}
    space = ParameterSpace.named(**names)
    try:
        return Domain.from_dict(card["domain"], space)
    except (ValueError, TypeError) as error:
        raise ValueError(f"domain: {error}") from error


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
    found, digest = hashlib.sha256(content).hexdigest(), card[TENSORS_HASH]
    if found != digest:
        raise ValueError(
            f"{path} is not the file that its card describes: its SHA-256 is {found[:12]}..., but the "
            f"card says {digest[:12]}.... It was changed or truncated."
        )
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse tensors that are not, all of them and no others, those that a model is made of.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
    shapes : mapping of str to sequence of int

    Raises
    ------
    ValueError
        If a tensor is missing, unknown, of another shape, or holds what is no finite number.
    """
    missing = [name for name in shapes if name not in tensors]
    unknown = [name for name in tensors if name not in shapes]
    if missing or unknown:
        raise ValueError(
            f"missing tensors: {', '.join(missing) or 'none'}; "
            f"unknown tensors: {', '.join(unknown) or 'none'}."
        )
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(
                f"the tensor {name} has the shape {tuple(tensor.shape)}; it must be {tuple(shape)}."
            )
        if tensor.is_complex() or not tensor.isfinite().all():
            raise ValueError(f"the tensor {name} holds what is no finite real number.")
