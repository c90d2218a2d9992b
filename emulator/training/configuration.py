"""Training configurations: YAML files into dataclasses, with errors that name the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import numpy as np
import yaml
from annotated_types import Interval
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.datasets import Recipe
from iaemu_likelihood.emulator.datasets.recipe import SPLITS
from iaemu_likelihood.emulator.fields import InnerShare, Seed, Share, check_fields, read_yaml
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, NEAR_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.redshift import Redshifts
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PROJECTED,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.templates import templates_of
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

T = TypeVar("T")
Array = NDArray[np.float64]

DEFAULT_CONFIG = Path(__file__).parent / "templates.yaml"
# In the folder of a training.
CONFIG_FILE = "config.yaml"


class Rates(TypedDict):
    """Learning rates of a perceptron: of its hidden layers, and of the rest."""

    hidden: PositiveFloat
    others: PositiveFloat


class Schedule(TypedDict):
    """The learning rate is multiplied by a factor after each of some steps."""

    factor: Share
    steps: PositiveInt


class Dropout(TypedDict):
    """Arguments of the paper's network."""

    dropout: InnerShare


@dataclass(frozen=True)
class NetworkConfig:
    """How one kind of network is built and trained."""

    width: PositiveInt
    depth: Annotated[int, Interval(ge=2)]
    epochs: PositiveInt
    batch: PositiveInt
    learning_rate: Rates
    weight_decay: NonNegativeFloat
    patience: PositiveInt

    def __post_init__(self) -> None:
        check_fields(self)


class _Model:
    """What the configurations of all kinds say of the model, under the same names."""

    halos: str | list[str]
    seed: Seed
    domain: dict[str, Any]
    occupation_model: str
    alignment: str
    statistics: list[str]
    least_galaxies: NonNegativeFloat = 0.0
    note: str = ""

    @property
    def space(self) -> ParameterSpace:
        """The parameters."""
        return ParameterSpace.named(self.occupation_model, self.alignment)

    @property
    def region(self) -> Domain:
        """Where the emulator is trained."""
        return Domain.of(self.space, **self.domain)

    @property
    def redshifts(self) -> Redshifts:
        """Of the halo catalogues."""
        return self.recipe("expectation", 1).redshifts

    @property
    def learned(self) -> tuple[Statistic, ...]:
        """The statistics that networks learn, here those whose names are `statistics`."""
        return named(self.statistics)

    def recipe(self, kind: str, n_points: int, **options: Any) -> Recipe:
        """Of a data set of this model."""
        halos = options.pop("halos", self.halos)
        return Recipe(
            kind, n_points, options.pop("seed", self.seed),
            halos=halos if isinstance(halos, str) else tuple(halos), domain=self.domain,
            occupation=self.occupation_model, alignment=self.alignment,
            statistics=options.pop("statistics", tuple(self.statistics)),
            least_galaxies=self.least_galaxies, **options,
        )  # fmt: skip


