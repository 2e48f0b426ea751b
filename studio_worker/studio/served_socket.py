"""A WebSocket that one task reads and another one may end, so that the other side hears why."""

from __future__ import annotations

import asyncio

from aiohttp import WSMessage, WSMsgType, web

_OVER = WSMessage(WSMsgType.CLOSED, None, None)


class ServedSocket:
    """The reading and the end of a handler's socket; whatever is sent goes to the socket itself.

    A close of aiohttp's that finds another task in `receive` waits for no answer: the connection ends at once, a
    frame that the other side has on its way resets it, and the code and the reason are lost with what was not read.
    Here the reading task is called back first. The handler must not return before `close` has.

    Args:
        socket: after its upgrade. Its `timeout` bounds the closing handshake.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._reading: asyncio.Timeout | None = None
        self._has_rested = asyncio.Event()
        self._is_over = False

    async def receive(self) -> WSMessage:
        """The next message; of type CLOSED once `close` was called."""
        if self._is_over:
            return _OVER
        try:
            async with asyncio.timeout(None) as self._reading:
                return await self._socket.receive()
        except TimeoutError:
            return _OVER
        finally:
            self._reading = None
            self._has_rested.set()

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye, and wait for the answer; frames that come before it are dropped.

        Args:
            code: the close code.
            reason: cut to what a close frame holds.

        Raises:
            ConnectionError: the connection is gone.
        """
        self._is_over = True
        if self._reading is not None:
            self._has_rested.clear()
            self._reading.reschedule(asyncio.get_running_loop().time())
            await self._has_rested.wait()
        # Who does not read would hold up a drain for as long as it likes.
        await self._socket.close(code=code, message=reason.encode()[:120], drain=False)
