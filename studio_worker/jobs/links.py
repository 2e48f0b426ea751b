"""The way out for one job: a claim's link to its studio, a local job's link to its caller.

A link is given with the offer and dies with the connection; nobody asks whether a session exists.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Literal, Protocol

from studio_worker.engines.working import ChunkCallback
from studio_worker.errors import EngineError, JobError, LinkClosed
from studio_worker.jobs.results import Artifact, Kept
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.wire.frames import (
    MAX_FRAME_BYTES,
    Accept,
    Completion,
    Fail,
    Progress,
    Reject,
    RejectCode,
    Sendable,
)
from studio_worker.wire.strict_json import dumps

MAX_ERROR = 4_000
"""Characters of a failure's text that a studio is told."""


class FrameSender(Protocol):
    """What a session lends to its claims: frames in, in order, onto one connection."""

    @property
    def extensions(self) -> frozenset[str]:
        """What this connection's welcome listed (protocol section 7)."""
        ...

    def post(self, frame: Sendable) -> asyncio.Future[None]:
        """Queue a frame.

        Returns:
            Done when the frame was written to the socket; `LinkClosed` when the connection ended before.

        Raises:
            LinkClosed: the connection has already ended.
        """
        ...


class Link(Protocol):
    """Where a job's acceptance, progress and end go."""

    @property
    def origin(self) -> Literal["studio", "local"]:
        """Who wants the job."""
        ...

    @property
    def attempt(self) -> int | None:
        """The claim's attempt, echoed with everything that is sent about it."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the connection is known to be gone."""
        ...

    @property
    def has_capacity(self) -> bool:
        """Whether the other side may hold several jobs here (extension `capacity`)."""
        ...

    @property
    def wants_progress(self) -> bool:
        """Whether `progress` goes anywhere."""
        ...

    @property
    def on_chunk(self) -> ChunkCallback | None:
        """What takes the pieces of a result as they come; None: the result alone is wanted."""
        ...

    def accept(self) -> None:
        """Say that the job is taken; precedes everything else about it. Raises `LinkClosed`."""
        ...

    def reject(self, reason: str, code: RejectCode | None = None) -> None:
        """Say that the job is not taken. Raises `LinkClosed`."""
        ...

    def complete(self, kept: Kept) -> asyncio.Future[None]:
        """Hand a result over; done when it was written. Raises `LinkClosed`."""
        ...

    def fail(self, error: JobError) -> None:
        """Say that the job ended without a result. Raises `LinkClosed`."""
        ...

    def progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Say how far the job is; silently nothing where nobody listens or the connection is gone."""
        ...


class ClaimLink:
    """The link of one claim: a session's sender, the job id, the attempt.

    Args:
        sender: the connection that the offer came on.
        job_id: the claim's jobId as it was sent.
        attempt: the claim's attempt, where it carried one.
        masked: takes secrets out of a text; an engine's error may quote one.
    """

    origin: Literal["studio", "local"] = "studio"
    on_chunk: ChunkCallback | None = None

    def __init__(
        self,
        sender: FrameSender,
        job_id: str,
        attempt: int | None = None,
        *,
        masked: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._sender = sender
        self._job_id = job_id
        self._masked = masked
        self._closed = False
        self.attempt = attempt

    @property
    def closed(self) -> bool:
        """Whether a frame has found the connection gone."""
        return self._closed

    @property
    def has_capacity(self) -> bool:
        """Whether the studio listed `capacity`."""
        return "capacity" in self._sender.extensions

    @property
    def wants_progress(self) -> bool:
        """Whether the studio listed `progress` and the connection may still stand."""
        return not self._closed and "progress" in self._sender.extensions

    def accept(self) -> None:
        """Send `accept`. Raises `LinkClosed`."""
        self._post(Accept(job_id=self._job_id, attempt=self.attempt))

    def reject(self, reason: str, code: RejectCode | None = None) -> None:
        """Send `reject`, with a code where another try may find it otherwise. Raises `LinkClosed`."""
        self._post(Reject(job_id=self._job_id, reason=self._masked(reason), code=code, attempt=self.attempt))

    def complete(self, kept: Kept) -> asyncio.Future[None]:
        """Send `completeJson`; done when it was written to the socket. Raises `LinkClosed`."""
        return self._post(
            Completion(self._job_id, kept.artifact.json_text, prompt=_fitting_prompt(kept), attempt=self.attempt)
        )

    def fail(self, error: JobError) -> None:
        """Send `fail`, the text without secrets, on one line and bounded. Raises `LinkClosed`."""
        # Cut only after masking: half a secret at the end would be masked by nothing.
        text = escape(self._masked(str(error)), limit=MAX_ERROR)
        self._post(Fail(job_id=self._job_id, error=text, retryable=error.retryable, attempt=self.attempt))

    def progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Send `progress` where the studio listed the extension; the pace is the caller's business."""
        if not self.wants_progress:
            return
        picture = b64encode(preview).decode() if preview else None
        frame = Progress(job_id=self._job_id, step=step, total=total, stage=stage, preview=picture)
        try:
            self._post(frame)
        except LinkClosed:
            return

    def _post(self, frame: Sendable) -> asyncio.Future[None]:
        try:
            written = self._sender.post(frame)
        except LinkClosed:
            self._closed = True
            raise
        if written.done():
            self._note_end(written)
        else:
            written.add_done_callback(self._note_end)
        return written

    def _note_end(self, written: asyncio.Future[None]) -> None:
        # Also marks the error as seen: an accept's or a fail's future has no other reader.
        if not written.cancelled() and written.exception() is not None:
            self._closed = True


