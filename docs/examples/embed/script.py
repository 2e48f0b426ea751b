"""A plain program with a worker in it: one picture into a file, what happens on the way into the terminal.

python script.py "a lighthouse at dusk"
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import assert_never

from studio_worker import (
    Config,
    EventReader,
    ImageResult,
    ImageTask,
    JobAccepted,
    JobDelivered,
    JobFailed,
    JobProgress,
    RegistrationChanged,
    SessionLost,
    SessionOpened,
    Worker,
)


async def tell(events: EventReader) -> None:
    """Print what happens, until the worker ends."""
    async for event in events:
        match event:
            case JobAccepted():
                print(f"{event.job_id}: taken, for {event.engine}")
            case JobProgress():
                print(f"{event.job_id}: {event.stage} {event.step}/{event.total or '?'}")
            case JobDelivered():
                print(f"{event.job_id}: {event.bytes} bytes in {event.seconds:.1f} s")
            case JobFailed():
                print(f"{event.job_id}: {event.error}")
            case RegistrationChanged() | SessionOpened() | SessionLost():
                pass  # This worker has no studio.
            case _:
                assert_never(event)


async def main(prompt: str) -> None:
    """Draw one picture."""
    config = Config(api_base_url=None, state_dir=Path("worker-state"))
    async with asyncio.TaskGroup() as group, Worker(config) as worker:
        group.create_task(tell(worker.events()))
        result = await worker.submit(ImageTask(prompt=prompt, ext="png"), model="synthetic-image")
        assert isinstance(result, ImageResult)
        assert isinstance(result.data, bytes)
        await asyncio.to_thread(Path("picture.png").write_bytes, result.data)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2] or ["a lighthouse at dusk"]))
