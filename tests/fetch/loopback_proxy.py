"""An HTTP proxy on loopback: whatever it is asked to connect to, it leads to one port of this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .loopback_server import LoopbackServer

REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@dataclass(kw_only=True)
class LoopbackProxy(LoopbackServer):
    """Leads every tunnel and every plain request to `leads_to`; `asked` are the first lines of the requests."""

    leads_to: int
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    refuses: bool = False

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        self.asked.append(self.heads[-1].split("\r\n", 1)[0])
        if self.refuses:
            writer.write(REFUSAL)
            return
        back, other = await asyncio.open_connection("127.0.0.1", self.leads_to)
        try:
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other.write(head)
            await asyncio.gather(_pump(reader, other), _pump(back, writer))
        finally:
            other.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    sink.close()
