"""Our worker with the no-op engine, in a process of its own.

Started as ``python worker_process.py URL STATE_DIR {kept|forgotten}``: with the journal, or without one.
"""

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from noop_engine import NoopEngine

from studio_worker import Config, Worker, runtime
from studio_worker.jobs.journal import NoJournal
from studio_worker.jobs.results import Kept, Memory


class ForgetfulJournal(NoJournal):
    """Keeps results in memory alone: what a worker costs without what makes it safe."""

    async def keep(self, entry, artifact):
        data, memory = artifact.data, None
        if data is not None:
            artifact, memory = replace(artifact, data=Path("nowhere")), Memory(data)
        return Kept(entry=entry, artifact=artifact, kept_at=time.monotonic(), memory=memory)


async def main(url: str, state_dir: str, journal: str) -> None:
    if journal == "forgotten":
        runtime.KeptJournal = lambda *_, **__: ForgetfulJournal()
    config = Config(api_base_url=url, state_dir=state_dir, register_poll_secs=0.05, allow_private_urls=True)
    async with Worker(config, engines=[NoopEngine()]) as worker:
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
