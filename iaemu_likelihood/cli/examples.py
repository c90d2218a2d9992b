"""Command that copies the examples: examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood import yaml_examples
from iaemu_likelihood.cli.tables import say, show

ENDINGS = (".yaml", ".ini", ".ipynb")


def examples(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names, with or without the ending; a list when left out."),
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder to copy them to.")] = Path("."),
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there.")] = False,
) -> None:
    """Copy examples that run as they are: inputs of Cobaya and CosmoSIS, and notebooks.

    A CosmoSIS ini brings the files of values and priors that it names. `all` copies everything.

    Example: iaemu examples tng300_sample1 && cobaya-run tng300_sample1.yaml
    """
    from iaemu_likelihood.emulator.atomic import atomic_write
    from iaemu_likelihood.emulator.tables import Table

    folder = Path(yaml_examples.__file__).parent
    known = {file.name: file for file in sorted(folder.iterdir()) if file.suffix in ENDINGS}
    if not names:
        rows = [[name, _about(file)] for name, file in known.items()]
        show([Table("iaemu examples NAME copies one to where you stand", ["file", "about"], rows)])
        return
    chosen = [file for name in names for file in _chosen(name, known)]
    into.mkdir(parents=True, exist_ok=True)
    targets = {into / file: known[file] for file in dict.fromkeys(chosen)}
    there = [str(path) for path in targets if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{', '.join(there)} exists; pass --overwrite to replace it.")
    for path, file in targets.items():
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(file.read_bytes())
        say([str(path)])


def _chosen(name: str, known: dict[str, Path]) -> list[str]:
    """Files of a name, and those that they need."""
    if name == "all":
        return list(known)
    found = [file for file in known if name in (file, Path(file).stem)]
    if not found:
        raise ValueError(f"No example {name!r}; there are {', '.join(known)}.")
    inis = [file for file in known if file.endswith(".ini")]
    texts = [known[file].read_text(encoding="utf-8") for file in found if file in inis]
    return [*found, *(file for file in inis if any(file in text for text in texts))]


def _about(file: Path) -> str:
    """The first sentence of an example's comment, or the heading of a notebook."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        heading, *_ = json.loads(text)["cells"][0]["source"]
        return str(heading.strip("# \n"))
    comment = re.match(r"([#;].*\n)+", text)
    words = re.sub(r"^[#;]", "", comment[0], flags=re.MULTILINE).split() if comment else []
    return re.split(r"(?<=[.:])\s|;", " ".join(words), maxsplit=1)[0].rstrip(":")
