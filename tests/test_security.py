"""What SECURITY.md promises of the package's source, and that its pages name what is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("iaemu_likelihood", "emulator", "data", "yaml_examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Calls that run what a file says, or give it to what does.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all",
    "pickle.load", "pickle.loads", "dill.load", "dill.loads", "joblib.load",
    "matplotlib.use", "pyplot.show", "jinja2.Template", "Markup", "Text.from_markup",
}  # fmt: skip
# Calls that do so unless an argument says otherwise.
NEEDED = {
    "np.load": "allow_pickle=False",
    "torch.load": "weights_only=True",
    "Environment": "autoescape=True",
}
ALLOWED = {
    # A posterior that goes to a worker of a pool, by its own pickle.
    ("iaemu_likelihood/sampling/posterior.py", "pickle.loads"),
    # By a safe loader that also refuses aliases.
    ("emulator/models/weights.py", "yaml.load"),
}


def calls(text):
    """Names of what is called, with its arguments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), [ast.unparse(x) for x in node.keywords]


def unsafe(text):
    return [
        name
        for name, arguments in calls(text)
        if name in FORBIDDEN
        or NEEDED.get(name, "") not in ["", *arguments]
        or "shell=True" in arguments
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("yaml.load(x)", 1), ("eval(x)", 1), ("np.load(x)", 1), ("np.load(x, allow_pickle=True)", 1),
        ("torch.load(x, weights_only=True)", 0), ("np.load(x, allow_pickle=False)", 0),
        ("Environment()", 1), ("subprocess.run(x, shell=True)", 1), ("yaml.safe_load(x)", 0),
        ("network.eval()", 0),
    ],
)  # fmt: skip
def test_unsafe_calls_are_recognised(text, found):
    assert len(unsafe(text)) == found


def test_data_never_becomes_code_by_a_call_that_runs_what_a_file_says():
    found = {(str(x.relative_to(ROOT)), name) for x in SOURCES for name in unsafe(x.read_text())}
    assert found == ALLOWED


def test_the_page_names_tests_that_there_are():
    page = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", page)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pages_lead_to_it(page):
    assert "(SECURITY.md)" in (ROOT / page).read_text()
