"""A report reads back as it was, and says when a plugin has passed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio_worker.engines.certificates import ESSENTIAL
from studio_worker.testing import EngineReport, Outcome, Report, RuleReport


def report(**outcomes: Outcome) -> Report:
    essential = outcomes.pop("essential", Outcome.PASSED)
    rules = [RuleReport(ESSENTIAL, essential, "2 samples", 0.25)]
    rules += [RuleReport(name, outcome, "it says 'ü'", 1.5) for name, outcome in outcomes.items()]
    return Report(
        distribution="studio-worker-fox",
        version="1.0",
        kit_version="1",
        api_version=1,
        engines=(EngineReport("fox", tuple(rules)),),
    )


def test_a_report_is_json_and_reads_back_exactly() -> None:
    first = report(quiet=Outcome.PASSED, loop=Outcome.SKIPPED, threads=Outcome.FAILED)
    assert Report.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_the_json_names_engines_rules_and_outcomes() -> None:
    raw = report(loop=Outcome.SKIPPED).to_json()
    assert raw["engines"][0]["name"] == "fox"
    assert raw["engines"][0]["rules"][1] == {
        "rule": "loop",
        "outcome": "skipped",
        "message": "it says 'ü'",
        "secs": 1.5,
    }


@pytest.mark.parametrize(
    ("found", "has_passed"),
    [
        (report(quiet=Outcome.PASSED, loop=Outcome.SKIPPED), True),
        (report(quiet=Outcome.FAILED), False),
        (report(essential=Outcome.SKIPPED), False),
        (Report(distribution="d", version="1", kit_version="1", api_version=1, engines=()), False),
    ],
)
def test_a_plugin_has_passed_where_nothing_failed_and_its_jobs_were_run(found: Report, has_passed: bool) -> None:
    assert found.passed is has_passed


def test_failures_and_what_is_not_shown_come_with_their_engine() -> None:
    assert [(name, rule.rule) for name, rule in report(quiet=Outcome.FAILED).failures] == [("fox", "quiet")]
    assert [(name, rule.rule) for name, rule in report(essential=Outcome.SKIPPED).unproven] == [("fox", ESSENTIAL)]


@pytest.mark.parametrize("raw", [{}, {"engines": 1}, report().to_json() | {"version": 3}, {"engines": [{"name": "x"}]}])
def test_what_is_no_report_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no report of the conformance kit"):
        Report.from_json(raw)
