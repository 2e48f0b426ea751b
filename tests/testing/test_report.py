"""A report is JSON, and says when a plugin has passed."""

from __future__ import annotations

import json

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


def test_the_json_names_engines_rules_and_outcomes() -> None:
    raw = json.loads(json.dumps(report(loop=Outcome.SKIPPED).to_json()))
    assert (raw["distribution"], raw["version"], raw["kit_version"]) == ("studio-worker-fox", "1.0", "1")
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
