"""What the code promises of itself: who knows what, and who imports whom."""

import ast
from pathlib import Path

import pytest
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import STATISTICS

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "iaemu_likelihood": ROOT / "iaemu_likelihood",
    "iaemu_likelihood.emulator": ROOT / "emulator",
    "iaemu_likelihood.data": ROOT / "data",
}
OWNERS_OF_STATISTICS = ROOT / "emulator/physics/statistics"
OWNER_OF_PARAMETERS = ROOT / "emulator/physics/space.py"


def modules():
    """Path and syntax tree of every module, by its import name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = list(path.relative_to(folder).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            found[".".join([package, *parts])] = path, ast.parse(path.read_text())
    return found


MODULES = modules()


def where(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def test_names_of_statistics_are_strings_in_their_own_files_only():
    found = [
        where(path, node)
        for name, (path, tree) in MODULES.items()
        if OWNERS_OF_STATISTICS not in path.parents
        and not name.startswith("iaemu_likelihood.data.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in tuple(STATISTICS)
    ]
    assert not found


def splits(node):
    """Whether something is cut in two where the alignment's parameters end.

    Rows and columns of a shape are counted from its ends, too, and are left out.
    """
    if not isinstance(node, ast.Subscript):
        return False
    if "shape" in (getattr(node.value, "attr", ""), getattr(node.value, "id", "")):
        return False
    first, last = DEFAULT_SPACE.n_alignment, DEFAULT_SPACE.n_occupation
    return any(
        isinstance(part, ast.Slice)
        and (part.lower is None) != (part.upper is None)
        and ast.unparse(part.lower or part.upper) in (f"{first}", f"{last}", f"-{last}")
        for part in ast.walk(node.slice)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x[:2]", 1), ("x[..., 2:]", 1), ("x[:, -5:]", 1), ("x[5:]", 1), ("f(x)[i, :2]", 1),
        ("x[:1]", 0), ("x[2]", 0), ("x[-2:]", 0), ("x[:, 2:3]", 0), ("x.shape[:2]", 0),
    ],
)  # fmt: skip
def test_slices_that_split_are_recognised(text, found):
    assert sum(map(splits, ast.walk(ast.parse(text)))) == found


def test_only_the_parameter_space_splits_parameters():
    found = [
        where(path, node)
        for path, tree in MODULES.values()
        if path != OWNER_OF_PARAMETERS
        for node in ast.walk(tree)
        if splits(node)
    ]
    assert not found


def imports(tree):
    """Modules of these packages that a module imports anywhere: nested and for types, too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & set(MODULES)


def cycles(graph):
    """Circles of imports, each as the modules on the way."""
    done, found = set(), []

    def visit(module, way):
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*way, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_through_others():
    graph = {name: imports(tree) - {name} for name, (_, tree) in MODULES.items()}
    assert graph["iaemu_likelihood.cobaya.theory"]  # there is something to find
    assert not cycles(graph)


def test_rooms_build_on_those_below_them():
    """The library takes nothing from validation or from reproductions of papers."""
    above = ("iaemu_likelihood.emulator.validation", "iaemu_likelihood.tng300.table1")
    allowed = ("iaemu_likelihood.emulator.validation", "iaemu_likelihood.emulator.build",
               "iaemu_likelihood.cli", "iaemu_likelihood.tng300")  # fmt: skip
    found = [
        f"{name} imports {other}"
        for name, (_, tree) in MODULES.items()
        for other in imports(tree)
        if other.startswith(above) and not name.startswith(allowed)
    ]
    assert not found
