"""The worker's side of describing one plugin: a child, a request, an answer, and an end with nothing left over."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from studio_worker.engines.framing import BrokenFrame, pack, receive_frame
from studio_worker.errors import PluginError
from studio_worker.text import escape

MAX_WRITTEN_BYTES = 16 * 1024 * 1024 + 1024
"""What a plugin may print, and what its child may answer, while it is described."""

_KEPT_BYTES = 4_096
_EXIT_SECS = 1.0


async def describe(value: str, table: Mapping[str, Any], *, timeout_secs: float) -> dict[str, Any]:
    """The child's ``described`` message for the entry point `value`; the child has ended when this returns.

    Args:
        value: the entry point's value.
        table: the plugin's own configuration.
        timeout_secs: from the start of the child to its answer.

    Raises:
        PluginError: with the reason alone: what it raised, its exit status, the name of its signal, its silence.
        OSError: no process could be started.
    """
    request = pack(
        {
            "type": "describe",
            "value": value,
            "table": _plain(table),
            "path": _import_path(),
            "pythonpath": os.environ.get("PYTHONPATH"),
        }
    )
    transport, child = await asyncio.get_running_loop().subprocess_exec(
        _Child, sys.executable, "-P", "-m", "studio_worker.engines.child", env=_environment(), start_new_session=True
    )
    try:
        async with asyncio.timeout(timeout_secs):
            child.send(request)
            answer = await receive_frame(child.answers)
            if answer is None:
                raise PluginError(await child.how_it_ended())
    except TimeoutError:
        raise PluginError(f"it gave no answer within {timeout_secs:g} s") from None
    except BrokenFrame as problem:
        raise PluginError(f"it broke the pipe to the worker: {problem}") from None
    finally:
        child.end()
        try:
            await child.exited()
        finally:
            transport.close()
    if answer.get("type") != "described":
        raise PluginError(escape(str(answer.get("reason", "it says nothing")), limit=500))
    return answer


class _Child(asyncio.SubprocessProtocol):
    """One child: its answers as a stream, the end of what it printed, its exit.

    What it may write on either pipe is bounded; too much ends it.
    """

    def __init__(self) -> None:
        self.answers = asyncio.StreamReader()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._kept = b""
        self._bytes = {1: 0, 2: 0}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The child runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A piece of an answer (1), or of what was printed (2)."""
        self._bytes[fd] += len(data)
        if self._bytes[fd] > MAX_WRITTEN_BYTES:
            self.end()
        elif fd == 1:
            self.answers.feed_data(data)
        else:
            self._kept = (self._kept + data)[-_KEPT_BYTES:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The child has closed a pipe, or ended."""
        if fd == 1:
            self.answers.feed_eof()

    def process_exited(self) -> None:
        """The child has ended."""
        if not self._ended.done():
            self._ended.set_result(None)

    def send(self, frame: bytes) -> None:
        """Write one frame; a child that is gone shows by its answer's end."""
        pipe = cast("asyncio.WriteTransport", self._process.get_pipe_transport(0))
        pipe.write(frame)

    def end(self) -> None:
        """Kill the child with everything that it started."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self._process.get_pid(), signal.SIGKILL)
            else:
                self._process.kill()
        except (ProcessLookupError, PermissionError):
            # It has ended already, and its group with it.
            return

    async def exited(self) -> None:
        """Wait for its end, a second at most: a loop that closes earlier would be told of it too late."""
        await asyncio.wait([self._ended], timeout=_EXIT_SECS)

    async def how_it_ended(self) -> str:
        """Why there was no answer. The status is waited for before anything is killed, which would lose it."""
        await self.exited()
        if max(self._bytes.values()) > MAX_WRITTEN_BYTES:
            return f"it printed more than {MAX_WRITTEN_BYTES // 1024**2} MiB"
        status = self._process.get_returncode()
        if status is None:
            return "it closed the pipe to the worker"
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        words = f"; it printed: {escape(last, limit=200)}" if last else ""
        return f"{_ended(status)}{words}"

    @property
    def _process(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None, "the loop calls connection_made first"
        return self._transport


def _ended(status: int) -> str:
    if status >= 0:
        return f"it ended the process with exit status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"


def _import_path() -> list[str]:
    """The worker's `sys.path`, with the working folder by its name."""
    return [str(Path(entry).absolute()) for entry in sys.path if isinstance(entry, str)]


def _environment() -> dict[str, str]:
    """The worker's environment without the worker's own settings, which may hold a token.

    Where this package is not installed among the site packages (a checkout), the child finds it by PYTHONPATH,
    which it takes back before it imports anything foreign.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_WORKER_")}
    home = str(Path(__file__).absolute().parents[2])
    installed = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    if home not in installed:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([home, before] if before else [home])
    return environment


def _plain(value: Any) -> Any:
    """A plugin's table as JSON: TOML's dates become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
