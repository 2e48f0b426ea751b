"""Offers, cuts, answers and cancels in any order: the promises of the wire hold in each."""

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.engines.base import LlmResult
from studio_worker.jobs.settlement import Answer

JOBS = ("a", "b", "c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from(JOBS), st.sampled_from(["llm", "image"]), st.integers(0, 1)),
        st.tuples(st.just("finish")),
        st.tuples(st.just("break")),
        st.tuples(st.just("reconnect")),
        st.tuples(st.just("acknowledge"), st.sampled_from(JOBS)),
        st.tuples(st.just("answer"), st.sampled_from([200, 404, 409, 413, 503, 401])),
        st.tuples(st.just("cancel"), st.sampled_from(JOBS)),
        st.tuples(st.just("wait"), st.floats(0.1, 700)),
        st.tuples(st.just("pause")),
        st.tuples(st.just("resume")),
    ),
    max_size=16,
)


@dataclass
class Studio:
    """What a studio does to the room, step by step, and what it has seen."""

    room: object
    make_wire: object
    claim: object

    def __post_init__(self):
        self.wires = [self.make_wire()]
        self.fails_next = False
        self.room.engine.gate.clear()

    @property
    def wire(self):
        return self.wires[-1]

    def offer(self, job_id, kind, version):
        task = {"maxTokens": 5 + version} if kind == "llm" else {"steps": 5 + version}
        self.room.offer(self.wire, self.claim(kind, job_id, task=task))

    def finish(self):
        self.room.engine.behaviour = None
        self.room.engine.gate.set()

    def break_(self):
        async def broken(job):
            return LlmResult({"wrong": "shape"}) if job.task.kind == "llm" else None

        self.room.engine.behaviour = broken
        self.room.engine.gate.set()

    def reconnect(self):
        self.wire.cut()
        self.wires.append(self.make_wire())
        self.room.delivery.resume()

    def acknowledge(self, job_id):
        self.room.delivery.acknowledge(job_id)

    def answer(self, status):
        self.room.uploads.answers.append(Answer(status=status))

    def cancel(self, job_id):
        self.room.desk.cancel(job_id, "not wanted")

    def wait(self, secs):
        self.room.clock.advance(secs)

    def pause(self):
        self.room.desk.pause()

    def resume(self):
        self.room.desk.resume()


async def settle(room):
    """Let tasks and their threads come to rest: nothing of the room moves any more."""
    still = 0
    before = None
    while still < 3:
        await asyncio.sleep(0.001)
        now = (len(room.uploads.seen), room.engine.runs, len(room.events.events), len(asyncio.all_tasks()))
        still = still + 1 if now == before else 0
        before = now


def check_wire(wire):
    """Each message about a job comes under an accept, and each accept has one end at most."""
    open_claims = Counter()
    for frame in wire.frames:
        if frame.type == "accept":
            open_claims[frame.job_id] += 1
        elif frame.type in ("fail", "completeJson"):
            assert open_claims[frame.job_id] > 0, f"{frame.type} without an accept"
            open_claims[frame.job_id] -= 1


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_events_keeps_the_promises(open_room, make_wire, claim, steps):
    async def play():
        with tempfile.TemporaryDirectory() as folder:
            async with open_room(Path(folder)) as room:
                studio = Studio(room, make_wire, claim)
                for name, *arguments in steps:
                    getattr(studio, {"break": "break_"}.get(name, name))(*arguments)
                    await settle(room)
                studio.finish()
                studio.resume()
                room.uploads.answers.clear()
                studio.reconnect()
                for _ in range(5):
                    await settle(room)
                    room.clock.advance(700)
                await asyncio.wait_for(room.desk.drained(), 10)
                await asyncio.wait_for(room.delivery.flushed(), 10)
                for wire in studio.wires:
                    check_wire(wire)
                studio.wires.append(make_wire())
                room.offer(studio.wire, claim(job_id="last"))
                await studio.wire.until("completeJson", "last")
                room.delivery.acknowledge("last")
                assert room.delivery.pending == 0
                assert len(room.journal.owed) == room.delivery.waiting

    asyncio.run(play())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.booleans(), max_size=6), kind=st.sampled_from(["llm", "image"]))
def test_a_kept_result_is_never_made_again_however_often_its_job_is_offered(open_room, make_wire, claim, cuts, kind):
    async def play():
        with tempfile.TemporaryDirectory() as folder:
            async with open_room(Path(folder)) as room:
                room.uploads.answers = [Answer(status=409)] * 10
                studio = Studio(room, make_wire, claim)
                studio.finish()
                studio.offer("a", kind, 0)
                await settle(room)
                for cut in cuts:
                    if cut:
                        studio.reconnect()
                    studio.offer("a", kind, 0)
                    await settle(room)
                assert room.engine.runs == 1
                for wire in studio.wires:
                    check_wire(wire)

    asyncio.run(play())
