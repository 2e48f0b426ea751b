from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studio_worker.engines.speeds import Times
from studio_worker.engines.speeds_file import write_speeds
from studio_worker.local_api.server import LocalApi
from studio_worker.wire.kinds import TaskKind

Call = Callable[..., Any]


class Control:
    """A worker as far as the local API knows it."""

    def __init__(self) -> None:
        self.is_paused = False
        self.more: dict[str, Any] = {}

    def status(self) -> dict[str, Any]:
        said = {"paused": self.is_paused, "currentJobId": None, "jobs": [{"model": "[/nope]\x1b[2J"}]}
        return said | self.more

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


@contextmanager
def serving(control: Control, discovery: Path) -> Iterator[None]:
    """A local API on a loop in a thread of its own, as the commands find it in another process."""
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with LocalApi(control, port=0, discovery=discovery):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@pytest.fixture
def worker(config_file: Path) -> Iterator[Control]:
    """A running worker."""
    control = Control()
    with serving(control, config_file.parent / "local-api.json"):
        yield control


def test_status_shows_the_running_worker(cli: Call, worker: Control) -> None:
    outcome = cli("status")
    assert outcome.status == 0
    assert outcome.out.startswith("running: true\npaused: false\n")
    assert "\x1b" not in outcome.out


def test_status_says_in_words_whether_the_worker_is_ready_and_what_is_left_alone(cli: Call, worker: Control) -> None:
    worker.more = {
        "readiness": {"ready": False, "code": "disk_full", "detail": "/state has 3 MiB left, 64 MiB are needed"},
        "quarantined": [{"engine": "llama", "model": "m\x1b", "deaths": 3, "retryInSecs": 250.0}],
    }
    said = cli("status").out
    assert "readiness: disk_full: /state has 3 MiB left, 64 MiB are needed\n" in said
    assert "llama on m\\x1b (died 3 times, tried again in 250.0 s)" in said


def test_how_long_jobs_take_is_told_in_words_and_of_one_engine_by_info(cli: Call, worker: Control) -> None:
    owl = {"engine": "owl", "kind": "llm", "model": "m\x1b", "jobs": 7, "medianSecs": 1.25}
    where = {"distribution": "studio-worker", "plugin": "synthetic", "environment": ""}
    synthetic = {**owl, **where, "engine": "synthetic"}
    worker.more = {"speeds": [owl, synthetic, {**synthetic, "environment": "night"}, "nonsense"]}
    assert "m\\x1b on owl: 1.25 s (7 jobs)" in cli("status").out
    assert json.loads(cli("engines", "info", "synthetic", "--json").out)["speed"] == [synthetic]
    worker.more = {"speeds": None}
    assert json.loads(cli("engines", "info", "synthetic", "--json").out)["speed"] == []


def test_info_of_an_engine_says_no_speed_where_no_worker_runs(cli: Call) -> None:
    assert json.loads(cli("engines", "info", "synthetic", "--json").out)["speed"] == []


def test_what_the_last_worker_measured_is_shown_where_none_runs(cli: Call, home: Path) -> None:
    assert "SPEED" not in cli("engines").out
    state = home / ".local/state/minis-studio-worker"
    state.mkdir(parents=True, exist_ok=True)
    write_speeds(state, (Times("synthetic", ("studio-worker", "synthetic", "", 0), TaskKind.LLM, "m", (1.25,)),))
    assert [each["medianSecs"] for each in json.loads(cli("engines", "info", "synthetic", "--json").out)["speed"]] == [
        1.25
    ]
    listed = cli("engines").out
    assert "SPEED" in listed.splitlines()[0]
    assert "m: 1.25 s" in listed


def test_status_as_json_has_everything_as_it_is(cli: Call, worker: Control) -> None:
    assert json.loads(cli("status", "--json").out) == {"running": True, **worker.status()}


def test_pause_and_resume_reach_the_worker(cli: Call, worker: Control) -> None:
    assert cli("pause").out == "paused: true\n"
    assert worker.is_paused is True
    assert json.loads(cli("resume", "--json").out) == {"paused": False}
    assert worker.is_paused is False


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_without_a_worker_they_exit_1_and_say_how_to_start_one(command: str, cli: Call) -> None:
    outcome = cli(command)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "studio-worker: no worker is running here: start one with `studio-worker run`\n"


def test_status_without_a_worker_shows_what_it_would_start_with(cli: Call, home: Path) -> None:
    outcome = cli("status", "--json")
    found = json.loads(outcome.out)
    assert outcome.status == 1
    assert (found["running"], found["registration"], found["modelsRoot"]) == (False, "pristine", f"{home}/models")
    assert "no worker is running here" in outcome.err


def test_status_of_a_running_worker_does_not_need_a_good_config_file(
    cli: Call, worker: Control, config_file: Path
) -> None:
    config_file.write_text("[[[")
    assert cli("status").status == 0


def test_status_without_a_worker_and_with_a_broken_file_exits_78(cli: Call, config_file: Path) -> None:
    config_file.write_text("[[[")
    assert cli("status").status == 78


def test_a_discovery_file_open_to_others_is_refused(cli: Call, worker: Control, config_file: Path) -> None:
    (config_file.parent / "local-api.json").chmod(0o644)
    outcome = cli("pause")
    assert outcome.status == 78
    assert worker.is_paused is False
