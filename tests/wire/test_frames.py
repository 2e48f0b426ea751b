from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from studio_worker.wire import frames
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import (
    STUDIO_FRAMES,
    WORKER_FRAMES,
    Accept,
    CloseCode,
    CompleteJson,
    Completion,
    ErrorCode,
    ErrorFrame,
    Fail,
    Frame,
    Heartbeat,
    Hello,
    LogBatch,
    LogEntry,
    Offer,
    Progress,
    ReadyForMore,
    Reject,
    RejectCode,
    Unreadable,
    Welcome,
    read_studio_frame,
    read_worker_frame,
)

CAPABILITIES = Capabilities(machine_name="rig-1", supported_models=("synthetic",), task_kinds=("llm",))
CAPABILITIES_WIRE = {
    "machineName": "rig-1",
    "username": "",
    "agentVersion": "",
    "engine": "multi",
    "vramTotalGb": 0.0,
    "vramThresholdGb": 0.0,
    "autoEnabled": True,
    "autoStart": False,
    "supportedModels": ["synthetic"],
    "taskKinds": ["llm"],
    "supportedModelsPerKind": {},
}


def studio(**fields: object) -> str:
    return json.dumps(fields)


@given(st.from_type(Frame))
def test_every_frame_survives_the_wire(frame):
    read = read_worker_frame if frame.type in WORKER_FRAMES else read_studio_frame
    assert read(frame.text()) == frame


@given(st.from_type(Frame))
def test_every_frame_is_valid_json_of_one_object_without_nan(frame):
    value = json.loads(frame.text(), parse_constant=pytest.fail)
    assert value["type"] == frame.type
    frame.text().encode()


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (
            Hello(auth_token="t", capabilities=CAPABILITIES),
            {"type": "hello", "authToken": "t", "capabilities": CAPABILITIES_WIRE},
        ),
        (Heartbeat(capabilities=CAPABILITIES), {"type": "heartbeat", "capabilities": CAPABILITIES_WIRE}),
        (
            Heartbeat(capabilities=CAPABILITIES, current_job_id="j-9"),
            {"type": "heartbeat", "capabilities": CAPABILITIES_WIRE, "currentJobId": "j-9"},
        ),
        (Accept(job_id="j-9"), {"type": "accept", "jobId": "j-9"}),
        (Accept(job_id="j-9", attempt=2), {"type": "accept", "jobId": "j-9", "attempt": 2}),
        (
            Reject(job_id="j-10", reason="no room", code=RejectCode.BUSY),
            {"type": "reject", "jobId": "j-10", "reason": "no room", "code": "busy"},
        ),
        (
            Reject(job_id="j-11", reason="paused", code=RejectCode.PAUSED),
            {"type": "reject", "jobId": "j-11", "reason": "paused", "code": "paused"},
        ),
        (Reject(job_id="j-12", reason="other"), {"type": "reject", "jobId": "j-12", "reason": "other"}),
        (
            CompleteJson(job_id="j-12", result={"object": "chat.completion"}, prompt="full"),
            {"type": "completeJson", "jobId": "j-12", "result": {"object": "chat.completion"}, "prompt": "full"},
        ),
        (
            CompleteJson(job_id="j-12", result=[1, None, "x"]),
            {"type": "completeJson", "jobId": "j-12", "result": [1, None, "x"]},
        ),
        (CompleteJson(job_id="j-12", result=None), {"type": "completeJson", "jobId": "j-12", "result": None}),
        (
            Fail(job_id="j-13", error="out of memory", retryable=True),
            {"type": "fail", "jobId": "j-13", "error": "out of memory", "retryable": True},
        ),
        (LogBatch(), {"type": "logBatch", "entries": []}),
        (
            LogBatch(entries=(LogEntry(ts="2026-01-01T00:00:01.000Z", category="ws", message="m", job_id="j"),)),
            {
                "type": "logBatch",
                "entries": [
                    {
                        "ts": "2026-01-01T00:00:01.000Z",
                        "level": "info",
                        "category": "ws",
                        "message": "m",
                        "jobId": "j",
                    }
                ],
            },
        ),
        (
            Progress(job_id="j", step=1, total=4),
            {"type": "progress", "jobId": "j", "step": 1, "total": 4, "stage": "run"},
        ),
        (ReadyForMore(), {"type": "readyForMore"}),
    ],
    ids=lambda value: value.type if isinstance(value, Frame) else "",
)
def test_a_worker_frame_has_the_literal_shape_of_the_contract(frame, wire):
    assert json.loads(frame.text()) == wire
    assert read_worker_frame(json.dumps(wire)) == frame


