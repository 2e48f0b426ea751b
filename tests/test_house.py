"""What holds for every file of the package: imports run one way, files stay small, names say what they promise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "studio_worker"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
FLOORS = (
    ("wire",),
    ("config",),
    ("state",),
    ("fetch",),
    ("models",),
    ("engines",),
    ("jobs",),
    ("session",),
    ("worker",),
    ("local_api", "studio"),
    ("testing",),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAX_LINES = 400
PUBLIC_DOORS = (PACKAGE, PACKAGE / "testing")
"""Packages whose names load their modules on first use."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES if PACKAGE in path.parents}


def imported(node: ast.AST, module: str) -> Iterator[str]:
    """Modules of ours that `node` and what is in it imports when it runs; those for type checkers only are not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module} imports by a relative name"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in MODULES else child.module or ""
        else:
            yield from imported(child, module)


def imports_of(module: str, *, at_top: bool) -> set[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    if at_top:
        tree.body = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {name for name in imported(tree, module) if name in MODULES and name != "studio_worker"} - {module}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in FLOOR_OF])
def test_a_room_imports_only_rooms_below_it(module):
    room = room_of(module)
    for name in imports_of(module, at_top=False):
        other = room_of(name)
        if other != room and other in FLOOR_OF:
            assert FLOOR_OF[other] < FLOOR_OF[room], f"{module} imports {name} from a floor that is not below"


def test_no_module_imports_itself_on_a_way_round():
    try:
        list(TopologicalSorter({module: imports_of(module, at_top=True) for module in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea_of_a_readable_size_with_a_docstring(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in [*tree.body, *(inner for found in classes for inner in found.body)]:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name}, line {node.lineno}"


def test_the_studio_knows_nothing_of_the_workers_rooms():
    for module in MODULES:
        if room_of(module) == "studio":
            rooms = {room_of(name) for name in imports_of(module, at_top=False)}
            assert rooms.isdisjoint({"fetch", "models", "engines", "jobs", "session", "worker"}), module


def test_a_package_file_only_hands_names_on():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent not in PUBLIC_DOORS:
            kinds = {type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body}
            assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}, path


def test_nothing_is_left_for_later_in_the_code():
    for path in [*SOURCES, *ROOT.glob("tests/**/*.py")]:
        if path != Path(__file__):
            found = re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found and found[0]}"
