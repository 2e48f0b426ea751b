"""A studio in the place of the network: takes connections on a virtual loop, in whatever mood it is in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from studio_worker.session.timings import Timings
from studio_worker.wire.frames import SUBPROTOCOL, read_worker_frame
from studio_worker.wire.strict_json import dumps

TOKEN = "token-1"
BOUNDS = Timings()
SLACK_SECS = 1.25 * BOUNDS.watch_secs + 1e-6
"""The watch looks once a second, and twice before it ends a session."""


async def never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Attempt:
    """One connection from the first packet to the last: what `aiohttp` hands out as a WebSocket.

    Attributes:
        code: what the studio, or this worker's own order, ended it with first; 0: without a code, None: not at all.
        ended_at: when nothing was left of it.
        was_suspended: whether the machine slept long enough to give it up.
    """

    def __init__(self, studio: MoodyStudio) -> None:
        self.studio = studio
        self.protocol: str | None = SUBPROTOCOL
        self.code: int | None = None
        self.ended_at: float | None = None
        self._response = SimpleNamespace(history=())
        self.is_up = self.is_closing = self.was_suspended = False
        self.opened_at = self.heard_at = studio.loop.time()
        self.welcomed_at: float | None = None
        self.unanswered_since: float | None = None
        self.beats: list[float] = []
        self.nudges = 0
        self._sent = 0
        self._to_worker: asyncio.Queue[WSMessage] = asyncio.Queue()
        self._flows = asyncio.Event()

    # as the worker sees it

    def get_extra_info(self, name: str) -> Attempt:
        return self

    def shutdown(self, how: int) -> None:
        self.end_here()
        self._to_worker.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))
        self.flow()

    def exception(self) -> None:
        return None

    async def receive(self) -> WSMessage:
        return await self._to_worker.get()

    async def send_str(self, text: str) -> None:
        if self._is_broken:
            raise aiohttp.ClientConnectionResetError("the connection is gone")
        assert not self.is_closing, "a frame after the close"
        self._take(text)
        while not self.studio.reads and not self._is_broken:
            await self._flows.wait()

    async def close(self, *, code: int, message: bytes) -> None:
        self.is_closing = True
        if not self.studio.answers_close and not self._is_broken:
            await never()

    # as the studio sees it

    @property
    def is_live(self) -> bool:
        """Whether it is between its upgrade and its end."""
        return self.is_up and self.ended_at is None and not self.is_closing and self.code is None

    @property
    def _is_broken(self) -> bool:
        return self.ended_at is not None or self.code == 0

    def say(self, **frame: Any) -> None:
        self.heard_at = self.studio.loop.time()
        self._to_worker.put_nowait(WSMessage(WSMsgType.TEXT, dumps(frame), None))

    def end(self, code: int) -> None:
        self.code = code
        self._to_worker.put_nowait(WSMessage(WSMsgType.CLOSE, code, "because"))

    def end_by_a_frame(self, word: str, code: int) -> None:
        self.say(type="error", code=word, message="because")
        self.code = code

    def break_the_rules(self) -> None:
        self.code = WSCloseCode.MESSAGE_TOO_BIG
        error = aiohttp.WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, "too big")
        self._to_worker.put_nowait(WSMessage(WSMsgType.ERROR, error, None))

    def end_here(self) -> None:
        self.ended_at = self.studio.loop.time() if self.ended_at is None else self.ended_at

    def break_off(self) -> None:
        if self.code is None:
            self.code = 0
        self._to_worker.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))
        self.flow()

    def flow(self) -> None:
        """Whoever waits to write looks again."""
        self._flows.set()
        self._flows = asyncio.Event()

    def _take(self, text: str) -> None:
        now = self.studio.loop.time()
        frame = read_worker_frame(text)
        self._sent += 1
        assert (frame.type == "hello") == (self._sent == 1), f"{frame.type} as frame {self._sent}"
        if frame.type == "hello":
            assert frame.auth_token == TOKEN
            if self.studio.welcomes:
                self.welcomed_at = now
                self.say(type="welcome", workerId="w-1", serverTime="")
            return
        assert self.welcomed_at is not None, f"{frame.type} before the welcome"
        if frame.type == "heartbeat":
            self.beats.append(now)
            most = 1 + self.nudges + int((now - self.welcomed_at + 1e-6) / BOUNDS.heartbeat_secs)
            assert len(self.beats) <= most, "more heartbeats than were due"
            if self.studio.reads and self.studio.acks:
                self.unanswered_since = None
                self.say(type="heartbeatAck")
            elif self.unanswered_since is None:
                self.unanswered_since = now

    def died_at(self) -> float:
        """When its bounds are passed, if nothing more is heard of the studio."""
        if self.welcomed_at is None:
            return self.opened_at + BOUNDS.welcome_secs
        silent = self.heard_at + BOUNDS.silence_secs
        return silent if self.unanswered_since is None else min(silent, self.unanswered_since + BOUNDS.ack_secs)


@dataclass
class MoodyStudio:
    """Stands where the HTTP client stands. `upgrade` is what becomes of the next connections."""

    loop: asyncio.AbstractEventLoop
    upgrade: str | int = "up"
    welcomes: bool = True
    acks: bool = True
    reads: bool = True
    answers_close: bool = True
    due: float | None = None
    last: Attempt | None = None
    closed: bool = False

    @property
    def live(self) -> Attempt | None:
        return self.last if self.last is not None and self.last.is_live else None

    def be_well(self) -> None:
        self.upgrade = "up"
        self.welcomes = self.acks = self.answers_close = True
        self.read(True)

    def read(self, reads: bool) -> None:
        self.reads = reads
        if reads and self.last is not None:
            self.last.flow()

    async def ws_connect(self, url: str, **given: Any) -> Attempt:
        assert url == "wss://studio.example/graphics/api/workers/w-1/connect"
        assert given["headers"] == {"Authorization": f"Bearer {TOKEN}"}
        assert self.last is None or self.last.ended_at is not None, "two connections at once"
        if self.due is not None:
            assert abs(self.loop.time() - self.due) < 1e-6, "not when it was due"
        attempt = self.last = Attempt(self)
        try:
            await self._upgrade(attempt)
        except BaseException:
            attempt.end_here()
            raise
        attempt.is_up = True
        attempt.opened_at = attempt.heard_at = self.loop.time()
        return attempt

    async def _upgrade(self, attempt: Attempt) -> None:
        match self.upgrade:
            case "down":
                attempt.code = 0
                raise aiohttp.ClientConnectionError("refused")
            case "hangs":
                attempt.code = 0
                await never()
            case "strange":
                attempt.code, attempt.protocol = 0, None
            case int(status):
                attempt.code = 4001 if status == 401 else 0
                raise aiohttp.WSServerHandshakeError(None, (), status=status, headers={})  # type: ignore[arg-type]
