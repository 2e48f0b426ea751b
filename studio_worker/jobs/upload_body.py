"""A file as the last part of an upload: read in a thread, written in slices, its way to the wire visible.

aiohttp's own file payload reads 64 KiB a thread hop, and says nothing of what has left the machine.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

_T = TypeVar("_T")

_BLOCK = 1024 * 1024
_SLICE = 1024 * 1024


class FilePayload(payload.Payload):
    """A file of known size.

    Attributes:
        is_written: whether all of it was handed to the connection.
        size_bytes: the size of the file.
        problem: why the file could not be read; None while all is well.

    Args:
        file: what to send; it must not change meanwhile.
        size: its bytes.
        content_type: the part's type.
        at_hand: all of the file's bytes, where they need not be read.
    """

    _autoclose = True

    def __init__(self, file: Path, size: int, content_type: str, at_hand: bytes | None = None) -> None:
        super().__init__(file, content_type=content_type)
        self._file = file
        self._at_hand = at_hand
        self._size = self.size_bytes = size
        self._written = 0
        self._transport: asyncio.WriteTransport | None = None
        self.is_written = False
        self.problem: str | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file as text; aiohttp asks for it only where a body has to be signed, which nobody does here."""
        return self._file.read_text(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the file."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the file, or its first `content_length` bytes."""
        self._transport = getattr(writer, "transport", None)
        left = self.size_bytes if content_length is None else min(content_length, self.size_bytes)
        if self._at_hand is not None:
            await self._write_slices(writer, memoryview(self._at_hand)[:left])
        elif left:
            await self._write_file(writer, left)
        self.is_written = True

    async def _write_file(self, writer: AbstractStreamWriter, left: int) -> None:
        file, block = await self._read(_open, self._file)
        try:
            while True:
                view = memoryview(block)[:left]
                await self._write_slices(writer, view)
                left -= len(view)
                if not left:
                    return
                file, block = await self._read(_read_on, file)
        finally:
            file.close()

    async def _write_slices(self, writer: AbstractStreamWriter, view: memoryview) -> None:
        for start in range(0, len(view), _SLICE):
            piece = view[start : start + _SLICE]
            await writer.write(piece)
            self._written += len(piece)

    async def _read(self, read: Callable[[_T], tuple[BinaryIO, bytes]], source: _T) -> tuple[BinaryIO, bytes]:
        try:
            file, block = await asyncio.to_thread(read, source)
            if not block:
                file.close()
                raise OSError("the file is shorter than it was")
        except OSError as error:
            self.problem = error.strerror or str(error)
            raise
        return file, block

    def position(self) -> tuple[int, int, int]:
        """How far the bytes are: handed on, still in our buffer, still in the kernel's. A change means progress."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return (self._written, 0, 0)
        return (self._written, transport.get_write_buffer_size(), _unsent(transport))


def _open(path: Path) -> tuple[BinaryIO, bytes]:
    """The file with its first block, in one hop."""
    file = path.open("rb")
    try:
        return file, file.read(_BLOCK)
    except BaseException:
        file.close()
        raise


def _read_on(file: BinaryIO) -> tuple[BinaryIO, bytes]:
    return file, file.read(_BLOCK)


def _unsent(transport: asyncio.WriteTransport) -> int:
    """Bytes that the kernel holds and the other side has not acknowledged; 0 where the system doesn't say."""
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform == "win32" or os.name != "posix":
        return 0
    import fcntl
    import termios

    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
