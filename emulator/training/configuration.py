"""Training configurations: YAML files into dataclasses, with errors that name the keys."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.datasets import Recipe
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named

T = TypeVar("T")

DEFAULT_CONFIG = Path(__file__).parent / "templates.yaml"


@dataclass(frozen=True)
class NetworkConfig:
    """How one kind of network is built and trained."""

    width: int
    depth: int
    epochs: int
    batch: int
    learning_rate: dict[str, float]
    weight_decay: float
    patience: int


class _Model:
    """What the configurations of all kinds say of the model, under the same names."""

    halos: str
    seed: int
    domain: dict[str, Any]
    occupation_model: str
    alignment: str
    statistics: list[str]

    @property
    def space(self) -> ParameterSpace:
        """The parameters."""
        return ParameterSpace.named(self.occupation_model, self.alignment)

    @property
    def region(self) -> Domain:
        """Where the emulator is trained."""
        return Domain.of(self.space, **self.domain)

    @property
    def learned(self) -> tuple[Statistic, ...]:
        """The statistics themselves, whose names are `statistics`."""
        return named(self.statistics)

    def recipe(self, kind: str, n_points: int, **options: Any) -> Recipe:
        """Of a data set of this model."""
        return Recipe(
            kind, n_points, options.pop("seed", self.seed), halos=self.halos, domain=self.domain,
            occupation=self.occupation_model, alignment=self.alignment,
            statistics=tuple(self.statistics), **options,
        )  # fmt: skip


@dataclass(frozen=True)
class TemplatesConfig(_Model):
    """Everything that decides the weights; see `templates.yaml` for what each field means."""

    kind: str
    halos: str
    seed: int
    domain: dict[str, Any]
    validation: float
    n_points: int
    n_networks: int
    weight_xi: float
    noise_weight: float
    means: NetworkConfig
    n_noise_points: int
    n_catalogues: int
    occupation: NetworkConfig
    n_factors: int
    shape: NetworkConfig
    n_components: int
    occupation_model: str = ZHENG07.name
    alignment: str = WATSON.name
    statistics: list[str] = field(default_factory=lambda: list(DEFAULT_STATISTICS))

    def __post_init__(self) -> None:
        if self.n_networks < 2:
            raise ValueError(
                f"n_networks is {self.n_networks}; the epistemic uncertainty is the scatter between "
                "networks and takes at least 2."
            )
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}; it is a share between 0 and 1.")
        silent = [s.name for s in self.learned if not s.has_shape_noise]
        if self.n_noise_points and silent:
            raise ValueError(
                f"n_noise_points is {self.n_noise_points}, but the shape noise of "
                f"{', '.join(silent)} is not known: with n_noise_points 0, weights without noise are "
                "trained."
            )

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Of the points that train, validate and test."""
        return 1 - self.validation, self.validation, 0.0


@dataclass(frozen=True)
class PaperConfig(_Model):
    """Everything that decides the weights; see `paper.yaml` for what each field means."""

    kind: str
    halos: str
    seed: int
    domain: dict[str, Any]
    n_train: int
    noise: str
    network: dict[str, float]
    epochs: int
    warm_up: float
    beta: dict[str, float]
    batch: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    schedule: dict[str, float]
    validate_every: int
    patience: float
    n_passes: int
    occupation_model: str = ZHENG07.name
    alignment: str = WATSON.name
    statistics: list[str] = field(default_factory=lambda: list(DEFAULT_STATISTICS))

    def __post_init__(self) -> None:
        if self.n_passes < 2:
            raise ValueError(
                f"n_passes is {self.n_passes}; the epistemic uncertainty is the scatter between "
                "passes and takes at least 2."
            )
        missing = [name for name in self.statistics if name not in self.beta]
        if missing:
            raise ValueError(f"beta lacks {', '.join(missing)}; it has a number per statistic.")


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
    if kind not in CONFIGS:
        raise ValueError(f"{path}: kind is {kind!r}; it must be one of {', '.join(CONFIGS)}.")
    return read_config(CONFIGS[kind], path)


def prepare(config: Config, out: str | Path) -> Path:
    """The folder of a training, created if need be.

    Raises
    ------
    ValueError
        If it holds a training with another configuration.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    kept, text = folder / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False)
    if not kept.exists():
        with atomic_write(kept) as unfinished:
            unfinished.write_text(text)
    elif _defaults(type(config)) | read_yaml(kept) != yaml.safe_load(text):
        raise ValueError(f"{folder} holds a training with another configuration; see {kept}.")
    return folder


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
        If the file is no mapping, or has unknown or missing keys; the message names them.
    """
    return _build(kind, read_yaml(path), str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    try:
        given = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no mapping of keys to values.")
    return given


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
    return kind(
        **{
            name: _build(types[name], value, f"{where}: {name}")
            if is_dataclass(types[name])
            else value
            for name, value in given.items()
        }
    )
