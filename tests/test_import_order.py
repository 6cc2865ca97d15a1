"""Inside pgdyn an import only ever goes down the floors of this list; the list is the architecture.

Oracle: the syntax tree of every file. Imports inside functions count too. What a lower floor offers from a higher one
(`Solution.to_dataset`, `Solution.plot`) goes by name through `importlib`, and is listed in FORWARDED.
"""

import ast
import pathlib

import pytest

import pgdyn

FLOORS = (  # from the ground up
    ("version", "validate"),
    ("reduction", "transitions", "network"),
    ("construct", "problem", "batch", "paths"),
    ("policy", "objective"),
    ("solution",),
    ("estimators", "dynamics", "ensemble", "solve"),
    ("exact",),
    ("mdp", "errors", "labels", "robust", "selection", "metrics", "theory", "verifiable"),
    ("io", "plot", "sweep", "scores"),
    ("evaluate",),
    ("compilation_cache",),
    ("cli", "explore"),
)
FORWARDED = {
    "dynamics": {"pgdyn.exact.flow"},
    "solution": {"pgdyn.io.datasets", "pgdyn.plot"},
    "errors": {"pgdyn.io.errors"},
}

# Names of the public face that are no files, by the part that defines them.
FACE = {"Ascend": "dynamics", "AscendSampled": "dynamics", "Flow": "dynamics", "Problem": "problem", "Batch": "batch"}
FACE |= {"Objective": "objective", "Solution": "solution", "Result": "solution"}

ROOT = pathlib.Path(pgdyn.__file__).parent
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def part_of(path):
    """The entry of FLOORS that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    """(line, entry) for every import of a part of pgdyn."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pgdyn":
            names = [f"pgdyn.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "pgdyn" and len(parts) > 1:
                yield node.lineno, FACE.get(parts[1], parts[1])


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = part_of(path)
    assert own in FLOOR, f"pgdyn/{own} stands on no floor; add it to FLOORS"
    for line, name in imported(ast.parse(path.read_text())):
        assert name in FLOOR, f"{path}:{line} imports pgdyn.{name}, which stands on no floor"
        assert FLOOR[name] <= FLOOR[own], f"{path}:{line} imports pgdyn.{name}, which stands above pgdyn.{own}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_forwarding_by_name_is_listed(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            name = ast.unparse(node.args[0]).strip("'\"")
            assert not name.startswith("pgdyn") or part_of(path) == "cli" or name in FORWARDED.get(part_of(path), ()), (
                f"{path}:{node.lineno}: {name}"
            )


def test_the_check_sees_an_import_that_goes_up():
    tree = ast.parse("def f():\n    from pgdyn.sweep.run import run_sweep\n    from pgdyn import theory\n")
    assert list(imported(tree)) == [(2, "sweep"), (3, "theory")]


def test_nothing_imports_the_folders_outside():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("experiments", "figures", "paper_repro") for name in names), path
