"""`studio-worker studio`, `studio-worker run` and `studio-worker jobs`, each a process of its own, at work together."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.testing.raw_worker import Admin
from studio_worker.wire.results import sniff_ext

JOBS = [
    {"id": "picture", "task": {"kind": "image", "prompt": "a cup", "width": 32, "height": 24, "ext": "png"}},
    {"id": "answer", "task": {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}},
    {"id": "clip", "task": {"kind": "video", "prompt": "waves", "seconds": 0.25, "fps": 8, "width": 32, "height": 32}},
    {"id": "speech", "task": {"kind": "audio_tts", "text": "Good morning."}},
    {"id": "heard", "task": {"kind": "audio_stt", "inputUrl": "result:speech"}},
]


def line(job: dict[str, Any], engine: str = "synthetic") -> dict[str, Any]:
    return {"model": "m", "modelSource": {"engine": engine, "files": []}, **job}


def sleeping(job_id: str, seconds: float) -> dict[str, Any]:
    messages = [{"role": "user", "content": str(seconds)}]
    return line({"id": job_id, "task": {"kind": "llm", "messages": messages}}, "acme-sleep")


class Farm:
    """A studio process, its operator and the machines of its workers."""

    def __init__(self, folder: Path, machine: Any, more: Callable[[str], Any], http: aiohttp.ClientSession) -> None:
        self.data = folder / "data"
        self.machine = machine
        self._more = more
        self._http = http
        self._port = 0
        self.processes: list[Any] = []

    async def open(self) -> Any:
        """Start the studio; on the port of before where it had one. Returns its process."""
        process = await self.machine.start("studio", "--port", str(self._port), "--data", str(self.data))
        self.processes.append(process)
        self.url = (await process.says("a worker joins by")).split("API_BASE_URL=")[1].split()[0]
        self._port = int(self.url.rpartition(":")[2])
        self.token = json.loads((self.data / "admin.json").read_text())["token"]
        self.admin = Admin(self._http, self.url, self.token)
        return process

    async def work(self, name: str = "", **environ: str) -> Any:
        """Start a worker on a machine of its own, approve it; returns its process once it is welcome."""
        machine = self._more(name) if name else self.machine
        worker = await machine.start("run", **({"STUDIO_WORKER_API_BASE_URL": self.url} | environ))
        self.processes.append(worker)
        await worker.says("waiting for approval")
        (pending,) = await self.admin.get("/workers/pending")
        status, _ = await self.admin.call("POST", f"/workers/pending/{pending['requestId']}/approve")
        assert status == 200
        await worker.says("The studio said welcome")
        return worker

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run a `jobs` command as the operator: exit status, stdout, stderr."""
        process = await self.machine.start("jobs", *arguments, "--admin-file", str(self.data))
        code = await process.code()
        return code, "\n".join(process.stdout), "\n".join(process.stderr)

    async def worker_of(self, job_id: str) -> str:
        return str((await self.admin.job(job_id))["workerId"])


@pytest.fixture
async def farm(tmp_path: Path, machine: Any, site: Path) -> AsyncIterator[Farm]:
    machines = []

    def more(name: str) -> Any:
        machines.append(type(machine)(tmp_path / name, site))
        return machines[-1]

    async with aiohttp.ClientSession() as http:
        farm = Farm(tmp_path, machine, more, http)
        await farm.open()
        yield farm
    for each in machines:
        for worker in each.processes:
            if worker.process.returncode is None:
                worker.process.kill()
                await worker.code()


async def test_a_worker_waits_for_the_operator_and_is_shown_to_them(farm, machine):
    worker = await machine.start("run", STUDIO_WORKER_API_BASE_URL=farm.url, STUDIO_WORKER_MACHINE_NAME="attic")
    said = await worker.says("waiting for approval")
    (pending,) = await farm.admin.get("/workers/pending")
    assert pending["requestId"] in said
    assert farm.url in said
    assert pending["capabilities"]["machineName"] == "attic"
    assert await farm.admin.get("/workers") == []
    await farm.admin.call("POST", f"/workers/pending/{pending['requestId']}/approve")
    await worker.says("The studio said welcome")
    assert await farm.admin.get("/workers/pending") == []
    (known,) = await farm.admin.get("/workers")
    assert known["workerId"] == machine.credentials["worker_id"]


