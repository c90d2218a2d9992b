"""The documentation site: sphinx-build -W -b html docs docs/_build/html."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
REPOSITORY_PAGES = {
    "changelog": ROOT / "CHANGELOG.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "security": ROOT / "SECURITY.md",
    "card_templates": ROOT / "data/weights/templates/CARD.md",
    "card_z0": ROOT / "data/weights/z0/CARD.md",
    "card_paper": ROOT / "data/weights/paper/CARD.md",
    "held_out": ROOT / "data/validation/README.md",
}

# Notebooks are among the examples that the package installs.
NOTEBOOKS = DOCS / "notebooks"
shutil.rmtree(NOTEBOOKS, ignore_errors=True)
NOTEBOOKS.mkdir()
for notebook in sorted(ROOT.glob("yaml_examples/*.ipynb")):
    shutil.copy(notebook, NOTEBOOKS)
# They call the commands of the environment that builds the site.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "iaemu_likelihood"
author = "The iaemu_likelihood developers"
copyright = author
release = version = version_of("iaemu_likelihood")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_build", "_templates", "jupyter_execute"]
# The first is that of the pages that autosummary writes.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"iaemu_likelihood {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Formulas become MathML, which browsers show without a script.
html_math_renderer = "mathml"
default_role = "code"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# Notebooks run at the first build and when they have changed; one that fails ends it.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_execution_in_temp = True
nb_merge_streams = True

LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]+)?(?=\))")


def setup(app: Sphinx) -> None:
    app.add_lexer("mermaid", TextLexer)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    app.connect("source-read", _source)
    app.connect("build-finished", _explorer)


def _inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block_math(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _source(app: Sphinx, name: str, content: list[str]) -> None:
    """Files of the repository as pages, and links to them that lead to these pages."""
    file = REPOSITORY_PAGES.get(name)
    if file is not None:
        content[0] = file.read_text()
    if name == "commands":
        content[0] += _commands()
    folder = (DOCS / f"{name}.md").parent if file is None else file.parent
    page = (DOCS / f"{name}.md").parent
    content[0] = LINK.sub(lambda link: _target(link, folder, page), content[0])


def _target(link: re.Match[str], folder: Path, page: Path) -> str:
    pages = {file: DOCS / f"{name}.md" for name, file in REPOSITORY_PAGES.items()}
    pages[ROOT / "README.md"] = DOCS / "index.md"
    target = (folder / link[1]).resolve()
    target = pages.get(target, target)
    if not target.exists():
        return link[0]
    try:
        relative = target.relative_to(page)
    except ValueError:
        relative = Path("..") / target.relative_to(page.parent)
    anchor = link[2] or ""
    return f"{relative.as_posix()}{'' if target == DOCS / 'index.md' else anchor}"


def _commands() -> str:
    """What `--help` says of every command."""
    import typer
    from typer.testing import CliRunner

    from iaemu_likelihood.cli import app

    # As wide as a page, and without colours.
    runner = CliRunner(env={"COLUMNS": "88", "TERM": "dumb", "NO_COLOR": "1"})

    def sections(command: Any, words: list[str]) -> list[str]:
        if getattr(command, "commands", None):
            return [x for k, c in command.commands.items() for x in sections(c, [*words, k])]
        found = runner.invoke(app, [*words, "--help"], prog_name="iaemu", catch_exceptions=False)
        about = "\n".join(line.rstrip() for line in found.output.strip().splitlines())
        return [f"\n## iaemu {' '.join(words)}\n\n```text\n{about}\n```\n"]

    return "\n".join(sections(typer.main.get_command(app), []))


def _explorer(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        from iaemu_likelihood.explorer import write_explorer

        write_explorer(Path(app.outdir) / "explorer.html")
