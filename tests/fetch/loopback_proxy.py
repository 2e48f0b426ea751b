"""An HTTP proxy on loopback: whatever it is asked to connect to, it leads to one port of this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@dataclass
class LoopbackProxy:
    """Leads every tunnel and every plain request to `leads_to`; `asked` are the first lines of the requests."""

    leads_to: int
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    refuses: bool = False
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        other = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            self.asked.append(self.heads[-1].split("\r\n", 1)[0])
            if self.refuses:
                writer.write(REFUSAL)
                return
            back, other = await asyncio.open_connection("127.0.0.1", self.leads_to)
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other.write(head)
            await asyncio.gather(_pump(reader, other), _pump(back, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, other):
                if each is not None:
                    each.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    sink.close()
