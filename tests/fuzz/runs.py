"""Inputs of Cobaya runs, which `iaemu check` reads before anyone has looked at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from iaemu_likelihood.cobaya.check import check_run

from .cards import changed
from .cases import ROOT, Case
from .changes import Rng, damaged, one

EXAMPLES = ("tng300_sample1", "tng300_all_parameters")
# Python tags of YAML that make a mark in the file system when they are executed.
TAGS = (
    "!!python/object/apply:os.system ['touch {mark}']",
    "!!python/object/apply:pathlib.Path.touch ['{mark}']",
    "!!python/object/apply:builtins.open ['{mark}', w]",
    "!!python/object/apply:subprocess.call [[touch, '{mark}']]",
    "!!python/object/new:os.system ['touch {mark}']",
    "!!python/object/apply:builtins.exec [\"open('{mark}', 'w')\"]",
    "!!python/object/apply:builtins.eval [\"open('{mark}', 'w')\"]",
)
HARMLESS_TAGS = (
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!!python/none",
)


class RanCode(Exception):
    """A file that is data ran code."""


class Runs:
    """See the head of this module."""

    name = "runs"
    share = 1.0

    def __init__(self, folder: Path) -> None:
        self._texts = {name: (ROOT / f"yaml_examples/{name}.yaml").read_text() for name in EXAMPLES}

    def case(self, rng: Rng, folder: Path) -> Case:
        name = EXAMPLES[0] if rng.random() < 0.9 else EXAMPLES[1]
        path, mark = folder / "run.yaml", folder / "ran"
        kind = one(rng, ["tag", "tag", "tag", "damaged", "changed", "changed"])
        if kind == "tag":
            about, content = self._tagged(self._texts[name], str(mark), rng)
        elif kind == "damaged":
            about, content = damaged(rng, self._texts[name].encode())
        else:
            info = yaml.safe_load(self._texts[name])
            about = changed(info, rng)
            content = yaml.safe_dump(info, sort_keys=False).encode()
        path.write_bytes(content)

        def run() -> Any:
            try:
                return check_run(path)
            finally:
                if mark.exists():
                    raise RanCode(f"{path} ran code")

        def wrong(found: Any) -> str:
            numbers = found.numbers
            if kind == "tag":
                return "an input with Python tags was accepted"
            info = yaml.safe_load(content)
            given = {k: float(v) for k, v in info["params"].items() if isinstance(v, int | float)}
            if numbers["fixed"] != given:
                return f"fixed {numbers['fixed']}, in the file {given}"
            found.tables(), found.sentences()
            reference = numbers["reference"]
            return "" if reference["chi2"] >= 0 else f"chi^2 is {reference['chi2']}"

        return Case(f"{name}: {about}", run, wrong)

    def _tagged(self, text: str, mark: str, rng: Rng) -> tuple[str, bytes]:
        """Put a tag where a value was, or beside it."""
        tag = one(rng, [*TAGS, *TAGS, *HARMLESS_TAGS]).replace("{mark}", mark)
        lines = text.splitlines()
        values = [
            i for i, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")
        ]
        i = one(rng, values)
        key, _, value = lines[i].partition(":")
        if value.strip() and rng.random() < 0.7:
            lines[i] = f"{key}: {tag}"
        else:
            lines.append(f"extra: {tag}")
        return f"{tag.split()[0]} in line {i}", "\n".join(lines).encode()
