"""The event loop of a process that is ours alone: uvloop's where it is installed (extra ``speed``), else Python's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from studio_worker.log import logger

T = TypeVar("T")


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns or raises, on a loop of its own, as `asyncio.run` does it."""
    with asyncio.Runner(loop_factory=quickest_loop()) as runner:
        name = type(runner.get_loop()).__module__.partition(".")[0]
        logger.bind(event="cli.event_loop", loop=name).debug("The event loop is made")
        return runner.run(main)


def quickest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes uvloop's loops; None, for Python's own, where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
