"""Factories and plugins that fail before there is an engine: the kit blames their own code, and every rule ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker.engines.entry_points import PluginRef
from studio_worker.testing import RULES, Outcome, check_engine
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.subject import Subject


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on `sys.path`, to be written."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "wrong_engine.py"


async def test_an_exception_of_a_factorys_module_is_told_with_its_own_file_and_line(module: Path) -> None:
    module.write_text("import json\n\n1 / 0\n")
    report = await check_engine("wrong_engine:make", [])
    (message,) = [rule.message for _, rule in report.failures if rule.rule == "describes"]
    assert "no engine: ZeroDivisionError: division by zero (wrong_engine.py, line 3); importing" in message


async def test_a_plugin_without_an_engine_breaks_one_rule_and_no_other_stumbles(module: Path) -> None:
    module.write_text(
        "from studio_worker import hookimpl\n\n@hookimpl\ndef studio_worker_engines(config):\n    return []\n"
    )
    ref = PluginRef("wrong", "wrong_engine", "wrong", "1.0")
    async with Examination(Subject.of_plugin(ref, {}), []) as examination:
        (trial,) = examination.trials
        reports = [await examination.try_rule(trial, rule) for rule in RULES[:7]]
    assert [(report.rule, report.message) for report in reports if report.outcome is Outcome.FAILED] == [
        (
            "valid-description",
            "the worker does not take the engine: the plugin brings no engine; return one from studio_worker_engines",
        )
    ]
