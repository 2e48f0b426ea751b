"""`models pull` from a real server on loopback: what it brings, how it stops and goes on, what it refuses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from studio_worker.cli.quantities import size_text
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import look

Call = Callable[..., Any]
DATA = bytes(range(1, 251)) * 40_000
SHA = hashlib.sha256(DATA).hexdigest()
PATIENCE_SECS = 30.0


@dataclass
class Hub:
    """A file server; a file in `holds` stops after that many bytes until `released`, one in `chunked` has no length."""

    files: dict[str, bytes] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    chunked: set[str] = field(default_factory=set)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    origin: str = ""

    def __post_init__(self) -> None:
        self.released = asyncio.Event()

    def url(self, name: str) -> str:
        return f"{self.origin}/{name}?sig=secret"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name, asked = request.path.rpartition("/")[2], request.headers.get("Range")
        self.requests.append((request.path, asked))
        data = self.files.get(name)
        if data is None:
            return web.Response(status=404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        headers = {"ETag": f'"{len(data)}"', "Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if name in self.chunked:
            del headers["Content-Length"]
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        hold = max(self.holds.get(name, len(data)), start)
        for at in range(start, hold, 65_536):
            await response.write(data[at : min(at + 65_536, hold)])
        if hold < len(data):
            await self.released.wait()
            await response.write(data[hold:])
        return response


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The server, on a loop in a thread of its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    made, stop = Hub({"a.bin": DATA}), asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/{tail:.*}", made.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(PATIENCE_SECS)
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join(PATIENCE_SECS)
    loop.close()


@pytest.fixture(autouse=True)
def _private_addresses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator lets the server on loopback be asked."""
    monkeypatch.setenv("STUDIO_WORKER_ALLOW_PRIVATE_URLS", "true")


@pytest.fixture
def root(home: Path) -> Path:
    return home / "models"


@pytest.fixture
def state(home: Path) -> Path:
    return home / ".local" / "state" / "minis-studio-worker"


@pytest.fixture
def source(hub: Hub, home: Path) -> Callable[..., str]:
    """A file that holds a model source of these files of the server."""

    def write(*names: str, **more: Any) -> str:
        files = [{"role": "model", "url": hub.url(name), "filename": name, **more} for name in names]
        path = home / "source.json"
        path.write_text(json.dumps({"engine": "onnx", "files": files}))
        return str(path)

    return write


def states(outcome: Any) -> dict[str, str]:
    return {each["filename"]: each["state"] for each in json.loads(outcome.out)["files"]}


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and ".downloads" not in path.parts)


