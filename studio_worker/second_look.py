"""A second look at the installed engines while a worker runs: one at a time, the last with the latest settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.self_report import said
from studio_worker.log import logger


class Spawn(Protocol):
    """Starts a task that somebody owns, as `Runtime.spawn` does."""

    def __call__(self, work: Coroutine[object, object, None], *, name: str) -> None:
        """Start it."""
        ...


class SecondLook:
    """Looks again where that is wanted. A plain object of the loop.

    It is where certificates have come or gone, and where a plugin was enabled: one that was disabled at the start has
    never been looked at. Looks never overlap, so that none that began with older settings ends last; one that is wanted
    during another follows it. A look that fails changes nothing and is logged: engines that work go on.

    Args:
        look: finds the engines, by the settings of the moment that it is called.
        take: told what was found.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[tuple[EngineDescription, ...]]],
        take: Callable[[tuple[EngineDescription, ...]], None],
    ) -> None:
        self._look = look
        self._take = take
        self._is_wanted = False
        self._is_under_way = False

    def want(self) -> None:
        """A look is wanted, once `begin` is called."""
        self._is_wanted = True

    def begin(self, spawn: Spawn) -> None:
        """Begin the look that is wanted, where one is; cheap where none is."""
        if self._is_wanted and not self._is_under_way:
            self._is_under_way = True
            spawn(self._run(), name="describe")

    async def _run(self) -> None:
        try:
            while self._is_wanted:
                self._is_wanted = False
                await self._look_once()
        finally:
            self._is_under_way = False

    async def _look_once(self) -> None:
        try:
            found = await self._look()
        except Exception as error:  # noqa: BLE001 - whatever foreign packages and folders make it stumble over
            logger.bind(event="engine.describe", reason=said(error)).warning(
                "The installed engines could not be looked at again; those in force stay as they were"
            )
            return
        self._take(found)
