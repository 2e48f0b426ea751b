"""The upload of a binary result: one try, from the request to the answer (protocol section 5)."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from studio_worker.errors import ResultRejected
from studio_worker.fetch.answer import PAGES
from studio_worker.jobs.results import Kept
from studio_worker.jobs.settlement import Answer
from studio_worker.jobs.upload_body import FormBody
from studio_worker.text import escape
from studio_worker.wire.results import media_type
from studio_worker.wire.strict_json import NotJson, dumps_lossy, loads
from studio_worker.wire.urls import StudioUrls

MAX_ANSWER_BYTES = 64 * 1024
MAX_UNSEEN_BYTES = 8 * 1024 * 1024
"""What the receive buffers of a peer or a proxy may hold, acknowledged and not yet read (Linux: 6 MiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTimings:
    """How long an upload may stand still, in seconds; while its bytes move it is never cut.

    Attributes:
        connect_secs: name look-up, connection, TLS.
        stall_secs: without a byte that moves.
        answer_secs: from the last byte to the head of the answer, and on top of it the time in which the other
            side, at `slowest_bytes_per_sec`, reads what its own buffers may hold unseen by us.
        slowest_bytes_per_sec: the pace of a peer that still counts as moving.
        body_secs: for the answer's body, which decides nothing but a 409's reason.
    """

    connect_secs: float = 15.0
    stall_secs: float = 20.0
    answer_secs: float = 60.0
    slowest_bytes_per_sec: float = 16 * 1024.0
    body_secs: float = 5.0


class Uploader:
    """Sends kept results to the studio.

    Args:
        http: the client; one for all studio calls.
        urls: the studio's routes.
        credentials: worker id and token of this moment; None while there are none.
        timings: how long an upload may stand still.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        urls: Callable[[], StudioUrls],
        credentials: Callable[[], tuple[str, str] | None],
        *,
        timings: UploadTimings | None = None,
    ) -> None:
        self._http = http
        self._urls = urls
        self._credentials = credentials
        self._timings = timings or UploadTimings()

    async def upload(self, kept: Kept, meanwhile: Callable[[], None] = lambda: None) -> Answer:
        """Send one result once.

        Args:
            kept: the result.
            meanwhile: called when the form's texts are out and its bytes are not.

        Returns:
            What the studio said; an answer without a status where none came, or where the file could not be read this
            time. A missing token counts as a 401.

        Raises:
            ResultRejected: ``spool-lost``: the file is gone, or not what was kept, so that the job has to run again.
        """
        credentials = self._credentials()
        if credentials is None:
            return Answer(status=401, text="this worker has no token")
        if self._http.closed:
            return Answer(status=None, text="the worker's HTTP session was closed by its owner")
        worker_id, token = credentials
        body = form_of(kept, meanwhile)
        limits = self._timings
        try:
            async with asyncio.timeout(limits.connect_secs + limits.stall_secs) as deadline:
                with _Watch(deadline, body, limits) as watch:
                    async with self._http.post(
                        self._urls().complete(worker_id, kept.job_id),
                        data=body,
                        headers={"Authorization": f"Bearer {token}"},
                        allow_redirects=False,
                        raise_for_status=False,
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_secs),
                    ) as response:
                        watch.end()
                        return await self._answer(response)
        except TimeoutError:
            return Answer(status=None, text="no byte moved for too long" if not body.is_written else "no answer came")
        except (aiohttp.ClientError, OSError) as error:
            if body.problem is not None:
                raise ResultRejected("spool-lost", f"the kept result is lost: {body.problem}") from None
            said = str(error) or type(error).__name__
            if body.hindrance is not None:
                said = f"the kept result could not be read: {body.hindrance}"
            return Answer(status=None, text=escape(said, limit=300))

    async def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        body = await self._body(response)
        return Answer(
            status=response.status,
            reason=_reason(body) if response.status == 409 else None,
            retry_after=response.headers.get("Retry-After"),
            is_page=_is_page(response.content_type, body),
            text=escape(body.decode(errors="replace").strip().partition("\n")[0].strip(), limit=300),
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """At most 64 KiB of the answer; what does not come in time, or is cut, is not missed."""
        found = bytearray()
        try:
            async with asyncio.timeout(self._timings.body_secs):
                while len(found) < MAX_ANSWER_BYTES:
                    chunk = await response.content.read(MAX_ANSWER_BYTES - len(found))
                    if not chunk:
                        return bytes(found)
                    found += chunk
        except (TimeoutError, aiohttp.ClientError):
            pass
        # Whatever is still to come would have to be read before the connection could serve again.
        response.close()
        return bytes(found)


def _is_page(media_type: str, body: bytes) -> bool:
    head = body.removeprefix(codecs.BOM_UTF8).lstrip()[:16].lower()
    return head.startswith((b"<!doctype html", b"<html")) or (media_type in PAGES and head.startswith(b"<"))


def form_of(kept: Kept, meanwhile: Callable[[], None] = lambda: None) -> FormBody:
    """The multipart form of a result: its text parts, then the file, which is called ``image`` for every kind."""
    entry, artifact = kept.entry, kept.artifact
    texts = {"prompt": entry.prompt, "ext": artifact.ext}
    if entry.attempt is not None:
        texts["attempt"] = str(entry.attempt)
    if artifact.meta:
        texts["generationMeta"] = dumps_lossy(dict(artifact.meta))
    return FormBody(
        texts,
        name="image",
        filename=f"{kept.job_id}.{artifact.ext}",
        media_type=media_type(artifact.ext),
        file=kept.file,
        file_bytes=artifact.size,
        reads=kept.reads,
        at_hand=kept.at_hand,
        checksum=kept.file_checksum,
        safe=kept.safe,
        meanwhile=meanwhile,
    )


class _Watch:
    """Moves an upload's deadline for as long as its bytes move, and once more for the answer."""

    def __init__(self, deadline: asyncio.Timeout, body: FormBody, limits: UploadTimings) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._body = body
        self._limits = limits
        self._seen = (0, 0, 0)
        self._is_waiting = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Watch:
        self._look_later()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def end(self) -> None:
        """The answer is there: what is left of it has a bound of its own."""
        self._stop()
        self._deadline.reschedule(None)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._limits.stall_secs / 8, self._look)

    def _look(self) -> None:
        seen = self._body.position()
        if seen != self._seen:
            self._seen = seen
            self._allow(self._limits.stall_secs)
        if self._body.is_written and seen[1:] == (0, 0) and not self._is_waiting:
            self._is_waiting = True
            unseen = min(self._body.size_bytes, MAX_UNSEEN_BYTES)
            self._allow(self._limits.answer_secs + unseen / self._limits.slowest_bytes_per_sec)
        self._look_later()

    def _allow(self, secs: float) -> None:
        if not self._deadline.expired():
            self._deadline.reschedule(self._loop.time() + secs)


def _reason(body: bytes) -> str | None:
    try:
        said = loads(body)
    except NotJson:
        return None
    reason = said.get("reason") if isinstance(said, dict) else None
    return reason if isinstance(reason, str) else None
