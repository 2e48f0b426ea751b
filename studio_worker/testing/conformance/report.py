"""What the kit found: an outcome and a sentence for each rule of each engine, and that as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from studio_worker.engines.certificates import ESSENTIAL

KIT_VERSION = "2"
"""The version of the set of rules: it grows when a rule is added or asks for more."""


class Outcome(StrEnum):
    """How a rule went. ``skipped`` is no pass: the sentence says what was not looked at, and why."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class RuleReport:
    """One rule on one engine.

    Attributes:
        rule: the rule's id.
        outcome: how it went.
        message: what was found, in a sentence; of a failure, with the remedy.
        secs: how long it took.
    """

    rule: str
    outcome: Outcome
    message: str
    secs: float


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The rules on one engine, in the order in which they were tried."""

    name: str
    rules: tuple[RuleReport, ...]

    @property
    def failures(self) -> tuple[RuleReport, ...]:
        """The rules that failed."""
        return tuple(rule for rule in self.rules if rule.outcome is Outcome.FAILED)

    def outcome_of(self, rule: str) -> Outcome | None:
        """How a rule went; None where it was not tried."""
        return next((each.outcome for each in self.rules if each.rule == rule), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the kit found on one plugin.

    Attributes:
        distribution: the package; empty for an engine that was given by hand.
        version: the package's version.
        kit_version: the set of rules (`KIT_VERSION`).
        api_version: the plugin API that the kit checked for.
        engines: one entry an engine.
    """

    distribution: str
    version: str
    kit_version: str
    api_version: int
    engines: tuple[EngineReport, ...]

    @property
    def failures(self) -> tuple[tuple[str, RuleReport], ...]:
        """Each failed rule with its engine's name."""
        return tuple((engine.name, rule) for engine in self.engines for rule in engine.failures)

    @property
    def unproven(self) -> tuple[tuple[str, RuleReport], ...]:
        """The engines whose jobs could not be run, each with the sentence that says what is missing."""
        return tuple(
            (engine.name, rule)
            for engine in self.engines
            for rule in engine.rules
            if rule.rule == ESSENTIAL and rule.outcome is Outcome.SKIPPED
        )

    @property
    def passed(self) -> bool:
        """Whether there is an engine, no rule failed, and every engine's jobs were run."""
        return bool(self.engines) and all(
            not engine.failures and engine.outcome_of(ESSENTIAL) is Outcome.PASSED for engine in self.engines
        )

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {**asdict(self), "engines": [_engine_to_json(engine) for engine in self.engines]}


def _engine_to_json(engine: EngineReport) -> dict[str, Any]:
    rules = [{**asdict(rule), "outcome": rule.outcome.value} for rule in engine.rules]
    return {"name": engine.name, "rules": rules}
