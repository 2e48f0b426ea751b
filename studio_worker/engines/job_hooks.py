"""The plugins' job hooks: called one after another in a thread of each plugin's, so that nobody else waits for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from studio_worker.engines.base import JobInfo, Outcome
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.loading import PluginShelf
from studio_worker.engines.self_report import said
from studio_worker.engines.threads import Crew
from studio_worker.log import logger

if TYPE_CHECKING:
    from loguru import Logger

MAX_WAITING = 1_000
"""Calls of one plugin that may wait for its slow hook; beyond that they are left out."""

SLOW_SECS = 10.0
"""How long a hook may take before the log names it."""

CLOSE_GRACE_SECS = 1.0

_PluginKey: TypeAlias = tuple[str, str, str]


class JobHooks:
    """Calls ``studio_worker_job_started`` and ``studio_worker_job_finished`` of every plugin that has them.

    Args:
        shelf: imports the plugins, each at its first call.
        descriptions: says which plugins have which hooks.
    """

    def __init__(self, shelf: PluginShelf, descriptions: Sequence[EngineDescription]) -> None:
        self._shelf = shelf
        self._listeners: dict[_PluginKey, _Listener] = {}
        self._is_closed = False
        self.use(descriptions)

    def use(self, descriptions: Sequence[EngineDescription]) -> None:
        """From now on call the hooks of these plugins; of those with an engine that is disabled or broken, none."""
        unused = {_plugin(engine) for engine in descriptions if engine.status in ("disabled", "broken")}
        owners = {_plugin(engine): engine for engine in descriptions if engine.hooks}
        self._owners = {plugin: owner for plugin, owner in owners.items() if plugin not in unused}

    @property
    def is_empty(self) -> bool:
        """Whether nobody listens."""
        return not self._owners

    def job_started(self, job: JobInfo) -> None:
        """A job is about to run."""
        self._post("studio_worker_job_started", {"job": job})

    def job_finished(self, job: JobInfo, outcome: Outcome) -> None:
        """A job has ended."""
        self._post("studio_worker_job_finished", {"job": job, "outcome": outcome})

    async def aclose(self) -> None:
        """Let the calls that wait end, for a second at most."""
        self._is_closed = True
        listeners, self._listeners = list(self._listeners.values()), {}
        await asyncio.gather(*(listener.aclose() for listener in listeners))

    def _post(self, hook: str, values: dict[str, Any]) -> None:
        if self._is_closed:
            return
        for plugin, owner in self._owners.items():
            if hook in owner.hooks:
                if plugin not in self._listeners:
                    self._listeners[plugin] = _Listener(self._shelf, owner)
                self._listeners[plugin].post(hook, values)


class _Listener:
    """The hooks of one plugin. All but `_call` belongs to the event loop."""

    def __init__(self, shelf: PluginShelf, owner: EngineDescription) -> None:
        self._shelf = shelf
        self._owner = owner
        self._crew = Crew(f"job-hooks-{owner.plugin}", 1)
        self._room = threading.Semaphore(MAX_WAITING)
        self._at_work: tuple[str, float] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._has_overflowed = False
        self._is_named = False

    def post(self, hook: str, values: dict[str, Any]) -> None:
        """Have a hook called, in its turn."""
        if not self._room.acquire(blocking=False):
            if not self._has_overflowed:
                self._has_overflowed = True
                self._logger(hook).warning("Job hooks are slower than the jobs; some are not called")
            return
        self._crew.submit(lambda: self._call(hook, values))
        if self._watch is None and not self._is_named:
            self._watch_for(SLOW_SECS)

    async def aclose(self) -> None:
        """Let the calls that wait end, for a second at most."""
        if self._watch is not None:
            self._watch.cancel()
        last = asyncio.wrap_future(self._crew.submit(lambda: None))
        self._crew.close()
        await asyncio.wait([last], timeout=CLOSE_GRACE_SECS)
        last.cancel()

    def _call(self, hook: str, values: dict[str, Any]) -> None:
        self._at_work = (hook, time.monotonic())
        try:
            self._shelf.plugin(self._owner).hook(hook)(**values)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a hook is a plugin's fault like any other
            self._logger(hook).bind(reason=said(error)).error("A job hook of a plugin failed")
        finally:
            self._at_work = None
            self._room.release()

    def _watch_for(self, secs: float) -> None:
        self._watch = asyncio.get_running_loop().call_later(secs, self._look)

    def _look(self) -> None:
        """Name a hook that is slow, once."""
        at_work, self._watch = self._at_work, None
        if at_work is None:
            if not self._crew.is_free:
                self._watch_for(SLOW_SECS)
            return
        hook, since = at_work
        left = since + SLOW_SECS - time.monotonic()
        if left > 0:
            self._watch_for(left)
            return
        self._is_named = True
        self._logger(hook).bind(secs=SLOW_SECS).warning("A job hook of a plugin takes long; its later calls wait")

    def _logger(self, hook: str) -> Logger:
        return logger.bind(event="engine.hook", hook=hook, plugin=self._owner.plugin)


def _plugin(engine: EngineDescription) -> _PluginKey:
    return (engine.distribution, engine.plugin, engine.environment)
