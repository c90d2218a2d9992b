"""Reading the input of a Cobaya run, and refusing files that changed since it began.

An input is code: Cobaya evaluates the strings that define functions. What is refused here is code
where nobody looks for it: YAML tags that make Python objects while a file is read.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from logging import Logger
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from cobaya.component import ComponentNotFoundError, get_component_class
from cobaya.conventions import Extension
from cobaya.input import get_info_path, split_prefix, update_info
from cobaya.log import LoggedError
from cobaya.model import Model, get_model
from cobaya.tools import fuzzy_match, get_available_internal_class_names
from cobaya.typing import InputDict, ParamDict, validate_type
from cobaya.yaml import yaml_load_file

# Blocks of a Cobaya input that define the model.
BLOCKS = ("theory", "likelihood", "params", "prior", "packages_path")
# This package's components, which Cobaya does not list.
OURS = {
    "theory": ["iaemu_likelihood.IAEmu"],
    "likelihood": [
        "iaemu_likelihood.IACorrelations",
        *(f"iaemu_likelihood.tng300.Sample{i}" for i in (1, 2, 3)),
    ],
}
PYTHON_TAG = "tag:yaml.org,2002:python/"


def read_input(run: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read a Cobaya input as ``cobaya-run`` does, but without Python tags.

    Parameters
    ----------
    run : str, Path or mapping
        A YAML file, or its content.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the input is not YAML, has Python tags, is for post-processing, lacks a block that a run
        needs, or names a theory or a likelihood that does not exist.
    """
    if isinstance(run, Mapping):
        name, info = "The input", run
    else:
        name, info = str(run), read_yaml(run)
    if isinstance(info, Mapping) and "post" in info:
        raise ValueError(f"{name} is post-processing; give the input of the run that it is for.")
    return _with_blocks(name, info)


def read_updated(root: str | Path) -> dict[str, Any]:
    """Read the input of a run from its output, PREFIX.updated.yaml; see `read_input`."""
    path = updated_file(root)
    return _with_blocks(str(path), read_yaml(path))


def updated_file(root: str | Path) -> Path:
    """Where Cobaya keeps the input of a run, by its output prefix; this may end with a slash."""
    return Path(get_info_path(*split_prefix(str(root))))


def read_yaml(path: str | Path) -> Any:
    """Read a file by Cobaya's loader of YAML, after a look for Python tags.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, or it, or a file that it includes by ``!defaults``, has Python tags.
    """
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder. Give the input of a run, such as RUN.yaml.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {path}. Give the input of a run, such as RUN.yaml.")
    refuse_python_tags(path)
    try:
        return yaml_load_file(str(path))
    except OSError:
        raise
    except Exception as error:  # the loader raises many kinds for values that do not fit their tags
        raise ValueError(f"{path} is not readable YAML. {error}") from error


def refuse_python_tags(path: str | Path) -> None:
    """Raise a ValueError if a YAML file, or one that it includes, has tags that make Python objects.

    Cobaya and GetDist read YAML by a loader that obeys these, so this comes before theirs. Files
    that are no YAML pass: the loader refuses them.
    """
    _refuse_python_tags(Path(path), set())


def _refuse_python_tags(path: Path, seen: set[Path]) -> None:
    seen.add(path.resolve())
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return
    except RecursionError as error:
        raise ValueError(f"{path} is not readable YAML: it is nested too deeply.") from error
    nodes, done = [root] if root is not None else [], set()
    while nodes:
        node = nodes.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if node.tag.startswith(PYTHON_TAG):
            tag = f"!!python/{node.tag.removeprefix(PYTHON_TAG)}"
            raise ValueError(
                f"{path}, line {node.start_mark.line + 1}: the tag {tag} makes a Python object while "
                "the file is read, and is not allowed. Write the value without it."
            )
        leaf = isinstance(node, yaml.ScalarNode)
        if node.tag == "!defaults":
            for named in [node] if leaf else node.value:
                if isinstance(named, yaml.ScalarNode):
                    _follow(path.parent, named.value, seen)
        for child in [] if leaf else node.value:
            nodes += child if isinstance(child, tuple) else [child]


def _follow(folder: Path, name: str, seen: set[Path]) -> None:
    """Look into a file that is included by ``!defaults``, which may leave out its suffix."""
    for extension in ("", *Extension.yamls):
        path = folder / f"{name}{extension}"
        if path.is_file() and path.resolve() not in seen:
            _refuse_python_tags(path, seen)


def _with_blocks(name: str, info: Any) -> dict[str, Any]:
    missing = [
        block
        for block in ("theory", "likelihood")
        if not isinstance(info, Mapping) or not isinstance(info.get(block), Mapping)
    ]
    if missing:
        raise ValueError(f"{name} is no input of a Cobaya run: it lacks {', '.join(missing)}.")
    if "params" in info and not (isinstance(info["params"], Mapping) and info["params"]):
        raise ValueError(
            f"{name}: 'params' must name parameters; got {info['params']!r}, at which Cobaya fails. "
            "Leave the block out to sample all parameters with the theory's priors."
        )
    for block in set(info) - set(InputDict.__annotations__):
        near = get_close_matches(str(block), InputDict.__annotations__, cutoff=0.8)
        if near:  # others may serve as anchors, and are ignored as by Cobaya
            raise ValueError(f"{name}: there is no block {block!r}. Did you mean {near[0]}?")
    _check_types(name, info)
    for kind in OURS:
        refuse_unknown(name, kind, info[kind])
    return dict(info)