def test_every_type_of_the_contract_is_known_in_its_direction_only():
    assert set(WORKER_FRAMES) == {
        "hello",
        "heartbeat",
        "accept",
        "reject",
        "completeJson",
        "fail",
        "logBatch",
        "progress",
        "readyForMore",
    }
    assert set(STUDIO_FRAMES) == {"welcome", "offer", "heartbeatAck", "completeAck", "failAck", "cancel", "error"}
    with pytest.raises(Unreadable, match="unknown type 'welcome'"):
        read_worker_frame(studio(type="welcome", workerId="w"))
    with pytest.raises(Unreadable, match="unknown type 'accept'"):
        read_studio_frame(studio(type="accept", jobId="j"))


def test_a_null_reads_as_absent():
    wire = {"type": "heartbeat", "capabilities": CAPABILITIES_WIRE, "currentJobId": None}
    assert read_worker_frame(json.dumps(wire)) == Heartbeat(capabilities=CAPABILITIES)
    assert read_worker_frame(studio(type="reject", jobId="j", reason="r", code=None)).code is None


def test_a_null_result_is_a_result_and_a_missing_one_is_none():
    assert read_worker_frame(studio(type="completeJson", jobId="j", result=None)).result is None
    with pytest.raises(Unreadable, match=r"completeJson\.result: is required"):
        read_worker_frame(studio(type="completeJson", jobId="j"))


def test_unknown_fields_are_ignored_at_every_level():
    frame = read_worker_frame(
        studio(
            type="hello",
            authToken="t",
            capabilities={**CAPABILITIES_WIRE, "userPresence": "idle", "autoUpdate": True},
            tomorrow=[1],
        )
    )
    assert frame == Hello(auth_token="t", capabilities=CAPABILITIES)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"welcome","workerId":',
        "",
        "[]",
        "null",
        '"x"',
        "5",
        "{}",
        studio(type="🦄"),
        studio(type=5),
        studio(type=None),
        studio(type="x" * 100_000),
        '{"type":"heartbeatAck","type":"heartbeatAck"}',
        '{"type":"heartbeatAck","x":"\\ud800"}',
        '{"type":"heartbeatAck","x":' + "1" * 5_000 + "}",
        '{"type":"heartbeatAck","x":1e400}',
        '{"type":"heartbeatAck","x":NaN}',
        '{"type":"offer","claim":{"jobId":"j","task":{"chatTemplateKwargs":{"a":-Infinity}}}}',
        '{"type":"heartbeatAck","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"offer","claim":' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        studio(type="offer"),
        studio(type="offer", claim=[]),
        studio(type="offer", claim={}),
        studio(type="offer", claim={"jobId": 5}),
        studio(type="offer", claim={"jobId": None}),
        studio(type="completeAck", jobId=5),
        studio(type="completeAck", jobId=None),
        studio(type="completeAck"),
        studio(type="failAck", jobId=["j"]),
        studio(type="welcome"),
        studio(type="welcome", workerId=7),
        studio(type="error", code=4001),
    ],
    ids=range(31),
)
def test_what_cannot_be_read_is_unreadable_with_a_short_reason_that_quotes_little(text):
    with pytest.raises(Unreadable) as caught:
        read_studio_frame(text)
    assert 0 < len(str(caught.value)) <= 300


def test_a_refused_frame_never_repeats_a_token():
    with pytest.raises(Unreadable) as caught:
        read_worker_frame(studio(type="hello", authToken=["s3cret-token"], capabilities={}))
    assert str(caught.value) == "hello.authToken: must be text"


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
def test_no_text_brings_anything_but_a_frame_or_unreadable(text):
    for read in (read_studio_frame, read_worker_frame):
        try:
            read(text)
        except Unreadable:
            pass


@pytest.mark.parametrize("kind", ["task", "modelSource", "model"])
def test_an_offer_whose_claim_is_wrong_is_still_an_offer(kind, sound_claim):
    del sound_claim[kind]
    frame = read_studio_frame(studio(type="offer", claim=sound_claim))
    assert isinstance(frame, Offer)
    assert frame.job_id == "j-9"


