"""Parsers of what is said to a worker, to a studio, and between a worker and its children."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studio_worker.cli.jobs_file import BadJobsFile, ignored_fields, job_lines
from studio_worker.engines.framing import BrokenFrame, FrameReader, pack
from studio_worker.engines.messages import Cancel, Chunk, Done, Log, Progress, Run, read_down, read_up, to_json
from studio_worker.errors import BadClaim
from studio_worker.jobs.plan import load_options, wanted_inputs
from studio_worker.wire import registration
from studio_worker.wire.claims import Fingerprint, claim_to_wire, is_job_id, parse_claim
from studio_worker.wire.defaults import resolve_defaults
from studio_worker.wire.frames import Offer, Unreadable, read_studio_frame, read_worker_frame
from studio_worker.wire.json_schema import check_schema
from studio_worker.wire.patterns import check_pattern
from studio_worker.wire.results import ChatCompletion, Transcript
from studio_worker.wire.strict_json import NotJson, dumps, loads
from studio_worker.wire.tasks import whole_prompt
from tests.fuzz.changes import change_frames, change_json
from tests.fuzz.target import as_json, reread, target, text
from tests.studio.test_upload_form import SOUND as FORM
from tests.studio.test_upload_form import check as check_form
from tests.wire.test_spoiled_messages import ADVERT, ANSWERS, ASK, CLAIMS, FROM_STUDIO, FROM_WORKER

SCHEMAS: list[Any] = [
    True,
    {"type": "object", "properties": {"a": {"type": ["null", "string"], "maxLength": 3}}, "required": ["a"]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "x"}]}}},
    {"type": "array", "items": {"enum": [1, "two", None]}, "minItems": 1, "maxItems": 4},
    {"anyOf": [{"$ref": "#/$defs/%61b"}, {"$ref": "#/$defs/a%62"}], "$defs": {"ab": {"type": "boolean"}}},
]
PATTERNED: list[Any] = [
    {"type": "string", "pattern": "^[a-z]{1,9}(-[0-9]+)?$", "patternProperties": {"^x": {"format": "date"}}},
    {"anyOf": [{"$ref": "#/$defs/%61"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"patternProperties": {"a?b?": {}}}}},
    {"type": "object", "patternProperties": {"a?" * 30: {}, "b?" * 30: {}, "(?:c|d)*": {"pattern": "a?" * 30}}},
]
PATTERNS = [
    "a?" * 40,
    "(?!a{0,7}b{0,7})c",
    "^[a-z]+$",
    r"(?:\d{1,3}\.){3}\d{1,3}",
    "(a|b)*?c{2,}",
    r"[^\x00-\u00ff\w\]-]+\b",
    "(?=x)(?P<n>y)|z?",
]
TURN = {"role": "user", "content": "hello"}
SHAPED = [
    {**CLAIMS[0], "task": {"kind": "llm", "messages": [TURN], "jsonSchema": schema}}
    for schema in (*SCHEMAS, *PATTERNED)
]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
RESULTS: list[dict[str, Any]] = [
    {"object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": USAGE},
    {"text": "hello", "language": "en", "duration": 1.5, "segments": [{"start": 0, "end": 1.5, "text": "hello"}]},
]
TALK = [
    pack(to_json(message))
    for message in (
        Run(1, {"kind": "image"}, is_stream=False),
        Cancel(1),
        Progress(1, 1, 4, "run", None),
        Chunk(1, "hello", "", "AAAA", 16_000),
        Log(None, "info", "loaded", {"a": 1}),
        Done(1, {"kind": "json", "text": "{}"}, {"seed": 1}),
    )
]


@target(Unreadable, seeds=as_json(FROM_STUDIO), change=change_json)
def studio_frame(data: bytes, folder: Path) -> None:
    frame = read_studio_frame(text(data))
    if isinstance(frame, Offer):
        assert isinstance(frame.job_id, str)
        assert frame.attempt is None or frame.attempt >= 0
        assert isinstance(Fingerprint(frame.claim).text, str)


@target(Unreadable, seeds=as_json(FROM_WORKER), change=change_json)
def worker_frame(data: bytes, folder: Path) -> None:
    frame = read_worker_frame(text(data))
    assert reread(read_worker_frame, frame.text()) == frame


@target(NotJson, BadClaim, seeds=as_json([*CLAIMS, *SHAPED]), change=change_json)
def claim(data: bytes, folder: Path) -> None:
    raw = loads(data)
    if not isinstance(raw, dict) or not isinstance(raw.get("jobId"), str):
        return
    found = parse_claim(raw)
    assert is_job_id(found.job_id)
    assert reread(parse_claim, claim_to_wire(found)) == found
    task = resolve_defaults(found.task, found.source)
    wanted_inputs(task)
    load_options(task, found.source, None)
    whole_prompt(task)


@target(NotJson, ValidationError, seeds=as_json([{**ASK, "capabilities": ADVERT}]), change=change_json)
def register_request(data: bytes, folder: Path) -> None:
    found = registration.RegisterRequest.from_wire(loads(data))
    assert reread(registration.RegisterRequest.from_wire, found.to_wire()) == found


@target(NotJson, ValidationError, seeds=as_json(ANSWERS), change=change_json)
def poll_answer(data: bytes, folder: Path) -> None:
    registration.POLL_ANSWER.validate_python(loads(data))


@target(NotJson, ValidationError, seeds=as_json(RESULTS), change=change_json)
def json_result(data: bytes, folder: Path) -> None:
    raw = loads(data)
    model = ChatCompletion if isinstance(raw, dict) and "choices" in raw else Transcript
    found = model.from_wire(raw)
    assert reread(model.from_wire, found.to_wire()) == found


@target(NotJson, seeds=['{"a":[1,-2.5e3,"\\u00e9\\ud83e\\udd84",null,true]}', "[[[]]]", "18446744073709551615", '"x"'])
def strict_json(data: bytes, folder: Path) -> None:
    value = loads(data)
    assert reread(loads, dumps(value)) == value


@target(NotJson, ValueError, seeds=as_json([*SCHEMAS, *PATTERNED]), change=change_json)
def json_schema(data: bytes, folder: Path) -> None:
    check_schema(loads(data))


@target(ValueError, seeds=PATTERNS)
def pattern(data: bytes, folder: Path) -> None:
    check_pattern(text(data))


@target(BadJobsFile, seeds=["\n".join(as_json(CLAIMS[:2])), *as_json(CLAIMS)], change=change_json)
def jobs_file(data: bytes, folder: Path) -> None:
    for _, job in job_lines(io.BytesIO(data), "jobs.jsonl"):
        assert all(sentence.isprintable() for sentence in ignored_fields(job))


@target(seeds=[FORM], through=("aiohttp",))
def upload_form(data: bytes, folder: Path) -> None:
    check_form(folder, data)


@target(
    BrokenFrame,
    seeds=[b"".join(TALK), *TALK],
    change=change_frames,
)
def child_pipe(data: bytes, folder: Path) -> None:
    messages, trouble = _heard([data])
    in_pieces = _heard(data[at : at + 7] for at in range(0, len(data), 7))
    # By their text, since a NaN is not equal to itself.
    assert repr(in_pieces) == repr((messages, trouble))
    for message in messages:
        for read in (read_up, read_down):
            with suppress(BrokenFrame):
                assert to_json(read(message))
    if trouble:
        raise BrokenFrame(trouble)


def _heard(pieces: Iterable[bytes]) -> tuple[list[dict[str, Any]], str]:
    reader, messages = FrameReader(), []
    try:
        for piece in pieces:
            messages += reader.feed(piece)
        reader.close()
    except BrokenFrame as error:
        return messages, str(error)
    return messages, ""