class TestBringing:
    def test_one_file_comes_by_its_url_and_is_the_workers(self, cli: Call, hub: Hub, root: Path) -> None:
        outcome = cli("models", "pull", "--url", hub.url("a.bin"), "--role", "model", "--sha256", SHA.upper())
        assert outcome.status == 0, outcome.err
        assert (root / "a.bin").read_bytes() == DATA
        head, row = outcome.out.splitlines()
        assert head.split() == ["FILENAME", "SIZE", "STATE", "PATH"]
        assert row.split() == ["a.bin", "10", "MB", "downloaded", str(root / "a.bin")]
        [found] = json.loads(cli("models", "--json").out)["files"]
        assert (found["sha256"], found["isDownloaded"], found["model"]) == (SHA, True, "a")
        assert found["url"] == f"{hub.origin}/a.bin"

    def test_what_is_here_already_is_not_fetched_again(self, cli: Call, hub: Hub, source: Call) -> None:
        assert states(cli("models", "pull", source("a.bin"), "--json")) == {"a.bin": "downloaded"}
        assert states(cli("models", "pull", source("a.bin"), "--json")) == {"a.bin": "here"}
        assert len(hub.requests) == 1

    def test_lines_on_stderr_tell_how_far_it_is_and_the_json_is_all_of_stdout(
        self, cli: Call, hub: Hub, source: Call, root: Path
    ) -> None:
        outcome = cli("models", "pull", source("a.bin"), "--model", "org/m", "--json")
        assert json.loads(outcome.out) == {
            "files": [
                {
                    "model": "org/m",
                    "role": "model",
                    "filename": "a.bin",
                    "state": "downloaded",
                    "path": str(root / "a.bin"),
                    "sizeBytes": len(DATA),
                    "error": None,
                }
            ]
        }
        said = outcome.err.splitlines()
        assert said[-1] == "a.bin: downloaded, 10 MB"
        assert any(line.startswith("a.bin: ") and " % of 10 MB" in line for line in said)

    def test_no_length_is_made_up_for_a_file_of_which_the_server_says_none(
        self, cli: Call, hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("studio_worker.models.progress.INTERVAL_SECS", 0)
        hub.chunked.add("a.bin")
        outcome = cli("models", "pull", "--url", hub.url("a.bin"), "--role", "model")
        assert outcome.status == 0, outcome.err
        assert (root / "a.bin").read_bytes() == DATA
        shares = [line for line in outcome.err.splitlines() if "%" in line]
        assert all("100 % of 10 MB" in line for line in shares)

    def test_the_files_of_jobs_come_from_stdin(self, program: Call, hub: Hub, root: Path) -> None:
        hub.files |= {"b.bin": DATA[:1_000], "c.bin": DATA[:2_000]}
        jobs = "\n".join(
            json.dumps({
                "id": name, "model": "m", "task": {"kind": "llm"}, "modelSource":
                {"engine": "onnx", "files": [{"role": "model", "url": hub.url(name), "filename": name}]},
            })
            for name in ("b.bin", "c.bin", "b.bin")
        )  # fmt: skip
        outcome = program("models", "pull", "-", "--json", stdin=jobs)
        assert states(outcome) == {"b.bin": "downloaded", "c.bin": "downloaded"}
        assert left(root) == ["b.bin", "c.bin"]

    def test_a_file_whose_name_is_taken_lies_where_a_job_of_that_model_looks(
        self, cli: Call, hub: Hub, root: Path, source: Call
    ) -> None:
        root.mkdir()
        (root / "a.bin").write_bytes(b"another")
        outcome = cli("models", "pull", source("a.bin", sha256=SHA), "--model", "org/m", "--json")
        [found] = json.loads(outcome.out)["files"]
        assert Path(found["path"]).parent.name.startswith("org_m-")
        assert (root / "a.bin").read_bytes() == b"another"

    def test_a_model_without_files_has_nothing_to_pull(self, cli: Call, home: Path) -> None:
        (home / "s.json").write_text('{"engine": "synthetic"}')
        outcome = cli("models", "pull", str(home / "s.json"), "--json")
        assert (outcome.status, json.loads(outcome.out)) == (0, {"files": []})
        assert "nothing to pull" in outcome.err


class TestFailing:
    def test_one_that_fails_stops_no_other_and_exits_1(self, cli: Call, hub: Hub, root: Path, source: Call) -> None:
        outcome = cli("models", "pull", source("gone.bin", "a.bin"), "--json")
        assert outcome.status == 1
        assert states(outcome) == {"gone.bin": "failed", "a.bin": "downloaded"}
        assert "studio-worker: gone.bin: " in outcome.err
        assert "404" in outcome.err
        assert "secret" not in outcome.err + outcome.out
        assert left(root) == ["a.bin"]

    def test_a_wrong_hash_names_both_and_leaves_nothing(self, cli: Call, root: Path, source: Call) -> None:
        outcome = cli("models", "pull", source("a.bin", sha256="0" * 64))
        assert outcome.status == 1
        assert SHA in outcome.err
        assert "0" * 64 in outcome.err
        assert left(root) == []

    def test_a_file_that_no_engine_should_open_is_refused(self, cli: Call, hub: Hub, root: Path, source: Call) -> None:
        hub.files["a.gguf"] = b"GGML" + bytes(100)
        outcome = cli("models", "pull", source("a.gguf"))
        assert outcome.status == 1
        assert "rule: gguf" in outcome.err
        assert left(root) == []

    def test_a_models_folder_that_cannot_be_made_exits_78(self, cli: Call, home: Path, hub: Hub, source: Call) -> None:
        (home / "models").write_text("a file")
        outcome = cli("models", "pull", source("a.bin"))
        assert (outcome.status, hub.requests) == (78, [])
        assert "models_root: " in outcome.err

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ([], "say what to pull"),
            (["x.json", "--url", "https://x.example/a"], "say what to pull"),
            (["x.json", "--filename", "a"], "belong to --url"),
            (["--url", "https://x.example/"], "--filename"),
            (["--url", "https://x.example/a", "--filename", "../a"], "--filename"),
            (["--url", "https://x.example/a", "--sha256", "12"], "--sha256"),
            (["nowhere.json"], "nowhere.json cannot be read"),
        ],
    )
    def test_a_wrong_use_exits_2(self, cli: Call, home: Path, args: list[str], words: str) -> None:
        outcome = cli("models", "pull", *args)
        assert (outcome.status, outcome.out) == (2, "")
        assert words in outcome.err
        assert not (home / "models").exists()