def test_an_offer_keeps_its_claim_raw(sound_claim):
    sound_claim["task"]["unknown"] = {"a": None}
    assert read_studio_frame(studio(type="offer", claim=sound_claim)).claim == sound_claim


@pytest.mark.parametrize(
    ("attempt", "echoed"), [(0, 0), (3, 3), (None, None), (True, None), ("1", None), (-1, None), (10**6 + 1, None)]
)
def test_an_attempt_is_echoed_where_it_is_usable(attempt, echoed):
    assert Offer(claim={"jobId": "j", "attempt": attempt}).attempt == echoed


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (None, ()),
        ("progress", ()),
        ({"progress": 1}, ()),
        (["progress", 5, None, "cancel", "x" * 65], ("progress", "cancel")),
    ],
)
def test_extensions_that_are_no_list_of_names_are_none(sent, known):
    assert read_studio_frame(studio(type="welcome", workerId="w", extensions=sent)).extensions == known


def test_a_million_extensions_are_bounded():
    frame = read_studio_frame(studio(type="welcome", workerId="w", extensions=["e"] * 1_000_000))
    assert len(frame.extensions) == 64


@pytest.mark.parametrize("server_time", ["yesterday", "", "2026-01-01T00:00:00.000Z"])
def test_the_studios_time_is_whatever_it_says(server_time):
    assert read_studio_frame(studio(type="welcome", workerId="w", serverTime=server_time)).server_time == server_time


@pytest.mark.parametrize("server_time", [None, 5, {}])
def test_a_time_that_is_no_text_does_not_lose_the_welcome(server_time):
    assert read_studio_frame(studio(type="welcome", workerId="w", serverTime=server_time)) == Welcome(worker_id="w")


@pytest.mark.parametrize(
    ("code", "close"),
    [
        ("auth_failed", 4001),
        ("protocol_violation", 4002),
        ("duplicate_worker", 4003),
        ("worker_deleted", 4004),
        ("internal_error", 1000),
    ],
)
def test_every_error_code_parses_and_pairs_with_its_close_code(code, close):
    frame = read_studio_frame(studio(type="error", code=code, message="m"))
    assert ErrorCode(frame.code).close_code == close


def test_an_error_code_of_tomorrow_and_a_missing_message_are_read():
    assert read_studio_frame(studio(type="error", code="tired")) == ErrorFrame(code="tired")


def test_the_close_codes_are_those_of_the_contract():
    assert {code.name: int(code) for code in CloseCode} == {
        "NORMAL": 1000,
        "TOO_BIG": 1009,
        "AUTH_FAILED": 4001,
        "PROTOCOL_VIOLATION": 4002,
        "DUPLICATE_WORKER": 4003,
        "WORKER_DELETED": 4004,
    }


@pytest.mark.parametrize(
    "result", [math.nan, [math.inf], {"a": "\ud800"}, {"a": 10**5_000}, object(), b"x"], ids=range(6)
)
def test_a_result_that_json_cannot_carry_never_becomes_a_frame(result):
    with pytest.raises(ValidationError):
        CompleteJson(job_id="j", result=result)


def test_a_token_is_in_no_repr():
    assert "s3cret" not in repr(Hello(auth_token="s3cret", capabilities=CAPABILITIES))


def test_the_largest_preview_of_an_extension_fits():
    assert Progress(job_id="j", step=1, total=1, preview="A" * 4 * math.ceil(32 * 1024 / 3)).preview
    with pytest.raises(ValidationError):
        Progress(job_id="j", step=1, total=1, preview="A" * (frames.MAX_PREVIEW_BASE64 + 1))


@pytest.mark.parametrize("prompt", [None, "", 'a "cup"\n\u2028ü'])
@pytest.mark.parametrize("attempt", [None, 0, 3])
def test_a_completion_of_written_text_is_the_frame_of_its_result(prompt, attempt):
    result = {"choices": [{"message": {"content": 'say "hi"', "tool": None}}], "usage": {"total_tokens": 2}}
    written = Completion("j-1", json.dumps(result), prompt=prompt, attempt=attempt)
    assert read_worker_frame(written.text()) == CompleteJson(
        job_id="j-1", result=result, prompt=prompt, attempt=attempt
    )
