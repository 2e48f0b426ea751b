"""A child that foreign code runs in, seen from the worker: how it is started, spoken to, listened to and ended.

What it writes on either pipe is read at a bounded rate: a child that floods them waits for its turn, not the loop.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Mapping
from typing import Any, Protocol, cast

from studio_worker.engines.framing import MAX_ORDER_BYTES, BrokenFrame, FrameReader, pack
from studio_worker.engines.interpreter import OWN, Interpreter
from studio_worker.engines.lifeline import Lifeline
from studio_worker.engines.messages import Down, Up, read_up, to_json
from studio_worker.engines.process_group import end_group
from studio_worker.engines.spawning import spawn

ANSWERS = 1
OUTPUT = 2

WINDOW_SECS = 0.05
WINDOW_BYTES = {ANSWERS: 2 * 1024 * 1024, OUTPUT: 4 * 1024 * 1024}
"""What is read of a pipe in one window; then it is left alone until the next."""

END_SECS = 0.5
"""How long the pipes' ends are waited for after the child's own: something that left its group may hold them."""


class Listener(Protocol):
    """Hears what a child says. Every method is called on the loop and returns at once."""

    def told(self, message: Up) -> None:
        """A message has come."""
        ...

    def printed(self, data: bytes) -> None:
        """Something was printed, on stdout or stderr."""
        ...

    def broke(self, reason: str) -> None:
        """The child cannot be understood any more, or has closed its pipe; `reason` ends a sentence of "it"."""
        ...


class ChildProcess(asyncio.SubprocessProtocol):
    """One child. Once started, it is seen to its end by `ended`, which leaves nothing behind."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = FrameReader()
        self._transport: asyncio.SubprocessTransport | None = None
        self._lifeline: Lifeline
        loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._closed = {fd: loop.create_future() for fd in (ANSWERS, OUTPUT)}
        self._read = {ANSWERS: 0, OUTPUT: 0}
        self._window: asyncio.TimerHandle | None = None
        self._is_deaf = False
        self._is_over = False

    async def start(self, variables: Mapping[str, str] | None = None, interpreter: Interpreter = OWN) -> None:
        """Start it, once, on `interpreter`; `variables` are added to its environment.

        Raises:
            OSError: no process could be started.
        """
        lifeline = Lifeline()
        fd = lifeline.fd
        try:
            await spawn(
                lambda: self,
                *interpreter.command,
                "-m",
                "studio_worker.engines.child",
                *([] if fd is None else [str(fd)]),
                env={**interpreter.environment(), **(variables or {})},
                start_new_session=True,
                pass_fds=() if fd is None else (fd,),
            )
        except BaseException:
            lifeline.close()
            raise
        lifeline.started()
        self._lifeline = lifeline

    @property
    def pid(self) -> int:
        """The child's process id, which is that of its group too."""
        return self._process.get_pid()

    @property
    def has_exited(self) -> bool:
        """Whether the child itself has ended; what it started may still run."""
        return self._exited.done()

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL; by whom, nobody tells."""
        return hasattr(signal, "SIGKILL") and self._process.get_returncode() == -signal.SIGKILL

    def send(self, message: Down) -> None:
        """Write a message; a child that is gone shows by its end.

        Raises:
            BrokenFrame: the message is over 256 MiB.
        """
        frame = pack(to_json(message), limit=MAX_ORDER_BYTES)
        pipe = cast("asyncio.WriteTransport | None", self._process.get_pipe_transport(0))
        if pipe is not None and not pipe.is_closing():
            pipe.write(frame)

    def end(self, *, is_hard: bool = True) -> None:
        """Kill the child with everything that it started; with SIGTERM unless `is_hard`."""
        if not self._is_over:
            end_group(self.pid, is_hard=is_hard)

    async def exited(self, *, within_secs: float | None = None) -> None:
        """Wait for the child's own end, at most so long."""
        await asyncio.wait([self._exited], timeout=within_secs)

    async def ended(self) -> None:
        """Wait for its end and for the last that it wrote; then kill what it has left, and let go of the pipes.

        A cancelled wait kills the child first.
        """
        try:
            await self.exited()
            self.end()
            await asyncio.wait(self._closed.values(), timeout=END_SECS)
        finally:
            self.end()
            # From here the number may belong to somebody else.
            self._is_over = True
            self._lifeline.close()
            if self._window is not None:
                self._window.cancel()
            self._process.close()

    def how_it_ended(self) -> str:
        """The end of a sentence of "it": its exit status, or the name of its signal."""
        status = self._process.get_returncode()
        if status is None:
            return "it closed the pipe to the worker"
        if status >= 0:
            return f"it ended the process with exit status {status}"
        try:
            return f"it was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"it was killed by signal {-status}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The child runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A piece of an answer, or of what was printed."""
        self._read[fd] += len(data)
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(WINDOW_SECS, self._next_window)
        if self._read[fd] > WINDOW_BYTES[fd]:
            self._pause(fd)
        if fd == OUTPUT:
            self._listener.printed(data)
        elif not self._is_deaf:
            self._take(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The child has closed a pipe, or ended."""
        if fd not in self._closed:
            return
        if not self._closed[fd].done():
            self._closed[fd].set_result(None)
        if fd == ANSWERS and not self._is_deaf:
            self._is_deaf = True
            try:
                self._reader.close()
            except BrokenFrame as problem:
                self._listener.broke(f"it broke the pipe to the worker: {problem}")
            else:
                self._listener.broke("it closed the pipe to the worker")

    def process_exited(self) -> None:
        """The child has ended."""
        if not self._exited.done():
            self._exited.set_result(None)

    def _take(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._listener.told(read_up(message))
        except BrokenFrame as problem:
            self._is_deaf = True
            self._listener.broke(f"it broke the pipe to the worker: {problem}")

    def _pause(self, fd: int) -> None:
        pipe = cast("asyncio.ReadTransport | None", self._process.get_pipe_transport(fd))
        if pipe is not None and not pipe.is_closing():
            pipe.pause_reading()

    def _next_window(self) -> None:
        self._window = None
        for fd, count in self._read.items():
            self._read[fd] = 0
            pipe = cast("asyncio.ReadTransport | None", self._process.get_pipe_transport(fd))
            if count > WINDOW_BYTES[fd] and pipe is not None and not pipe.is_closing():
                pipe.resume_reading()

    @property
    def _process(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None, "the loop calls connection_made first"
        return self._transport


def plain(value: Any) -> Any:
    """A plugin's table as JSON: TOML's dates become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
