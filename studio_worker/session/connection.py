"""One WebSocket to the studio: opened within a bound, written by one task, closed within a bound."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress

import aiohttp
from aiohttp import ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from studio_worker.errors import LinkClosed, StudioUnreachable
from studio_worker.session.ending import SessionEnded
from studio_worker.session.studio_http import RedirectRefused, StudioSocket, check_open, describe_trouble, redirect_of
from studio_worker.text import escape
from studio_worker.wire.frames import MAX_FRAME_BYTES, SUBPROTOCOL, CloseCode, Sendable

MAX_QUEUED_FRAMES = 10_000
MAX_QUEUED_CHARS = 128 * 1024 * 1024
"""What may wait for a studio that does not read; beyond it the connection is given up."""

MAX_DIRECT_CHARS = 64 * 1024
"""Longer frames wait for the sender, which lets the studio's pace hold it up."""


class UpgradeFailed(StudioUnreachable):
    """No session came about; `ended` says why, as the end of a session would."""

    def __init__(self, ended: SessionEnded) -> None:
        super().__init__(ended.reason)
        self.ended = ended


class Connection:
    """A connection after its upgrade. `jobs.links.FrameSender` for the links of its offers.

    Attributes:
        extensions: what this connection's welcome listed; empty before.
        is_broken: whether a write has failed.
    """

    def __init__(self, websocket: ClientWebSocketResponse[bool], *, close_secs: float) -> None:
        self.extensions: frozenset[str] = frozenset()
        self._websocket = websocket
        self._socket = websocket.get_extra_info("socket")
        self._close_secs = close_secs
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._queued_chars = 0
        self._wake = asyncio.Event()
        self._is_over = False
        self._is_clogged = False
        self.is_broken = False
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls, http: aiohttp.ClientSession, url: str, token: str, *, upgrade_secs: float = 15.0, close_secs: float = 2.0
    ) -> Connection:
        """Connect and upgrade.

        Args:
            http: the client, from `studio_http.open_http` or the embedder's own.
            url: the session's ``ws://`` or ``wss://`` URL.
            token: the worker's bearer token.
            upgrade_secs: for all of it together.
            close_secs: for the closing handshake, later.

        Raises:
            UpgradeFailed: no connection, no upgrade, or one without our subprotocol. A 401 counts as close 4001.
        """
        try:
            check_open(http)
            async with asyncio.timeout(upgrade_secs):
                websocket = await http.ws_connect(
                    url,
                    headers={"Authorization": f"Bearer {token}"},
                    protocols=(SUBPROTOCOL,),
                    compress=0,
                    # aiohttp refuses a message of exactly the size that it is given.
                    max_msg_size=MAX_FRAME_BYTES + 1,
                    timeout=ClientWSTimeout(ws_close=close_secs),
                )
        except aiohttp.ClientResponseError as error:
            # A client with `raise_for_status` says it by the plain class.
            is_studios = not isinstance(error, aiohttp.ClientHttpProxyError)
            code = CloseCode.AUTH_FAILED if error.status == 401 and is_studios else None
            raise UpgradeFailed(SessionEnded(describe_trouble(error, url), code)) from None
        except TimeoutError:
            raise UpgradeFailed(SessionEnded(f"no upgrade by {_host(url)} within {upgrade_secs:g} s")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpgradeFailed(SessionEnded(describe_trouble(error, url))) from None
        connection = cls(websocket, close_secs=close_secs)
        if (target := redirect_of(websocket)) is not None:
            await connection.close(CloseCode.PROTOCOL_VIOLATION, "redirect")
            raise UpgradeFailed(SessionEnded(describe_trouble(RedirectRefused(target), url)))
        if websocket.protocol != SUBPROTOCOL:
            await connection.close(CloseCode.PROTOCOL_VIOLATION, "subprotocol")
            got = websocket.answered_protocol if isinstance(websocket, StudioSocket) else websocket.protocol
            raise UpgradeFailed(
                SessionEnded(
                    f"{_host(url)} upgraded without our subprotocol: expected {SUBPROTOCOL}, "
                    f"got {escape(got or 'none', limit=60)}"
                )
            )
        return connection

    def post(self, frame: Sendable) -> asyncio.Future[None]:
        """Queue a frame; never blocks.

        Returns:
            Done when the frame was written to the socket; `LinkClosed` when the connection ended before. Nobody
            has to look at it.

        Raises:
            LinkClosed: the connection is over.
        """
        return self.post_text(frame.text())

    def post_text(self, text: str) -> asyncio.Future[None]:
        """Queue a frame that is text already; see `post`."""
        if self._is_over:
            raise LinkClosed("the connection to the studio is over")
        if len(self._queue) >= MAX_QUEUED_FRAMES or self._queued_chars + len(text) > MAX_QUEUED_CHARS:
            self.abort()
            raise LinkClosed("the studio does not read what is sent; the connection is given up")
        written: asyncio.Future[None] = self._loop.create_future()
        if self._is_written_at_once(text):
            written.set_result(None)
            return written
        self._queue.append((text, written))
        self._queued_chars += len(text)
        self._wake.set()
        return written

    def _is_written_at_once(self, text: str) -> bool:
        """Write a small frame in this very turn of the loop, unless others wait or the connection is clogged."""
        if self._queue or self._is_clogged or len(text) > MAX_DIRECT_CHARS:
            return False
        sending = self._websocket.send_str(text)
        try:
            sending.send(None)
        except StopIteration:
            return True
        except (aiohttp.ClientError, OSError):
            # The sender will find the same, and end the session with it.
            return False
        # It was written and waits for the buffer to empty: from here on the sender does the waiting.
        sending.close()
        self._is_clogged = True
        return True

    async def send_queued(self) -> SessionEnded:
        """Write what is queued, in order, until writing fails. One task of the session runs this."""
        while True:
            while self._queue:
                text, written = self._queue[0]
                try:
                    await self._websocket.send_str(text)
                except (aiohttp.ClientError, OSError) as error:
                    self.is_broken = True
                    return SessionEnded(f"sending failed ({escape(str(error), limit=200) or type(error).__name__})")
                self._is_clogged = False
                self._queue.popleft()
                self._queued_chars -= len(text)
                if not written.done():
                    written.set_result(None)
            self._wake.clear()
            await self._wake.wait()

    async def receive(self) -> str | bytes | SessionEnded:
        """The next message: text, bytes (a binary frame, which no studio sends), or the end."""
        message = await self._websocket.receive()
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                data: str | bytes = message.data
                return data
            case WSMsgType.CLOSE:
                return SessionEnded.by_close(message.data or None, message.extra or "")
            case WSMsgType.ERROR:
                breach = isinstance(message.data, aiohttp.WebSocketError)
                words = escape(str(message.data), limit=200)
                code = message.data.code if breach else None
                return SessionEnded(f"the studio sent what cannot be read: {words}", code, is_breach=breach)
            case _:
                error = self._websocket.exception()
                return SessionEnded(
                    "the connection was lost" + (f" ({escape(str(error), limit=200)})" if error else "")
                )

    def end(self) -> None:
        """Refuse new frames and fail those that wait."""
        self._is_over = True
        while self._queue:
            _, written = self._queue.popleft()
            if not written.done():
                written.set_exception(LinkClosed("the connection ended before the frame was written"))
                # Read once, so that a frame that nobody waits for is no complaint at its end.
                written.exception()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close with a code, within `close_secs`, and give the socket back whatever the studio does."""
        self.end()
        try:
            async with asyncio.timeout(self._close_secs):
                await self._websocket.close(code=code, message=reason.encode()[:120])
        except (TimeoutError, aiohttp.ClientError, OSError):
            return
        finally:
            self.abort()

    def abort(self) -> None:
        """Cut the connection off: whoever waits on it finds out at once, and nothing lingers in its buffers."""
        # An event loop of another make may not lend its socket out; the transport is closed without it as well.
        with suppress(OSError, TypeError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _host(url: str) -> str:
    return url.split("/", 3)[2]
