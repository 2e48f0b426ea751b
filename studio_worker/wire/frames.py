"""The frames of a session, both ways (protocol section 3): reading, writing, close codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from studio_worker.wire import strict_json
from studio_worker.wire.base import FreeJson, FreeObject, WireModel, bounded_text, problem_in_words, whole
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.json_text import write

SUBPROTOCOL = "studio-worker-v1"
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_LOG_ENTRIES = 200
MAX_JOB_REF = 16_384
"""Characters of a jobId that can be answered; whether the job may be run is the id rule's business."""

MAX_PREVIEW_BASE64 = 44_000
"""32 KiB of preview as base64, rounded up."""

JobRef: TypeAlias = Annotated[str, bounded_text(MAX_JOB_REF, may_be_blank=True)]
Attempt: TypeAlias = Annotated[int, whole(0, 1_000_000)]
LongText: TypeAlias = Annotated[str, bounded_text(4_000_000, may_be_blank=True)]


class CloseCode(IntEnum):
    """Close codes of a session."""

    NORMAL = 1000
    TOO_BIG = 1009
    AUTH_FAILED = 4001
    PROTOCOL_VIOLATION = 4002
    DUPLICATE_WORKER = 4003
    WORKER_DELETED = 4004


class ErrorCode(StrEnum):
    """Codes of an `error` frame."""

    AUTH_FAILED = "auth_failed"
    PROTOCOL_VIOLATION = "protocol_violation"
    DUPLICATE_WORKER = "duplicate_worker"
    WORKER_DELETED = "worker_deleted"
    INTERNAL_ERROR = "internal_error"

    @property
    def close_code(self) -> CloseCode:
        """The close code that the studio pairs with this error."""
        return {
            ErrorCode.AUTH_FAILED: CloseCode.AUTH_FAILED,
            ErrorCode.PROTOCOL_VIOLATION: CloseCode.PROTOCOL_VIOLATION,
            ErrorCode.DUPLICATE_WORKER: CloseCode.DUPLICATE_WORKER,
            ErrorCode.WORKER_DELETED: CloseCode.WORKER_DELETED,
            ErrorCode.INTERNAL_ERROR: CloseCode.NORMAL,
        }[self]


class RejectCode(StrEnum):
    """Why an offer is not taken. `busy` and `paused` are transient, so that no attempt is counted; others are not."""

    BUSY = "busy"
    PAUSED = "paused"
    NO_SPACE = "no_space"
    """The job's model files would not fit on the worker's disk: another worker may have the room."""


class Frame(WireModel):
    """One JSON object with a `type`."""

    type: ClassVar[str]

    def text(self) -> str:
        """The frame as the text that travels."""
        return write({"type": self.type, **self.to_wire()})


def _attempt(attempt: int | None) -> str:
    return "" if attempt is None else f',"attempt":{attempt}'


class Hello(Frame):
    """The first frame of a connection, straight after the upgrade."""

    type = "hello"
    auth_token: Annotated[str, bounded_text(4_096)] = Field(repr=False)
    capabilities: Capabilities


class Heartbeat(Frame):
    """Every 5 s from the welcome on."""

    type = "heartbeat"
    capabilities: Capabilities
    current_job_id: JobRef | None = None
    current_job_ids: tuple[JobRef, ...] | None = Field(
        None, strict=False, max_length=1_024, fail_fast=True, description="Extension `capacity`."
    )
    health: FreeObject | None = Field(None, description="Extension `health`: {ready, code, detail}.")


class Accept(Frame):
    """The offer is taken; precedes every other frame about its job."""

    type = "accept"
    job_id: JobRef
    attempt: Attempt | None = None

    def text(self) -> str:
        """The frame as the text that travels; every job waits for this one."""
        return f'{{"type":"accept","jobId":{write(self.job_id)}{_attempt(self.attempt)}}}'


class Reject(Frame):
    """The offer is not taken. `code` is `busy`, `paused` or another."""

    type = "reject"
    job_id: JobRef
    reason: LongText = ""
    code: Annotated[str, bounded_text(256, may_be_blank=True)] | None = None
    attempt: Attempt | None = None


class CompleteJson(Frame):
    """A JSON result. `result` may be any JSON value, null included."""

    type = "completeJson"
    job_id: JobRef
    result: FreeJson
    prompt: Annotated[str, bounded_text(MAX_FRAME_BYTES, may_be_blank=True)] | None = None
    attempt: Attempt | None = None

    @classmethod
    def from_wire(cls, raw: Any) -> CompleteJson:
        """As every frame, but a null result is a result."""
        found = {key: value for key, value in raw.items() if value is not None or key == "result"}
        return cls.model_validate(found, by_alias=True, by_name=False)

    def to_wire(self) -> dict[str, Any]:
        """The frame's fields; a null result is sent as null."""
        return {"jobId": self.job_id, "result": None, **super().to_wire()}


@dataclass(frozen=True, slots=True)
class Completion:
    """A `completeJson` whose result is written already: its text goes into the frame as it is.

    Attributes:
        job_id: the job.
        result: the result as JSON text.
        prompt: the whole prompt.
        attempt: the claim's attempt.
    """

    job_id: str
    result: str
    prompt: str | None = None
    attempt: int | None = None

    type: ClassVar[str] = CompleteJson.type

    def text(self) -> str:
        """The frame as the text that travels."""
        prompt = "" if self.prompt is None else f',"prompt":{write(self.prompt)}'
        head = f'{{"type":"completeJson","jobId":{write(self.job_id)},"result":'
        return f"{head}{self.result}{prompt}{_attempt(self.attempt)}}}"


class Fail(Frame):
    """The job failed."""

    type = "fail"
    job_id: JobRef
    error: LongText
    retryable: bool
    attempt: Attempt | None = None


