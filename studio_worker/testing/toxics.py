"""A TCP proxy that spoils connections: what a network does to a worker, on loopback, seeded and with receipts.

::

    async with ToxicProxy(studio.port) as proxy:
        proxy.toxics = [Cut(after_bytes=700, way="up")]
        ...                                   # a worker with api_base_url=proxy.url
        assert proxy.receipts                 # a toxic that did nothing is a test that shows nothing

`up` is from the worker to the studio, `down` the other way. Toxics are looked at anew for each connection, in their
order, and each keeps its own state per connection and way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Literal, Protocol, TypeAlias

from studio_worker.testing.answers import reset_transport

Way: TypeAlias = Literal["up", "down", "both"]
CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Receipt:
    """A toxic has acted: on which connection (1 is the first), which way, after how many bytes."""

    toxic: str
    connection: int
    way: str
    after_bytes: int


class CutHere(Exception):
    """A toxic ends the connection: after the bytes of `rest`, by RST or (`by_reset` false) by FIN."""

    def __init__(self, rest: bytes = b"", *, by_reset: bool = True) -> None:
        super().__init__("cut")
        self.rest = rest
        self.by_reset = by_reset


class Stream(Protocol):
    """One way of one connection, as a toxic sees it."""

    connection: int
    way: str
    passed: int
    rng: Random

    def note(self, toxic: str) -> None:
        """Leave a receipt."""
        ...


class Toxic(Protocol):
    """Changes what passes one way."""

    @property
    def way(self) -> Way:
        """Which way it works."""
        ...

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """The pieces to write in place of `data`; may wait, swallow, or raise `CutHere`."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection once `after_bytes` bytes have passed, by FIN or (`by_reset`) by RST.

    `connections` are those that it touches, counted from 1; empty means all.
    """

    after_bytes: int
    way: Way = "up"
    by_reset: bool = True
    connections: tuple[int, ...] = ()

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """Pass what is before the cut."""
        if self.connections and stream.connection not in self.connections:
            return (data,)
        left = self.after_bytes - stream.passed
        if len(data) < left:
            return (data,)
        stream.note("cut")
        raise CutHere(data[: max(0, left)], by_reset=self.by_reset)


@dataclass(frozen=True, slots=True)
class Swallow:
    """From `after_bytes` on, take bytes and pass none: a half-open connection, with no FIN ever."""

    after_bytes: int = 0
    way: Way = "both"
    connections: tuple[int, ...] = ()

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """Pass what is before the mark."""
        if (self.connections and stream.connection not in self.connections) or stream.passed + len(
            data
        ) <= self.after_bytes:
            return (data,)
        stream.note("swallow")
        return (data[: max(0, self.after_bytes - stream.passed)],)


@dataclass(frozen=True, slots=True)
class Slice:
    """Write pieces of at most `size` bytes, each on its own."""

    size: int = 3
    way: Way = "both"

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """The same bytes in many pieces."""
        stream.note("slice")
        return [data[start : start + self.size] for start in range(0, len(data), self.size)]


@dataclass(frozen=True, slots=True)
class Throttle:
    """Let `bytes_per_sec` pass."""

    bytes_per_sec: float
    way: Way = "both"

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """The same bytes, late."""
        stream.note("throttle")
        await asyncio.sleep(len(data) / self.bytes_per_sec)
        return (data,)


@dataclass(frozen=True, slots=True)
class Latency:
    """Hold each piece for `secs`, give or take `jitter_secs` (seeded); order is kept."""

    secs: float
    jitter_secs: float = 0.0
    way: Way = "both"

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """The same bytes, later."""
        stream.note("latency")
        await asyncio.sleep(max(0.0, self.secs + stream.rng.uniform(-self.jitter_secs, self.jitter_secs)))
        return (data,)


class ToxicProxy:
    """See the head of this module.

    Args:
        port: where the studio listens on loopback.
        seed: of what toxics draw.
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.toxics: Sequence[Toxic] = ()
        self.receipts: list[Receipt] = []
        self.connections = 0
        self._frozen: set[int] = set()
        self._target = port
        self._rng = Random(seed)  # noqa: S311  toxics draw by a seed, so that a failure can be repeated
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ToxicProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        assert self._server is not None, "the proxy is not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """What a worker takes as `api_base_url`."""
        return f"http://127.0.0.1:{self.port}/"

    def cut_all(self, *, by_reset: bool = True) -> None:
        """End every connection now."""
        for writer in tuple(self._writers):
            _end(writer, by_reset=by_reset)

    def freeze(self) -> None:
        """From now on pass nothing on the connections that there are, and end none: half-open."""
        self._frozen |= set(range(1, self.connections + 1))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        number = self.connections
        toxics = tuple(self.toxics)
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, far_writer}
            ways = (_Way(self, number, "up", toxics), _Way(self, number, "down", toxics))
            async with asyncio.TaskGroup() as group:
                group.create_task(ways[0].carry(reader, far_writer))
                group.create_task(ways[1].carry(far_reader, writer))
        except* CutHere as cuts:
            by_reset = any(isinstance(cut, CutHere) and cut.by_reset for cut in cuts.exceptions)
            for end in (writer, far_writer):
                _end(end, by_reset=by_reset)
        except* OSError:
            _end(far_writer, by_reset=True)
        finally:
            self._handlers.discard(task)
            for end in (writer, far_writer):
                if end is not None:
                    self._writers.discard(end)
                    _end(end, by_reset=False)


class _Way:
    """One way of one connection."""

    def __init__(self, proxy: ToxicProxy, connection: int, way: str, toxics: Sequence[Toxic]) -> None:
        self.connection = connection
        self.way = way
        self.passed = 0
        self.rng = proxy._rng  # noqa: SLF001  the proxy's own part
        self._proxy = proxy
        self._toxics = [toxic for toxic in toxics if toxic.way in (way, "both")]

    def note(self, toxic: str) -> None:
        receipt = Receipt(toxic, self.connection, self.way, self.passed)
        # One receipt for an act that goes on, piece after piece.
        mine = (receipt.toxic, receipt.connection, receipt.way)
        if all((old.toxic, old.connection, old.way) != mine for old in self._proxy.receipts):
            self._proxy.receipts.append(receipt)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self.connection in self._proxy._frozen:  # noqa: SLF001  the proxy's own part
                self.note("freeze")
                continue
            try:
                await self._pass(data, self._toxics, writer)
            except CutHere as cut:
                writer.write(cut.rest)
                await writer.drain()
                raise
        if writer.can_write_eof():
            writer.write_eof()

    async def _pass(self, data: bytes, toxics: Sequence[Toxic], writer: asyncio.StreamWriter) -> None:
        """Each piece goes all the way before the next one is looked at, so that `passed` counts what is written."""
        if not toxics:
            writer.write(data)
            await writer.drain()
            self.passed += len(data)
            return
        pieces = await toxics[0].pass_on(data, self)
        for piece in pieces:
            await self._pass(piece, toxics[1:], writer)
            if len(pieces) > 1:
                await asyncio.sleep(0)


def _end(writer: asyncio.StreamWriter | None, *, by_reset: bool) -> None:
    if writer is None:
        return
    if by_reset:
        reset_transport(writer.transport)
    else:
        writer.close()
