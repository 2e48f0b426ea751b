"""Progress: sane numbers, few of them, on the loop."""

import asyncio
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.progress import MAX_PREVIEW_BYTES, MAX_STEPS, ProgressRelay
from studio_worker.engines.progress import sane as _sane


class Listener:
    def __init__(self):
        self.seen = []
        self.changed = asyncio.Event()

    def __call__(self, *report):
        self.seen.append(report)
        self.changed.set()


@pytest.fixture
async def listener():
    return Listener()


def relay(listener, interval_secs=3600.0) -> ProgressRelay:
    return ProgressRelay(listener, job_id="j-1", interval_secs=interval_secs)


# what is handed on


@pytest.mark.parametrize(
    ("given", "sane"),
    [
        ((1, 2), (1, 2)),
        ((0, 0), (0, 1)),
        ((-1, 0), (0, 1)),
        ((-5, 10), (0, 10)),
        ((11, 10), (10, 10)),
        ((1.9, 4.2), (1, 4)),
        ((True, 3), (1, 3)),
        ((10**30, 10**30), (MAX_STEPS, MAX_STEPS)),
        ((1, -7), (1, 1)),
    ],
)
def test_steps_are_clamped_into_their_total(given, sane):
    assert _sane(*given, "run", None) == (*sane, "run", None)


@pytest.mark.parametrize("given", [("1", 2), (1, None), (math.nan, 2), (1, math.inf), ([], {}), (1j, 2)])
def test_what_is_no_number_is_dropped(given):
    assert _sane(*given, "run", None) is None


@pytest.mark.parametrize("preview", [b"", b"x" * (MAX_PREVIEW_BYTES + 1), "text", 3, bytearray(b"x")])
def test_a_preview_that_is_no_small_picture_is_left_out(preview):
    assert _sane(1, 2, "run", preview) == (1, 2, "run", None)


def test_a_preview_of_just_the_limit_is_kept():
    preview = b"x" * MAX_PREVIEW_BYTES
    assert _sane(1, 2, "run", preview) == (1, 2, "run", preview)


@pytest.mark.parametrize("stage", ["a\nb", "\x1b[2J", "x" * 10_000, None, 3])
def test_a_stage_is_one_short_printable_word(stage):
    *_, shown, _ = _sane(1, 2, stage, None)
    assert shown.isprintable()
    assert len(shown) < 100


@given(st.integers() | st.floats(), st.integers() | st.floats())
def test_every_number_becomes_a_step_within_its_total_or_nothing(step, total):
    report = _sane(step, total, "run", None)
    if report is not None:
        assert 0 <= report[0] <= report[1] <= MAX_STEPS
        assert report[1] >= 1


# how it is handed on


async def test_the_first_report_goes_at_once(listener):
    relay(listener)(1, 9, "run", None)
    assert listener.seen == [(1, 9, "run", None)]


async def test_what_comes_soon_after_is_held_back_and_the_last_of_it_told_at_the_end(listener):
    progress = relay(listener)
    for step in range(1, 10):
        progress(step, 9, "run", None)
    assert len(listener.seen) == 1
    progress.close(flush=True)
    assert [report[0] for report in listener.seen] == [1, 9]


async def test_what_is_held_back_goes_once_the_interval_is_over(listener):
    progress = relay(listener, interval_secs=0.01)
    progress(1, 9, "run", None)
    listener.changed.clear()
    progress(2, 9, "run", None)
    progress(3, 9, "run", None)
    await asyncio.wait_for(listener.changed.wait(), 20)
    assert [report[0] for report in listener.seen] == [1, 3]
    progress.close(flush=True)
    assert len(listener.seen) == 2


async def test_a_preview_outlives_the_reports_without_one_that_replace_its_own(listener):
    progress = relay(listener)
    progress(1, 9, "run", None)
    progress(2, 9, "run", b"picture")
    progress(3, 9, "run", None)
    progress.close(flush=True)
    assert listener.seen[-1] == (3, 9, "run", b"picture")


async def test_a_closed_relay_tells_nothing_more(listener):
    progress = relay(listener)
    progress(1, 9, "run", None)
    progress(2, 9, "run", None)
    progress.close(flush=False)
    progress(3, 9, "run", None)
    await asyncio.sleep(0)
    assert len(listener.seen) == 1


async def test_a_flood_of_reports_from_a_thread_reach_the_loop_as_a_few(listener):
    progress = ProgressRelay(listener, job_id="j-1")

    def work():
        for step in range(100_000):
            progress(step, 100_000, "run", None)

    await asyncio.to_thread(work)
    progress.close(flush=True)
    assert len(listener.seen) < 200
    assert listener.seen[-1][0] == 99_999


async def test_reports_from_many_threads_all_arrive_on_the_loop():
    threads = set()
    progress = ProgressRelay(lambda *report: threads.add(threading.get_ident()), job_id="j-1", interval_secs=0.0)
    await asyncio.gather(*(asyncio.to_thread(progress, step, 9, "run", None) for step in range(9)))
    progress.close(flush=True)
    assert threads == {threading.get_ident()}


def test_a_report_after_the_end_of_the_loop_is_dropped():
    async def make():
        return ProgressRelay(print, job_id="j-1")

    progress = asyncio.run(make())
    thread = threading.Thread(target=progress, args=(1, 2, "run", None))
    thread.start()
    thread.join()
