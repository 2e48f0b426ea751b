"""Hours of outages, refusals, silences, suspensions and stops in any order: one connection, at the contract's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from studio_worker.errors import AuthFailed, DuplicateWorker, ReconnectBudgetSpent, WorkerDeleted
from studio_worker.events import Event, SessionLost
from studio_worker.session.keeper import SessionKeeper
from studio_worker.session.log_shipping import LogShipper
from studio_worker.state import Credentials
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.urls import StudioUrls

from .conftest import RecordingDelivery, RecordingDesk
from .moody_studio import BOUNDS, SLACK_SECS, TOKEN, MoodyStudio
from .virtual_time import LoopClock, VirtualLoop

URLS = StudioUrls.parse("https://studio.example/")
KNOWN = Credentials(URLS.origin, worker_id="w-1", auth_token=TOKEN)
STOP_SECS = BOUNDS.flush_secs + 2 * BOUNDS.close_secs
FATAL = {4003: DuplicateWorker, 4004: WorkerDeleted}
ASK_AGAIN = (1.0, 10.0, 60.0)
WORDS = {
    "auth_failed": 4001,
    "protocol_violation": 4002,
    "duplicate_worker": 4003,
    "worker_deleted": 4004,
    "internal_error": 1011,
    "something_new": 1011,
}


class Worker(RuleBasedStateMachine):
    @initialize(attempts=st.sampled_from([0, 0, 0, 4]), base_secs=st.sampled_from([0.5, 1.0, 3.0]))
    def set_up(self, attempts: int, base_secs: float) -> None:
        self.loop = VirtualLoop()
        self.studio = MoodyStudio(self.loop)
        self.budget, self.base_secs = attempts, base_secs
        self.slept_secs = 0.0
        self.start()

    # what happens

    @rule(how=st.sampled_from(["up", "up", "down", "hangs", "strange", 401, 403, 503]))
    def the_next_upgrades_go(self, how: str | int) -> None:
        self.studio.upgrade = how

    @rule(welcomes=st.booleans(), acks=st.booleans(), answers_close=st.booleans())
    def the_studios_manners_change(self, welcomes: bool, acks: bool, answers_close: bool) -> None:
        self.studio.welcomes, self.studio.acks, self.studio.answers_close = welcomes, acks, answers_close

    @rule(reads=st.booleans())
    def the_studio_reads_or_does_not(self, reads: bool) -> None:
        self.studio.read(reads)
        self.settle()

    @precondition(lambda self: self.studio.live)
    @rule(code=st.sampled_from([1000, 1001, 1012, 4001, 4001, 4002, 4003, 4004, 4999]))
    def the_studio_closes(self, code: int) -> None:
        self.studio.last.end(code)
        self.settle()

    @precondition(lambda self: self.studio.live)
    @rule(word=st.sampled_from(sorted(WORDS)))
    def the_studio_sends_an_error(self, word: str) -> None:
        self.studio.last.end_by_a_frame(word, WORDS[word])
        self.settle()

    @precondition(lambda self: self.studio.live)
    @rule(breaks_the_rules=st.booleans())
    def the_connection_breaks(self, breaks_the_rules: bool) -> None:
        if breaks_the_rules:
            self.studio.last.break_the_rules()
        else:
            self.studio.last.break_off()
        self.settle()

    @precondition(lambda self: self.studio.live)
    @rule()
    def the_studio_says_something(self) -> None:
        self.studio.last.say(type="failAck", jobId="x")
        self.settle()

    @rule()
    def an_upload_finds_the_token_refused(self) -> None:
        if (live := self.studio.live) is not None:
            live.code = 4001
        self.settle(self.keeper.signed_out)

    @rule()
    def there_is_news_for_a_heartbeat(self) -> None:
        if (live := self.studio.live) is not None:
            live.nudges += 1
        self.settle(self.keeper.nudge)

    @rule(secs=st.sampled_from([0.3, 2.0, 6.0, 16.0, 31.0, 200.0]))
    def time_passes(self, secs: float) -> None:
        self.wait(secs)

    @rule(hours=st.sampled_from([0.01, 0.5, 2.0]), how=st.sampled_from(["down", "hangs", "strange", 503]))
    def an_outage(self, hours: float, how: str | int) -> None:
        self.studio.upgrade = how
        if (live := self.studio.live) is not None:
            live.break_off()
        self.wait(3_600 * hours)

    @rule(secs=st.sampled_from([5.0, 28_800.0]))
    def the_machine_is_suspended(self, secs: float) -> None:
        self.wait(2 * SLACK_SECS)
        live = self.studio.live
        if live is not None and secs > BOUNDS.suspend_secs:
            live.was_suspended = True
        self.slept_secs += secs
        self.wait(2 * SLACK_SECS)
        assert live is None or not live.was_suspended or not live.is_live, "the old socket is still in use"

    @rule()
    def the_studio_is_well_again(self) -> None:
        self.studio.be_well()
        self.wait(2 * BOUNDS.silence_secs + max(30.0, 60.0 * self.base_secs) + 2 * STOP_SECS)
        assert self.task.done() or self.keeper.state.phase == "connected"

    @rule(secs=st.sampled_from([2.0, 12.0, 80.0]))
    def the_token_is_refused_for_a_while(self, secs: float) -> None:
        self.studio.upgrade = 401
        if (live := self.studio.live) is not None:
            live.end(4001)
        self.wait(secs * self.base_secs)

    @rule()
    def there_is_news_before_a_welcome_that_does_not_come(self) -> None:
        self.studio.be_well()
        self.studio.welcomes = False
        if (live := self.studio.live) is not None:
            live.break_off()
        self.wait(0.9 * self.base_secs)
        self.there_is_news_for_a_heartbeat()

    @rule(reads=st.booleans())
    def it_is_stopped_and_started_again(self, reads: bool) -> None:
        self.studio.read(reads)
        self.wait(BOUNDS.heartbeat_secs + 1.0)
        self.logs.add("info", "job", "a last line")
        self.stop()
        self.start()

    # what must hold

    @invariant()
    def nobody_holds_on_to_a_session_that_is_dead(self) -> None:
        if (live := self.studio.live) is not None:
            assert self.loop.time() <= live.died_at() + SLACK_SECS

    @invariant()
    def nobody_waits_for_an_upgrade_beyond_its_bound(self) -> None:
        last = self.studio.last
        if last is not None and last.ended_at is None and not last.is_up:
            assert self.loop.time() - last.opened_at <= BOUNDS.upgrade_secs

    @invariant()
    def a_welcome_session_has_its_heartbeats(self) -> None:
        live = self.studio.live
        if live is not None and live.welcomed_at is not None and self.studio.reads:
            assert self.loop.time() - live.beats[-1] <= BOUNDS.heartbeat_secs + 1e-6 or live.unanswered_since

    @invariant()
    def the_state_says_what_is(self) -> None:
        phase = self.keeper.state.phase
        if self.task.done():
            assert phase == ("auth_failed" if self.wanted_end is AuthFailed else "fatal")
        elif self.studio.live is not None:
            assert phase == ("connecting" if self.studio.last.welcomed_at is None else "connected")
        assert self.keeper.snapshot().to_json()["state"] == phase

    @invariant()
    def it_ends_where_and_only_where_the_contract_says_so(self) -> None:
        if self.task.done() and self.wanted_end is None:
            self.judge(None)
        assert self.task.done() == (self.wanted_end is not None)
        if self.wanted_end is not None:
            error = self.task.exception()
            assert type(error) is self.wanted_end
            assert error.exit_code == (69 if self.wanted_end is ReconnectBudgetSpent else 77)

    def teardown(self) -> None:
        self.stop()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # what is expected

    def emit(self, event: Event) -> None:
        if isinstance(event, SessionLost):
            self.judge(event.retry_in_secs)

    def judge(self, wait: float | None) -> None:
        """A connection has ended: `wait` is how long the keeper is going to wait, None where it has ended."""
        ended = self.studio.last
        now = ended.ended_at
        assert now is not None
        if ended.code is None and not ended.was_suspended:
            assert now >= ended.died_at(), "a healthy session was ended"
            assert now <= ended.died_at() + SLACK_SECS + BOUNDS.close_secs, "a dead session was kept"
        if ended.welcomed_at is not None and now - ended.welcomed_at >= BOUNDS.settled_secs:
            self.failures = self.refusals = 0
        if ended.code in FATAL:
            self.wanted_end = FATAL[ended.code]
        elif ended.code == 4001:
            self.refusals += 1
            if self.refusals > len(ASK_AGAIN):
                self.wanted_end = AuthFailed
            elif wait is not None:
                assert wait == ASK_AGAIN[self.refusals - 1] * self.base_secs
        else:
            self.failures += 1
            if self.budget and self.failures > self.budget:
                self.wanted_end = ReconnectBudgetSpent
            elif wait is not None:
                bound = min(30.0, self.base_secs * 2.0 ** min(self.failures - 1, 9))
                assert 0.75 * bound <= wait <= bound
        assert (wait is None) == (self.wanted_end is not None)
        self.studio.due = None if wait is None else self.loop.time() + wait

    # what is done

    def start(self) -> None:
        self.failures = self.refusals = 0
        self.wanted_end: type[Exception] | None = None
        self.studio.due = None
        clock = LoopClock(self.loop)
        self.logs = LogShipper(clock)
        self.keeper = SessionKeeper(
            urls=URLS,
            credentials=lambda: KNOWN,
            http=self.studio,  # type: ignore[arg-type]
            desk=RecordingDesk(),
            delivery=RecordingDelivery(),
            capabilities=Capabilities,
            logs=self.logs,
            events=self,
            clock=clock,
            rng=Random(1),
            reconnect_attempts=self.budget,
            reconnect_base_secs=self.base_secs,
            elapsed_clock=lambda: self.loop.time() + self.slept_secs,
        )
        self.task = self.loop.create_task(self.keeper.run())
        self.settle()

    def stop(self) -> None:
        async def close() -> None:
            began = self.loop.time()
            await self.keeper.close()
            assert self.loop.time() - began <= STOP_SECS

        has_ended = self.task.done()
        self.loop.run_until_complete(close())
        self.settle()
        assert self.task.done(), "it goes on"
        assert self.studio.last.ended_at is not None
        if not has_ended:
            assert self.task.exception() is None
            assert self.keeper.state.phase == "stopped"

    def wait(self, secs: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(secs))
        self.settle()

    def settle(self, first: Callable[[], None] = lambda: None) -> None:
        async def rest() -> None:
            first()
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rest())


TestAnyOrderOfEvents = Worker.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=settings.default.max_examples * 3 // 10,
    stateful_step_count=30,
    deadline=None,
    phases=set(Phase) - {Phase.explain},  # which traces every line of those hours
    print_blob=True,
)