class TestTheOperatorsWord:
    def test_offline_nobody_is_asked(self, cli: Call, hub: Hub, source: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STUDIO_WORKER_MODELS_OFFLINE", "true")
        outcome = cli("models", "pull", source("a.bin"))
        assert (outcome.status, hub.requests) == (1, [])
        assert "models_offline = true asks nobody" in outcome.err

    def test_private_addresses_are_asked_only_where_that_is_allowed(
        self, cli: Call, hub: Hub, source: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STUDIO_WORKER_ALLOW_PRIVATE_URLS", "false")
        outcome = cli("models", "pull", source("a.bin"))
        assert (outcome.status, hub.requests) == (1, [])
        assert "allow_private_urls = true would allow it" in outcome.err

    def test_a_mirror_is_asked_in_the_place_of_its_host(
        self, cli: Call, hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STUDIO_WORKER_ALLOW_PRIVATE_URLS", "false")
        monkeypatch.setenv("STUDIO_WORKER_MODEL_MIRRORS", json.dumps({"models.example": f"{hub.origin}/hf"}))
        outcome = cli("models", "pull", "--url", "https://models.example/org/a.bin")
        assert outcome.status == 0, outcome.err
        assert hub.requests == [("/hf/org/a.bin", None)]
        assert (root / "a.bin").read_bytes() == DATA

    def test_the_quota_lets_the_least_recently_used_download_go(
        self, cli: Call, root: Path, state: Path, source: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root.mkdir()
        ledger = Ledger.of(state)
        for name, used in (("old.bin", 1.0), ("newer.bin", 2.0)):
            (root / name).write_bytes(b"x" * 6_000_000)
            found = look(root / name)
            assert isinstance(found, Seen)
            ledger.own(found, sha256="a" * 64, url="https://x/y", model="m", now=used)
        ledger.close()
        (root / "mine.bin").write_bytes(b"x" * 6_000_000)
        monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "0.018")
        assert cli("models", "pull", source("a.bin", approxBytes=len(DATA))).status == 0
        assert left(root) == ["a.bin", "mine.bin", "newer.bin"]

    def test_the_quota_lets_none_go_that_a_worker_with_another_state_folder_uses(
        self,
        cli: Call,
        home: Path,
        root: Path,
        state: Path,
        source: Call,
        another_process: Call,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        root.mkdir()
        (root / "used.bin").write_bytes(b"x" * 6_000_000)
        ledger = Ledger.of(state)
        found = look(root / "used.bin")
        assert isinstance(found, Seen)
        ledger.own(found, sha256="a" * 64, url="https://x/y", model="m", now=1.0)
        ledger.close()
        other = another_process("use", home / "other-state", root / "used.bin")
        monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "0.012")
        outcome = cli("models", "pull", source("a.bin", approxBytes=len(DATA)))
        assert (outcome.status, left(root)) == (1, ["used.bin"])
        assert "models_quota_gb: " in outcome.err
        other.kill()
        assert cli("models", "pull", source("a.bin", approxBytes=len(DATA))).status == 0
        assert left(root) == ["a.bin"]

    def test_the_quota_never_takes_one_file_of_a_pull_for_another(
        self, cli: Call, hub: Hub, root: Path, source: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.files["b.bin"] = DATA
        assert cli("models", "pull", source("a.bin", approxBytes=len(DATA))).status == 0
        monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "0.015")
        outcome = cli("models", "pull", source("a.bin", "b.bin", approxBytes=len(DATA)), "--json")
        assert states(outcome) == {"a.bin": "here", "b.bin": "failed"}
        assert "models_quota_gb: " in outcome.err
        assert left(root) == ["a.bin"]

    def test_a_pulled_file_is_in_use_by_nobody_afterwards(self, cli: Call, state: Path, source: Call) -> None:
        assert cli("models", "pull", source("a.bin")).status == 0
        ledger = Ledger.of(state)
        assert ledger.in_use() == frozenset()
        ledger.close()


@pytest.fixture
def started(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a pull in a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "studio_worker", "models", "pull", *args]
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=PATIENCE_SECS)


def wait_for(path: Path, size: int) -> None:
    """Until a file has grown to `size` bytes."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, f"{path} has not come"
        time.sleep(0.01)


class TestStopping:
    HELD = 6_000_000
    WRITTEN = 5 * 1024 * 1024
    """What has reached the disk for certain by then: it is written in pieces of 1 MiB."""

    @pytest.fixture
    def halfway(self, hub: Hub, root: Path, source: Call, started: Call) -> Iterator[subprocess.Popen[str]]:
        """A pull that has brought half of its file, while the server waits."""
        hub.holds["a.bin"] = self.HELD
        process = started(source("a.bin"), "--json")
        wait_for(root / "a.bin.part", self.WRITTEN)
        yield process
        hub.holds.clear()

    def goes_on(self, cli: Call, hub: Hub, root: Path, source: Call, kept: int) -> None:
        hub.holds.clear()
        assert states(cli("models", "pull", source("a.bin"), "--json")) == {"a.bin": "downloaded"}
        assert hub.requests[-1] == ("/a.bin", f"bytes={kept}-")
        assert (root / "a.bin").read_bytes() == DATA
        assert left(root) == ["a.bin"]

    def test_a_pull_that_was_killed_goes_on_where_it_was(
        self, halfway: subprocess.Popen[str], cli: Call, hub: Hub, root: Path, source: Call
    ) -> None:
        halfway.kill()
        halfway.communicate(timeout=PATIENCE_SECS)
        kept = (root / "a.bin.part").stat().st_size
        assert "a.bin.part" in cli("models").out
        self.goes_on(cli, hub, root, source, kept)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_one_that_is_interrupted_says_what_is_kept_and_exits_130(
        self, halfway: subprocess.Popen[str], cli: Call, hub: Hub, root: Path, source: Call, number: int
    ) -> None:
        os.kill(halfway.pid, number)
        out, err = halfway.communicate(timeout=PATIENCE_SECS)
        assert (halfway.returncode, out) == (130, "")
        kept = (root / "a.bin.part").stat().st_size
        assert kept >= self.WRITTEN
        assert f"a.bin: {size_text(kept)} of 10 MB kept; the same command goes on from there" in err
        assert "Traceback" not in err
        self.goes_on(cli, hub, root, source, kept)

    def test_while_it_runs_its_part_is_on_its_way_and_cannot_be_removed(
        self, halfway: subprocess.Popen[str], cli: Call
    ) -> None:
        [found] = json.loads(cli("models", "--json").out)["files"]
        assert (found["name"], found["state"], found["totalBytes"]) == ("a.bin.part", "downloading", len(DATA))
        assert cli("models", "remove", "a.bin.part", "--yes").status == 1
        assert cli("models", "prune", "--partial").out == "nothing to remove\n"
        assert halfway.poll() is None
