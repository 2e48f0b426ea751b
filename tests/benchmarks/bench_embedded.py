"""1, 10 and 100 workers in one process: what each of them holds, and what the others cost a job."""

import asyncio
import json
import sys
from pathlib import Path

from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits

SIZES = (1, 10, 100)
MAX_MB = 2.0
"""Memory a worker, beyond what the first of a process takes."""
MAX_FILES = 12
MAX_THREADS = 4
MAX_IDLE_SHARE = 0.002
"""Of one core, a worker."""
MAX_RATIO = 3.0
"""How much longer a job may take in a process with a hundred workers than in one with a single one."""

HEAD = "workers | MB each | files each | threads each | start s | CPU s each | stop s | job ms | p95 | studio ms | idle"


async def test_workers_in_one_process_cost_little_each_and_slow_nobody_down(tmp_path, report):
    limits = Limits(register_requests=10_000)
    async with StudioServer(tmp_path / "studio", port=0, auto_approve=True, limits=limits) as studio:
        rows = [await measured(size, studio, tmp_path / str(size)) for size in SIZES]
    report(HEAD)
    for row in rows:
        report(
            f"{row['workers']:7} | {row['mb']:7.2f} | {row['files']:10.1f} | {row['threads']:12.1f} | "
            f"{row['start_secs']:7.2f} | {row['start_cpu'] / row['workers']:10.3f} | {row['stop_secs']:6.2f} | "
            f"{row['job_ms']:6.2f} | {row['job_p95_ms']:.2f} | {row['studio_ms']:9.1f} | {row['idle']:.2%}"
        )
    report(f"first of a process, with all installed plugins described: {rows[0]['first_secs']:.1f} s")
    many = rows[-1]
    ratio = many["job_ms"] / rows[0]["job_ms"]
    report(f"a job among a hundred workers takes {ratio:.2f}x as long as with one")
    assert many["mb"] <= MAX_MB
    assert many["files"] <= MAX_FILES
    assert many["threads"] <= MAX_THREADS
    assert many["idle"] / many["workers"] <= MAX_IDLE_SHARE
    assert ratio <= MAX_RATIO


async def measured(size: int, studio: StudioServer, folder: Path) -> dict[str, float]:
    script = Path(__file__).with_name("embedded_process.py")
    arguments = [sys.executable, script, str(size), studio.url, studio.admin_token, folder]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return json.loads(out)
