"""An explanation says what the live desk does: same code, same words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import Host
from studio_worker.engines.router import Routes
from studio_worker.jobs.explanation import Explanation, explain
from studio_worker.testing.claims import image_claim, llm_claim, stt_claim, tts_claim, video_claim
from studio_worker.wire.kinds import TaskKind

from .conftest import GateEngine, Wire, _open_room

FOX = EngineDescription(
    name="fox", distribution="studio-worker-fox", version="1.2.3", sources=("fox",), models={TaskKind.IMAGE: ("fox-1",)}
)
OWL = EngineDescription(name="owl", sources=("fox", "owl"), models={TaskKind.IMAGE: ("owl-1",), TaskKind.LLM: ("o",)})
NONE = EngineDescription(name="newt", sources=("newt",), status="unavailable", reason="no GPU was found")
ENGINES = (FOX, NONE, OWL)


def explained(raw: dict[str, Any], engines: tuple[EngineDescription, ...] = ENGINES) -> Explanation:
    return explain(raw, engines, Routes.build(engines), lambda plugin: None)


def whys(found: Explanation) -> dict[str, str]:
    return {verdict.engine.name: verdict.why for verdict in found.engines}


def test_the_engine_that_runs_the_job_comes_first_and_each_other_says_why_not() -> None:
    found = explained(image_claim("job-1", claim_fields={"engine": "fox"}))
    assert found.refusal is None
    assert found.plan is not None
    assert found.plan.route.engine is FOX
    assert [verdict.engine.name for verdict in found.engines if verdict.is_chosen] == ["fox"]
    assert whys(found) == {
        "fox": "serves source 'fox' for image",
        "newt": "is unavailable: no GPU was found",
        "owl": "serves source 'fox' for image too; 'fox' comes first (engine_preferences decides otherwise)",
    }


def test_a_source_of_another_kind_is_refused_in_the_routers_words() -> None:
    found = explained(tts_claim("job-1", claim_fields={"engine": "fox"}))
    assert found.plan is None
    assert "for image, llm, not for this job" in str(found.refusal)
    assert whys(found)["fox"] == "serves image, not audio_tts"
    assert not any(verdict.is_chosen for verdict in found.engines)


def test_a_claim_that_breaks_the_contract_names_its_field() -> None:
    found = explained(image_claim("job-1", width=-1))
    assert str(found.refusal).startswith("task.width: ")
    assert found.plan is None


@pytest.mark.parametrize(
    "raw", [{}, {"jobId": "j", "task": {"kind": "dance"}, "model": "m"}, {"jobId": "j", "task": 3}]
)
def test_a_claim_that_says_too_little_has_no_verdicts(raw: dict[str, Any]) -> None:
    found = explained({"jobId": "j", **raw})
    assert found.refusal is not None
    assert found.engines == ()


MAKERS = [image_claim, llm_claim, stt_claim, tts_claim, video_claim]
CHANGES = st.dictionaries(
    st.sampled_from(["task", "model", "modelSource", "attempt", "vramGbEstimate"]),
    st.sampled_from([None, 3, "", "gate", {}, {"kind": "llm"}, {"engine": "gate", "files": []}, {"engine": "GATE!"}]),
    max_size=1,
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MAKERS), st.sampled_from(["gate", "fox", "synthetic"]), CHANGES)
def test_the_verdict_is_that_of_the_live_desk(make: Any, source: str, changes: dict[str, Any]) -> None:
    raw = {**make("job-1", claim_fields={"engine": source}), **changes}
    told, found = asyncio.run(offered(raw))
    if found.refusal is None:
        assert told is None
    else:
        assert told == str(found.refusal)


async def offered(raw: dict[str, Any]) -> tuple[str | None, Explanation]:
    """What the desk's refusal of an offer says, None where the job's work began; and what is explained of it."""
    with TemporaryDirectory() as folder:
        host = Host([], given=[GateEngine()])
        found = explain(raw, host.descriptions, Routes.build(host.descriptions), lambda plugin: None)
        async with _open_room(Path(folder)) as room:
            wire = Wire()
            room.offer(wire, raw)
            assert wire.types[0] == "accept"
            refused = [frame.error for frame in wire.frames if frame.type == "fail"]
            return (refused[0] if refused else None), found
