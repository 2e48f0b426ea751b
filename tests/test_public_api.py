"""The package's front door: what it lists is what it has, and what type checkers see is what programs get."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import studio_worker

INIT = Path(studio_worker.__file__)
OWN = {"API_VERSION", "__version__"}
HOMES = studio_worker._HOMES


def imported_for_type_checkers() -> dict[str, str]:
    """Name to module, as the `if TYPE_CHECKING` block has them."""
    (block,) = [
        node
        for node in ast.parse(INIT.read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_what_is_listed_is_what_is_offered_and_sorted():
    offered = {name for names in HOMES.values() for name in names} | OWN
    assert sorted(offered) == studio_worker.__all__


def test_no_name_has_two_homes():
    names = [name for offered in HOMES.values() for name in offered]
    assert len(names) == len(set(names))


def test_type_checkers_see_the_names_that_programs_get():
    assert imported_for_type_checkers() == {name: home for home, names in HOMES.items() for name in names}


@pytest.mark.parametrize(("home", "name"), [(home, name) for home, names in HOMES.items() for name in names])
def test_a_public_name_is_the_one_of_its_home(home, name):
    assert getattr(studio_worker, name) is getattr(importlib.import_module(home), name)


def test_the_package_has_the_names_that_engine_authors_are_told_to_import():
    told = {"Engine", "EngineCapabilities", "EngineJob", "ImageResult", "LlmResult", "TaskKind", "hookimpl"}
    assert told <= set(studio_worker.__all__)


@pytest.mark.parametrize("statement", ["import studio_worker", "from studio_worker import Engine, TaskKind, hookimpl"])
def test_importing_what_a_plugin_imports_brings_no_heavy_library(statement):
    code = f"{statement}\nimport sys\nprint({{'aiohttp', 'pydantic', 'PIL', 'numpy'}} & set(sys.modules) or '')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=INIT.parents[1], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
