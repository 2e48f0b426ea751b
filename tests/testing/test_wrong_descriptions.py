"""Engines whose description cannot be right: the kit fails each with a sentence, as the worker breaks it with one."""

from __future__ import annotations

from typing import Any

import pytest
from broken.good import Good

from studio_worker import EngineCapabilities, Needs, TaskKind
from studio_worker.testing import RULES, Outcome
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.report import RuleReport
from studio_worker.testing.conformance.subject import Subject


def serving(models: Any, **attributes: Any) -> Good:
    def capabilities(_engine: Good) -> EngineCapabilities:
        return EngineCapabilities(models)

    return type("Mine", (Good,), {"capabilities": capabilities, **attributes})()


async def tried(engine: Good, rule: str) -> RuleReport:
    (chosen,) = [each for each in RULES if each.id == rule]
    async with Examination(Subject.of_engine(engine), []) as examination:
        return await examination.try_rule(examination.trials[0], chosen)


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ({TaskKind.LLM: "good-1"}, "TypeError: the models of llm are 'good-1'; a list of model ids is needed"),
        ({TaskKind.LLM: ["good-1", None]}, "TypeError: None is no model id of llm; a text is needed"),
    ],
    ids=["a text", "no text"],
)
async def test_models_of_the_wrong_type_fail_the_describe_step(models: Any, sentence: str) -> None:
    report = await tried(serving(models), "describes")
    assert report.outcome is Outcome.FAILED
    assert sentence in report.message


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"needs": Needs(platforms=("windows",))}, "engine 'good' needs the platform 'windows'; `sys.platform` says"),
        ({"api_version": "1"}, "engine 'good' has the api_version of type str; the whole number 1 is needed"),
        ({"name": 5}, "an engine has the name of type int; a text is needed"),
        ({"capabilities": lambda _: None}, "capabilities() of engine 'good' returned a value of type NoneType"),
    ],
    ids=["platform", "api_version", "name", "capabilities"],
)
async def test_a_field_that_cannot_be_right_fails_the_description(attributes: dict[str, Any], sentence: str) -> None:
    report = await tried(type("Mine", (Good,), attributes)(), "valid-description")
    assert report.outcome is Outcome.FAILED
    assert report.message.startswith(f"the worker does not take the engine: {sentence}")


@pytest.mark.parametrize(("sources", "shown"), [((), "good"), (("den",), "den")])
async def test_a_kind_without_models_passes_since_its_source_leads_there_and_is_told(
    sources: tuple[str, ...], shown: str
) -> None:
    report = await tried(serving({TaskKind.LLM: []}, sources=sources), "valid-description")
    assert (report.outcome, report.message) == (
        Outcome.PASSED,
        f"serves llm as {shown}; no model of llm is listed, so that only jobs which name the source get there",
    )


async def test_availability_of_another_type_fails_with_what_is_needed() -> None:
    report = await tried(type("Mine", (Good,), {"availability": lambda _: True})(), "says-why-not")
    assert report.outcome is Outcome.FAILED
    assert "availability() returned a bool, Available() or Unavailable(reason, remedy) is needed" in report.message