class LogEntry(WireModel):
    """One line for the studio's log view; `ts` is RFC 3339 in UTC with milliseconds."""

    ts: Annotated[str, bounded_text(64)]
    level: Literal["info", "warn", "error"] = "info"
    category: Annotated[str, bounded_text(256, may_be_blank=True)] = ""
    message: LongText
    job_id: JobRef | None = None


class LogBatch(Frame):
    """What the worker logged."""

    type = "logBatch"
    entries: tuple[LogEntry, ...] = Field((), strict=False, max_length=10_000, fail_fast=True)


class Progress(Frame):
    """Extension `progress`: how far a job is; `preview` is a small picture as base64."""

    type = "progress"
    job_id: JobRef
    step: Annotated[int, whole(0, 2**53)]
    total: Annotated[int, whole(0, 2**53)]
    stage: Annotated[str, bounded_text(256, may_be_blank=True)] = "run"
    preview: Annotated[str, bounded_text(MAX_PREVIEW_BASE64)] | None = None


class ReadyForMore(Frame):
    """Exists in the contract; a worker must not send it after a completion."""

    type = "readyForMore"


class Welcome(Frame):
    """The session is open. `extensions` names what this studio understands beyond the contract."""

    type = "welcome"
    worker_id: Annotated[str, bounded_text(256)]
    server_time: Annotated[str, bounded_text(256, may_be_blank=True)] = ""
    extensions: tuple[str, ...] = Field((), fail_fast=True)


class Offer(Frame):
    """A job for this worker. The claim stays raw here: what is wrong in it ends the job, not the frame."""

    type = "offer"
    claim: dict[str, Any] = Field(description="A claim, of which `jobId` must be text.")

    @property
    def job_id(self) -> str:
        """The claim's jobId as it was sent; it may still break the id rule."""
        return str(self.claim["jobId"])

    @property
    def attempt(self) -> int | None:
        """The claim's attempt, to be echoed, where it carries a usable one."""
        attempt = self.claim.get("attempt")
        return attempt if type(attempt) is int and 0 <= attempt <= 1_000_000 else None


class HeartbeatAck(Frame):
    """The studio has heard a heartbeat."""

    type = "heartbeatAck"


class CompleteAck(Frame):
    """The studio has stored a JSON result."""

    type = "completeAck"
    job_id: JobRef


class FailAck(Frame):
    """The studio has noted a failure."""

    type = "failAck"
    job_id: JobRef


class CancelJob(Frame):
    """Extension `cancel`: end this job."""

    type = "cancel"
    job_id: JobRef
    reason: LongText = ""


class ErrorFrame(Frame):
    """The studio ends the session; counts as the close code that `code` pairs with."""

    type = "error"
    code: Annotated[str, bounded_text(256, may_be_blank=True)] = ""
    message: LongText = ""


WorkerFrame: TypeAlias = Hello | Heartbeat | Accept | Reject | CompleteJson | Fail | LogBatch | Progress | ReadyForMore
Sendable: TypeAlias = WorkerFrame | Completion
StudioFrame: TypeAlias = Welcome | Offer | HeartbeatAck | CompleteAck | FailAck | CancelJob | ErrorFrame

WORKER_FRAMES: dict[str, type[WorkerFrame]] = {
    frame.type: frame
    for frame in (Hello, Heartbeat, Accept, Reject, CompleteJson, Fail, LogBatch, Progress, ReadyForMore)
}
STUDIO_FRAMES: dict[str, type[StudioFrame]] = {
    frame.type: frame for frame in (Welcome, Offer, HeartbeatAck, CompleteAck, FailAck, CancelJob, ErrorFrame)
}


class Unreadable(ValueError):
    """A frame that is to be logged once and skipped; the message says why without quoting the frame."""


def read_studio_frame(text: str) -> StudioFrame:
    """What a studio sent. Raises `Unreadable` for what a worker logs once and skips."""
    raw = _object(text)
    if raw["type"] == "offer":
        claim = raw.get("claim")
        if not isinstance(claim, dict) or not isinstance(claim.get("jobId"), str):
            raise Unreadable("an offer without a readable jobId")
        return Offer(claim=claim)
    if raw["type"] == "welcome":
        raw = {**raw, "extensions": _names(raw.get("extensions"))}
        server_time = raw.get("serverTime")
        if not isinstance(server_time, str) or len(server_time) > 256:
            raw.pop("serverTime", None)
    return _validate(raw, STUDIO_FRAMES)


def read_worker_frame(text: str) -> WorkerFrame:
    """What a worker sent. Raises `Unreadable` for what a studio logs and skips."""
    return _validate(_object(text), WORKER_FRAMES)


def _object(text: str) -> dict[str, Any]:
    try:
        raw = strict_json.loads(text)
    except strict_json.NotJson as error:
        raise Unreadable(str(error)) from None
    if not isinstance(raw, dict):
        raise Unreadable("not an object")
    if not isinstance(raw.get("type"), str):
        raise Unreadable("no readable type")
    return raw


def _names(value: Any) -> tuple[str, ...]:
    """Extensions as a bounded tuple; anything else than a list of texts counts as none."""
    if not isinstance(value, list):
        return ()
    return tuple(name for name in value[:64] if isinstance(name, str) and len(name) <= 64)


_FrameT = TypeVar("_FrameT", bound=Frame)


def _validate(raw: dict[str, Any], known: dict[str, type[_FrameT]]) -> _FrameT:
    model = known.get(raw["type"])
    if model is None:
        raise Unreadable(f"unknown type {raw['type'][:40]!r}")
    try:
        return model.from_wire(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = problem_in_words(first["type"], first["msg"], first.get("ctx"))
        raise Unreadable(f"{raw['type']}.{place}: {problem}"[:300]) from None
