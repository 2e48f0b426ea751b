"""What another program prints, bounded in time and size; it has ended, with what it started, when that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from studio_worker.engines.process_group import end_group
from studio_worker.engines.spawning import spawn


async def printed_by(
    command: Sequence[str], variables: Mapping[str, str], *, timeout_secs: float, max_bytes: int
) -> tuple[bytes, int | None]:
    """The program's output, at most `max_bytes` of it, and its exit status; None where it was ended for its output.

    Raises:
        OSError: it could not be started.
        TimeoutError: it was not done in time, and was ended.
    """
    process, output = await spawn(
        lambda: _Output(max_bytes),
        *command,
        env=dict(variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_secs):
            await output.closed
            if not output.is_too_much:
                await output.exited
        return bytes(output.data), None if output.is_too_much else process.get_returncode()
    finally:
        end_group(process.get_pid(), is_hard=True)
        try:
            # The system reports the end of what was killed at once; for one that it does not end nothing can be done.
            await asyncio.wait([output.exited], timeout=1.0)
        finally:
            process.close()


class _Output(asyncio.SubprocessProtocol):
    def __init__(self, max_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.data = bytearray()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.is_too_much = False
        self._max_bytes = max_bytes

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep what there is room for."""
        room = self._max_bytes - len(self.data)
        self.data += data[:room]
        if len(data) > room:
            self.is_too_much = True
            self._close()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """There is no more to come."""
        self._close()

    def process_exited(self) -> None:
        """It has ended."""
        if not self.exited.done():
            self.exited.set_result(None)

    def _close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
