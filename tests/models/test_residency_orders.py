"""Requests, ends, deaths, cancels and unloads in any order: memory is never overdrawn, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from studio_worker.models.residency import Lease, Need, Residency
from studio_worker.testing.clocks import HandClock

BUDGET = {"cpu": 12, "cuda:0": 8, "cuda:1": 6}
NEEDS = {
    need.key: need
    for need in (
        Need(key="a", engine="toy", ram_bytes=5, reload_secs=1),
        Need(key="b", engine="toy", ram_bytes=9, reload_secs=5),
        Need(key="c", engine="toy", device="cuda:0", ram_bytes=2, vram_bytes=6, reload_secs=30),
        Need(key="d", engine="toy", device="cuda:0", vram_bytes=3, reload_secs=2),
        Need(key="e", engine="toy", device="cuda:1", ram_bytes=4, vram_bytes=4, reload_secs=10),
        Need(key="f", engine="toy", device="cuda:1", ram_bytes=1, vram_bytes=5, reload_secs=0),
        Need(key="g", engine="toy", ram_bytes=1, place="process"),
        Need(key="h", engine="toy", device="cuda:0", vram_bytes=1, place="process"),
    )
}
ROOM = {**BUDGET, "process": 1}
PATIENCE_SECS = 60.0


@dataclass(eq=False)
class Job:
    """A job as a worker runs it, one step at a time: unload what is in the way, load, use."""

    need: Need
    came: float
    context: AbstractAsyncContextManager[Lease]
    entering: asyncio.Task[Lease] | None = None
    lease: Lease | None = None
    in_the_way: list[str] = field(default_factory=list)
    is_loaded: bool = False
    is_dead: bool = False


class Worker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock(0.0)
        self.residency = Residency(lambda: BUDGET, clock=self.clock, patience_secs=PATIENCE_SECS)
        self.jobs: list[Job] = []
        self.in_memory: dict[str, Need] = {}
        self.retiring: tuple[str, AbstractContextManager[bool]] | None = None

    # what happens

    @rule(key=st.sampled_from(sorted(NEEDS)))
    def ask(self, key: str) -> None:
        overdue = [job for job in self.waiting if self.clock.secs - job.came >= PATIENCE_SECS]
        lacking = {name for job in overdue for name in self.lacks(job.need)}
        job = Job(NEEDS[key], self.clock.secs, self.residency.admit(NEEDS[key]))
        self.jobs.append(job)
        job.entering = self.loop.create_task(job.context.__aenter__())
        self.settle()
        assert not (job.lease and lacking & set(job.need.memory)), f"{key} has overtaken one that may not be"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.running))
        if job.in_the_way:
            key = job.in_the_way.pop(0)
            assert not self.users(key), f"{key} is unloaded under those who use it"
            self.in_memory.pop(key, None)
            self.residency.gone(key)
        elif not job.is_loaded and not job.is_dead:
            job.is_loaded = True
            self.in_memory[job.need.key] = job.need
            self.residency.measured(job.need.key, job.need.ram_bytes, job.need.vram_bytes)
        else:
            self.leave(job)
        self.settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end_early(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(self.running)))
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), with_an_end=st.booleans())
    def cancel(self, data: st.DataObject, with_an_end: bool) -> None:
        """Cancelled while it waits, or in the very moment in which its turn may have come."""
        job = data.draw(st.sampled_from(self.waiting))
        if with_an_end and self.running:
            self.leave(data.draw(st.sampled_from(self.running)), then=job.entering.cancel)
        else:
            job.entering.cancel()
        self.settle()
        assert job not in self.jobs

    @precondition(lambda self: self.in_memory)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_memory)))
        if self.retiring is None or self.retiring[0] != key:
            del self.in_memory[key]
            for job in self.users(key):
                job.is_dead = True
            self.residency.gone(key)
            self.settle()

    @rule(secs=st.sampled_from([1.0, 20.0, 61.0]))
    def wait(self, secs: float) -> None:
        self.clock.secs += secs

    @precondition(lambda self: self.retiring is None and self.residency.residents)
    @rule(data=st.data())
    def begin_to_unload(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([resident.key for resident in self.residency.residents]))
        context = self.residency.retire(key)
        if context.__enter__():
            self.retiring = (key, context)
            assert not self.open(key)
        else:
            context.__exit__(None, None, None)

    @precondition(lambda self: self.retiring)
    @rule(fails=st.booleans())
    def finish_to_unload(self, fails: bool) -> None:
        key, context = self.retiring
        self.retiring = None
        if not fails:
            self.in_memory.pop(key, None)
            self.residency.gone(key)
        context.__exit__(None, None, None)
        self.settle()

    # what must hold

    @invariant()
    def memory_is_never_overdrawn(self) -> None:
        for name, size in ROOM.items():
            assert sum(need.memory.get(name, 0) for need in self.in_memory.values()) <= size, self.in_memory

    @invariant()
    def what_is_in_memory_is_known(self) -> None:
        assert set(self.in_memory) <= {resident.key for resident in self.residency.residents}

    @invariant()
    def whoever_is_in_front_waits_for_a_reason(self) -> None:
        if self.waiting and self.retiring is None and not any(job.in_the_way for job in self.running):
            assert self.lacks(self.waiting[0].need)

    @invariant()
    def those_who_wait_are_kept_in_the_order_in_which_they_came(self) -> None:
        assert self.residency.waiting == tuple(job.need.key for job in self.waiting)

    def teardown(self) -> None:
        if self.retiring is not None:
            self.finish_to_unload(fails=False)
        left = len(self.jobs) + 1
        while self.running:
            left -= 1
            assert left >= 0
            self.leave(self.running[0])
            self.settle()
        assert not self.jobs, "somebody waits for ever"
        self.loop.close()

    # what is looked at

    @property
    def waiting(self) -> list[Job]:
        return [job for job in self.jobs if job.lease is None]

    @property
    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.lease is not None]

    def open(self, key: str) -> list[Job]:
        return [job for job in self.running if job.need.key == key]

    def users(self, key: str) -> list[Job]:
        return [job for job in self.open(key) if job.is_loaded]

    def lacks(self, need: Need) -> set[str]:
        """The devices of which it would get too little beside what is in use."""
        held = {job.need.key for job in self.running}
        sums = {name: sum(NEEDS[key].memory.get(name, 0) for key in held - {need.key}) for name in ROOM}
        return {name for name, size in need.memory.items() if size + sums[name] > ROOM[name]}

    # what is done

    def leave(self, job: Job, then: Callable[[], object] = lambda: None) -> None:
        async def end() -> None:
            await job.context.__aexit__(None, None, None)
            then()

        self.jobs.remove(job)
        self.loop.run_until_complete(end())

    def settle(self) -> None:
        async def rest() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rest())
        for job in list(self.waiting):
            if not job.entering.done():
                continue
            if job.entering.cancelled():
                self.jobs.remove(job)
            elif error := job.entering.exception():
                raise AssertionError(f"{job.need.key} is refused although everything could go") from error
            else:
                job.lease = job.entering.result()
                job.in_the_way = list(job.lease.evict)
                assert not any(self.open(key) for key in job.lease.evict)


TestAnyOrderOfEvents = Worker.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
