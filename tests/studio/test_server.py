"""Starting and stopping: the folder, the port, the token, what survives."""

import asyncio
import json
import socket
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.errors import AlreadyRunning, ConfigError, PortInUse
from studio_worker.studio.server import StudioServer
from studio_worker.studio.store import database
from studio_worker.studio.store.rows import Job
from studio_worker.studio.store.sqlite_jobs import SqliteJobs
from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job
from studio_worker.transactions import transaction

QUICK = Timings(close_secs=0.3, shutdown_secs=0.3)


async def test_a_started_studio_says_where_it_is(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0) as studio:
        kept = json.loads((tmp_path / "admin.json").read_text())

        assert kept == {"url": studio.url, "token": studio.admin_token}
        assert stat.S_IMODE((tmp_path / "admin.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


async def test_the_data_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    async with StudioServer(tmp_path / "a" / "b", port=0):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


async def test_the_token_stays_the_same_over_starts(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0) as first:
        token = first.admin_token
    async with StudioServer(tmp_path, port=0) as second:
        assert second.admin_token == token


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 7}', '{"token": "short"}'])
async def test_a_broken_admin_file_costs_only_its_token(tmp_path: Path, text: str) -> None:
    (tmp_path / "admin.json").write_text(text)
    (tmp_path / "admin.json").chmod(0o600)

    async with StudioServer(tmp_path, port=0) as studio:
        assert len(studio.admin_token) >= 32


@pytest.mark.parametrize("name", ["admin.json", "signing.key"])
async def test_secrets_that_others_can_read_are_not_used(tmp_path: Path, name: str) -> None:
    async with StudioServer(tmp_path, port=0):
        pass
    (tmp_path / name).chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        await StudioServer(tmp_path, port=0).start()

    (tmp_path / name).chmod(0o600)
    async with StudioServer(tmp_path, port=0):
        pass


async def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0):
        for path in tmp_path.glob("studio.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_a_token_can_be_given(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0, admin_token="a-token-of-my-own") as studio:
        assert studio.admin_token == "a-token-of-my-own"


@pytest.mark.parametrize("token", ["", "short", "ü" * 20])
async def test_a_weak_token_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        await StudioServer(tmp_path, port=0, admin_token=token).start()


async def test_two_studios_do_not_share_a_folder(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0):
        with pytest.raises(AlreadyRunning, match="another studio"):
            await StudioServer(tmp_path, port=0).start()


async def test_a_folder_is_free_again_after_a_stop(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0):
        pass
    async with StudioServer(tmp_path, port=0):
        pass


async def test_a_port_that_is_taken_is_said_with_its_remedy(tmp_path: Path) -> None:
    async with StudioServer(tmp_path / "a", port=0) as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(PortInUse, match=f"port {port} .* --port"):
            await StudioServer(tmp_path / "b", port=port).start()


async def test_after_a_failed_start_the_folder_is_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse):
            await StudioServer(tmp_path, port=taken.getsockname()[1]).start()
    async with StudioServer(tmp_path, port=0):
        pass


async def test_a_host_that_is_not_ours_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        await StudioServer(tmp_path, host="203.0.113.1", port=0).start()


async def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be written"):
        await StudioServer(tmp_path / "file" / "data", port=0).start()


async def test_a_database_that_is_none_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"not a database at all" * 100)

    with pytest.raises(ConfigError, match=r"studio\.db"):
        await StudioServer(tmp_path, port=0).start()


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "studio.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(ConfigError, match="version 999"):
        await StudioServer(tmp_path, port=0).start()


async def test_a_stop_can_be_repeated(tmp_path: Path) -> None:
    studio = StudioServer(tmp_path, port=0)
    await studio.start()
    await studio.aclose()
    await studio.aclose()