async def test_a_worker_that_the_operator_rejects_ends_with_77_and_the_reason(farm, machine):
    worker = await machine.start("run", STUDIO_WORKER_API_BASE_URL=farm.url)
    await worker.says("waiting for approval")
    (pending,) = await farm.admin.get("/workers/pending")
    await farm.admin.call("POST", f"/workers/pending/{pending['requestId']}/reject", {"reason": "not one of ours"})
    assert await worker.code() == 77
    assert "not one of ours" in worker.said
    assert "register --reset" in worker.said


async def test_a_file_of_jobs_of_all_kinds_is_done_and_its_results_are_fetched(farm, tmp_path):
    await farm.work()
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(json.dumps(line(job)) for job in JOBS))
    code, out, err = await farm.command("add", str(file), "--watch")
    assert code == 0, err
    for job in JOBS:
        assert f"{job['id']}  done" in out
    for job_id, ext in (("picture", "png"), ("clip", "webp"), ("speech", "wav")):
        found = await farm.admin.job(job_id)
        async with farm.admin.http.get(
            f"{farm.admin.base}/jobs/{job_id}/result", headers=farm.admin.headers
        ) as response:
            assert response.status == 200
            data = await response.read()
        if job_id != "clip":
            assert sniff_ext(data[:64]) == ext
        assert found["resultUrl"]
    assert (await farm.admin.job("answer"))["result"]["object"] == "chat.completion"
    assert (await farm.admin.job("heard"))["result"]["text"]


async def test_a_job_that_no_worker_serves_waits_and_one_that_fails_is_told(farm, tmp_path):
    await farm.work()
    file = tmp_path / "jobs.jsonl"
    words = {"kind": "llm", "messages": [{"role": "user", "content": "refuse"}]}
    file.write_text(json.dumps(line({"id": "refused", "task": words}, "acme-text")))
    code, out, _ = await farm.command("add", str(file), "--watch")
    assert code == 1
    assert "refused  failed" in out
    assert "the writer does not write that" in out
    await farm.admin.add(line({"id": "waits", "task": words}, "nobody"))
    await farm.admin.add(sleeping("after", 0))
    await farm.admin.until("after", "done")
    assert (await farm.admin.job("waits"))["state"] == "queued"


async def test_a_killed_workers_job_is_finished_by_another_worker(farm):
    first = await farm.work("one")
    await farm.admin.add(sleeping("slow", 2.0))
    await farm.admin.until("slow", "claimed")
    lost = await farm.worker_of("slow")
    first.signal(signal.SIGKILL)
    await first.code()
    await farm.admin.until("slow", "queued")
    await farm.work("two")
    done = await farm.admin.until("slow", "done")
    assert done["workerId"] != lost
    assert done["result"]["choices"][0]["message"]["content"] == "awake"


async def test_a_killed_worker_that_starts_again_is_known_and_goes_on(farm, machine):
    first = await farm.work()
    await farm.admin.add(sleeping("slow", 1.0))
    await farm.admin.until("slow", "claimed")
    first.signal(signal.SIGKILL)
    await first.code()
    again = await machine.start("run", STUDIO_WORKER_API_BASE_URL=farm.url)
    await farm.admin.until("slow", "done")
    assert "waiting for approval" not in again.said
    assert len(await farm.admin.get("/workers")) == 1


async def test_a_running_job_is_cancelled_by_command_and_the_worker_takes_the_next(farm):
    await farm.work()
    await farm.admin.add(sleeping("long", 600))
    await farm.admin.until("long", "claimed")
    code, out, err = await farm.command("cancel", "long")
    assert code == 0, err
    assert "cancelled" in out
    assert (await farm.admin.until("long", "cancelled")).get("result") is None
    await farm.admin.add(sleeping("next", 0))
    await farm.admin.until("next", "done")
    code, out, _ = await farm.command("retry", "long")
    assert code == 0
    assert (await farm.admin.until("long", "claimed"))["state"] == "claimed"


