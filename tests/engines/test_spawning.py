"""Processes that loops of several threads start at the same time."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
import uvloop

from studio_worker.engines.spawning import spawn

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Ended(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()


@pytest.mark.parametrize("loop", LOOPS)
def test_loops_of_several_threads_start_processes_at_the_same_time(loop, leaves_nothing):
    ended: list[int | None] = []

    def live(count: int) -> None:
        async def main() -> None:
            for _ in range(count):
                transport, protocol = await spawn(Ended, "/bin/true")
                await protocol.exited.wait()
                ended.append(transport.get_returncode())
                transport.close()

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(main(), 60))

    live(1)
    with leaves_nothing():
        threads = [threading.Thread(target=live, args=(30,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert ended == [0] * 151


async def test_a_program_that_is_not_there_is_an_error_and_the_next_one_starts():
    with pytest.raises(OSError, match="not-there"):
        await spawn(Ended, os.fspath("/not-there"))
    transport, protocol = await spawn(Ended, "/bin/true")
    await protocol.exited.wait()
    transport.close()
