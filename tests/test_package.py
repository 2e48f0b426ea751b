from __future__ import annotations

import subprocess
import sys

import pytest

import studio_worker

HEAVY = ("aiohttp", "pydantic", "PIL", "numpy", "jinja2", "rich", "tomlkit")


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import studio_worker",
        "import studio_worker.events, studio_worker.errors, studio_worker.text, studio_worker.clock",
        "from studio_worker import TaskKind, hookimpl, Cancelled, JobProgress, LoadOptions",
    ],
)
def test_importing_loads_nothing_heavy(statement):
    assert loaded_by(statement).isdisjoint(HEAVY)


@pytest.mark.parametrize("name", studio_worker.__all__)
def test_every_public_name_can_be_had_and_has_a_docstring(name):
    value = getattr(studio_worker, name)
    if not isinstance(value, (str, int)) and hasattr(value, "__doc__"):
        assert value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Wroker'"):
        studio_worker.Wroker  # noqa: B018  the look-up is the test


def test_the_public_names_are_listed():
    assert set(studio_worker.__all__) <= set(dir(studio_worker))
    assert list(studio_worker.__all__) == sorted(studio_worker.__all__)
