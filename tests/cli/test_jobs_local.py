"""`jobs --local`: the worker's journal, shown without a worker and beside one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from studio_worker.jobs.journal_file import journal_path, open_journal
from studio_worker.jobs.journal_row import COLUMNS

Call = Callable[..., Any]


@pytest.fixture
def state(home: Path) -> Path:
    """The state folder of this home."""
    from studio_worker.places import Places

    return Places.of().state_dir


@pytest.fixture
def journal(state: Path) -> Any:
    """The journal of a running worker, with two jobs."""
    with closing(open_journal(journal_path(state), now=datetime(2026, 1, 1, tzinfo=UTC))) as connection:
        for number, (stage, note) in enumerate([("delivered", ""), ("failed", "the engine broke")]):
            row = dict.fromkeys(COLUMNS, "") | {
                "origin": "https://studio.test",
                "job_id": f"job-{number}",
                "stage": stage,
                "kind": "llm",
                "model": "m",
                "engine": "e",
                "prompt": "a secret",
                "note": note,
                "deaths": 0,
                "size": 12,
                "attempt": None,
                "accepted_at": 1_767_225_600.0 + number,
                "kept_at": None,
                "settled_at": 1_767_225_700.5,
            }
            connection.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(COLUMNS))})", [row[c] for c in COLUMNS])
        yield connection


def test_shows_the_newest_first_and_no_prompt(journal: Any, cli: Call) -> None:
    said = cli("jobs", "--local")
    assert said.status == 0
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [["job-1", "failed"], ["job-0", "delivered"]]
    assert "the engine broke" in said.out
    assert "secret" not in said.out


def test_as_json_has_every_field_and_no_prompt(journal: Any, cli: Call) -> None:
    found = json.loads(cli("jobs", "--local", "--json").out)
    assert found[1] == {
        "jobId": "job-0",
        "state": "delivered",
        "kind": "llm",
        "model": "m",
        "engine": "e",
        "attempt": None,
        "studio": "https://studio.test",
        "acceptedAt": "2026-01-01T00:00:00.000Z",
        "keptAt": None,
        "settledAt": "2026-01-01T00:01:40.500Z",
        "bytes": 12,
        "note": None,
    }


def test_shows_as_many_as_it_is_asked_for(journal: Any, cli: Call) -> None:
    assert [job["jobId"] for job in json.loads(cli("jobs", "--local", "--limit", "1", "--json").out)] == ["job-1"]


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1000001"])
def test_a_limit_that_is_none_is_refused(cli: Call, limit: str) -> None:
    said = cli("jobs", "--local", "--limit", limit)
    assert said.status == 2
    assert "--limit" in said.err


def test_reads_while_the_worker_is_in_the_middle_of_writing(journal: Any, cli: Call) -> None:
    journal.execute("BEGIN IMMEDIATE")
    journal.execute("DELETE FROM jobs")
    assert len(json.loads(cli("jobs", "--local", "--json").out)) == 2
    journal.execute("ROLLBACK")


def test_without_a_journal_there_are_no_jobs_and_none_is_made(state: Path, cli: Call) -> None:
    said = cli("jobs", "--local")
    assert (said.status, said.out) == (0, "")
    assert "no jobs" in said.err
    assert json.loads(cli("jobs", "--local", "--json").out) == []
    assert not journal_path(state).exists()


def test_a_damaged_journal_is_a_sentence_with_its_path_and_stays_as_it_is(state: Path, cli: Call) -> None:
    state.mkdir(parents=True)
    journal_path(state).write_bytes(b"nonsense" * 1_000)
    said = cli("jobs", "--local")
    assert said.status == 78
    assert str(journal_path(state)) in said.err
    assert journal_path(state).read_bytes() == b"nonsense" * 1_000


def test_a_journal_of_a_newer_release_is_named(state: Path, cli: Call) -> None:
    state.mkdir(parents=True)
    with closing(sqlite3.connect(journal_path(state))) as connection:
        connection.execute("PRAGMA user_version = 99")
    said = cli("jobs", "--local")
    assert said.status == 78
    assert "version 99" in said.err


def test_goes_with_no_command(journal: Any, cli: Call) -> None:
    said = cli("jobs", "--local", "list")
    assert said.status == 2
    assert "--local" in said.err


def test_a_commands_options_before_it_still_count(cli: Call) -> None:
    assert "needs --token" in cli("jobs", "--studio", "http://127.0.0.1:9", "list").err


@pytest.mark.parametrize("option", [("--studio", "http://127.0.0.1:1"), ("--token", "t")])
def test_is_refused_together_with_a_studio(cli: Call, option: tuple[str, str]) -> None:
    said = cli("jobs", "--local", *option)
    assert said.status == 2
    assert "it goes with no studio" in said.err


def test_a_limit_without_it_is_refused(cli: Call) -> None:
    said = cli("jobs", "--limit", "3")
    assert said.status == 2
    assert "--limit goes with --local" in said.err


def test_a_time_that_is_damaged_is_left_out(journal: Any, cli: Call) -> None:
    journal.execute("UPDATE jobs SET settled_at = 1e300 WHERE job_id = 'job-1'")
    found = json.loads(cli("jobs", "--local", "--json").out)
    assert [row["settledAt"] is None for row in found] == [True, False]
