"""An engine's process that dies at its start is started again later and later."""

import pytest

from studio_worker.engines.restarts import MAX_PAUSE_SECS, Restarts
from studio_worker.errors import EngineError
from studio_worker.testing.clocks import HandClock


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def restarts(clock):
    return Restarts(clock)


def test_a_process_that_never_died_may_be_started(restarts):
    assert restarts.refusal("toy") is None


def test_after_a_death_at_its_start_it_rests_and_the_reason_is_told(restarts, clock):
    restarts.died("it was killed by SIGSEGV")
    assert restarts.refusal("toy") == (
        "the process of engine 'toy' died once at its start: it was killed by SIGSEGV; it is started again in 1 s"
    )
    clock.secs += 1
    assert restarts.refusal("toy") is None


def test_the_pause_doubles_up_to_a_minute(restarts, clock):
    pauses = []
    for _ in range(9):
        restarts.died("it hung")
        begun = clock.secs
        while restarts.refusal("toy") is not None:
            clock.secs += 1
        pauses.append(clock.secs - begun)
    assert pauses == [1, 2, 4, 8, 16, 32, MAX_PAUSE_SECS, MAX_PAUSE_SECS, MAX_PAUSE_SECS]
    restarts.died("it hung")
    assert "died 10 times in a row at its start" in restarts.refusal("toy")


def test_ten_thousand_deaths_are_no_number_too_large(restarts):
    for _ in range(10_000):
        restarts.died("it hung")
    assert "again in 60 s" in restarts.refusal("toy")


def test_a_start_that_went_well_forgets_the_deaths_before_it(restarts, clock):
    for _ in range(5):
        restarts.died("it hung")
    restarts.succeeded()
    assert restarts.refusal("toy") is None
    restarts.died("it hung")
    assert "again in 1 s" in restarts.refusal("toy")


# through the host


async def test_while_a_process_that_died_at_its_start_rests_jobs_fail_at_once_with_its_reason(
    workshop, clock, tmp_path
):
    starts = tmp_path / "starts"
    host = workshop.host(module=f"\nPath({str(starts)!r}).open('a').write('x')\nos._exit(7)\n", clock=clock)
    for _ in range(3):
        with pytest.raises(EngineError, match="exit status 7") as caught:
            await workshop.run(host)
        assert caught.value.retryable
    assert starts.read_text() == "x"
    clock.secs += 1
    with pytest.raises(EngineError, match="is gone: it ended the process with exit status 7"):
        await workshop.run(host)
    assert starts.read_text() == "xx"
    with pytest.raises(EngineError, match=r"died 2 times in a row at its start: .* it is started again in 2 s"):
        await workshop.run(host)


async def test_an_engine_that_was_mended_runs_and_its_later_deaths_at_work_cause_no_pause(workshop, clock, tmp_path):
    mended = tmp_path / "mended"
    host = workshop.host(
        "def run(self, job): return say(pid=os.getpid()) if words(job) == 'hello' else os._exit(3)",
        module=f"\nif not Path({str(mended)!r}).exists(): os._exit(7)\n",
        clock=clock,
    )
    with pytest.raises(EngineError, match="exit status 7"):
        await workshop.run(host)
    mended.touch()
    clock.secs += 1
    await workshop.run(host)
    for _ in range(2):
        with pytest.raises(EngineError, match="exit status 3"):
            await workshop.run(host, "die")
    assert await workshop.pid(host) > 0
