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


def logged_after(order: str) -> str:
    """What a fresh interpreter logs of a sentence of the worker's after some statements."""
    said = "studio_worker.log.logger.info('A sentence')"
    code = f"{order}\nimport studio_worker.log\nexec({said!r}, {{**globals(), '__name__': 'studio_worker.worker'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stderr


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


@pytest.mark.parametrize(
    "order",
    [
        "from studio_worker import Worker\nfrom loguru import logger\nlogger.enable('studio_worker')",
        "from loguru import logger\nimport studio_worker as sw\nlogger.enable('studio_worker')\nsw.Worker",
    ],
)
def test_a_log_that_is_enabled_after_the_import_stays_enabled(order):
    assert "A sentence" in logged_after(order)


@pytest.mark.parametrize("order", ["from studio_worker import Worker", "import loguru, studio_worker as sw\nsw.Worker"])
def test_the_log_is_silent_until_it_is_enabled(order):
    assert "A sentence" not in logged_after(order)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Wroker'"):
        studio_worker.Wroker  # noqa: B018  the look-up is the test


def test_the_public_names_are_listed():
    assert set(studio_worker.__all__) <= set(dir(studio_worker))
    assert list(studio_worker.__all__) == sorted(studio_worker.__all__)