@dataclass(frozen=True)
class TemplatesConfig(_Model):
    """Everything that decides the weights; see `templates.yaml` for what each field means."""

    kind: str
    halos: str | list[str]
    seed: Seed
    domain: dict[str, Any]
    validation: InnerShare
    n_points: PositiveInt
    n_networks: PositiveInt
    weight_xi: PositiveFloat
    noise_weight: NonNegativeFloat
    means: NetworkConfig
    n_noise_points: NonNegativeInt
    n_catalogues: PositiveInt
    occupation: NetworkConfig
    n_factors: PositiveInt
    shape: NetworkConfig
    n_components: PositiveInt
    occupation_model: str = ZHENG07.name
    alignment: str = WATSON.name
    statistics: list[str] = field(default_factory=lambda: list(DEFAULT_STATISTICS))
    weight_inside: NonNegativeFloat = 0.1
    projected: NetworkConfig | None = None
    weight_projected: PositiveFloat = 1.0
    start: str = ""
    least_galaxies: NonNegativeFloat = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.n_networks < 2:
            raise ValueError(
                f"n_networks is {self.n_networks}; the epistemic uncertainty is the scatter between "
                "networks and takes at least 2."
            )
        silent = [s.name for s in named(self.statistics) if not s.has_shape_noise]
        if self.n_noise_points and silent:
            raise ValueError(
                f"n_noise_points is {self.n_noise_points}, but the shape noise of "
                f"{', '.join(silent)} is not known: with n_noise_points 0, weights without noise are "
                "trained."
            )
        recipes = self.recipes()
        _check_batch(recipes["expectation"], "n_points", "means: batch", self.means.batch)
        if self.projected:
            of_projected = "projected: batch", self.projected.batch
            _check_batch(recipes["expectation"], "n_points", *of_projected)
        if "noise" in recipes:
            self._check_noise(recipes["noise"])

    def _check_noise(self, recipe: Recipe) -> None:
        for name in ("occupation", "shape"):
            _check_batch(recipe, "n_noise_points", f"{name}: batch", getattr(self, name).batch)
        n_numbers = len(templates_of(recipe.measured)) * (len(recipe.r_edges) - 1)
        n_components = int(recipe.split_sizes[SPLITS.index("train")]) - 1
        for name, most, why in (
            ("n_factors", n_numbers, "numbers scatter together, templates times bins"),
            ("n_components", n_components, "components are known from the points that train"),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; at most {most} {why}.")

    @property
    def learned(self) -> tuple[Statistic, ...]:
        """The statistics whose templates are learned: `statistics`, and those of projected ones."""
        found = dict.fromkeys(named(self.statistics))
        if self.projected:
            found |= dict.fromkeys(x for s in PROJECTED.values() for x in s.learned)
        return tuple(found)

    @property
    def fine_edges(self) -> Array:
        """Of the bins in which they are learned, Mpc/h."""
        return FAR_EDGES if self.projected else NEAR_EDGES

    def recipes(self) -> dict[str, Recipe]:
        """Of the data sets that it trains on, by the names of their files."""
        fractions = (1 - self.validation, self.validation, 0.0)
        recipes = {
            "expectation": self.recipe(
                "expectation", self.n_points, fractions=fractions,
                statistics=tuple(s.name for s in self.learned),
                r_edges=tuple(self.fine_edges.tolist()),
            )
        }  # fmt: skip
        if self.n_noise_points:
            recipes["noise"] = self.recipe(
                "realisations", self.n_noise_points, fractions=fractions,
                n_catalogues=self.n_catalogues,
            )  # fmt: skip
        return recipes


@dataclass(frozen=True)
class PaperConfig(_Model):
    """Everything that decides the weights; see `paper.yaml` for what each field means."""

    kind: str
    halos: str
    seed: Seed
    domain: dict[str, Any]
    n_train: PositiveInt
    noise: str
    network: Dropout
    epochs: PositiveInt
    warm_up: Share
    beta: dict[str, Share]
    batch: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    gradient_clip: PositiveFloat
    schedule: Schedule
    validate_every: PositiveInt
    patience: Share
    n_passes: PositiveInt
    occupation_model: str = ZHENG07.name
    alignment: str = WATSON.name
    statistics: list[str] = field(default_factory=lambda: list(DEFAULT_STATISTICS))

    def __post_init__(self) -> None:
        check_fields(self)
        if self.n_passes < 2:
            raise ValueError(
                f"n_passes is {self.n_passes}; the epistemic uncertainty is the scatter between "
                "passes and takes at least 2."
            )
        missing = [name for name in self.statistics if name not in self.beta]
        if missing:
            raise ValueError(f"beta lacks {', '.join(missing)}; it has a number per statistic.")
        if self.validate_every > self.epochs:
            raise ValueError(
                f"validate_every is {self.validate_every}; of {self.epochs} epochs, none would be "
                "validated."
            )
        _check_batch(self.recipes()["expectation"], "n_train", "batch", self.batch)

    def recipes(self) -> dict[str, Recipe]:
        """Of the data set that it trains on, by the name of its file."""
        return {"expectation": self.recipe("expectation", self.n_train, fractions=(0.9, 0.1, 0.0))}


def _check_batch(recipe: Recipe, n_points: str, batch: str, size: int) -> None:
    """Refuse a batch, a key of some size, that the points of a recipe, another key, do not fill."""
    training, validating, _ = recipe.split_sizes
    if training < max(2, size) or not validating:
        raise ValueError(
            f"{n_points} is {recipe.n_points}: {training} points to train on and {validating} to "
            f"validate with are too few for {batch} {size}."
        )


Config = TemplatesConfig | PaperConfig
# By their key ``kind``.
CONFIGS: dict[str, type[TemplatesConfig] | type[PaperConfig]] = {
    "templates": TemplatesConfig,
    "paper": PaperConfig,
}


def read_training_config(path: str | Path = DEFAULT_CONFIG) -> Config:
    """A configuration of either kind of emulator, by its key ``kind``.

    Parameters
    ----------
    path : str or Path
        A YAML file.

    Raises
    ------
    ValueError
        As `read_config`; and if there is no such kind.
    """
    kind = read_yaml(path).get("kind")
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise ValueError(f"{path}: kind is {kind!r}; it must be one of {', '.join(CONFIGS)}.")
    return read_config(CONFIGS[kind], path)


def of_halos(config: Config, catalogues: Sequence[str]) -> Config:
    """The same training on other halo catalogues.

    Parameters
    ----------
    config : TemplatesConfig or PaperConfig
        Its note is about its own halo catalogues, and left out if others are among those wanted.
    catalogues : sequence of str
        One or more, see `load_halos`.
    """
    changes: dict[str, Any] = {
        "halos": list(catalogues) if len(catalogues) > 1 else catalogues[0],
    }
    own = [config.halos] if isinstance(config.halos, str) else config.halos
    if config.note and not set(catalogues) <= set(own):
        changes["note"] = ""
    return replace(config, **changes)


def check_folder(config: Config, folder: Path) -> None:
    """Refuse a folder of another training.

    Raises
    ------
    ValueError
        If it holds another configuration; the message says how to go on.
    """
    kept = folder / CONFIG_FILE
    if not kept.exists():
        return
    there, here = _flat(_defaults(type(config)) | read_yaml(kept)), _flat(_plain(config))
    differing = [
        f"{key} = {there.get(key)!r} (now {here.get(key)!r})"
        for key in {**here, **there}
        if there.get(key) != here.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} holds a training with another configuration: {', '.join(differing)}. Choose "
            f"another folder, or go on with {kept} as the configuration. To start again, remove this "
            "file together with the results beside it."
        )


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the keys of its mappings joined by colons."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        inner = value if isinstance(value, dict) and value else None
        flat |= {f"{key}: {k}": v for k, v in inner.items()} if inner else {key: value}
    return flat


