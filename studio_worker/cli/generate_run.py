"""One local job through a worker of its own: no studio, a state folder that goes with it, the operator's models.

That folder is locked while this process lives, so that the next call removes what a killed one has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_worker.cli.generate_display import Display
from studio_worker.cli.generate_order import Order
from studio_worker.cli.signals import SignalLadder, break_off
from studio_worker.config import Config
from studio_worker.engines.base import Result, TextDelta
from studio_worker.engines.child_folders import ChildFolders
from studio_worker.errors import JobCancelled
from studio_worker.events import JobProgress
from studio_worker.local_job import Job
from studio_worker.models.ledger import ledger_path
from studio_worker.worker import Worker

PREFIX = "studio-worker-generate-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A result, and how it was made.

    Attributes:
        result: what the engine returned, checked.
        meta: engine, model, seed, seconds, and what the engine itself says.
        start_secs: until the worker was ready: engines looked at, folders made.
        job_secs: from the submission to the result.
    """

    result: Result
    meta: Mapping[str, Any]
    start_secs: float
    job_secs: float


def run_order(order: Order, settings: Config, shown: Display, on_text: Callable[[str], None] | None) -> Done:
    """Run one job to its end; blocks, with this process's signals in hand.

    Args:
        order: the job.
        settings: the operator's; studio and state folder are left alone, so that a worker may run beside this.
        shown: told how far the job is.
        on_text: takes the pieces of an answer as they come; None: the result alone is wanted.

    Raises:
        JobError: what ended the job.
        KeyboardInterrupt: a signal ended it; a second one ends the process at once, status 130.
    """
    folders = ChildFolders(prefix=PREFIX)
    try:
        folders.sweep()
        return asyncio.run(_run(order, settings, folders.make(), shown, on_text))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        folders.close()


async def _run(
    order: Order, settings: Config, home: Path, shown: Display, on_text: Callable[[str], None] | None
) -> Done:
    interruption = _Interruption()
    with SignalLadder(interruption.begin, break_off):
        begun = time.monotonic()
        shown.show("starting")
        # Hashes of model files, and which of them are the worker's own, outlive this call.
        ledger = ledger_path(settings.state_path)
        async with Worker(settings.beside(home, api_base_url=None), ledger=ledger) as worker:
            ready = time.monotonic()
            job = interruption.job = worker.submit(
                order.task,
                model=order.model,
                source=order.source,
                inputs=order.inputs,
                files=order.files,
                seed=order.seed,
                stream=on_text is not None,
            )
            if order.files or (order.source is not None and order.source.files):
                shown.show("loading")
            await _follow(job, shown, on_text)
            try:
                result = await job
            except JobCancelled:
                if interruption.has_begun:
                    raise asyncio.CancelledError from None
                raise
            return Done(result=result, meta=job.meta, start_secs=ready - begun, job_secs=time.monotonic() - ready)


async def _follow(job: Job, shown: Display, on_text: Callable[[str], None] | None) -> None:
    async for news in job:
        if isinstance(news, JobProgress):
            shown.show(news.stage, news.step, news.total)
        elif isinstance(news, TextDelta) and news.text and on_text is not None:
            shown.hide()
            on_text(news.text)


class _Interruption:
    """What a signal does: it asks the job to end, as a studio would; before there is one it ends the call."""

    def __init__(self) -> None:
        self._call = asyncio.current_task()
        self.job: Job | None = None
        self.has_begun = False

    def begin(self) -> None:
        self.has_begun = True
        is_asked = self.job is not None and self.job.cancel("interrupted")
        if not is_asked and self._call is not None:
            self._call.cancel()
