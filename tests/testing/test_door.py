"""`studio_worker.testing`: what it lists is what it has, and importing it costs nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from studio_worker import testing

HOMES = testing._HOMES


def test_what_is_listed_is_what_is_offered() -> None:
    offered = [name for names in HOMES.values() for name in names]
    assert len(offered) == len(set(offered))
    assert sorted(offered) == sorted(testing.__all__)


@pytest.mark.parametrize(("home", "name"), [(home, name) for home, names in HOMES.items() for name in names])
def test_a_name_is_the_one_of_its_home(home: str, name: str) -> None:
    assert getattr(testing, name) is getattr(importlib.import_module(home), name)


def test_type_checkers_see_the_names_that_programs_get() -> None:
    tree = ast.parse(Path(testing.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: home for home, names in HOMES.items() for name in names}


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unicorn'"):
        testing.Unicorn  # noqa: B018


def test_importing_it_brings_no_library() -> None:
    code = "import sys, studio_worker.testing; print({'aiohttp', 'pydantic', 'pytest', 'PIL'} & set(sys.modules) or '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