def _check_types(name: str, info: Mapping[str, Any]) -> None:
    """Raise a ValueError if values are not what Cobaya's own types say.

    Components check their options. Of distributions, Cobaya takes more than its types say.
    """
    known = {k: v for k, v in info.items() if k in InputDict.__annotations__ and k not in OURS}
    known.pop("sampler", None)
    params = {
        parameter: {
            k: v
            for k, v in given.items()
            if k in ParamDict.__annotations__ and k not in ("prior", "ref")
        }
        if isinstance(given, Mapping)
        else given
        for parameter, given in known.pop("params", {}).items()
    }
    try:
        validate_type(InputDict, {**known, "params": params})
    except TypeError as error:
        first, *others = str(error).splitlines()  # of several, the first announces the others
        said = sorted(line.removeprefix("- ") for line in others) or [first]
        raise ValueError(f"{name}: {'; or '.join(said)}.") from error
    for parameter, given in params.items():
        value = given.get("value") if isinstance(given, Mapping) else given
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(
                f"{name}: {parameter} is fixed at {value}; it must be a finite number."
            )


def refuse_unknown(name: str, kind: str, block: Mapping[str, Any]) -> None:
    """Raise a ValueError if a component of an input does not exist, or cannot be imported.

    Parameters
    ----------
    name : str
        Of the input, for the message.
    kind : str
        theory, likelihood or sampler.
    block : mapping
        Options by the components' names.
    """
    quiet = Logger("", logging.CRITICAL + 1)
    for component, options in block.items():
        given = options if isinstance(options, Mapping) else {}
        if not (options is None or isinstance(options, Mapping)) or given.get("external"):
            continue  # a function or a class
        wanted = given.get("class") or component
        try:
            if not isinstance(wanted, str):
                raise TypeError("a name is text")
            get_component_class(
                wanted, kind, given.get("python_path"), logger=quiet, not_found_level="debug"
            )
        except ComponentNotFoundError as error:
            known = [*OURS.get(kind, ()), *get_available_internal_class_names(kind)]
            near = " or ".join(fuzzy_match(wanted, known))
            hint = f" Did you mean {near}?" if near else ""
            raise ValueError(
                f"{name}: there is no {wanted!r} for the block '{kind}'.{hint}"
            ) from error
        except Exception as error:  # whatever the module raises
            raise ValueError(
                f"{name}: {wanted!r} cannot be used in the block '{kind}': "
                f"{type(error).__name__}: {error}"
            ) from error


def model_of(info: Mapping[str, Any], **options: Any) -> Model:
    """The Cobaya model of an input.

    Raises
    ------
    cobaya.log.LoggedError
        If Cobaya or a component refuses the input.
    ValueError
        If Cobaya fails at a value that it does not expect, or a name is misspelled.
    """
    blocks = {name: info[name] for name in BLOCKS if name in info}
    try:
        with cobaya_errors("Cobaya cannot read the input"):
            return get_model({**blocks, **options}, stop_at_error=True)
    except LoggedError as error:
        hint = _hint(str(error), blocks)
        if hint:
            raise ValueError(f"{error} {hint}") from error
        raise


def _hint(message: str, blocks: Mapping[str, Any]) -> str:
    """What to do where Cobaya refuses parameters of an input; empty if nothing is known."""
    if "Could not find anything to use input parameter" in message:
        given = blocks.get("params", {})
        known = set(update_info(blocks)["params"]) - set(given)
        near = [get_close_matches(name, known) for name in given if repr(name) in message]
        names = dict.fromkeys(name for each in near for name in each)
        return f"Did you mean {' or '.join(names)}?" if names else ""
    if "is provided by more than one component" in message and "requirement ia_" in message:
        return (
            "For samples of several weights or redshifts take one theory, which predicts all of them: "
            "samples: {LABEL: {weights: NAME, redshift: Z}, OTHER: {...}}."
        )
    if "Could not find whom to assign output parameters" in message:
        return (
            "A parameter without prior and value is derived. To change the label of one that the "
            "theory samples, set the theory's option latex: {NAME: LABEL}."
        )
    return ""


@contextmanager
def cobaya_errors(what: str) -> Iterator[None]:
    """Turn what Cobaya, or a function of the input, raises unforeseen into a ValueError."""
    try:
        yield
    except (LoggedError, OSError, ImportError):
        raise
    except Exception as error:  # as for odd types, of which Cobaya checks few
        raise ValueError(
            f"{what}: {type(error).__name__}: {error}. Compare it with an example in yaml_examples/."
        ) from error


@contextmanager
def restored_logging() -> Iterator[None]:
    """Leave the root logger and the exceptions' hook as they were, which Cobaya sets up anew."""
    root, hook = logging.root, sys.excepthook
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        sys.excepthook = hook
        root.setLevel(level)
        root.handlers[:] = handlers


def refuse_change(log: Logger, what: str, source: Any, found: str, begun_with: str) -> None:
    """Raise a LoggedError if data or weights are not those with which a run was begun.

    Parameters
    ----------
    log : logging.Logger
    what, source : str
        Kind and name of the files, for the message.
    found, begun_with : str
        The hashes.
    """
    if found != begun_with:
        message = (
            f"The {what} {source!r} ({found[:12]}...) are not those of this run "
            f"({begun_with[:12]}...). Restore them, or start a new chain."
        )
        raise LoggedError(log, "%s", message)


def latex_text(label: object) -> str:
    r"""A label of letters, digits and ``_`` in LaTeX and in matplotlib's: LRG_0 is ``LRG\_0``."""
    return str(label).replace("_", r"\_")


def of_sample(latex: str, sample: str | None) -> str:
    """A label in LaTeX, with that of the sample, if it has one, as superscript before the unit."""
    if not sample:
        return latex
    symbol, slash, unit = latex.partition(" / ")
    return rf"{symbol}^{{\mathrm{{{latex_text(sample)}}}}}{slash}{unit}"