def keep(config: Config, folder: Path) -> None:
    """Write the configuration into the folder of its training, for `check_folder`."""
    if not (folder / CONFIG_FILE).exists():
        with atomic_write(folder / CONFIG_FILE) as unfinished:
            unfinished.write_text(yaml.safe_dump(asdict(config), sort_keys=False))


def _plain(config: Config) -> dict[str, Any]:
    """A configuration as YAML has it."""
    return dict(yaml.safe_load(yaml.safe_dump(asdict(config))))


def _defaults(kind: type[Any]) -> dict[str, Any]:
    """Fields that a configuration may leave out, and what it then means."""
    defaults: dict[str, Any] = {}
    for entry in fields(kind):
        if entry.default is not MISSING:
            defaults[entry.name] = entry.default
        elif entry.default_factory is not MISSING:
            defaults[entry.name] = entry.default_factory()
    return defaults


def read_config(kind: type[T], path: str | Path) -> T:
    """Read a YAML file into a dataclass.

    Parameters
    ----------
    kind : type
        A dataclass; fields that are dataclasses themselves are read from nested mappings.
    path : str or Path

    Raises
    ------
    ValueError
        If the file is no mapping, has unknown or missing keys, or a value is of the wrong type or
        impossible; the message names the keys.
    """
    return _build(kind, read_yaml(path), str(path))


def _build(kind: type[T], given: Any, where: str) -> T:
    assert is_dataclass(kind)
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a mapping; got {given!r}.")
    known = {field.name: field for field in fields(kind)}
    required = {
        k for k, f in known.items() if f.default is MISSING and f.default_factory is MISSING
    }
    unknown, missing = set(given) - set(known), required - set(given)
    if unknown or missing:
        raise ValueError(
            f"{where}: unknown keys: {', '.join(sorted(map(str, unknown))) or 'none'}; "
            f"missing keys: {', '.join(sorted(missing)) or 'none'}."
        )
    types = get_type_hints(kind)
    content = {
        name: _build(inner, value, f"{where}: {name}")
        if value is not None and (inner := _dataclass_of(types[name]))
        else value
        for name, value in given.items()
    }
    try:
        return kind(**content)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from None


def _dataclass_of(kind: Any) -> Any:
    """The dataclass that a field holds, or may hold; None if there is none."""
    return next((each for each in (kind, *get_args(kind)) if is_dataclass(each)), None)
