"""A studio for tests: a real server on a loopback port that keeps the protocol, unless its script says otherwise.

::

    async with ScriptedStudio() as studio:
        ...                                              # start a worker with api_base_url=studio.url
        await studio.welcomed()                          # wait for its session
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")     # frames that came already count
        done = await studio.frame("completeJson", job_id="job-1")

**It keeps the protocol by itself**: it admits whoever asks (`decision`), checks tokens, says welcome, acknowledges
every heartbeat, completion and failure, takes uploads of jobs that it offered, closes the older session of a worker
that connects again with 4003, and ends a session with 4002 for a frame about a job that the worker does not hold
(`violations` lists such breaches; ``strict = False`` only lists them).

**It is steered by plain attributes**, at any time:

- `register_answers`, `poll_answers`, `upgrade_answers`, `upload_answers`: each a `Script`
  (``studio.poll_answers.once(500, 404)``, ``studio.upgrade_answers.always = 401``; see `answers`),
- `decision` (``approved``, ``pending``, ``rejected``), `reject_reason`, `token`, `worker_id`, `check_token`,
- `withhold`: types of frames that it keeps back (``{"welcome", "heartbeatAck", "completeAck", "failAck"}``),
- `extensions`, `server_time`, `subprotocol`, `strict`; `read_uploads`: whether a scripted function is asked after the
  body of an upload was read (the default) or before,
- `on_frame(session, frame)`: sees every frame first; returns True when it has dealt with it,
- `on_welcome(session)`: called after each welcome,
- `blobs`: bytes served at `blob_url(name)`, under the studio's own origin, for inputs.

**A session is handled raw** through `session`: `send`, `send_text`, `send_bytes`, `send_raw`, `close(code)`,
`refuse(code)`, `abort()` (a TCP reset), `stop_reading()`.

**It counts what it saw**: `frames`, `requests`, `uploads`, `sessions`, each in order and with times. `frame`,
`heartbeat`, `upload`, `request`, `welcomed` and `until` wait for it without sleeping, and fail after 15 s with a list
of what came instead. `stop()` and `start()` restart it on the same port; `drop_claims` says what it forgets by that.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from aiohttp import BodyPartReader, web

from studio_worker.clock import rfc3339
from studio_worker.testing.answers import Answer, Script, respond
from studio_worker.testing.records import Record, SeenFrame, SeenRequest, SeenUpload
from studio_worker.testing.scripted_session import ScriptedSession
from studio_worker.wire.frames import SUBPROTOCOL
from studio_worker.wire.urls import PREFIX

MAX_UPLOAD_BYTES = 256 * 1024 * 1024


class ScriptedStudio(Record):
    """A real server on a loopback port that keeps the protocol, unless its script says otherwise.

    It admits whoever asks, welcomes, acknowledges and takes uploads by itself. Attributes steer it at any time
    (`decision`, `withhold`, the `Script` of each kind of answer), `offer` gives a worker a job, and `welcomed`,
    `frame` and `upload` wait for what the worker does, without sleeping. The head of the module
    `studio_worker.testing.scripted_studio` has all of it.

    Args:
        tls: serve https and wss with this context.
        mount: an outer path in front of ``/graphics/api``.
        host: the address listened on.
        port: the port; 0 for any free one.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, mount: str = "", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__()
        self.decision: Literal["approved", "pending", "rejected"] = "approved"
        self.reject_reason = "not one of ours"
        self.worker_id = "w-1"
        self.token = "0" * 63 + "1"
        self.check_token = True
        self.strict = True
        self.extensions: tuple[str, ...] = ()
        self.server_time: Any = rfc3339(datetime.now(UTC))
        self.subprotocol: str | None = SUBPROTOCOL
        self.withhold: set[str] = set()
        self.register_answers, self.poll_answers = Script(), Script()
        self.upgrade_answers, self.upload_answers = Script(), Script()
        self.read_uploads = True
        self.blobs: dict[str, bytes] = {}
        self.on_frame: Callable[[ScriptedSession, SeenFrame], Awaitable[bool | None]] | None = None
        self.on_welcome: Callable[[ScriptedSession], Awaitable[None]] | None = None
        self.sessions: list[ScriptedSession] = []
        self.violations: list[str] = []
        self.done: set[str] = set()
        self.tokens_issued = 0
        self._claims: dict[str, str] = {}
        self._secret_hashes: dict[str, str] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._tls = tls
        self._mount = mount.rstrip("/")
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> ScriptedStudio:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a `stop`, on the same port."""
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES)
        api = self._mount + PREFIX
        app.router.add_post(f"{api}/workers/register-request", self._register)
        app.router.add_get(f"{api}/workers/register-requests/{{request_id}}", self._poll)
        app.router.add_get(f"{api}/workers/{{worker_id}}/connect", self._connect)
        app.router.add_post(f"{api}/workers/{{worker_id}}/jobs/{{job_id}}/complete", self._upload)
        app.router.add_get("/blobs/{name}", self._blob)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End every connection by a reset and stop listening."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for session in self.sessions:
            if not session.ended.is_set():
                session.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def drop_claims(self) -> None:
        """Forget who claimed what, as a studio does whose database was set back."""
        self._claims.clear()

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._port

    @property
    def url(self) -> str:
        """What a worker takes as `api_base_url`."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{self._mount}/"

    def blob_url(self, name: str) -> str:
        """Where `blobs[name]` is served."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}/blobs/{name}"

    @property
    def session(self) -> ScriptedSession:
        """The latest session."""
        assert self.sessions, "no worker has connected yet"
        return self.sessions[-1]

    async def welcomed(self, number: int = 1) -> ScriptedSession:
        """Wait until connection `number` has been made and welcomed."""
        await self.until(
            lambda: len(self.sessions) >= number and self.sessions[number - 1].welcomed, what=f"welcome {number}"
        )
        return self.sessions[number - 1]

    async def connected(self, number: int = 1) -> ScriptedSession:
        """Wait until connection `number` has been made, welcomed or not."""
        await self.until(lambda: len(self.sessions) >= number, what=f"connection {number}")
        return self.sessions[number - 1]

    async def gone(self, number: int = 1) -> ScriptedSession:
        """Wait until connection `number` has been made and is over."""
        await self.until(
            lambda: len(self.sessions) >= number and self.sessions[number - 1].ended.is_set(), what=f"end of {number}"
        )
        return self.sessions[number - 1]

    async def offer(self, claim: Mapping[str, Any]) -> None:
        """Offer a job on the latest session, once that is welcome."""
        await self.until(lambda: self.sessions and self.sessions[-1].welcomed, what="a welcomed session")
        await self.session.offer(claim)

    async def frame(self, frame_type: str, *, nth: int = 1, **fields: Any) -> SeenFrame:
        """Wait for the n-th frame of a type with these fields, counted from the start of the studio."""
        await self.until(
            lambda: len(self.of_type(frame_type, **fields)) >= nth, what=f"{frame_type} {nth} with {fields}"
        )
        return self.of_type(frame_type, **fields)[nth - 1]

    async def heartbeat(self, **fields: Any) -> SeenFrame:
        """Wait for the next heartbeat (with these fields) that comes from now on."""
        return await self.frame("heartbeat", nth=len(self.of_type("heartbeat", **fields)) + 1, **fields)

    async def upload(self, job_id: str, *, nth: int = 1) -> SeenUpload:
        """Wait for the n-th upload of a job, read whole."""

        def seen() -> list[SeenUpload]:
            return [upload for upload in self.uploads if upload.job_id == job_id]

        await self.until(lambda: len(seen()) >= nth, what=f"upload {nth} of {job_id}")
        return seen()[nth - 1]

    async def request(self, ending: str, *, nth: int = 1) -> SeenRequest:
        """Wait for the n-th request whose path contains `ending`."""

        def seen() -> list[SeenRequest]:
            return [request for request in self.requests if ending in request.path]

        await self.until(lambda: len(seen()) >= nth, what=f"request {nth} to …{ending}")
        return seen()[nth - 1]

    def replaced(self, newer: ScriptedSession) -> None:
        """Close the older sessions of the worker with 4003, without waiting for them."""
        for session in self.sessions:
            if session is not newer and not session.ended.is_set() and session.hello is not None:
                chore = asyncio.create_task(session.refuse("duplicate_worker", "connected again"))
                self._chores.add(chore)
                chore.add_done_callback(self._chores.discard)

    def claimed(self, job_id: str, worker_id: str) -> None:
        """Note that a worker holds, or last held, a job; an upload of it is then taken."""
        self._claims[job_id] = worker_id
        self.done.discard(job_id)

    async def _register(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        if (answer := self.register_answers.next()) is not None:
            return await respond(answer, request)
        request_id = f"rr-{len(self._secret_hashes) + 1}"
        self._secret_hashes[request_id] = str(body.get("registrationSecretHash", ""))
        return web.json_response({"requestId": request_id, "status": "pending"})

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        if (answer := self.poll_answers.next()) is not None:
            return await respond(answer, request)
        expected = self._secret_hashes.get(request.match_info["request_id"])
        if expected is None:
            return web.json_response({"error": "unknown request"}, status=404)
        if hashlib.sha256((self.requests[-1].bearer or "").encode()).hexdigest() != expected:
            return web.json_response({"error": "wrong secret"}, status=401)
        if self.decision == "rejected":
            return web.json_response({"status": "rejected", "reason": self.reject_reason})
        if self.decision == "pending":
            return web.json_response({"status": "pending"})
        self.tokens_issued += 1
        self.token = hashlib.sha256(f"token {self.tokens_issued}".encode()).hexdigest()
        return web.json_response({"status": "approved", "workerId": self.worker_id, "authToken": self.token})

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        seen = await self._note(request)
        if (answer := self.upgrade_answers.next()) is not None:
            return await respond(answer, request)
        if self.check_token and seen.get("bearer") != self.token:
            return web.json_response({"error": "wrong token"}, status=401)
        spoken = (SUBPROTOCOL,) if self.subprotocol == SUBPROTOCOL else ()
        socket = web.WebSocketResponse(protocols=spoken, compress=False, max_msg_size=MAX_UPLOAD_BYTES, timeout=0.5)
        if self.subprotocol is not None and not spoken:
            socket.headers["Sec-WebSocket-Protocol"] = self.subprotocol
        await socket.prepare(request)
        session = ScriptedSession(self, request, socket, len(self.sessions) + 1)
        self.sessions.append(session)
        self.changed()
        await session.serve()
        return socket

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        worker_id, job_id = request.match_info["worker_id"], request.match_info["job_id"]
        answer: Answer | None = self.upload_answers.next()
        if callable(answer) and not self.read_uploads:
            return await respond(answer, request)
        parts: dict[str, str] = {}
        data, filename, content_type = b"", None, None
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "image":
                filename, content_type = part.filename, part.headers.get("Content-Type")
                data = bytes(await part.read())
            elif part.name:
                parts[part.name] = await part.text()
        if answer is None:
            answer = self._verdict(worker_id, job_id)
        response = await respond(answer, request)
        if response.status < 300:
            self.done.add(job_id)
            for session in self.sessions:
                session.held.discard(job_id)
        self.uploads.append(
            SeenUpload(
                worker_id,
                job_id,
                self.requests[-1].bearer,
                data,
                filename,
                content_type,
                asyncio.get_running_loop().time(),
                parts,
                response.status,
            )
        )
        self.changed()
        return response

    def _verdict(self, worker_id: str, job_id: str) -> Answer:
        if job_id in self.done:
            return (409, {"reason": "done"})
        if self.strict and self._claims.get(job_id) != worker_id:
            return 404 if job_id not in self._claims else (409, {"reason": "other"})
        return {}

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        data = self.blobs.get(request.match_info["name"])
        return web.Response(body=data) if data is not None else web.Response(status=404)

    async def _note(self, request: web.Request) -> dict[str, Any]:
        body = None
        if request.content_type == "application/json" and request.can_read_body:
            body = await request.json()
        seen = SeenRequest(request.method, request.path, dict(request.headers), asyncio.get_running_loop().time(), body)
        self.requests.append(seen)
        self.changed()
        return {**(body or {}), "bearer": seen.bearer}
