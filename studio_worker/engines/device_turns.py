"""Whose turn it is on a GPU: one job after the other, but for those of one model that its engine takes together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Turn:
    key: str
    at_once: int
    granted: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """One device: the key of the jobs that have it, how many they are, and who waits."""

    key: str = ""
    users: int = 0
    waiting: deque[_Turn] = field(default_factory=deque)


class DeviceTurns:
    """First come, first served. A plain object of the loop.

    Nobody who has a turn may wait for memory or for another device: then all who wait come to theirs.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def hold(self, device: str, key: str, at_once: int) -> AsyncIterator[None]:
        """Wait for the device and have it until the block is left; cancelled while it waits, it leaves no trace.

        Args:
            device: which one.
            key: the job's model; jobs of the same one share a turn.
            at_once: how many of them may.
        """
        line = self._lines.setdefault(device, _Line())
        turn = _Turn(key, at_once, asyncio.get_running_loop().create_future())
        line.waiting.append(turn)
        self._serve(line)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if not turn.granted.cancelled():
                line.users -= 1
            elif turn in line.waiting:
                line.waiting.remove(turn)
            self._serve(line)
            raise
        try:
            yield
        finally:
            line.users -= 1
            self._serve(line)

    @staticmethod
    def _serve(line: _Line) -> None:
        while line.waiting:
            turn = line.waiting[0]
            if turn.granted.done():
                # Cancelled, and not yet awake to leave by itself.
                line.waiting.popleft()
                continue
            if line.users and not (turn.key == line.key and line.users < turn.at_once):
                return
            line.waiting.popleft()
            line.key = turn.key
            line.users += 1
            turn.granted.set_result(None)
