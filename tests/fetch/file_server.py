"""A server of one file on loopback, as good or as bad as a test wants it, that counts what it sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from .loopback_server import LoopbackServer

DATA = bytes(range(1, 251)) * 4_000
"""A million bytes of which no two neighbours are alike."""

CHUNK = 16_384


@dataclass(frozen=True)
class Asked:
    """One request: its path with the query, and its headers in lower case."""

    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def start(self) -> int:
        """The byte that the request begins with."""
        return int(self.range.removeprefix("bytes=").removesuffix("-")) if self.range else 0


Answer: TypeAlias = "Callable[[FileServer, Asked, asyncio.StreamWriter], Awaitable[None]]"


@dataclass(kw_only=True)
class FileServer(LoopbackServer):
    """Serves `data`; the first answers are those of `script`, in its order, or those of `paths`."""

    data: bytes = DATA
    etag: str = '"one"'
    host: str = "127.0.0.1"
    script: list[Answer] = field(default_factory=list)
    paths: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    """Bytes of each body."""
    scheme: str = "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/a.bin?sig=secret"

    @property
    def ranges(self) -> list[str | None]:
        return [asked.range for asked in self.asked]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self.scheme = "https" if tls else "http"
        await super().start(tls)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        asked = Asked(first.split(" ")[1], headers)
        self.asked.append(asked)
        self.sent.append(0)
        answer = self.paths.get(asked.path.partition("?")[0])
        if answer is None:
            answer = self.script.pop(0) if self.script else whole
        await answer(self, asked, writer)
        await writer.drain()

    async def body(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        number = len(self.sent) - 1
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            writer.write(piece)
            self.sent[number] += len(piece)
            await writer.drain()


def head(status: int, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


async def whole(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
    """What a good server answers: what is missing where the file is the same, else all of it."""
    await up_to(len(server.data))(server, asked, writer)


def up_to(end: int) -> Answer:
    """As a good server, until the connection ends with the file's byte `end`."""

    async def answer(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        is_same = asked.headers.get("if-range", server.etag) == server.etag
        start = asked.start if is_same else 0
        size = len(server.data)
        headers: dict[str, object] = {"ETag": server.etag, "Content_Length": size - start}
        if asked.range and is_same:
            writer.write(head(206, Content_Range=f"bytes {start}-{size - 1}/{size}", **headers))
        else:
            writer.write(head(200, **headers))
        await server.body(writer, server.data[start:end])

    return answer


def stall(end: int) -> Answer:
    """As a good server, until the file's byte `end`; then nothing, with the connection held."""

    async def answer(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await up_to(end)(server, asked, writer)
        await asyncio.Event().wait()

    return answer


async def endless(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The file again and again without a word about its length, longer than anybody should listen."""
    writer.write(head(200, ETag=server.etag))
    for _ in range(100):
        await server.body(writer, server.data)


def say(status: int, body: bytes | None = None, **headers: object) -> Answer:
    """This status, these headers, this body (the whole file by default), and the end of the connection."""

    async def answer(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, **headers))
        await server.body(writer, server.data if body is None else body)

    return answer


def move(to: str, status: int = 302) -> Answer:
    """A redirect."""
    return say(status, b"", Location=to, Content_Length=0)
