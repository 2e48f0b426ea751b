from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio_worker.studio.server import StudioServer

Call = Callable[..., Any]


def line(name: str, prompt: str = "a fox") -> str:
    job = {
        "id": name,
        "model": "synthetic-image",
        "task": {"kind": "image", "prompt": prompt},
        "modelSource": {"engine": "synthetic", "files": []},
    }
    return json.dumps(job)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[StudioServer]:
    """A real studio, on a loop in a thread of its own."""
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    server = StudioServer(folder, port=0, admin_token="an-admin-token-of-the-tests")

    async def serve() -> None:
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


@pytest.fixture
def jobs(running: StudioServer, cli: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `jobs …` against that studio."""
    monkeypatch.setenv("STUDIO_WORKER_ADMIN_TOKEN", running.admin_token)
    return lambda *args: cli("jobs", "--studio", running.url, *args)


@pytest.fixture
def file(home: Path) -> Path:
    return home / "jobs.jsonl"


def states(jobs: Call) -> dict[str, str]:
    return {job["jobId"]: job["state"] for job in json.loads(jobs("list", "--json").out)}


def test_a_file_is_queued_line_by_line(jobs: Call, file: Path) -> None:
    file.write_text(f"{line('q-1')}\n\n{line('q-2')}\n")
    outcome = jobs("add", str(file))
    assert (outcome.status, outcome.out) == (0, "q-1\nq-2\n")
    assert {"q-1": "queued", "q-2": "queued"}.items() <= states(jobs).items()


def test_added_jobs_as_json_have_their_lines(jobs: Call, file: Path) -> None:
    file.write_text(f"\n{line('j-1')}\n")
    assert json.loads(jobs("add", str(file), "--json").out) == {"line": 2, "jobId": "j-1"}


def test_a_misspelt_field_is_ignored_but_not_without_a_word(jobs: Call, file: Path) -> None:
    job = json.loads(line("m-1"))
    job["task"]["stpes"] = 4
    file.write_text(json.dumps(job))
    outcome = jobs("add", str(file))
    assert (outcome.status, outcome.out) == (0, "m-1\n")
    assert "line 1: task.stpes means nothing here and is ignored; did you mean steps?" in outcome.err


def test_the_list_is_a_table_with_kind_and_engine(jobs: Call, file: Path) -> None:
    file.write_text(line("t-1"))
    jobs("add", str(file))
    shown = jobs().out.splitlines()
    assert shown[0].split() == ["JOBID", "STATE", "KIND", "MODEL", "ENGINE", "ATTEMPTS", "WORKERID", "ERROR"]
    assert any(row.split()[:5] == ["t-1", "queued", "image", "synthetic-image", "synthetic"] for row in shown)


def test_a_bad_line_exits_2_with_its_number_and_nothing_is_queued(jobs: Call, file: Path) -> None:
    file.write_text("\n".join([line(f"bad-{at}") for at in range(1, 7)] + ["oops"]))
    outcome = jobs("add", str(file))
    assert (outcome.status, outcome.out) == (2, "")
    assert f"{file}, line 7: " in outcome.err
    assert "bad-1" not in states(jobs)


def test_a_line_that_the_studio_refuses_exits_2_with_its_number(jobs: Call, file: Path) -> None:
    file.write_text(f"{line('twice')}\n{line('twice')}\n")
    outcome = jobs("add", str(file))
    assert (outcome.status, outcome.out) == (2, "twice\n")
    assert f"{file}, line 2: the studio at " in outcome.err


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_exits_2(text: str, jobs: Call, file: Path) -> None:
    file.write_text(text)
    assert jobs("add", str(file)).status == 2


def test_a_file_that_is_not_there_or_a_folder_exits_2(jobs: Call, home: Path) -> None:
    for path in (home / "nowhere", home):
        outcome = jobs("add", str(path))
        assert outcome.status == 2
        assert "cannot be read" in outcome.err


def test_stdin_is_queued_as_it_comes(running: StudioServer, program: Call) -> None:
    environ = {"STUDIO_WORKER_ADMIN_TOKEN": running.admin_token}
    outcome = program(
        "jobs", "add", "-", "--studio", running.url, environ=environ, stdin=f"{line('in-1')}\noops\n{line('in-2')}\n"
    )
    assert (outcome.status, outcome.out) == (2, "in-1\n")
    assert "stdin, line 2: " in outcome.err


def test_one_job_is_shown_with_its_task(jobs: Call, file: Path) -> None:
    file.write_text(line("s-1", prompt="ok\n\x1b[2J"))
    jobs("add", str(file))
    assert json.loads(jobs("show", "s-1", "--json").out)["task"]["prompt"] == "ok\n\x1b[2J"
    assert "\x1b" not in jobs("show", "s-1").out


def test_cancel_and_retry(jobs: Call, file: Path) -> None:
    file.write_text(line("c-1"))
    jobs("add", str(file))
    assert jobs("cancel", "c-1").status == 0
    assert states(jobs)["c-1"] == "cancelled"
    assert jobs("retry", "c-1").status == 0
    assert states(jobs)["c-1"] == "queued"


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_an_unknown_job_exits_1_in_the_studios_words(verb: str, jobs: Call) -> None:
    outcome = jobs(verb, "nope")
    assert (outcome.status, outcome.out) == (1, "")
    assert "answered 404" in outcome.err


def test_watching_a_job_that_ended_without_a_result_exits_1(jobs: Call, file: Path) -> None:
    file.write_text(line("w-1"))
    jobs("add", str(file))
    jobs("cancel", "w-1")
    outcome = jobs("show", "w-1", "--watch", "--json")
    assert (outcome.status, json.loads(outcome.out)["state"]) == (1, "cancelled")


def test_options_count_before_and_after_the_command(running: StudioServer, cli: Call) -> None:
    given = ("--studio", running.url, "--token", running.admin_token)
    assert cli("jobs", *given, "list", "--json").status == cli("jobs", "list", *given, "--json").status == 0


def test_a_studio_on_this_machine_is_found_by_its_admin_file(running: StudioServer, folder: Path, cli: Call) -> None:
    assert cli("jobs", "--admin-file", str(folder), "--json").status == 0
    assert cli("jobs", "list", "--admin-file", str(folder / "admin.json"), "--json").status == 0


def test_a_wrong_token_exits_1_with_a_hint(running: StudioServer, cli: Call) -> None:
    outcome = cli("jobs", "--studio", running.url, "--token", "wrong-but-long-enough")
    assert outcome.status == 1
    assert "is the admin token right?" in outcome.err


def test_a_dash_takes_the_token_from_stdin(running: StudioServer, program: Call) -> None:
    asked = ("jobs", "--studio", running.url, "--token", "-", "--json")
    assert program(*asked, stdin=f"{running.admin_token}\n").status == 0
    assert program("jobs", "list", *asked[1:], stdin=f"{running.admin_token}\n").status == 0
    outcome = program(*asked)
    assert outcome.status == 2
    assert "--token" in outcome.err


def test_stdin_is_no_token_where_it_is_the_file(running: StudioServer, program: Call) -> None:
    asked = ("--studio", running.url, "--token", "-")
    for line in (("jobs", "add", "-", *asked), ("jobs", *asked, "add", "-")):
        outcome = program(*line, stdin=f"{running.admin_token}\n")
        assert outcome.status == 2
        assert "stdin cannot be both" in outcome.err


def test_an_address_without_a_token_is_a_usage_error(cli: Call) -> None:
    outcome = cli("jobs", "--studio", "http://127.0.0.1:9")
    assert outcome.status == 2
    assert "STUDIO_WORKER_ADMIN_TOKEN" in outcome.err


def test_without_a_studio_anywhere_the_sentence_says_how_to_get_one(cli: Call) -> None:
    outcome = cli("jobs")
    assert outcome.status == 78
    assert "start a studio by `studio-worker studio`" in outcome.err
