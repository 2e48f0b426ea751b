"""Results, cuts, offers, answers, acknowledgements and time in any order: what is sent is what section 5 says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from studio_worker.errors import ResultRejected
from studio_worker.events import JobDelivered, JobFailed
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.delivery import Bounds, Delivery
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.links import ClaimLink
from studio_worker.jobs.results import Artifact, Entry, Kept
from studio_worker.jobs.settlement import Answer
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind

from .conftest import Events, MovedClock, Wire

JOBS = ("a", "b", "c", "d", "e", "f")
BOUNDS = Bounds(results=4, age_secs=86_400.0)
MINE, OTHER = Fingerprint(text="the task"), Fingerprint(text="another task")
RETRIED = st.one_of(
    st.builds(Answer, status=st.sampled_from([None, 302, 408, 425, 429, 500, 503])),
    st.builds(Answer, status=st.sampled_from([429, 503]), retry_after=st.sampled_from(["90", "99999999", "-1", "NaN"])),
)
FINAL = st.one_of(
    st.builds(Answer, status=st.sampled_from([200, 201, 404])),
    st.builds(Answer, status=st.just(409), reason=st.sampled_from([None, "other", "done", "cancelled", "tired"])),
    st.builds(Answer, status=st.sampled_from([400, 403, 410, 413]), text=st.just("no")),
)


def open_journal(folder: Path, clock: MovedClock) -> KeptJournal:
    return KeptJournal(folder, "https://studio.example", clock)


class Uploads:
    """Each upload waits until the test answers it."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None]] = []
        self.under_way: dict[str, asyncio.Future[Answer]] = {}

    async def upload(self, kept: Kept, meanwhile: Callable[[], None]) -> Answer:
        assert kept.job_id not in self.under_way, "one result is uploaded twice at once"
        self.begun.append((kept.job_id, kept.entry.attempt))
        answer = self.under_way[kept.job_id] = asyncio.get_running_loop().create_future()
        try:
            return await answer
        finally:
            del self.under_way[kept.job_id]


@dataclass
class Owed:
    """What must be true of one result.

    Attributes:
        phase: JSON: writing, sent, shelved; binary: uploading, pausing until `due`, signed out, shelved.
        is_stale: whether the job was accepted once more since the upload began.
        refusals: 401s since the last delivery began.
        missed_welcome: whether a session was welcome since the upload began.
        may_be_woken: whether an offer ends its pause: not one that the studio has named, nor one after a 401.
    """

    kept: Kept
    wire: Wire
    phase: str
    attempt: int | None = None
    is_stale: bool = False
    refusals: int = 0
    due: float = 0.0
    missed_welcome: bool = False
    may_be_woken: bool = False

    @property
    def is_json(self) -> bool:
        return self.kept.artifact.json is not None

    @property
    def is_uploaded(self) -> bool:
        return self.phase in ("uploading", "pausing", "signed out")


