"""What a worker without a job costs its machine."""

import asyncio
import sys
from pathlib import Path

import psutil

from studio_worker.testing.scripted_studio import ScriptedStudio

IDLE_SECS = 20.0
MAX_RSS_MB = 90.0
MAX_CPU_SHARE = 0.01
MIB = 1024 * 1024


async def test_an_idle_worker_is_hardly_there(tmp_path, report):
    async with ScriptedStudio() as studio:
        environ = {
            "HOME": str(tmp_path),
            "PATH": "",
            "STUDIO_WORKER_API_BASE_URL": studio.url,
            "STUDIO_WORKER_REGISTER_POLL_SECS": "0.05",
            "STUDIO_WORKER_LOCAL_API_PORT": "0",
        }
        arguments = [sys.executable, "-m", "studio_worker", "--log-level", "error", "run"]
        worker = await asyncio.create_subprocess_exec(*arguments, env=environ, cwd=Path.cwd())
        try:
            await studio.welcomed()
            await studio.heartbeat()
            process = psutil.Process(worker.pid)
            before = sum(process.cpu_times()[:2])
            await asyncio.sleep(IDLE_SECS)
            share = (sum(process.cpu_times()[:2]) - before) / IDLE_SECS
            rss = process.memory_info().rss / MIB
        finally:
            worker.terminate()
            await worker.wait()
    report(f"idle: {share:.2%} of one core over {IDLE_SECS:g} s, {rss:.0f} MB resident")
    assert share <= MAX_CPU_SHARE
    assert rss <= MAX_RSS_MB
