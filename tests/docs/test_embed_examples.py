"""The examples for embedders, started as their reader would start them: real programs, ports, kernels and Ctrl-C."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import queue
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from aiohttp import ServerDisconnectedError, web
from aiohttp.test_utils import TestClient, TestServer
from nbclient import NotebookClient
from PIL import Image

from studio_worker import JobFailed

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "embed"
PATIENCE_SECS = 60.0


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The reader's working folder, and a home of their own."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    return tmp_path


class Served:
    """A program that listens, its output line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self.port = 0
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def listens(self) -> None:
        """Wait for the line that names its port."""
        deadline = time.monotonic() + PATIENCE_SECS
        while not self.port:
            line = self._lines.get(timeout=deadline - time.monotonic())
            assert line is not None, f"it ended: {self.said}"
            self.said.append(line)
            if found := re.search(r"(?:Uvicorn running|Running) on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])

    def ask(self, method: str, path: str, body: str = "", kind: str = "application/json") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECS)
        try:
            connection.request(method, path, body.encode(), {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ctrl_c(self) -> str:
        """Press it; what the program has said by its end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_SECS)
        self.said += list(iter(self._lines.get, None))
        return "".join(self.said)


@contextmanager
def served(place: Path, *command: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        program = Served(process)
        program.listens()
        yield program
    finally:
        process.kill()
        process.wait()


def test_the_script_draws_a_picture_and_tells_what_happens(place):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "script.py", "a clay cup"], cwd=place, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Image.open(place / "picture.png").size == (512, 512)
    first, *_, last = done.stdout.splitlines()
    assert "taken, for synthetic" in first
    assert f"{(place / 'picture.png').stat().st_size} bytes in" in last


def test_the_fastapi_app_draws_pictures_and_stops_by_ctrl_c(place):
    with served(place, "-m", "uvicorn", "fastapi_app:app", "--port", "0") as app:
        assert app.ask("GET", "/ready") == (200, b'{"code":"ok","detail":""}')
        status, picture = app.ask("POST", "/pictures", json.dumps({"prompt": "a clay cup"}))
        assert (status, Image.open(io.BytesIO(picture)).format) == (200, "PNG")
        assert app.ask("POST", "/pictures", json.dumps({"prompt": ""}))[0] == 422
        said = app.ctrl_c()
    assert app.process.returncode in (0, -signal.SIGINT)
    assert "Application shutdown complete" in said
    assert "Traceback" not in said
    assert not (place / "worker-state" / "worker.pid").exists()


def test_the_aiohttp_app_streams_an_answer_of_its_own_engine_and_stops_by_ctrl_c(place):
    with served(place, str(EXAMPLES / "aiohttp_app.py"), "0") as app:
        assert app.ask("POST", "/echo", "good morning to you", "text/plain") == (200, b"good morning to you ")
        said = app.ctrl_c()
    assert app.process.returncode == 0
    assert "Traceback" not in said
    assert not (place / "worker-state" / "worker.pid").exists()


def test_clients_that_leave_the_aiohttp_app_give_their_seats_back(place):
    with served(place, str(EXAMPLES / "aiohttp_app.py"), "0") as app:
        for _ in range(8):
            leaving = http.client.HTTPConnection("127.0.0.1", app.port, timeout=PATIENCE_SECS)
            leaving.request("POST", "/echo", b"word " * 100_000)
            answer = leaving.getresponse()
            assert answer.read(5) == b"word "
            answer.close()
            leaving.close()
        assert app.ask("POST", "/echo", "still here", "text/plain") == (200, b"still here ")
        said = app.ctrl_c()
    assert app.process.returncode == 0
    assert not (place / "worker-state" / "worker.pid").exists()
    assert "never retrieved" not in said


async def test_a_client_that_has_left_before_the_aiohttp_app_answers_ends_its_job(place, monkeypatch):
    monkeypatch.chdir(place)
    example = runpy.run_path(str(EXAMPLES / "aiohttp_app.py"))

    async def has_left(*_: object) -> None:
        raise ConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "prepare", has_left)
    app = example["make_app"]()
    async with TestClient(TestServer(app)) as client:
        worker = app[example["WORKER"]]
        events = worker.events()
        try:
            async with asyncio.timeout(PATIENCE_SECS / 4):
                with pytest.raises(ServerDisconnectedError):
                    await client.post("/echo", data=b"word " * 10_000)
                failed = await anext(event async for event in events if isinstance(event, JobFailed))
        finally:
            await worker.abandon()
    assert "its client has gone" in failed.error


def test_the_notebook_runs_in_a_kernel_from_top_to_bottom_and_stores_no_output(place):
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
    NotebookClient(notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(place)}}).execute()
    drawn, answered = [cell.outputs[-1] for cell in code if cell.outputs]
    assert drawn.data["image/png"]
    assert "[synthetic]" in answered.data["text/plain"]
    assert not (place / "worker-state" / "worker.pid").exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short_and_on_the_page_for_embedders(path):
    page = (EXAMPLES.parents[1] / "how-to" / "embed-a-worker.md").read_text()
    assert f"examples/embed/{path.name}" in page
    assert len(path.read_text().splitlines()) <= 120
