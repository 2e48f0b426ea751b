"""What the worker adds to one job, against the least that aiohttp can do: ratios taken in one run, in turns."""

import statistics

import pytest
from measuring import run_client

LIMITS = {"json": 2.5, "upload": 1.3}
JOBS = {"json": 500, "upload": 100}
ROUNDS = {"json": 15, "upload": 7}
"""Many short rounds: what else a machine does comes and goes in seconds, and a ratio is taken within each round."""


@pytest.mark.parametrize("mode", ["json", "upload"])
def test_the_overhead_of_a_job_stays_within_its_limit(mode, tmp_path, report):
    ratios, ours, floors = [], [], []
    for number in range(ROUNDS[mode]):
        floor = run_client(mode, JOBS[mode], ["floor.py", mode, "{url}"])
        worker = run_client(mode, JOBS[mode], ["worker_process.py", "{url}", str(tmp_path / f"state-{number}")])
        ratios.append(worker.median_ms / floor.median_ms)
        ours.append(worker.median_ms)
        floors.append(floor.median_ms)
    ratio = statistics.median(ratios)
    report(
        f"{mode}: {ratio:.2f}x the floor ({statistics.median(ours):.2f} ms against {statistics.median(floors):.2f} ms, "
        f"limit {LIMITS[mode]}x)"
    )
    assert ratio <= LIMITS[mode]
