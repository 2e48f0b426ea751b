"""The measured times of jobs in the state folder, so that they outlive the worker that measured them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from studio_worker.clock import Clock
from studio_worker.engines.speeds import MAX_JOBS, MAX_PAIRS, Speeds, Times
from studio_worker.errors import ConfigError
from studio_worker.log import logger
from studio_worker.lookout import Lookout
from studio_worker.private_file import read_private, reason, write_atomically
from studio_worker.wire.kinds import TaskKind

NAME = "speeds.json"
"""The file, in the state folder."""

LIMIT_BYTES = 4 * 1024 * 1024
"""Far more than as many models as are remembered take, with the longest names that there are."""

EVERY_SECS = 60.0
"""A worker that is killed loses what it has measured since; the next one measures it again."""

ANSWER_SECS = 2.0
"""What a disk may take where the start or the end of a worker waits for it."""


class SpeedsKeeper:
    """Keeps what a worker measures in its state folder, while it works and at its end.

    Args:
        folder: the state folder.
        clock: for the time between two writes.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._speeds = Speeds()
        self._kept = self._speeds.times()
        self._lookout = Lookout("measured speeds")

    async def open(self) -> Speeds:
        """What workers before this one have measured; this one adds to it. Nothing where the disk gives no answer."""
        try:
            async with asyncio.timeout(ANSWER_SECS):
                self._speeds = await self._lookout.look(partial(read_speeds, self._folder))
        except TimeoutError:
            self._log_silence()
        self._kept = self._speeds.times()
        return self._speeds

    async def run(self) -> None:
        """Write whenever there is something new, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_SECS)
            with suppress(TimeoutError):
                await self._keep()

    async def aclose(self) -> None:
        """Write what is new; a disk that gives no answer holds this up for a moment only."""
        try:
            async with asyncio.timeout(ANSWER_SECS):
                await self._keep()
        except TimeoutError:
            self._log_silence()

    async def _keep(self) -> None:
        if (times := self._speeds.times()) == self._kept:
            return
        await self._lookout.look(partial(write_speeds, self._folder, times))
        self._kept = times

    def _log_silence(self) -> None:
        logger.bind(event="speeds.disk", path=str(self._folder / NAME)).warning(
            "The disk gives no answer for the measured speeds; they are neither read nor kept"
        )


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    engine: str
    key: tuple[str, str, str, int]
    kind: TaskKind
    model: str
    secs: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(min_length=1, max_length=MAX_JOBS)


_FILE = TypeAdapter(Annotated[list[_Entry], Field(max_length=MAX_PAIRS)])


def read_speeds(folder: Path) -> Speeds:
    """What was kept in a state folder; nothing where there is no such file, or none of ours. For a thread."""
    path = folder / NAME
    try:
        entries = _FILE.validate_json(read_private(path, limit_bytes=LIMIT_BYTES))
    except FileNotFoundError:
        return Speeds()
    except (ConfigError, ValidationError) as error:
        why = str(error) if isinstance(error, ConfigError) else "it does not hold what the worker wrote"
        logger.bind(event="speeds.read", path=str(path), reason=why).warning("Measured speeds are forgotten")
        return Speeds()
    return Speeds([Times(each.engine, each.key, each.kind, each.model, tuple(each.secs)) for each in entries])


def write_speeds(folder: Path, times: tuple[Times, ...]) -> None:
    """Keep what `Speeds.times` gave in a state folder; one that cannot be written is logged only. For a thread."""
    path = folder / NAME
    entries = [
        _Entry(engine=each.engine, key=each.key, kind=each.kind, model=each.model, secs=list(each.secs))
        for each in times
    ]
    try:
        write_atomically(path, _FILE.dump_json(entries))
    except OSError as error:
        logger.bind(event="speeds.write", path=str(path), reason=reason(error)).warning(
            "Measured speeds could not be kept"
        )
