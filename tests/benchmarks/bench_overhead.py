"""What the worker adds to one job, against the least that aiohttp can do: ratios taken in one run, in turns."""

import statistics

import pytest
from bench_studio import TURN
from measuring import run_clients

LIMITS = {
    ("json", "forgotten"): 2.5,
    ("upload", "forgotten"): 1.3,
    ("json", "kept"): 4.0,
    ("upload", "kept"): 1.8,
}
"""By the form of the result, and by whether a journal keeps it."""
JOBS = {"json": 1_000, "upload": 1_000}
WARM_UP = 100
STARTS = 5
"""Where processes lie in memory and on the cores differs from start to start, and moves the ratio by some percent."""


@pytest.mark.parametrize(("mode", "journal"), LIMITS)
def test_the_overhead_of_a_job_stays_within_its_limit(mode, journal, tmp_path, report):
    starts = [pairs_of_one_start(mode, journal, tmp_path / str(number)) for number in range(STARTS)]
    limit = LIMITS[mode, journal]
    pairs = [pair for start in starts for pair in start]
    ratio = typical_ratio(pairs)
    ours, floors = zip(*pairs, strict=True)
    each = ", ".join(f"{typical_ratio(start):.2f}" for start in starts)
    report(
        f"{mode}, {journal}: {ratio:.2f}x the floor ({statistics.median(ours) * 1000:.2f} ms against "
        f"{statistics.median(floors) * 1000:.2f} ms, limit {limit}x; by start {each})"
    )
    assert ratio <= limit


def pairs_of_one_start(mode, journal, state_dir):
    """Turns of our worker and of the floor beside it, in seconds a job."""
    state_dir.mkdir()
    times = run_clients(
        mode,
        WARM_UP + JOBS[mode],
        ["floor.py", mode, "{url}"],
        ["worker_process.py", "{url}", str(state_dir), journal],
    )
    return list(zip(turns_of(times["w-1"]), turns_of(times["floor"]), strict=True))


def typical_ratio(pairs):
    """The median of the ratios within pairs: what else a machine does comes and goes in seconds."""
    return statistics.median(our / floor for our, floor in pairs)


def turns_of(times):
    """The median of each turn, in seconds, without those of the warm-up."""
    return [statistics.median(times[start : start + TURN]) for start in range(WARM_UP, len(times), TURN)]
