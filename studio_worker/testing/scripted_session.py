"""One worker's connection at a scripted studio: the protocol's rules, and every way to break them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from studio_worker.studio.served_socket import ServedSocket
from studio_worker.testing.answers import reset_transport
from studio_worker.testing.records import SeenFrame
from studio_worker.wire.frames import CloseCode

if TYPE_CHECKING:
    from studio_worker.testing.scripted_studio import ScriptedStudio

_ABOUT_A_JOB = ("completeJson", "fail", "progress")


class ScriptedSession:
    """A connection after its upgrade.

    Attributes:
        number: 1 for the studio's first connection.
        welcomed: whether the studio has said welcome.
        offered: jobs offered and not answered yet.
        held: jobs that the worker has accepted and not settled.
        ended: set when the connection is over; `close_code` is then the worker's, if it sent one.
    """

    def __init__(self, studio: ScriptedStudio, request: web.Request, socket: web.WebSocketResponse, number: int):
        self.studio = studio
        self.request = request
        self.socket = socket
        self.number = number
        self.welcomed = False
        self.hello: SeenFrame | None = None
        self.offered: set[str] = set()
        self.held: set[str] = set()
        self.close_code: int | None = None
        self.ended = asyncio.Event()
        self._served = ServedSocket(socket)
        self._goodbye = asyncio.Lock()

    async def serve(self) -> None:
        """Read frames until the connection ends, by a closing handshake where there is one."""
        try:
            while True:
                message = await self._served.receive()
                if message.type is WSMsgType.TEXT:
                    await self._take(message.data)
                elif message.type is WSMsgType.CLOSE:
                    self.close_code = message.data
                    break
                elif message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                    break
                else:
                    await self.violate(f"unexpected {message.type.name} frame")
            async with self._goodbye:
                pass
        finally:
            self.ended.set()
            self.studio.changed()

    async def _take(self, text: str) -> None:
        fields = json.loads(text)
        frame = SeenFrame(
            fields.get("type", ""), fields, asyncio.get_running_loop().time(), self.number, len(text.encode())
        )
        self.studio.frames.append(frame)
        try:
            handled = self.studio.on_frame is not None and await self.studio.on_frame(self, frame)
            if not handled:
                await self._answer(frame)
        except ConnectionError:
            return
        finally:
            self.studio.changed()

    async def _answer(self, frame: SeenFrame) -> None:
        if self.hello is None:
            if frame.type != "hello":
                await self.violate(f"{frame.type} before hello")
                return
            self.hello = frame
            await self._greet(frame)
            return
        job_id = str(frame.get("jobId", ""))
        if frame.type == "hello" or frame.type == "readyForMore":
            await self.violate(f"{frame.type} in mid session")
        elif not self.welcomed:
            await self.violate(f"{frame.type} before welcome")
        elif frame.type == "heartbeat":
            await self._reply("heartbeatAck")
        elif frame.type in ("accept", "reject"):
            if job_id not in self.offered:
                await self.violate(f"{frame.type} for unknown jobId")
                return
            self.offered.discard(job_id)
            if frame.type == "accept":
                self.held.add(job_id)
                self.studio.claimed(job_id, str(self.studio.worker_id))
        elif frame.type in _ABOUT_A_JOB:
            if job_id not in self.held:
                await self.violate(f"{frame.type} for unknown jobId")
            elif frame.type == "completeJson":
                self.settled(job_id)
                await self._reply("completeAck", jobId=job_id)
            elif frame.type == "fail":
                self.settled(job_id, done=False)
                await self._reply("failAck", jobId=job_id)

    async def _greet(self, hello: SeenFrame) -> None:
        if self.studio.check_token and hello.get("authToken") != self.studio.token:
            await self.refuse("auth_failed", "the token does not match")
        else:
            self.studio.replaced(self)
            if "welcome" not in self.studio.withhold:
                await self.welcome()

    async def welcome(self, **fields: Any) -> None:
        """Say welcome; `fields` override the frame's own."""
        self.welcomed = True
        frame: dict[str, Any] = {"type": "welcome", "workerId": self.studio.worker_id}
        frame["serverTime"] = self.studio.server_time
        if self.studio.extensions:
            frame["extensions"] = list(self.studio.extensions)
        await self.send(frame | fields)
        if self.studio.on_welcome is not None:
            await self.studio.on_welcome(self)

    async def offer(self, claim: Mapping[str, Any]) -> None:
        """Offer a job."""
        self.offered.add(str(claim.get("jobId", "")))
        await self.send({"type": "offer", "claim": dict(claim)})

    async def cancel(self, job_id: str, reason: str = "not needed any more") -> None:
        """Ask the worker to end a job (extension `cancel`)."""
        await self.send({"type": "cancel", "jobId": job_id, "reason": reason})

    def settled(self, job_id: str, *, done: bool = True) -> None:
        """Note that the worker has nothing more to say about a job."""
        self.held.discard(job_id)
        if done:
            self.studio.done.add(job_id)

    async def refuse(self, code: str, message: str = "") -> None:
        """Send an `error` frame and close with the code that it pairs with."""
        if self.ended.is_set() or self.socket.closed:
            return
        await self.send({"type": "error", "code": code, "message": message})
        pairs = {
            "auth_failed": CloseCode.AUTH_FAILED,
            "protocol_violation": CloseCode.PROTOCOL_VIOLATION,
            "duplicate_worker": CloseCode.DUPLICATE_WORKER,
            "worker_deleted": CloseCode.WORKER_DELETED,
        }
        await self.close(pairs.get(code, CloseCode.NORMAL), message)

    async def violate(self, what: str) -> None:
        """Note a breach of the protocol; where the studio is strict, end the session with 4002."""
        self.studio.violations.append(what)
        if self.studio.strict:
            await self.refuse("protocol_violation", what)

    async def _reply(self, frame_type: str, **fields: Any) -> None:
        if frame_type not in self.studio.withhold:
            await self.send({"type": frame_type, **fields})

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame."""
        await self.send_text(json.dumps(frame))

    async def send_text(self, text: str) -> None:
        """Send any text frame."""
        await self.socket.send_str(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self.socket.send_bytes(data)

    async def send_raw(self, data: bytes) -> None:
        """Write bytes below the WebSocket layer: broken frames, a length of 2^63."""
        transport = self.request.transport
        assert transport is not None, "the connection is gone"
        transport.write(data)

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        """Close with a code; the reason is cut to what a close frame can carry."""
        async with self._goodbye:
            await self._served.close(code, reason)

    def abort(self) -> None:
        """End the connection by a TCP reset."""
        reset_transport(self.request.transport)

    def stop_reading(self) -> None:
        """Read nothing more from the socket, so that the worker's sends pile up."""
        transport = self.request.transport
        assert transport is not None, "the connection is gone"
        transport.pause_reading()
