"""Scripted HTTP answers: a status, a JSON object, both with headers, or a function of the request."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web

Responder: TypeAlias = Callable[[web.Request], "web.StreamResponse | Awaitable[web.StreamResponse]"]
Answer: TypeAlias = int | Mapping[str, Any] | str | tuple[int, Any] | tuple[int, Any, Mapping[str, str]] | Responder
"""503; ``{"status": "pending"}``; ``"<html>"``; ``(429, {}, {"Retry-After": "2"})``; or a function."""


class Script:
    """Answers of one route: those of `once` in their order, then `always`, then the studio's own rule."""

    def __init__(self) -> None:
        self.always: Answer | None = None
        self._once: deque[Answer | None] = deque()

    def once(self, *answers: Answer | None) -> None:
        """Answer the next requests so; None is the studio's own rule for one request."""
        self._once.extend(answers)

    def next(self) -> Answer | None:
        """The answer of the next request; None for the studio's own rule."""
        return self._once.popleft() if self._once else self.always


async def respond(answer: Answer, request: web.Request) -> web.StreamResponse:
    """The response that an answer stands for. A plain text is sent as HTML with status 200."""
    if callable(answer):
        response = answer(request)
        return response if isinstance(response, web.StreamResponse) else await response
    if isinstance(answer, int):
        return web.json_response({"error": f"scripted {answer}"}, status=answer)
    if isinstance(answer, tuple):
        status, body, *rest = answer
        headers = dict(rest[0]) if rest else {}
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)
    if isinstance(answer, str):
        return web.Response(text=answer, content_type="text/html")
    return web.json_response(dict(answer))


async def hang(request: web.Request) -> web.StreamResponse:
    """An answer that never comes; ends with the client's connection."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def reset(request: web.Request) -> web.StreamResponse:
    """No answer but a TCP reset."""
    reset_transport(request.transport)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    """Status 200 and a body that goes on until the client has enough."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65_536)


def reset_transport(transport: asyncio.WriteTransport | None) -> None:
    """End a connection by RST instead of FIN (SO_LINGER with a time of zero)."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
