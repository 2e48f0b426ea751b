"""An engine's process is killed in mid job: the studio's next attempt on the same worker succeeds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp

from studio_worker.testing.raw_worker import Admin

STUMBLER = '''
import os
import time
from pathlib import Path

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, hookimpl


class Stumbler(Engine):
    """Writes its process id into the file that the prompt names and waits; where the file is there, it answers."""

    name = "stumbler"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["stumbler:*"]})

    def run(self, job):
        file = Path(job.task.messages[-1].content)
        if not file.exists():
            file.with_suffix(".new").write_text(str(os.getpid()))
            file.with_suffix(".new").rename(file)
            while True:
                time.sleep(0.05)
        message = {"role": "assistant", "content": "up again"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


@hookimpl
def studio_worker_engines(config):
    return [Stumbler()]
'''


def install(site: Path) -> None:
    info = site / "studio_worker_stumbler-1.0.dist-info"
    info.mkdir()
    (site / "studio_worker_stumbler.py").write_text(STUMBLER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker-stumbler\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[studio_worker]\nstumbler = studio_worker_stumbler\n")


async def written(file: Path) -> int:
    async with asyncio.timeout(30):
        while not file.exists():
            await asyncio.sleep(0.02)
    return int(file.read_text())


async def test_a_job_whose_engine_is_killed_is_done_by_the_next_attempt(machine: Any, site: Path, tmp_path: Path):
    install(site)
    mark = tmp_path / "pid"
    task = {"kind": "llm", "messages": [{"role": "user", "content": str(mark)}]}
    studio = await machine.start("studio", "--port", "0", "--data", str(tmp_path / "data"), "--auto-approve")
    url = (await studio.says("a worker joins by")).split("API_BASE_URL=")[1].split()[0]
    worker = await machine.start("run", STUDIO_WORKER_API_BASE_URL=url)
    await worker.says("The studio said welcome")
    async with aiohttp.ClientSession() as http:
        admin = Admin(http, url, json.loads((tmp_path / "data" / "admin.json").read_text())["token"])
        await admin.add({"id": "job", "model": "m", "task": task, "modelSource": {"engine": "stumbler", "files": []}})
        os.kill(await written(mark), signal.SIGKILL)
        await admin.until("job", "done")
        job = await admin.job("job")
    assert job["attempts"] == 1
    assert job["result"]["choices"][0]["message"]["content"] == "up again"
    for process in (worker, studio):
        process.signal(signal.SIGTERM)
        assert await process.code() == 0
