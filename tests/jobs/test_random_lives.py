"""The journal under any order of steps, with clean ends and sudden ones: the promise holds after each of them.

A sudden end is one between two writes: what the journal's thread and the spool's have not begun is never done. What
an end within a write leaves is the matter of the tests of faults.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from studio_worker.clock import SystemClock
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.journal import Recalled
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.results import Artifact, Entry, Kept
from studio_worker.jobs.settlement import Done, Gone, Refused
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps

JOBS = st.sampled_from(["a", "b", "c"])
ENDS = st.sampled_from([Done(), Gone(True, "done"), Gone(False, "cancelled"), Refused("no")])


@dataclass
class Result:
    """What must be true of a kept result.

    Attributes:
        content: its bytes.
        kept: as the journal gave it.
        is_written: whether it is known to be on the disk.
        waits: whether the studio has called the job not ours: what may be on the disk, and the latest word last.
    """

    content: bytes
    kept: Kept
    is_written: bool = False
    waits: list[bool] = field(default_factory=lambda: [False])

    @property
    def is_json(self) -> bool:
        return self.kept.artifact.json is not None

    @property
    def is_safe(self) -> bool:
        safe = self.kept.safe
        return self.is_written or (safe is not None and safe.done() and safe.exception() is None)

    def is_given(self, recalled: Recalled) -> bool:
        """Whether this is what a later life has found."""
        if self.is_json != (recalled.kept.artifact.json is not None) or content_of(recalled.kept) != self.content:
            return False
        return not recalled.is_unsent if self.is_json else (not recalled.is_unsent) in self.waits


def content_of(kept: Kept) -> bytes | None:
    """The bytes of a result; None for a file that is not what was kept, which is found on its way to the studio."""
    if kept.artifact.json is not None:
        return kept.artifact.json_text.encode()
    # A file may be longer than its result: it was another's before.
    data = kept.file.read_bytes()[: kept.artifact.size]
    return data if checksum_of([data]) == kept.checksum else None


def end_thread(work: SimpleQueue[Any], thread: threading.Thread) -> None:
    try:
        while True:
            work.get_nowait()
    except Empty:
        work.put(None)
    thread.join()


def end_suddenly(journal: KeptJournal, loop: asyncio.AbstractEventLoop) -> None:
    """The threads do no more than they have begun, and only then does the loop go on, so that it can be closed."""
    end_thread(journal._database._work, journal._database._thread)
    end_thread(journal._spool._thread._calls, journal._spool._thread._thread)
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


class Lives(RuleBasedStateMachine):
    """A model of what is kept, beside a real journal on a real disk."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.results: dict[str, Result] = {}
        self.settled: list[Result] = []
        self.running: set[str] = set()
        self.begin()

    def do(self, work):
        return self.loop.run_until_complete(work)

    def begin(self) -> None:
        """A new life: it is given what is safe, and nothing that was never kept."""

        async def start():
            self.journal = KeptJournal(self.folder, "https://studio.test", SystemClock())
            await self.journal.open()
            return {each.kept.job_id: each for each in await self.journal.recall("w-1")}

        self.loop = asyncio.new_event_loop()
        recalled = self.do(start())
        known, self.results, self.running = self.results, {}, set()
        safe = {job_id for job_id, result in known.items() if result.is_safe}
        for job_id, each in recalled.items():
            if content_of(each.kept) is None:
                self.journal.close(each.kept, Refused("it is not what was kept"))
                continue
            # Where the end of a result did not reach the disk, it is given again.
            candidates = [known[job_id]] if job_id in known else []
            candidates += [result for result in self.settled if result.kept.job_id == job_id]
            assert [result for result in candidates if result.is_given(each)], f"{job_id} was never kept like this"
            assert job_id not in safe or known[job_id].is_given(each)
            is_waiting = each.kept.artifact.json is None and not each.is_unsent
            content = content_of(each.kept)
            self.results[job_id] = Result(content, each.kept, is_written=True, waits=[is_waiting])
        assert safe <= set(self.results)
        self.settled = []

    def entry(self, job_id: str) -> Entry:
        return Entry(
            job_id=job_id,
            fingerprint=Fingerprint(text=job_id),
            kind=TaskKind.IMAGE,
            model="m",
            engine="e",
            prompt="p",
            accepted_at=0.0,
        )

    @rule(job_id=JOBS)
    def accept(self, job_id: str) -> None:
        if job_id not in self.results and job_id not in self.running:
            self.running.add(job_id)
            self.journal.accept(self.entry(job_id))

    @rule(job_id=JOBS)
    def commit(self, job_id: str) -> None:
        self.do(self.journal.committed(self.entry(job_id)))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), content=st.binary(min_size=1, max_size=300), form=st.sampled_from(["json", "bytes", "file"]))
    def keep(self, data, content: bytes, form: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(job_id)
        if form == "json":
            value = {"text": content.hex()}
            content = dumps(value).encode()
            artifact = Artifact(kind=TaskKind.LLM, size=len(content), json=value, json_text=content.decode())
        else:
            made = self.folder / "made"
            made.write_bytes(content)
            artifact = Artifact(
                kind=TaskKind.IMAGE, size=len(content), ext="png", data=made if form == "file" else content
            )
        kept = self.do(self.journal.keep(self.entry(job_id), artifact))
        self.results[job_id] = Result(content, kept, is_written=form == "file")

    @precondition(lambda self: self.results)
    @rule(data=st.data(), stage=st.sampled_from([Stage.WAITING, Stage.DELIVERING]))
    def mark(self, data, stage: Stage) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.results)))
        self.journal.mark(self.results[job_id].kept, stage)
        self.results[job_id].waits.append(stage is Stage.WAITING)

    @precondition(lambda self: self.results)
    @rule(data=st.data(), settlement=ENDS)
    def settle(self, data, settlement) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.results)))
        result = self.results.pop(job_id)
        self.journal.close(result.kept, settlement)
        self.settled.append(result)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(job_id)
        self.journal.drop(self.entry(job_id), "it broke")

    @rule()
    def time_passes(self) -> None:
        """All that has changed reaches the disk."""

        async def written():
            await asyncio.gather(*(each.kept.safe for each in self.results.values() if each.kept.safe is not None))
            assert await self.journal._batches.commit_all()

        self.do(written())
        self.note_written()

    @rule()
    def end_cleanly_and_begin(self) -> None:
        self.do(self.journal.aclose())
        self.loop.close()
        self.note_written()
        self.begin()

    @rule()
    def end_suddenly_and_begin(self) -> None:
        end_suddenly(self.journal, self.loop)
        self.begin()

    def note_written(self) -> None:
        self.settled = []
        for result in self.results.values():
            result.is_written, result.waits = True, result.waits[-1:]

    @invariant()
    def owes_what_is_kept_and_what_runs(self) -> None:
        assert set(self.journal.owed) == set(self.results) | self.running
        assert self.journal.trouble is None

    def teardown(self) -> None:
        self.do(self.journal.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
