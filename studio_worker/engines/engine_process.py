"""One engine's child, as the worker keeps it: its runs, its questions, and how all of them end when it ends.

Nothing here waits: messages and timers move it on, and one task, `gone`, sees it to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studio_worker.engines.base import EngineJob
from studio_worker.engines.child_end import ChildEnd, EndListener
from studio_worker.engines.child_folders import ChildFolders
from studio_worker.engines.child_process import ChildProcess
from studio_worker.engines.engine_voice import EngineVoice
from studio_worker.engines.interpreter import OWN, Interpreter
from studio_worker.engines.job_wire import pack_job
from studio_worker.engines.messages import (
    Cancel,
    Chunk,
    Done,
    Estimate,
    Estimated,
    Failed,
    Loaded,
    Log,
    Open,
    Progress,
    Ready,
    Refused,
    Run,
    Started,
    Unload,
    Unloaded,
    Up,
)
from studio_worker.engines.process_group import group_is_gone, living_members
from studio_worker.engines.run_in_child import RunInChild
from studio_worker.engines.strays import MARK, end_strays
from studio_worker.engines.working import ChunkCallback
from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles

START_SECS = 60.0
"""From the start of the child to its engine; entry modules import nothing heavy."""

UNLOAD_SECS = 2.0
"""How long an engine may take to unload before its process is ended."""

TERM_SECS = 1.0
"""Between SIGTERM and SIGKILL."""

BROKEN_SECS = 0.1
"""How long a child that has closed its pipe may take to end of itself: then its status says more."""

GONE_SECS = 2.0
"""How long the process group is looked for after SIGKILL."""


class EngineProcess:
    """One child that serves one engine. Made by `start`.

    Args:
        name: the engine's name, for sentences.
        ends: told of its end.
        folders: where its temporary files go.
        how: what becomes known of its end.
    """

    def __init__(self, name: str, ends: EndListener, folders: ChildFolders, how: ChildEnd) -> None:
        self._name = name
        self._ends = ends
        self._folders = folders
        self._how = how
        self._loop = asyncio.get_running_loop()
        self._voice = EngineVoice(name, self._loop.time)
        self._runs: dict[int, RunInChild] = {}
        self._calls: dict[int, asyncio.Future[Up | None]] = {}
        self._numbers = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._starting: asyncio.TimerHandle | None = None
        self._is_retiring = False
        self._process = ChildProcess(self)
        self._end: asyncio.Task[None]
        self.is_gone = False
        self.is_ready = False

    @classmethod
    async def start(
        cls,
        name: str,
        opening: Open,
        variables: Mapping[str, str],
        *,
        interpreter: Interpreter = OWN,
        ends: EndListener,
        folders: ChildFolders,
        oom_kills: Callable[[], int | None],
    ) -> EngineProcess:
        """A new child; its first runs may be begun at once.

        Args:
            name: the engine's name.
            opening: what it is to serve.
            variables: what its environment gets.
            interpreter: what it runs on.
            ends: as above.
            folders: as above.
            oom_kills: how many processes the system has killed for their memory so far; asked in a thread.

        Raises:
            EngineError: no process could be started.
        """
        process = cls(name, ends, folders, await asyncio.to_thread(ChildEnd, oom_kills))
        try:
            folder = await asyncio.to_thread(folders.make)
            try:
                own = dict.fromkeys(("TMPDIR", "TEMP", "TMP", MARK), str(folder))
                await process._process.start({**variables, **own}, interpreter)
            except BaseException:
                await asyncio.to_thread(folders.remove, folder)
                raise
        except OSError as error:
            why = error.strerror or error
            raise EngineError(f"the process of engine '{name}' could not be started: {why}") from None
        process._process.send(opening)
        process._starting = process._later(START_SECS, process._start_ran_out)
        process._end = asyncio.create_task(process._see_to_the_end(folder), name=f"engine-{name}")
        return process

    @property
    def is_usable(self) -> bool:
        """Whether new runs may be begun."""
        return self._how.ending is None and not self._is_retiring and not self._process.has_exited

    @property
    def is_busy(self) -> bool:
        """Whether a run, or a question, is not answered yet."""
        return bool(self._runs or self._calls)

    def begin(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None) -> RunInChild:
        """Start a run."""
        run = RunInChild(self._number(), job, on_chunk, self._loop.create_future())
        self._process.send(Run(run.number, pack_job(job, model), on_chunk is not None))
        self._voice.begins(job.id, alone=self.is_ready and not self._runs)
        self._runs[run.number] = run
        return run

    def cancel(self, run: RunInChild, *, grace_secs: float, hangs: str | None = None) -> None:
        """Ask a run to stop; the child is ended where it still works `grace_secs` later.

        Args:
            run: a run of this child.
            grace_secs: how long it may take.
            hangs: why it is ended, where that speaks against the engine.
        """
        if run.number in self._runs:
            self._process.send(Cancel(run.number))
            self._later(grace_secs, lambda: self._grace_ran_out(run, hangs))

    async def ask(self, question: Callable[[int], Estimate | Unload]) -> Up | None:
        """The answer to a question; None where the child ends without one."""
        number = self._number()
        answer: asyncio.Future[Up | None] = self._loop.create_future()
        self._calls[number] = answer
        self._process.send(question(number))
        try:
            return await answer
        finally:
            self._calls.pop(number, None)

    def retire(self) -> None:
        """Let the engine unload, then end; for a child without runs."""
        if self.is_usable:
            self._is_retiring = True
            self._process.send(Unload(self._number()))
            self._later(UNLOAD_SECS, lambda: self.end("it was not needed any more"))

    def end(self, why: str, *, is_death: bool = False) -> None:
        """End the child with everything that it started: SIGTERM, then SIGKILL.

        Args:
            why: the end of a sentence of "it", for the runs that this ends.
            is_death: whether the engine is to blame.
        """
        if self._how.ending is None and not self._process.has_exited:
            self._how.ending, self._how.is_blamed = why, is_death
            self._process.end(is_hard=False)
            self._later(TERM_SECS, self._process.end)

    async def gone(self) -> bool:
        """Wait for the end; whether nothing of the process group is left."""
        await asyncio.wait([self._end])
        return self.is_gone

    def told(self, message: Up) -> None:
        """A message has come."""
        match message:
            case Ready():
                self.is_ready = True
                self._started_up()
            case Refused(reason):
                self._how.refusal = reason
                self.end("its engine could not be built")
            case Estimated(call) | Unloaded(call):
                self._answered(call, message)
            case Log(number):
                run = self._runs.get(number) if number is not None else None
                self._voice.said(message, run.job.id if run is not None else None)
            case Started(number) | Loaded(number) | Progress(number) | Chunk(number) | Done(number) | Failed(number):
                if (run := self._runs.get(number)) is None:
                    self._voice.spoke_late()
                elif run.heard(message):
                    self._ended(run)
            case _:
                self.broke("it broke the pipe to the worker: it answers what nobody asked")

    def printed(self, data: bytes) -> None:
        """Something was printed."""
        self._voice.printed(data)

    def broke(self, reason: str) -> None:
        """The child cannot be understood any more; one that is ending closes its pipe for that reason."""
        if not self._process.has_exited:
            self._later(BROKEN_SECS, lambda: self.end(reason, is_death=True))

    def _ended(self, run: RunInChild) -> None:
        self._runs.pop(run.number, None)
        run.let_go.set_result(None)

    def _answered(self, call: int, message: Up) -> None:
        if (answer := self._calls.get(call)) is not None and not answer.done():
            answer.set_result(message)
        elif self._is_retiring:
            self.end("it was not needed any more")

    def _started_up(self) -> None:
        if self._starting is not None:
            self._starting.cancel()

    def _start_ran_out(self) -> None:
        self.end(f"it did not start within {START_SECS:g} s", is_death=True)

    def _grace_ran_out(self, run: RunInChild, hangs: str | None) -> None:
        if run.number in self._runs:
            why = f"it hung ({hangs})" if hangs is not None else "a cancelled job did not stop when it was asked to"
            self.end(why, is_death=hangs is not None)

    async def _see_to_the_end(self, folder: Path) -> None:
        """The one task of this child: from its start to the end of everything that it started."""
        try:
            await self._process.ended()
            if self._how.ending is None and self._process.was_killed:
                await asyncio.to_thread(self._how.look)
        finally:
            for timer in self._timers:
                timer.cancel()
            self._voice.close()
            self._fail_runs()
        left = await self._end_what_is_left(folder)
        self.is_gone = not left
        for run in list(self._runs.values()):
            self._ended(run)
        if left:
            logger.bind(event="engine.process", engine=self._name, pids=left).error(
                "Processes of an engine cannot be ended and may hold memory"
            )
        await asyncio.to_thread(self._folders.remove, folder)
        if self.is_gone:
            self._ends.gone()

    async def _end_what_is_left(self, folder: Path) -> list[int]:
        """What of the child's group, or of what it started besides, cannot be ended."""
        pid, left = self._process.pid, []
        if not await group_is_gone(pid, within_secs=GONE_SECS):
            left = await asyncio.to_thread(living_members, pid)
        return left + await asyncio.to_thread(end_strays, folder, within_secs=GONE_SECS)

    def _fail_runs(self) -> None:
        """End what waits. A run that nobody waits for lets go later, when the whole group is gone."""
        why = self._how.why(self._process, self._voice.last_words)
        models = [run.job.model for run in self._runs.values()]
        if self._how.is_death:
            self._ends.died(models[0] if models else None, why, has_begun=self.is_ready)
        error = self._how.error(self._name, why)
        for run in list(self._runs.values()):
            if run.is_lost(error):
                self._ended(run)
        for answer in self._calls.values():
            if not answer.done():
                answer.set_result(None)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _later(self, secs: float, call: Callable[[], Any]) -> asyncio.TimerHandle:
        timer = self._loop.call_later(secs, call)
        self._timers = {each for each in self._timers if not each.cancelled() and each.when() > self._loop.time()}
        self._timers.add(timer)
        return timer
