"""A journal of a million rows beside one of a thousand: what a look at it and a start take."""

import statistics
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from studio_worker.jobs.journal_file import journal_path, open_journal
from studio_worker.jobs.journal_history import History, end_interrupted, files_wanted, forget_settled, give_up_others
from studio_worker.jobs.journal_row import WRITE

FEW, MANY = 1_000, 1_000_000
RUNS = 5
LOOK_LIMIT = 1.3
OURS = ("https://studio.example", "w-1")
NOW = datetime.now(UTC)

pytestmark = pytest.mark.timeout(600)


def filled(state: Path, rows: int) -> Path:
    """A journal of settled jobs, one a second, the last of them now."""
    path, first = journal_path(state), NOW.timestamp() - rows
    with closing(open_journal(path, now=NOW)) as connection:
        connection.execute("BEGIN")
        connection.executemany(WRITE, (row(number, first + number) for number in range(rows)))
        connection.execute("COMMIT")
    return path


def row(number: int, at: float) -> tuple[object, ...]:
    job = (*OURS, f"job-{number}", f"{number:064x}", "delivered", "image", "model", "engine", 1, 0)
    return (*job, at, at, at, "", "", 1_000, "a" * 64, "png", "", "", "", "b" * 64)


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[int, Path]:
    states = {rows: tmp_path_factory.mktemp(f"state-{rows}") for rows in (FEW, MANY)}
    for rows, state in states.items():
        filled(state, rows)
    return states


def test_a_look_at_the_latest_jobs_takes_as_long(states, report):
    seconds: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(RUNS):
        for rows, state in states.items():
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "studio_worker", "jobs", "--local", "--json"],
                env={"STUDIO_WORKER_STATE_DIR": str(state), "HOME": str(state)},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds[rows].append(time.perf_counter() - begin)
    few, many = (statistics.median(seconds[rows]) for rows in (FEW, MANY))
    report(f"jobs --local: {many / few:.2f}x at {MANY:,} rows ({many * 1000:.0f} ms, limit {LOOK_LIMIT}x)")
    assert many <= few * LOOK_LIMIT


def test_what_a_start_asks_of_the_journal_does_not_grow_with_its_history(states, report):
    asked = {
        "jobs that were interrupted": lambda on: end_interrupted(on, NOW.timestamp()),
        "files that are wanted": files_wanted,
        "results of others that are too old": lambda on: give_up_others(on, NOW.timestamp(), History(), OURS),
    }
    seconds: dict[str, dict[int, float]] = {name: {} for name in ("opening, with a check of every page", *asked)}
    for rows, state in states.items():
        begin = time.perf_counter()
        with closing(open_journal(journal_path(state), now=NOW)) as connection:
            seconds["opening, with a check of every page"][rows] = time.perf_counter() - begin
            for name, ask in asked.items():
                begin = time.perf_counter()
                ask(connection)
                seconds[name][rows] = time.perf_counter() - begin
            begin = time.perf_counter()
            forget_settled(connection, NOW.timestamp(), History())
            report(f"one round of the upkeep at {rows:,} rows: {(time.perf_counter() - begin) * 1000:.0f} ms")
    for name, took in seconds.items():
        report(f"{name}: {took[FEW] * 1000:.1f} ms at {FEW:,} rows, {took[MANY] * 1000:.1f} ms at {MANY:,}")
    assert all(seconds[name][MANY] < seconds["opening, with a check of every page"][MANY] / 10 for name in asked)
