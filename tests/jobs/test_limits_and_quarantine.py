"""What hangs is ended by its stage, what is slow goes on, and a pair that keeps dying is refused for a while."""

import threading
import time

import pytest

from studio_worker.clock import SystemClock
from studio_worker.engines.base import Engine, EngineCapabilities, LlmResult
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.quarantine import PAUSE_SECS, Quarantine
from studio_worker.jobs.stage_limits import StageLimits
from studio_worker.testing.clocks import HandClock
from studio_worker.wire.kinds import TaskKind

LIMITS = StageLimits(load_secs=0.3, first_output_secs=0.3, step_secs=0.3, job_secs=60.0)
COMPLETION = {
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}

SLOW = EngineDescription(name="slow", position=1)
"""The engine that a room is given after its own."""


class SlowEngine(Engine):
    """Works in a thread: for ever without a word, or step by step."""

    name = "slow"
    isolation = "thread"
    steps = 0

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["slow"]})

    def run(self, job):
        for step in range(self.steps):
            time.sleep(0.05)
            job.progress(step, self.steps, stage="think")
        while not self.steps:
            job.check_cancelled()
            time.sleep(0.01)
        return LlmResult(COMPLETION)


class StuckEngine(SlowEngine):
    """Never comes back from its load, until `given_up` is set."""

    def __init__(self):
        self.given_up = threading.Event()

    def load(self, model):
        self.given_up.wait(60)


@pytest.fixture
def quarantine():
    return Quarantine(SystemClock())


@pytest.fixture
def slow_claim(claim):
    return claim("llm", modelSource={"engine": "slow", "files": [], "cliDefaults": {}})


async def test_a_job_without_a_word_is_ended_and_its_stage_named(open_room, tmp_path, wire, slow_claim):
    async with open_room(tmp_path, engines=[SlowEngine()], limits=LIMITS, clock=SystemClock()) as room:
        room.offer(wire, slow_claim)
        failed = await wire.until("fail")
    assert "engine 'slow' was given up: stage 'first output' is overdue" in failed.error
    assert failed.retryable is True


async def test_a_load_that_hangs_is_told_apart_from_what_comes_after_it(open_room, tmp_path, wire, slow_claim):
    engine = StuckEngine()
    async with open_room(tmp_path, engines=[engine], limits=LIMITS, clock=SystemClock()) as room:
        room.offer(wire, slow_claim)
        failed = await wire.until("fail")
        engine.given_up.set()
    assert "engine 'slow' was given up: stage 'load' is overdue" in failed.error


async def test_a_job_that_waits_for_its_engine_is_not_overdue(open_room, tmp_path, make_wire, slow_claim):
    """The first works for longer than a load may take; the second waits for its thread meanwhile."""
    engine = SlowEngine()
    engine.steps = 12
    wire = make_wire("capacity")
    limits = StageLimits(load_secs=0.3)
    async with open_room(tmp_path, engines=[engine], limits=limits, clock=SystemClock(), max_concurrent_jobs=2) as room:
        for number in (1, 2):
            room.offer(wire, {**slow_claim, "jobId": f"job-{number}"})
        for number in (1, 2):
            await wire.until("completeJson", f"job-{number}")


async def test_a_job_that_steps_is_left_alone_however_long_it_takes(open_room, tmp_path, wire, slow_claim):
    engine = SlowEngine()
    engine.steps = 20
    async with open_room(tmp_path, engines=[engine], limits=LIMITS, clock=SystemClock()) as room:
        room.offer(wire, slow_claim)
        await wire.until("completeJson")


async def test_a_pair_in_quarantine_is_refused_with_the_reason_and_may_be_tried_elsewhere(
    open_room, tmp_path, wire, slow_claim, quarantine
):
    async with open_room(tmp_path, engines=[SlowEngine()], quarantine=quarantine) as room:
        for _ in range(3):
            quarantine.died(SLOW, "gate-llm")
        room.offer(wire, slow_claim)
        failed = await wire.until("fail")
    assert "engine 'slow' died 3 times on model 'gate-llm'" in failed.error
    assert failed.retryable is True


async def test_a_job_that_is_done_ends_the_trial_of_its_pair(open_room, tmp_path, wire, slow_claim):
    clock = HandClock()
    quarantine = Quarantine(clock)
    engine = SlowEngine()
    engine.steps = 1
    async with open_room(tmp_path, engines=[engine], quarantine=quarantine) as room:
        for _ in range(3):
            quarantine.died(SLOW, "gate-llm")
        clock.secs += PAUSE_SECS
        room.offer(wire, slow_claim)
        await wire.until("completeJson")
        assert quarantine.died(SLOW, "gate-llm") is False