class GoneLink:
    """The link of a claim of an earlier process: its connection is gone, and nothing can be sent on it."""

    origin: Literal["studio", "local"] = "studio"
    attempt: int | None = None
    on_chunk: ChunkCallback | None = None
    closed = True
    has_capacity = False
    wants_progress = False

    def accept(self) -> None:
        """Raises `LinkClosed`."""
        raise LinkClosed("the connection of an earlier process is gone")

    def reject(self, reason: str, code: RejectCode | None = None) -> None:
        """Raises `LinkClosed`."""
        self.accept()

    def complete(self, kept: Kept) -> asyncio.Future[None]:
        """Raises `LinkClosed`."""
        raise LinkClosed("the connection of an earlier process is gone")

    def fail(self, error: JobError) -> None:
        """Raises `LinkClosed`."""
        self.accept()

    def progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Nobody listens."""


GONE = GoneLink()


class LocalLink:
    """The link of a job that somebody in this process asked for.

    Attributes:
        result: the checked result, or the `JobError` that ended the job.

    Args:
        on_progress: called on the event loop with step, total, stage, preview.
        on_chunk: called on the event loop with the pieces of a result, in order, where its engine can stream.
    """

    origin: Literal["studio", "local"] = "local"
    attempt: int | None = None
    closed = False
    has_capacity = True

    def __init__(
        self,
        on_progress: Callable[[int, int, str, bytes | None], None] | None = None,
        on_chunk: ChunkCallback | None = None,
    ) -> None:
        self.result: asyncio.Future[Artifact] = asyncio.get_running_loop().create_future()
        self.on_chunk = on_chunk
        self._on_progress = on_progress

    @property
    def wants_progress(self) -> bool:
        """Whether somebody follows this job."""
        return self._on_progress is not None

    def accept(self) -> None:
        """The job has its seat; `JobAccepted` tells it to those who follow events."""

    def reject(self, reason: str, code: RejectCode | None = None) -> None:
        """The job is not taken: the caller gets an error, retryable where `code` says that it is transient."""
        self.fail(EngineError(reason, retryable=code is not None))

    def complete(self, kept: Kept) -> asyncio.Future[None]:
        """Hand the result to the caller."""
        if not self.result.done():
            self.result.set_result(kept.artifact)
        written: asyncio.Future[None] = self.result.get_loop().create_future()
        written.set_result(None)
        return written

    def fail(self, error: JobError) -> None:
        """End the job with the very error that ended it."""
        if not self.result.done():
            self.result.set_exception(error)
            # The caller may have gone away; then nobody reads the error, and that is no fault.
            self.result.exception()

    def progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Tell the caller how far the job is."""
        if self._on_progress is not None:
            self._on_progress(step, total, stage, preview)


def _fitting_prompt(kept: Kept) -> str | None:
    """The prompt, which is optional: left out where it would make the frame larger than any studio reads."""
    room = MAX_FRAME_BYTES - kept.artifact.size - 64 * 1024
    prompt = kept.entry.prompt
    return prompt if 6 * len(prompt) <= room or len(dumps(prompt).encode()) <= room else None


def tell_failure(link: Link, error: JobError, job_id: str) -> None:
    """Send a failure; where the connection is gone the studio has noticed by itself, and nothing is sent."""
    try:
        link.fail(error)
    except LinkClosed:
        logger.bind(event="jobs.fail", job_id=job_id).debug("The connection of a failed job is gone")
