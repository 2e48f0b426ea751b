"""The threads that engines run in."""

import subprocess
import sys
import threading
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.threads import Crew

WAIT_SECS = 20.0


@pytest.fixture
def crew():
    crew = Crew("test", 2)
    yield crew
    crew.close()


def test_a_call_comes_back_with_its_value(crew):
    assert crew.submit(lambda: 3).result(WAIT_SECS) == 3


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_call_comes_back_with_whatever_it_raised_and_the_thread_goes_on(error, crew):
    def call():
        raise error

    assert crew.submit(call).exception(WAIT_SECS) is error
    assert crew.submit(lambda: 3).result(WAIT_SECS) == 3


def test_no_thread_is_started_before_the_first_call():
    before = threading.active_count()
    Crew("unused", 4).close()
    assert threading.active_count() == before


def test_a_second_call_uses_the_idle_thread():
    crew = Crew("one", 8)
    names = set()
    for _ in range(20):
        crew.submit(lambda: names.add(threading.current_thread().name)).result(WAIT_SECS)
        # The thread says that it is idle just after it has given the result.
        while crew._open:
            threading.Event().wait(0.001)
    crew.close()
    assert names == {"one-1"}


def test_calls_run_side_by_side_up_to_the_size_of_the_crew(crew):
    gate = threading.Barrier(2)
    done, waiting = wait([crew.submit(lambda: gate.wait(WAIT_SECS)) for _ in range(4)], WAIT_SECS)
    assert (len(done), len(waiting)) == (4, 0)


def test_a_crew_is_free_while_a_call_would_be_taken_at_once(crew):
    release, done = threading.Event(), []
    # More than it has threads for: what waited is taken by a thread that never was idle.
    for _ in range(5):
        assert crew.is_free == (len(done) < 2)
        done.append(crew.submit(lambda: release.wait(WAIT_SECS)))
    release.set()
    wait(done, WAIT_SECS)
    again = threading.Event()
    while not crew.is_free:
        threading.Event().wait(0.001)
    busy = [crew.submit(lambda: again.wait(WAIT_SECS)) for _ in range(3)]
    assert not crew.is_free
    again.set()
    wait(busy, WAIT_SECS)


def test_a_call_that_is_cancelled_before_its_turn_never_runs():
    crew = Crew("busy", 1)
    release, ran = threading.Event(), []
    first = crew.submit(lambda: release.wait(WAIT_SECS))
    second = crew.submit(lambda: ran.append(2))
    assert second.cancel()
    release.set()
    first.result(WAIT_SECS)
    crew.submit(lambda: ran.append(3)).result(WAIT_SECS)
    crew.close()
    assert ran == [3]
    with pytest.raises(CancelledError):
        second.result()


def test_a_closed_crew_ends_what_it_has_and_takes_no_more():
    crew = Crew("closing", 1)
    release = threading.Event()
    waiting = [crew.submit(lambda: release.wait(WAIT_SECS)) for _ in range(2)]
    crew.close()
    crew.close()
    with pytest.raises(RuntimeError, match="closing"):
        crew.submit(lambda: 3)
    release.set()
    assert [future.result(WAIT_SECS) for future in waiting] == [True, True]


def test_a_thread_that_never_comes_back_does_not_hold_the_process():
    code = (
        "import threading\n"
        "from studio_worker.engines.threads import Crew\n"
        "started = threading.Event()\n"
        "Crew('stuck', 1).submit(lambda: (started.set(), threading.Event().wait()))\n"
        "started.wait()\n"
    )
    home = Path(studio_worker.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=home, timeout=60, check=False)
    assert done.returncode == 0
