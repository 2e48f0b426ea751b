"""The body of an upload: a multipart form whose last part is a file, its way to the wire visible.

aiohttp's own writer makes a dozen small writes of a form, reads files 64 KiB a thread hop, and says nothing of what
has left the machine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import struct
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, TypeVar

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

from studio_worker.jobs.checksum import Checksum, checksum_like
from studio_worker.lookout import Lookout

_T = TypeVar("_T")

_BLOCK = 1024 * 1024


class FormBody(payload.Payload):
    """A form of known size: text parts, then one file part.

    Attributes:
        is_written: whether all of it was handed to the connection.
        size_bytes: the size of the body.
        problem: why the file can never be sent; None while all is well.
        hindrance: why it could not be read this time, which says nothing of the next; None while all is well.

    Args:
        texts: the text parts, in order.
        name: the file part's name; plain ASCII, as are file name and type.
        filename: the file part's file name.
        media_type: the file part's Content-Type.
        file: what to send; it must not change meanwhile.
        file_bytes: its size.
        at_hand: all of the file's bytes, where they need not be read.
        checksum: of what the file has to be; another one is never sent to its end. Empty: nobody knows.
        reads: takes the looks at the file, so that one that hangs holds up nobody else.
        safe: what has to be done before the end of the form is sent, which no studio takes without it.
        meanwhile: called once the text parts are out: they keep the other side busy, so that whatever may wait until
            then costs nothing.
    """

    _autoclose = True

    def __init__(
        self,
        texts: Mapping[str, str],
        *,
        name: str,
        filename: str,
        media_type: str,
        file: Path,
        file_bytes: int,
        reads: Lookout,
        at_hand: bytes | None = None,
        checksum: str = "",
        safe: asyncio.Future[None] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        boundary = token_hex(16)
        super().__init__(file, content_type=f"multipart/form-data; boundary={boundary}")
        parts = [f"--{boundary}\r\n{_disposition(part)}\r\n\r\n{text}\r\n" for part, text in texts.items()]
        disposition = f'{_disposition(name)}; filename="{filename}"'
        parts.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n")
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self._file_bytes = file_bytes
        self._reads = reads
        self._at_hand = at_hand
        self._checksum = checksum
        self._safe = safe
        self._meanwhile = meanwhile
        self._size = self.size_bytes = len(self._head) + file_bytes + len(self._tail)
        self._written = 0
        self._transport: asyncio.WriteTransport | None = None
        self.is_written = False
        self.problem: str | None = None
        self.hindrance: str | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The file as text; aiohttp asks for it only where a body has to be signed, which nobody does here."""
        return self._file.read_text(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the form."""
        self._transport = getattr(writer, "transport", None)
        await self._put(writer, self._head)
        self._meanwhile()
        if self._at_hand is not None:
            await self._put(writer, self._at_hand)
        elif self._file_bytes:
            await self._write_file(writer, self._file_bytes)
        if self._safe is not None:
            await self._until(self._safe)
        await self._put(writer, self._tail)
        self.is_written = True

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the form; its length is the one that was announced."""
        await self.write(writer)

    async def _write_file(self, writer: AbstractStreamWriter, left: int) -> None:
        summed = checksum_like(self._checksum)
        file, block = await self._read(partial(_open, summed, left), self._file)
        try:
            while True:
                left -= len(block)
                if not left and self._checksum not in ("", summed.hexdigest()):
                    self.problem = "it is not what was kept"
                    raise _Lost(self.problem)
                await self._put(writer, block)
                if not left:
                    return
                file, block = await self._read(partial(_read_on, summed, left), file)
        finally:
            file.close()

    async def _until(self, safe: asyncio.Future[None]) -> None:
        try:
            # The future is not this upload's alone: its cancellation must not be the future's.
            await asyncio.shield(safe)
        except OSError as error:
            self.problem = error.strerror or str(error)
            raise

    async def _put(self, writer: AbstractStreamWriter, piece: bytes | memoryview) -> None:
        await writer.write(piece)
        self._written += len(piece)

    async def _read(self, read: Callable[[_T], tuple[BinaryIO, bytes]], source: _T) -> tuple[BinaryIO, bytes]:
        try:
            file, block = await self._look(partial(read, source))
            if not block:
                file.close()
                raise _Lost("the file is shorter than it was")
        except OSError as error:
            said = error.strerror or str(error)
            if isinstance(error, _Lost):
                self.problem = said
            else:
                self.hindrance = said
            raise
        return file, block

    async def _look(self, read: Callable[[], tuple[BinaryIO, bytes]]) -> tuple[BinaryIO, bytes]:
        try:
            return await self._reads.look(read)
        except TimeoutError as error:
            raise OSError(errno.EAGAIN, str(error)) from None

    def position(self) -> tuple[int, int, int]:
        """How far the bytes are: handed on, still in our buffer, still in the kernel's. A change means progress."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return (self._written, 0, 0)
        return (self._written, transport.get_write_buffer_size(), _unsent(transport))


class _Lost(OSError):
    """The file is not what was kept, and no other try will find that."""


def _disposition(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def _open(summed: Checksum, left: int, path: Path) -> tuple[BinaryIO, bytes]:
    """The file with its first block, in one hop."""
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        # A folder that is away, with the disk it lies on maybe, comes back with all its files.
        if path.parent.is_dir():
            raise _Lost(error.errno, error.strerror) from None
        raise
    try:
        return _read_on(summed, left, file)
    except BaseException:
        file.close()
        raise


def _read_on(summed: Checksum, left: int, file: BinaryIO) -> tuple[BinaryIO, bytes]:
    """The next of the `left` bytes that count; a file may be longer than its result."""
    block = file.read(min(left, _BLOCK))
    summed.update(block)
    return file, block


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
