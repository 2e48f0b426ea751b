"""The worker's side of describing one plugin: a child, a request, an answer, and an end with nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from studio_worker.engines.child_process import ChildProcess, plain
from studio_worker.engines.interpreter import OWN, Interpreter
from studio_worker.engines.messages import Describe, Described, Refused, Up, to_json
from studio_worker.errors import PluginError
from studio_worker.text import escape

MAX_WRITTEN_BYTES = 16 * 1024 * 1024 + 1024
"""What a plugin may print while it is described."""

_KEPT_BYTES = 4_096
_EXIT_SECS = 1.0


async def describe(
    value: str,
    table: Mapping[str, Any],
    *,
    timeout_secs: float,
    interpreter: Interpreter = OWN,
    module: str | None = None,
    is_factory: bool = False,
) -> dict[str, Any]:
    """The child's ``described`` message for a plugin or a factory; the child has ended when this returns.

    Args:
        value: the entry point's value, or ``package.module:factory`` where `is_factory`.
        table: the plugin's own configuration.
        timeout_secs: from the start of the child to its answer.
        interpreter: what the child runs on.
        module: whose code is to be blamed for an exception, where that is not the entry point's module.
        is_factory: whether `value` is to be called.

    Raises:
        PluginError: with the reason alone: what it raised, its exit status, the name of its signal, its silence.
        OSError: no process could be started.
    """
    request = Describe(value, plain(table), is_factory, interpreter.import_path, interpreter.pythonpath, module=module)
    answer = _Answer()
    child = ChildProcess(answer)
    await child.start(interpreter=interpreter)
    try:
        async with asyncio.timeout(timeout_secs):
            child.send(request)
            message = await answer.came
            if message is None:
                # The status is waited for before anything is killed, which would lose it.
                await child.exited(within_secs=_EXIT_SECS)
    except TimeoutError:
        raise PluginError(f"it gave no answer within {timeout_secs:g} s") from None
    finally:
        child.end()
        await child.ended()
    if isinstance(message, Described):
        return to_json(message)
    if isinstance(message, Refused):
        raise PluginError(escape(message.reason or "it says nothing", limit=500))
    raise PluginError(answer.reason or f"{child.how_it_ended()}{answer.last_words}")


class _Answer:
    """The first message of a child, and the end of what it printed."""

    def __init__(self) -> None:
        self.came: asyncio.Future[Up | None] = asyncio.get_running_loop().create_future()
        self.reason = ""
        self._kept = b""
        self._bytes = 0

    def told(self, message: Up) -> None:
        """The answer; what comes after it is heard by nobody."""
        if not self.came.done():
            self.came.set_result(message)

    def printed(self, data: bytes) -> None:
        """Keep the end; too much is a reason to end it."""
        self._kept = (self._kept + data)[-_KEPT_BYTES:]
        self._bytes += len(data)
        if self._bytes > MAX_WRITTEN_BYTES:
            self._gave_none(f"it printed more than {MAX_WRITTEN_BYTES // 1024**2} MiB")

    def broke(self, reason: str) -> None:
        """There will be no answer; one that has only closed its pipe is asked how it ended."""
        self._gave_none("" if reason.startswith("it closed") else reason)

    @property
    def last_words(self) -> str:
        """Its last line."""
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return f"; it printed: {escape(last, limit=200)}" if last else ""

    def _gave_none(self, reason: str) -> None:
        if not self.came.done():
            self.reason = reason
            self.came.set_result(None)
