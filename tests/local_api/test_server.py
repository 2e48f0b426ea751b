from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from studio_worker.local_api.discovery import Discovery, read_discovery
from studio_worker.local_api.server import LocalApi
from studio_worker.version import __version__


class Controlled(Protocol):
    is_paused: bool
    extra: dict[str, Any]
    problem: Exception | None

    def status(self) -> dict[str, Any]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


def published(path: Path) -> Discovery:
    found = read_discovery(path)
    assert found is not None
    return found


async def ask(found: Discovery, method: str, path: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {found.token}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.request(method, found.url + path) as response:
        return response.status, json.loads(await response.text())


async def test_health_says_live_and_the_version(api: LocalApi, discovery_file: Path) -> None:
    answer = await ask(published(discovery_file), "GET", "/healthz")
    assert answer == (200, {"ok": True, "status": "live", "version": __version__})


async def test_status_is_what_the_worker_says(api: LocalApi, control: Controlled, discovery_file: Path) -> None:
    control.extra = {"currentJobId": "j-1"}
    assert await ask(published(discovery_file), "GET", "/daemon/status") == (
        200,
        {"paused": False, "currentJobId": "j-1"},
    )


async def test_status_is_valid_json_whatever_the_worker_says(
    api: LocalApi, control: Controlled, discovery_file: Path
) -> None:
    control.extra = {"vram": float("nan"), "name": "\ud800\0"}
    assert (await ask(published(discovery_file), "GET", "/daemon/status"))[1]["vram"] is None


async def test_pause_and_resume_reach_the_worker(api: LocalApi, control: Controlled, discovery_file: Path) -> None:
    found = published(discovery_file)
    assert await ask(found, "POST", "/daemon/pause") == (200, {"paused": True})
    assert control.is_paused is True
    assert await ask(found, "POST", "/daemon/resume") == (200, {"paused": False})
    assert control.is_paused is False


async def test_a_worker_that_cannot_answer_is_a_500_without_details(
    api: LocalApi, control: Controlled, discovery_file: Path
) -> None:
    control.problem = RuntimeError("hunter2")
    status, answer = await ask(published(discovery_file), "GET", "/daemon/status")
    assert (status, answer["error"]) == (500, "internal")
    assert "hunter2" not in str(answer)


async def test_it_listens_on_loopback_alone(api: LocalApi) -> None:
    assert api.url is not None
    assert api.url.startswith("http://127.0.0.1:")


async def test_the_discovery_file_is_its_owners_alone(api: LocalApi, discovery_file: Path) -> None:
    assert stat.S_IMODE(discovery_file.stat().st_mode) == 0o600
    held = json.loads(discovery_file.read_text())
    assert set(held) == {"url", "token"}
    assert (held["url"], len(held["token"])) == (api.url, 64)


async def test_the_discovery_file_goes_with_a_clean_stop(control: Controlled, discovery_file: Path) -> None:
    async with LocalApi(control, port=0, discovery=discovery_file) as api:
        assert discovery_file.exists()
    assert not discovery_file.exists()
    assert api.url is None


async def test_each_start_has_a_token_of_its_own(control: Controlled, discovery_file: Path) -> None:
    tokens = set()
    for _ in range(2):
        async with LocalApi(control, port=0, discovery=discovery_file):
            tokens.add(published(discovery_file).token)
    assert len(tokens) == 2


async def test_another_workers_discovery_file_is_left_alone(control: Controlled, discovery_file: Path) -> None:
    async with LocalApi(control, port=0, discovery=discovery_file):
        other = Discovery("http://127.0.0.1:9", "0" * 64)
        other.write(discovery_file)
    assert read_discovery(discovery_file) == other


async def test_the_asked_port_is_used(control: Controlled, discovery_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    async with LocalApi(control, port=port, discovery=discovery_file) as api:
        assert api.url == f"http://127.0.0.1:{port}"


async def test_a_taken_port_is_exchanged_for_a_free_one(control: Controlled, discovery_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        async with LocalApi(control, port=port, discovery=discovery_file) as api:
            assert api.url != f"http://127.0.0.1:{port}"
            assert (await ask(published(discovery_file), "GET", "/daemon/status"))[0] == 200


async def test_a_discovery_file_that_cannot_be_written_does_not_stop_the_worker(control: Controlled) -> None:
    async with LocalApi(control, port=0, discovery=Path("/proc/nowhere/local-api.json")) as api:
        assert api.url is not None


async def test_stopping_twice_is_harmless(control: Controlled, discovery_file: Path) -> None:
    api = LocalApi(control, port=0, discovery=discovery_file)
    await api.start()
    await api.aclose()
    await api.aclose()


@pytest.mark.parametrize("rounds", [20])
async def test_many_starts_leave_no_listener_behind(rounds: int, control: Controlled, discovery_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    for _ in range(rounds):
        async with LocalApi(control, port=port, discovery=discovery_file) as api:
            assert api.url == f"http://127.0.0.1:{port}"