class Worker(RuleBasedStateMachine):
    @initialize()
    def set_up(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.clock, self.events, self.uploads = MovedClock(), Events(), Uploads()
        self.journal = open_journal(Path(self.folder.name), self.clock)
        self.tasks: set[asyncio.Task[None]] = set()
        self.signed_out = self.delivered = self.failed = 0
        self.owed: dict[str, Owed] = {}
        self.begun: list[tuple[str, int | None]] = []
        self.wires = [Wire()]
        self.told: list[list[tuple[str, str, int | None]]] = [[]]
        self.wanted: list[list[tuple[str, str, int | None]]] = [[]]
        self.wanted_sign_outs = 0
        self.loop.run_until_complete(self.journal.open())
        self.delivery = Delivery(
            journal=self.journal,
            uploads=self.uploads,
            start=self.start_task,
            chronicle=Chronicle(self.events, self.events, self.clock),
            clock=self.clock,
            rng=Random(5),
            signed_out=self.sign_out,
            bounds=BOUNDS,
        )

    # what happens

    @precondition(lambda self: len(self.owed) < len(JOBS))
    @rule(is_json=st.booleans(), attempt=st.sampled_from([None, 1]))
    def a_job_ends_with_a_result(self, is_json: bool, attempt: int | None) -> None:
        job_id = next(job_id for job_id in JOBS if job_id not in self.owed)
        entry = Entry(
            job_id=job_id,
            fingerprint=Fingerprint(text="the task"),
            kind=TaskKind.LLM if is_json else TaskKind.IMAGE,
            model="m",
            engine="e",
            prompt="a cup",
            accepted_at=self.clock.monotonic(),
            attempt=attempt,
        )
        if is_json:
            artifact = Artifact(kind=entry.kind, size=2, json={}, json_text="{}")
        else:
            artifact = Artifact(kind=entry.kind, size=9, ext="png", data=b"a picture")
        link = ClaimLink(self.wire, job_id, attempt)
        self.journal.accept(entry)
        if self.wire.is_open:
            self.do(link.accept)
            self.want("accept", job_id, attempt)
        kept = self.loop.run_until_complete(self.journal.keep(entry, artifact))
        self.owed[job_id] = Owed(kept, self.wire, "new", attempt)
        self.send(self.owed[job_id])
        self.keep_within_bounds()
        self.do(lambda: self.delivery.post(kept, link))

    @precondition(lambda self: self.wire.is_open and self.owed)
    @rule(data=st.data(), attempt=st.sampled_from([None, 2, 3]))
    def the_studio_offers_it_again(self, data: st.DataObject, attempt: int | None) -> None:
        self.offer_again(self.draw(data, list(self.owed.values())), attempt)

    @precondition(lambda self: self.wire.is_open and self.uploads.under_way)
    @rule(data=st.data(), answer=FINAL)
    def the_studio_offers_it_again_and_then_answers_the_upload_from_before(
        self, data: st.DataObject, answer: Answer
    ) -> None:
        owed = self.an_upload(data)
        self.offer_again(owed, 4)
        self.begin_upload(owed)
        self.answer(owed, answer)

    @rule(job_id=st.sampled_from(JOBS))
    def the_studio_offers_another_task_under_its_id_which_is_refused(self, job_id: str) -> None:
        assert not self.adopt(job_id, OTHER, None)

    @rule(job_id=st.sampled_from(JOBS))
    def the_studio_offers_another_task_under_its_id_which_is_taken(self, job_id: str) -> None:
        self.owed.pop(job_id, None)
        assert not self.adopt(job_id, OTHER, None)
        self.do(lambda: self.delivery.give_way(job_id))

    @rule(job_id=st.sampled_from(JOBS))
    def the_studio_acknowledges(self, job_id: str) -> None:
        owed = self.owed.get(job_id)
        if owed is not None and owed.is_json:
            self.delivered += 1
            del self.owed[job_id]
        self.do(lambda: self.delivery.acknowledge(job_id))

    @precondition(lambda self: self.uploads.under_way)
    @rule(data=st.data(), answer=RETRIED)
    def an_upload_is_to_be_tried_again(self, data: st.DataObject, answer: Answer) -> None:
        owed = self.an_upload(data)
        asked_for = {"90": 90.0, "99999999": 600.0}.get(answer.retry_after or "")
        before = len(self.clock.slept)
        is_too_old = self.is_too_old(owed)
        self.answer(owed, answer)
        if is_too_old:
            self.give_up(owed)
            return
        (wait,) = self.clock.slept[before:]
        assert wait == asked_for if asked_for else 0 < wait <= 30.0
        if owed.is_stale and not asked_for:
            self.begin_upload(owed)
            return
        owed.phase, owed.due, owed.may_be_woken = "pausing", self.clock.monotonic() + wait, not asked_for

    @precondition(lambda self: self.uploads.under_way)
    @rule(data=st.data(), answer=FINAL)
    def an_upload_is_answered_for_good(self, data: st.DataObject, answer: Answer) -> None:
        owed = self.an_upload(data)
        job_id = owed.kept.job_id
        if owed.is_stale:
            self.begin_upload(owed)
        elif answer.status == 409 and answer.reason not in ("done", "cancelled"):
            owed.phase = "shelved"
        elif answer.status in (200, 201) or answer.reason == "done":
            self.delivered += 1
            del self.owed[job_id]
        elif answer.status in (404, 409):
            self.failed += 1
            del self.owed[job_id]
        else:
            self.give_up(owed)
        self.answer(owed, answer)

    @precondition(lambda self: self.uploads.under_way)
    @rule(data=st.data())
    def an_upload_finds_the_token_refused(self, data: st.DataObject) -> None:
        owed = self.an_upload(data)
        owed.refusals += 1
        if self.is_too_old(owed):
            self.give_up(owed)
        elif owed.missed_welcome:
            self.sign_in(owed)
        else:
            owed.phase = "signed out"
            self.wanted_sign_outs += 1
        self.answer(owed, Answer(status=401))
        self.note_pauses()

    @precondition(lambda self: self.uploads.under_way)
    @rule(data=st.data())
    def a_spooled_file_is_lost(self, data: st.DataObject) -> None:
        owed = self.an_upload(data)
        self.give_up(owed)
        self.answer(owed, ResultRejected("spool-lost", "gone"))

    @rule(secs=st.sampled_from([0.3, 5.0, 31.0, 601.0, 90_000.0]))
    def time_passes(self, secs: float) -> None:
        now = self.clock.monotonic() + secs
        # In the order in which they fell asleep, which is the order in which they are woken.
        for owed in sorted(self.owed.values(), key=lambda owed: owed.due):
            if owed.phase == "pausing" and owed.due <= now:
                self.begin_upload(owed)
        self.do(lambda: self.clock.advance(secs))

    @rule(is_slow=st.booleans())
    def the_session_is_lost(self, is_slow: bool) -> None:
        for owed in self.owed.values():
            if owed.phase == "writing":
                owed.phase = "shelved"
        self.do(self.wire.cut)

    @rule(holds_writes=st.booleans())
    def a_session_is_welcome(self, holds_writes: bool) -> None:
        self.the_session_is_lost(is_slow=False)
        self.wires.append(Wire(holds_writes=holds_writes))
        self.wanted.append([])
        for owed in self.owed.values():
            owed.missed_welcome = True
            if owed.phase == "sent":
                owed.phase = "shelved"
            elif owed.phase == "signed out":
                self.sign_in(owed)
        self.do(self.delivery.resume)
        self.note_pauses()

    @rule()
    def what_was_posted_is_written(self) -> None:
        for owed in self.owed.values():
            if owed.phase == "writing":
                owed.phase = "sent"
        self.do(self.wire.write)

    # what must hold

    @invariant()
    def nothing_was_sent_but_what_had_to_be(self) -> None:
        for wire, wanted in zip(self.wires, self.wanted, strict=True):
            assert [(frame.type, frame.job_id, frame.attempt) for frame in wire.frames] == wanted

    @invariant()
    def nothing_is_uploaded_but_what_has_to_be(self) -> None:
        assert Counter(self.uploads.begun) == Counter(self.begun)
        assert set(self.uploads.under_way) == {j for j, owed in self.owed.items() if owed.phase == "uploading"}
        assert self.signed_out == self.wanted_sign_outs

    @invariant()
    def whatever_is_not_settled_is_remembered_and_nothing_else(self) -> None:
        assert set(self.journal.owed) == set(self.owed)

    @invariant()
    def it_knows_what_it_does(self) -> None:
        going_on = {j for j, owed in self.owed.items() if owed.is_uploaded or owed.phase == "writing"}
        assert self.delivery.pending == len(going_on)
        assert self.delivery.waiting == len(self.owed) - len(going_on)
        assert self.delivery.uploading == tuple(j for j, owed in self.owed.items() if owed.is_uploaded)

    @invariant()
    def it_is_flushed_once_nothing_is_on_its_way(self) -> None:
        flushed = self.loop.create_task(self.delivery.flushed())
        self.settle()
        on_its_way = [owed for owed in self.owed.values() if owed.phase != "shelved"]
        assert flushed.done() == (not on_its_way)
        flushed.cancel()
        self.settle()

    @invariant()
    def each_end_is_told_once(self) -> None:
        assert len(self.events.of(JobDelivered)) == self.delivered
        assert len(self.events.of(JobFailed)) == self.failed

    def teardown(self) -> None:
        """A studio that takes everything empties it."""
        if not hasattr(self, "loop"):
            return
        self.a_session_is_welcome(holds_writes=False)
        for owed in list(self.owed.values()):
            assert self.adopt(owed.kept.job_id, MINE, None)
        while self.delivery.pending:
            self.do(lambda: self.clock.advance(700.0))
            for answer in list(self.uploads.under_way.values()):
                answer.set_result(Answer(status=200))
            self.settle()
        for job_id in JOBS:
            self.do(lambda job_id=job_id: self.delivery.acknowledge(job_id))
        assert not self.journal.owed
        assert all(task.done() for task in self.tasks)
        self.loop.run_until_complete(self.journal.aclose())
        self.loop.close()
        self.folder.cleanup()

    # what is expected

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def want(self, kind: str, job_id: str, attempt: int | None, wire: Wire | None = None) -> None:
        self.wanted[self.wires.index(wire or self.wire)].append((kind, job_id, attempt))

    def send(self, owed: Owed) -> None:
        """It goes out, unasked or in answer to an offer."""
        if not owed.is_json:
            self.begin_upload(owed)
            owed.refusals = 0
        elif not owed.wire.is_open:
            owed.phase = "shelved"
        else:
            self.want("completeJson", owed.kept.job_id, owed.attempt, owed.wire)
            owed.phase = "writing" if owed.wire._holds else "sent"

    def begin_upload(self, owed: Owed) -> None:
        self.begun.append((owed.kept.job_id, owed.attempt))
        owed.phase, owed.is_stale, owed.missed_welcome = "uploading", False, False

    def sign_in(self, owed: Owed) -> None:
        if owed.refusals == 1:
            self.begin_upload(owed)
        else:
            owed.phase, owed.due, owed.may_be_woken = "pausing", -1.0, False

    def note_pauses(self) -> None:
        """How long those pause who were refused again although a session was welcome."""
        new = [owed for owed in self.owed.values() if owed.due == -1.0]
        for owed, wait in zip(new, self.clock.slept[len(self.clock.slept) - len(new) :], strict=True):
            assert 0 < wait <= 30.0
            owed.due = self.clock.monotonic() + wait

    def is_too_old(self, owed: Owed) -> bool:
        return self.clock.monotonic() - owed.kept.kept_at > BOUNDS.age_secs

    def give_up(self, owed: Owed) -> None:
        """The job fails; the studio is told where the connection of its latest claim still stands."""
        del self.owed[owed.kept.job_id]
        self.failed += 1
        if owed.wire.is_open:
            self.want("fail", owed.kept.job_id, owed.attempt, owed.wire)

    def keep_within_bounds(self) -> None:
        for job_id, owed in list(self.owed.items()):
            if not self.is_too_old(owed):
                return
            if owed.phase in ("sent", "shelved"):
                del self.owed[job_id]

    # what is done

    def start_task(self, work: Any, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        return task

    def sign_out(self) -> None:
        self.signed_out += 1

    def draw(self, data: st.DataObject, owed: list[Owed]) -> Owed:
        return data.draw(st.sampled_from(owed))

    def an_upload(self, data: st.DataObject) -> Owed:
        return self.draw(data, [self.owed[job_id] for job_id in sorted(self.uploads.under_way)])

    def offer_again(self, owed: Owed, attempt: int | None) -> None:
        self.want("accept", owed.kept.job_id, attempt)
        owed.wire, owed.attempt, owed.is_stale = self.wire, attempt, owed.phase == "uploading"
        if not owed.is_uploaded:
            self.send(owed)
        elif owed.phase == "pausing" and owed.may_be_woken:
            self.begin_upload(owed)
        assert self.adopt(owed.kept.job_id, MINE, attempt)

    def adopt(self, job_id: str, mark: Fingerprint, attempt: int | None) -> bool:
        return bool(self.do(lambda: self.delivery.adopt(job_id, mark, ClaimLink(self.wire, job_id, attempt))))

    def answer(self, owed: Owed, answer: Answer | Exception) -> None:
        under_way = self.uploads.under_way[owed.kept.job_id]
        if isinstance(answer, Answer):
            under_way.set_result(answer)
        else:
            under_way.set_exception(answer)
        self.settle()

    def do(self, what: Callable[[], Any]) -> Any:
        async def now() -> Any:
            return what()

        said = self.loop.run_until_complete(now())
        self.settle()
        return said

    def settle(self) -> None:
        async def rest() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rest())


TestAnyOrderOfEvents = Worker.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=settings.default.max_examples * 3 // 5, stateful_step_count=40, deadline=None, print_blob=True
)
