"""Messages that are sound but for a place or two: read, or refused by the one error that each reader promises."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from spoiled import spoiled

from studio_worker.errors import BadClaim
from studio_worker.wire import registration
from studio_worker.wire.claims import Fingerprint, is_job_id, parse_claim
from studio_worker.wire.frames import Offer, Unreadable, read_studio_frame, read_worker_frame

from .conftest import SOUND_CLAIM, SOUND_TASKS

ADVERT: dict[str, Any] = {
    "machineName": "rig-1",
    "username": "ann",
    "agentVersion": "0.1.0",
    "engine": "multi",
    "vramTotalGb": 12.0,
    "vramThresholdGb": 8.0,
    "autoEnabled": True,
    "autoStart": False,
    "supportedModels": ["sd-cpp:*"],
    "taskKinds": ["image"],
    "supportedModelsPerKind": {"image": ["sd-cpp:*"]},
    "sources": {"image": ["sd-cpp"]},
    "maxConcurrentJobs": 2,
}
ENTRY = {"ts": "2026-01-05T08:00:00.000Z", "level": "info", "category": "job", "message": "taken", "jobId": "j-1"}
FROM_STUDIO: list[dict[str, Any]] = [
    {"type": "welcome", "workerId": "w-1", "serverTime": "2026-01-05T08:00:00.000Z", "extensions": ["progress"]},
    {"type": "offer", "claim": SOUND_CLAIM},
    {"type": "completeAck", "jobId": "j-1"},
    {"type": "error", "code": "auth_failed", "message": "no"},
    {"type": "cancel", "jobId": "j-1", "reason": "not wanted"},
]
FROM_WORKER: list[dict[str, Any]] = [
    {"type": "hello", "authToken": "token-1", "capabilities": ADVERT},
    {"type": "heartbeat", "capabilities": ADVERT, "currentJobId": "j-1", "currentJobIds": ["j-1"], "health": {"a": 1}},
    {"type": "reject", "jobId": "j-1", "reason": "busy", "code": "busy", "attempt": 1},
    {"type": "completeJson", "jobId": "j-1", "result": {"text": "hello"}, "prompt": "a cup", "attempt": 1},
    {"type": "fail", "jobId": "j-1", "error": "no", "retryable": False},
    {"type": "logBatch", "entries": [ENTRY]},
    {"type": "progress", "jobId": "j-1", "step": 1, "total": 4, "stage": "run", "preview": "AAAA"},
]
CLAIMS = [{**SOUND_CLAIM, "task": task} for task in SOUND_TASKS.values()]
ASK = {"installId": "12345678-1234-4234-8234-123456789abc", "registrationSecretHash": "ab" * 32, "userAgent": "x"}
ANSWERS: list[dict[str, Any]] = [
    {"status": "pending"},
    {"status": "approved", "workerId": "w-1", "authToken": "token-1"},
    {"status": "rejected", "reason": "no"},
]


def has_an_id(claim: Any) -> bool:
    """Whether its offer could be read: without a jobId that is text nobody could be answered."""
    return isinstance(claim.get("jobId"), str)


def test_what_is_to_be_spoiled_is_sound() -> None:
    for frame in FROM_STUDIO:
        assert read_studio_frame(json.dumps(frame)).type == frame["type"]
    for frame in FROM_WORKER:
        assert read_worker_frame(json.dumps(frame)).type == frame["type"]
    for claim in CLAIMS:
        assert parse_claim(copy.deepcopy(claim)).job_id == "j-9"


@settings(print_blob=True)
@given(frame=st.sampled_from(FROM_STUDIO).flatmap(spoiled))
@example(frame={"type": "welcome", "workerId": "w-1", "extensions": None})
def test_a_studios_frame_is_read_or_unreadable(frame: Any) -> None:
    with suppress(Unreadable):
        read = read_studio_frame(json.dumps(frame))
        if isinstance(read, Offer):
            assert isinstance(read.job_id, str)
            assert read.attempt is None or isinstance(read.attempt, int)
            assert Fingerprint(read.claim) == Fingerprint(copy.deepcopy(read.claim))


@settings(print_blob=True)
@given(frame=st.sampled_from(FROM_WORKER).flatmap(spoiled))
def test_a_workers_frame_is_read_or_unreadable(frame: Any) -> None:
    with suppress(Unreadable):
        read_worker_frame(json.dumps(frame))


@settings(print_blob=True)
@given(claim=st.sampled_from(CLAIMS).flatmap(spoiled).filter(has_an_id))
def test_a_claim_is_read_or_refused_by_the_name_of_its_field(claim: Any) -> None:
    try:
        read = parse_claim(claim)
    except BadClaim as error:
        refusal = str(error)
    else:
        assert is_job_id(read.job_id)
        return
    assert refusal.isprintable()
    assert len(refusal) < 2_000


@settings(print_blob=True)
@given(body=spoiled({**ASK, "capabilities": ADVERT}))
def test_a_request_for_registration_is_read_or_refused(body: Any) -> None:
    with suppress(ValidationError):
        registration.RegisterRequest.from_wire(body)


@settings(print_blob=True)
@given(body=st.sampled_from(ANSWERS).flatmap(spoiled))
def test_an_answer_to_a_poll_is_read_or_refused(body: Any) -> None:
    with suppress(ValidationError):
        registration.POLL_ANSWER.validate_python(body)