async def test_nothing_is_left_running_after_a_stop(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    before = asyncio.all_tasks()
    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        await (await RawWorker.admitted(http, studio.url, admin)).connect()
        stream = await http.get(admin.base + "/events", headers=admin.headers)

    stream.close()
    await http.close()
    names = {thread.name for thread in threading.enumerate()} - threads
    assert not {name for name in names if name.startswith("studio")}
    assert {task.get_name() for task in asyncio.all_tasks() - before if task.get_name().startswith("studio")} == set()


async def test_jobs_and_results_survive_a_restart(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        worker = await (await RawWorker.admitted(http, studio.url, admin)).connect()
        await admin.add(image_job("fox"))
        await admin.add(llm_job("talk"))
        await worker.offer()
        await worker.send("accept", jobId="fox")
        await worker.upload("fox")
        await worker.offer()
        await worker.send("accept", jobId="talk")
        await worker.nothing()

    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        async with http.get((await admin.job("fox"))["resultUrl"], headers=admin.headers) as response:
            assert await response.read() == PNG
        talk = await admin.job("talk")
        assert (talk["state"], talk["attempts"]) == ("queued", 0)
        again = RawWorker(http, studio.url, worker.worker_id, worker.token)
        await again.connect()
        assert (await again.offer())["jobId"] == "talk"


async def test_a_claim_left_by_a_killed_studio_is_released_at_the_start(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        await Admin(http, studio.url, studio.admin_token).add(llm_job("talk"))
    connection = sqlite3.connect(tmp_path / "studio.db")
    connection.execute("UPDATE jobs SET state = 'claimed', worker_id = 'w', last_worker_id = 'w'")
    connection.commit()
    connection.close()

    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        assert (await Admin(http, studio.url, studio.admin_token).job("talk"))["state"] == "queued"


async def test_a_result_whose_commit_outlives_its_cancelled_upload_is_kept(
    tmp_path: Path, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, begun, go_on = SqliteJobs.finish, asyncio.Event(), threading.Event()
    go_on.set()

    async def stalled(*arguments: Any) -> Job | None:
        go_on.clear()
        begun.set()
        return await finish(*arguments)

    def late(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]) -> Any:
        assert go_on.wait(20)
        return transaction(connection, work)

    monkeypatch.setattr(SqliteJobs, "finish", stalled)
    monkeypatch.setattr(database, "transaction", late)
    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        worker = await (await RawWorker.admitted(http, studio.url, admin)).connect()
        await admin.add(image_job("fox"))
        await worker.offer()
        await worker.send("accept", jobId="fox")
        uploading = asyncio.create_task(worker.upload("fox"))
        await begun.wait()
        stopping = asyncio.create_task(studio.aclose())
        with pytest.raises(aiohttp.ClientError):
            await uploading
        go_on.set()
        await stopping

    async with StudioServer(tmp_path, port=0, timings=QUICK) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        job = await admin.job("fox")
        async with http.get(job["resultUrl"], headers=admin.headers) as response:
            assert (response.status, await response.read()) == (200, PNG)


async def test_what_a_killed_studio_left_in_the_blob_folder_is_swept(tmp_path: Path) -> None:
    async with StudioServer(tmp_path, port=0):
        pass
    orphan = tmp_path / "blobs" / ("a" * 32 + "-" + "b" * 16)
    upload = tmp_path / "blobs" / "incoming" / "upload-x"
    foreign = tmp_path / "blobs" / "README"
    for path in (orphan, upload, foreign):
        path.write_bytes(b"x")

    async with StudioServer(tmp_path, port=0):
        assert not orphan.exists()
        assert not upload.exists()
        assert foreign.exists()


@pytest.fixture
def locked(studio: StudioServer, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "data" / "studio.db", isolation_level=None)
    yield connection
    connection.close()


async def test_a_locked_database_is_a_503_that_says_when_to_ask_again(admin: Admin, locked: sqlite3.Connection) -> None:
    locked.execute("BEGIN EXCLUSIVE")

    async with admin.http.post(admin.base + "/jobs", json=llm_job("talk"), headers=admin.headers) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"

    locked.execute("ROLLBACK")
    await admin.add(llm_job("talk"))
    assert len(await admin.get("/jobs")) == 1


async def test_a_result_that_meets_a_locked_database_is_neither_lost_nor_doubled(
    admin: Admin, worker: RawWorker, locked: sqlite3.Connection
) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    locked.execute("BEGIN EXCLUSIVE")
    await worker.send("completeJson", jobId="talk", result={"n": 1})
    asyncio.get_running_loop().call_later(1.2, locked.execute, "ROLLBACK")

    await worker.receive("completeAck")

    assert (await admin.job("talk"))["result"] == {"n": 1}
