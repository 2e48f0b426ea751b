from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.errors import ConfigError, StudioWorkerError
from studio_worker.local_api.client import DaemonClient, NoDaemon
from studio_worker.local_api.discovery import Discovery, read_discovery
from studio_worker.local_api.server import LocalApi

TOKEN = "ab" * 32


async def off_loop(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


async def answering(raw: bytes, path: Path) -> asyncio.Server:
    """A program that has the worker's old port and answers everything with `raw`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    Discovery(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", TOKEN).write(path)
    return server


async def test_it_asks_the_running_worker(api: LocalApi, discovery_file: Path) -> None:
    assert await off_loop(DaemonClient(discovery_file).status) == {"paused": False}


async def test_it_pauses_and_resumes(api: LocalApi, discovery_file: Path) -> None:
    client = DaemonClient(discovery_file)
    assert await off_loop(client.pause) == {"paused": True}
    assert await off_loop(client.status) == {"paused": True}
    assert await off_loop(client.resume) == {"paused": False}


def test_without_a_discovery_file_no_worker_runs(discovery_file: Path) -> None:
    with pytest.raises(NoDaemon, match="no worker is running here: start one with `studio-worker run`") as caught:
        DaemonClient(discovery_file).status()
    assert caught.value.exit_code == 1


def test_a_worker_that_died_is_no_worker(discovery_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    Discovery(f"http://127.0.0.1:{port}", TOKEN).write(discovery_file)
    with pytest.raises(NoDaemon):
        DaemonClient(discovery_file).status()


async def test_another_worker_on_the_old_port_is_no_worker_of_ours(api: LocalApi, discovery_file: Path) -> None:
    found = read_discovery(discovery_file)
    assert found is not None
    Discovery(found.url, "00" * 32).write(discovery_file)
    with pytest.raises(NoDaemon):
        await off_loop(DaemonClient(discovery_file).status)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_another_program_on_the_old_port_is_no_worker(raw: bytes, discovery_file: Path) -> None:
    async with await answering(raw, discovery_file):
        with pytest.raises(NoDaemon):
            await off_loop(DaemonClient(discovery_file).status)


async def test_an_error_of_the_worker_is_told_in_its_words_escaped(discovery_file: Path) -> None:
    body = b'{"error": "x", "message": "bad \\u001b[2J day"}'
    head = f"HTTP/1.1 500 Oops\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with await answering(head + body, discovery_file):
        with pytest.raises(StudioWorkerError, match=r"answered 500: bad \\x1b\[2J day"):
            await off_loop(DaemonClient(discovery_file).status)


def test_a_worker_that_hangs_is_given_up(discovery_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        Discovery(f"http://127.0.0.1:{held.getsockname()[1]}", TOKEN).write(discovery_file)
        with pytest.raises(StudioWorkerError, match=r"did not answer within 0\.05 s"):
            DaemonClient(discovery_file, timeout_secs=0.05).status()


def test_a_discovery_file_open_to_others_is_refused_before_anything_is_sent(discovery_file: Path) -> None:
    Discovery("http://127.0.0.1:9", TOKEN).write(discovery_file)
    discovery_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        DaemonClient(discovery_file).status()
