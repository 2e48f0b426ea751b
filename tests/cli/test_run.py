from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import pytest

from studio_worker.cli.run import serve
from studio_worker.errors import AuthFailed
from studio_worker.state import StateLock

Call = Callable[..., Any]


class Scripted:
    """A worker that does what a test wants."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.is_running = asyncio.Event()

    def status(self) -> dict[str, Any]:
        return {"did": self.did}

    def pause(self) -> None:
        self.did.append("pause")

    def resume(self) -> None:
        self.did.append("resume")

    async def __aenter__(self) -> Self:
        self.did.append("starting")
        await self.may_start.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.did.append("stopped")

    def keep_private(self, host: str, port: int) -> None:
        assert (host, port > 0) == ("127.0.0.1", True)

    async def run(self) -> None:
        self.is_running.set()
        await self.ended

    async def drain(self) -> None:
        self.did.append("drain")
        self.is_running.set()
        if "patient" not in self.did:
            self.ended.set_result(None)

    async def abandon(self) -> None:
        self.did.append("abandon")
        self.ended.set_result(None)


@pytest.fixture
def discovery(tmp_path: Path) -> Path:
    return tmp_path / "local-api.json"


async def test_a_signal_drains_and_the_end_is_clean(discovery: Path) -> None:
    worker = Scripted()
    task = asyncio.create_task(serve(worker, port=0, discovery=discovery))
    await worker.is_running.wait()
    assert discovery.exists()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await task
    assert worker.did == ["starting", "drain", "stopped"]
    assert not discovery.exists()


async def test_a_second_signal_abandons(discovery: Path) -> None:
    worker = Scripted()
    worker.did.append("patient")
    task = asyncio.create_task(serve(worker, port=0, discovery=discovery))
    await worker.is_running.wait()
    worker.is_running.clear()
    os.kill(os.getpid(), signal.SIGINT)
    await worker.is_running.wait()
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(10):
        await task
    assert worker.did == ["patient", "starting", "drain", "abandon", "stopped"]


async def test_a_third_signal_ends_at_once(discovery: Path) -> None:
    worker, ends = Scripted(), []
    worker.may_start.clear()
    task = asyncio.create_task(serve(worker, port=0, discovery=discovery, end=lambda: ends.append("end")))
    while not worker.did:
        await asyncio.sleep(0)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
    assert ends == ["end"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_signal_during_the_start_waits_for_the_worker(discovery: Path) -> None:
    worker = Scripted()
    worker.may_start.clear()
    task = asyncio.create_task(serve(worker, port=0, discovery=discovery))
    while not worker.did:
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    worker.may_start.set()
    async with asyncio.timeout(10):
        await task
    assert worker.did == ["starting", "drain", "stopped"]


async def test_what_ends_the_worker_is_raised_after_everything_is_closed(discovery: Path) -> None:
    worker = Scripted()
    worker.ended.set_exception(AuthFailed("gone"))
    with pytest.raises(AuthFailed):
        await serve(worker, port=0, discovery=discovery)
    assert worker.did[-1] == "stopped"
    assert not discovery.exists()


@contextmanager
def running(home: Path, *args: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A real `run`, registered with a port where nobody listens."""
    child = subprocess.Popen(
        [sys.executable, "-m", "studio_worker", *args, "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"STUDIO_WORKER_API_BASE_URL": "http://127.0.0.1:9", "STUDIO_WORKER_LOCAL_API_PORT": "0"}
        | environ,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line_with(stream: IO[str] | None, text: str) -> str:
    """Reads until a line that holds `text`."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise AssertionError(f"the program ended without saying {text!r}")


def test_the_daemon_runs_is_steered_and_stops_cleanly(home: Path, cli: Call) -> None:
    with running(home) as child:
        line_with(child.stderr, "local_api.started")
        assert json.loads(cli("status", "--json").out)["pid"] == child.pid
        assert cli("pause").out == "paused: true\n"
        assert json.loads(cli("status", "--json").out)["paused"] is True
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert not (home / ".config" / "minis-studio-worker" / "local-api.json").exists()


def test_a_second_daemon_on_the_same_state_exits_75_naming_the_first(home: Path, cli: Call) -> None:
    with running(home) as child:
        line_with(child.stderr, "local_api.started")
        with running(home) as second:
            assert second.wait(30) == 75
            assert second.stderr is not None
            assert f"(process {child.pid})" in second.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE])
def test_a_daemon_outlives_its_terminal(number: signal.Signals, home: Path, cli: Call) -> None:
    with running(home) as child:
        line_with(child.stderr, "local_api.started")
        assert child.stderr is not None
        child.stderr.close()
        child.send_signal(number)
        assert json.loads(cli("status", "--json").out)["running"] is True
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        child.stderr = None


def test_its_log_can_be_json(home: Path) -> None:
    with running(home, "--log-json") as child:
        assert json.loads(line_with(child.stderr, "local_api.started"))["level"] == "info"


def test_a_state_folder_in_use_leaves_it_alone(cli: Call, home: Path) -> None:
    state = home / ".local" / "state" / "minis-studio-worker"
    with StateLock(state):
        outcome = cli("run")
        assert outcome.status == 75
        assert f"(process {os.getpid()})" in outcome.err


def test_a_models_root_that_is_a_file_exits_78(cli: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("STUDIO_WORKER_MODELS_ROOT", str(home / "file"))
    outcome = cli("run")
    assert outcome.status == 78
    assert "models_root: the folder" in outcome.err


@pytest.mark.parametrize("text", ["vram_threshold_gb = nan", "[" * 5_000, "a = 1\na = 2", 'a = "', "\ufeff"])
def test_a_broken_config_file_exits_78_without_a_traceback(text: str, cli: Call, config_file: Path) -> None:
    config_file.write_text(text)
    outcome = cli("run")
    assert outcome.status == 78
    assert str(config_file) in outcome.err
    assert "Traceback" not in outcome.err
