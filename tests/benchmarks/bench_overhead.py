"""What the worker adds to one job, against the least that aiohttp can do: ratios taken in one run, in turns."""

import statistics

import pytest
from bench_studio import TURN
from measuring import run_clients

LIMITS = {"json": 4.0, "upload": 1.8}
JOBS = {"json": 5_000, "upload": 1_500}
WARM_UP = 100


@pytest.mark.parametrize("mode", ["json", "upload"])
def test_the_overhead_of_a_job_stays_within_its_limit(mode, tmp_path, report):
    times = run_clients(
        mode,
        WARM_UP + JOBS[mode],
        ["floor.py", mode, "{url}"],
        ["worker_process.py", "{url}", str(tmp_path)],
    )
    floors, ours = turns_of(times["floor"]), turns_of(times["w-1"])
    # What else a machine does comes and goes in seconds; a ratio is taken within a pair of turns.
    ratio = statistics.median(our / floor for our, floor in zip(ours, floors, strict=True))
    report(
        f"{mode}: {ratio:.2f}x the floor ({statistics.median(ours) * 1000:.2f} ms against "
        f"{statistics.median(floors) * 1000:.2f} ms, limit {LIMITS[mode]}x)"
    )
    assert ratio <= LIMITS[mode]


def turns_of(times):
    """The median of each turn, in seconds, without those of the warm-up."""
    return [statistics.median(times[start : start + TURN]) for start in range(WARM_UP, len(times), TURN)]
