"""The journal under any order of steps, with clean ends and sudden ones: the promise holds after each of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from studio_worker.clock import SystemClock
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.results import Artifact, Entry
from studio_worker.jobs.settlement import Done, Gone, Refused
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps

JOBS = st.sampled_from(["a", "b", "c"])
ENDS = st.sampled_from([Done(), Gone(True, "done"), Gone(False, "cancelled"), Refused("no")])


class Lives(RuleBasedStateMachine):
    """A model of what is kept, beside a real journal on a real disk."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.kept: dict[str, bytes] = {}
        self.waiting: set[str] = set()
        self.running: set[str] = set()
        self.given: dict[str, object] = {}
        self.begin()

    def do(self, work):
        return self.loop.run_until_complete(work)

    def begin(self) -> None:
        async def start():
            self.journal = KeptJournal(self.folder, "https://studio.test", SystemClock())
            await self.journal.open()
            return {each.kept.job_id: each for each in await self.journal.recall("w-1")}

        recalled = self.do(start())
        assert set(recalled) == set(self.kept)
        for job_id, each in recalled.items():
            data = self.kept[job_id]
            if each.kept.artifact.json is None:
                assert each.kept.file.read_bytes() == data
                assert each.is_unsent == (job_id not in self.waiting)
            else:
                assert each.kept.artifact.json_text.encode() == data
                assert not each.is_unsent
        self.given = {job_id: each.kept for job_id, each in recalled.items()}
        self.running = set()

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
        if job_id not in self.kept:
            self.running.add(job_id)
            self.journal.accept(self.entry(job_id))

    @rule(job_id=JOBS)
    def commit(self, job_id: str) -> None:
        self.do(self.journal.committed(self.entry(job_id)))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), content=st.binary(min_size=1, max_size=300), is_json=st.booleans())
    def keep(self, data, content: bytes, is_json: bool) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(job_id)
        if is_json:
            value = {"text": content.hex()}
            text = dumps(value)
            artifact = Artifact(kind=TaskKind.LLM, size=len(text), json=value, json_text=text)
        else:
            artifact = Artifact(kind=TaskKind.IMAGE, size=len(content), ext="png", data=content)
        self.given[job_id] = self.do(self.journal.keep(self.entry(job_id), artifact))
        self.kept[job_id] = text.encode() if is_json else content

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), stage=st.sampled_from([Stage.WAITING, Stage.DELIVERING]))
    def mark(self, data, stage: Stage) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.kept)))
        self.journal.mark(self.given[job_id], stage)
        (self.waiting.add if stage is Stage.WAITING else self.waiting.discard)(job_id)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), settlement=ENDS)
    def settle(self, data, settlement) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.kept)))
        self.journal.close(self.given.pop(job_id), settlement)
        del self.kept[job_id]
        self.waiting.discard(job_id)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(job_id)
        self.journal.drop(self.entry(job_id), "it broke")

    @rule(is_clean=st.booleans())
    def restart(self, is_clean: bool) -> None:
        async def stop():
            if not is_clean:
                # What a process that dies now has written; the rest of its end is not allowed to add anything.
                await self.journal._batches.commit_all()
                self.journal._live.clear()
            await self.journal.aclose()

        self.do(stop())
        self.begin()

    @invariant()
    def owes_what_is_kept_and_what_runs(self) -> None:
        assert set(self.journal.owed) == set(self.kept) | self.running
        assert self.journal.trouble is None

    def teardown(self) -> None:
        self.do(self.journal.aclose())
        self.loop.close()
        shutil.rmtree(self.folder)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
