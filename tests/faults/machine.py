"""A worker in a process of its own, killed outright and started again."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.journal_file import journal_path
from studio_worker.testing.scripted_studio import ScriptedStudio

MORTAL = """
import asyncio, os, random, signal, sys
from pathlib import Path
from studio_worker import Config, Worker
from studio_worker.log import set_up
from tests.faults.conftest import QUICK, Counting, result_of

class Doomed(Counting):
    async def run(self, job):
        with open(runs, "a") as log:
            print(job.id, file=log, flush=True)
        while Path(home, "hold").exists():
            await asyncio.sleep(0.005)
        if Path(home, "deadly").exists():
            await asyncio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        return result_of(job)

async def main():
    set_up("info")
    config = Config(
        api_base_url=url, state_dir=Path(home) / "state", models_root=Path(home) / "models",
        register_poll_secs=0.05, reconnect_base_secs=0.02, disabled_engines=("piper", "whisper", "synthetic"),
    )
    async with Worker(config, engines=[Doomed()], rng=random.Random(7), timings=QUICK) as worker:
        await worker.run()

url, home, runs = sys.argv[1:]
asyncio.run(main())
"""


class Machine:
    """A worker in a process of its own, which can be killed and started again."""

    def __init__(self, studio: ScriptedStudio, home: Path) -> None:
        self.studio, self.home = studio, home
        self.state = home / "state"
        self._runs = home / "runs"
        self._process: Process | None = None
        self._lives = 0

    @property
    def pid(self) -> int:
        """Of the process of this life."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        """Whether the process of this life has ended."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it and wait for its welcome."""
        root = Path(__file__).parents[2]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MORTAL, self.studio.url, str(self.home), str(self._runs), cwd=root, stderr=PIPE
        )
        self._lives += 1
        await self.studio.welcomed(self._lives)

    async def kill(self) -> None:
        """SIGKILL; the studio has noticed by the end, and has lost no claim by it."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        _, said = await self._process.communicate()
        print(said.decode())
        await self.studio.gone(self._lives)

    async def end(self) -> None:
        """SIGKILL, whatever the test has come to; nobody waits for the studio."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()

    async def ended(self) -> None:
        """Wait until the process of this life has ended."""
        assert self._process is not None
        await self._process.wait()

    async def died(self) -> None:
        """Wait until it has ended by itself."""
        await self.ended()
        await self.kill()

    @property
    def runs(self) -> Counter[str]:
        """How often the engine ran for each job, over all lives."""
        return Counter(self._runs.read_text().split()) if self._runs.exists() else Counter()

    def stages(self) -> dict[str, str]:
        """What the journal says of each job."""
        if not journal_path(self.state).exists():
            return {}
        with closing(sqlite3.connect(journal_path(self.state))) as connection:
            return dict(connection.execute("SELECT job_id, stage FROM jobs"))

    def keeps(self, job_id: str) -> bool:
        """Whether a result is kept, or was: row and file are written side by side, and neither counts alone."""
        if self.stages().get(job_id) not in ("kept", "delivering", "waiting", "delivered"):
            return False
        with closing(sqlite3.connect(journal_path(self.state))) as connection:
            asked = "SELECT file, size, checksum, settled_at FROM jobs WHERE job_id = ?"
            name, size, checksum, settled_at = connection.execute(asked, (job_id,)).fetchone()
        if not name or settled_at is not None:
            return True
        file = self.state / "spool" / name
        return file.exists() and checksum_of([file.read_bytes()[:size]]) == checksum

    async def until(self, job_id: str, *stages: str) -> None:
        """Wait until the journal says so."""
        async with asyncio.timeout(20):
            while self.stages().get(job_id) not in stages:
                await asyncio.sleep(0.005)


def terminal(studio: ScriptedStudio, job_id: str) -> list[Any]:
    """Everything that ended the job at the studio."""
    uploads = [upload for upload in studio.uploads if upload.job_id == job_id and upload.status == 200]
    return [*studio.of_type("completeJson", job_id=job_id), *studio.of_type("fail", job_id=job_id), *uploads]


async def done(studio: ScriptedStudio, job_id: str) -> None:
    await studio.until(lambda: job_id in studio.done, what=f"the result of {job_id}")
