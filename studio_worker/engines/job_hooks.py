"""The plugins' job hooks: called one after another in a thread of their own, so that no job waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from studio_worker.engines.base import JobInfo, Outcome
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.loading import PluginShelf
from studio_worker.engines.self_report import said
from studio_worker.engines.threads import Crew
from studio_worker.log import logger

MAX_WAITING = 1_000
"""Calls that may wait for a slow hook; beyond that they are left out."""

CLOSE_GRACE_SECS = 1.0


class JobHooks:
    """Calls ``studio_worker_job_started`` and ``studio_worker_job_finished`` of every plugin that has them.

    Args:
        shelf: imports the plugins, at the first call.
        descriptions: says which plugins have which hooks.
    """

    def __init__(self, shelf: PluginShelf, descriptions: Sequence[EngineDescription]) -> None:
        self._shelf = shelf
        self._crew = Crew("job-hooks", 1)
        self._room = threading.Semaphore(MAX_WAITING)
        self._is_used = False
        self._is_closed = False
        self._has_overflowed = False
        self.use(descriptions)

    def use(self, descriptions: Sequence[EngineDescription]) -> None:
        """From now on call the hooks of these plugins; of those with an engine that is disabled or broken, none."""
        unused = {_plugin(engine) for engine in descriptions if engine.status in ("disabled", "broken")}
        owners = {_plugin(engine): engine for engine in descriptions if engine.hooks}
        self._owners = tuple(owner for plugin, owner in owners.items() if plugin not in unused)

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
        last = self._crew.submit(lambda: None) if self._is_used and not self._is_closed else None
        self._is_closed = True
        self._crew.close()
        if last is not None:
            _, late = await asyncio.wait([asyncio.wrap_future(last)], timeout=CLOSE_GRACE_SECS)
            for future in late:
                future.cancel()

    def _post(self, hook: str, values: dict[str, Any]) -> None:
        for owner in self._owners:
            if hook not in owner.hooks or self._is_closed:
                continue
            if not self._room.acquire(blocking=False):
                if not self._has_overflowed:
                    self._has_overflowed = True
                    logger.bind(event="engine.hook", hook=hook, plugin=owner.plugin).warning(
                        "Job hooks are slower than the jobs; some are not called"
                    )
                return
            self._is_used = True
            self._crew.submit(partial(self._call, owner, hook, values))

    def _call(self, owner: EngineDescription, hook: str, values: dict[str, Any]) -> None:
        try:
            self._shelf.plugin(owner).hook(hook)(**values)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a hook is a plugin's fault like any other
            logger.bind(event="engine.hook", hook=hook, plugin=owner.plugin, reason=said(error)).error(
                "A job hook of a plugin failed"
            )
        finally:
            self._room.release()


def _plugin(engine: EngineDescription) -> tuple[str, str, str]:
    return (engine.distribution, engine.plugin, engine.environment)