async def test_a_paused_workers_jobs_wait_until_it_resumes(farm, machine):
    await farm.work()
    assert (await machine.call("pause"))[0] == 0
    await farm.admin.add(sleeping("waits", 0))
    code, shown, _ = await farm.command("show", "waits", "--json")
    assert (code, json.loads(shown)["state"]) == (0, "queued")
    before = datetime.now(UTC)
    assert (await machine.call("resume"))[0] == 0
    done = await farm.admin.until("waits", "done")
    assert datetime.fromisoformat(done["startedAt"]) >= before.replace(microsecond=before.microsecond // 1000 * 1000)


async def test_a_drained_worker_delivers_its_job_and_leaves_the_next_to_others(farm):
    first = await farm.work("one")
    await farm.admin.add(sleeping("last", 1.0))
    # A claim alone may still be an offer on its way, which a worker that drains turns down.
    async with asyncio.timeout(20):
        while "startedAt" not in await farm.admin.job("last"):
            await asyncio.sleep(0.02)
    first.signal(signal.SIGTERM)
    await farm.admin.add(sleeping("next", 0))
    assert await first.code() == 0
    assert (await farm.admin.job("last"))["state"] == "done"
    assert (await farm.admin.job("next"))["state"] == "queued"
    await farm.work("two")
    await farm.admin.until("next", "done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_studio_that_restarts_finds_worker_queue_and_the_running_job_again(farm, number):
    worker = await farm.work()
    await farm.admin.add(sleeping("slow", 1.5))
    await farm.admin.until("slow", "claimed")
    await farm.admin.add(sleeping("behind", 0))
    studio = farm.processes[0]
    studio.signal(number)
    assert await studio.code() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    before = farm.token
    await farm.open()
    assert farm.token == before
    done = await farm.admin.until("slow", "done")
    assert done["attempts"] == 0
    await farm.admin.until("behind", "done")
    assert worker.process.returncode is None
    assert (await farm.admin.get("/workers/pending")) == []


async def test_a_worker_that_starts_before_its_studio_joins_once_that_is_there(farm, machine):
    studio = farm.processes[0]
    studio.signal(signal.SIGTERM)
    await studio.code()
    worker = await machine.start("run", STUDIO_WORKER_API_BASE_URL=farm.url)
    await worker.says("no usable answer")
    await farm.open()
    await worker.says("waiting for approval")


async def test_a_deleted_worker_ends_with_77(farm):
    worker = await farm.work()
    (known,) = await farm.admin.get("/workers")
    status, _ = await farm.admin.call("DELETE", f"/workers/{known['workerId']}")
    assert status in (200, 204)
    assert await worker.code() == 77
    assert "register --reset" in worker.said


async def test_a_second_studio_on_the_same_port_or_folder_ends_with_a_sentence(farm, machine, tmp_path):
    same_port = await machine.start("studio", "--port", farm.url.rpartition(":")[2], "--data", str(tmp_path / "other"))
    assert await same_port.code() == 1
    assert "--port" in same_port.said
    same_folder = await machine.start("studio", "--port", "0", "--data", str(farm.data))
    assert await same_folder.code() == 75
    assert "Traceback" not in same_port.said + same_folder.said


async def test_no_token_is_in_any_output(farm, tmp_path, machine):
    worker = await farm.work()
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(json.dumps(line(job)) for job in JOBS))
    assert (await farm.command("add", str(file), "--watch"))[0] == 0
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 0
    studio = farm.processes[0]
    studio.signal(signal.SIGTERM)
    assert await studio.code() == 0
    credentials = (machine.state / "credentials.json").read_text()
    token = json.loads(credentials)["auth_token"]
    said = "\n".join(process.said for process in machine.processes)
    for secret in (token, farm.token, (farm.data / "signing.key").read_bytes().hex()):
        assert secret
        assert secret not in said
    for prompt in ("a cup", "Good morning."):
        assert prompt not in said
    assert "Traceback" not in said


async def test_a_hello_of_nonsense_does_not_disturb_the_others(farm):
    await farm.work()
    host, port = "127.0.0.1", int(farm.url.rpartition(":")[2])
    for nonsense in (b"\x16\x03\x01" * 50, b"GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n", b"PUT " + b"x" * 70_000):
        with socket.create_connection((host, port)) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
    await farm.admin.add(sleeping("after", 0))
    async with asyncio.timeout(20):
        await farm.admin.until("after", "done")
