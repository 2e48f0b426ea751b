"""A worker process whose terminal, reader or log is not what it was at the start."""

import asyncio
import os
import signal
import sys

import pytest

from studio_worker.testing.claims import claim, llm_claim


@pytest.fixture
async def bare(machine, studio):
    """Starts `studio-worker run` with streams of the test's own; killed at the end."""
    processes = []

    async def start(**streams) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "studio_worker",
            "run",
            env=machine.environ | {"STUDIO_WORKER_API_BASE_URL": studio.url},
            stdin=asyncio.subprocess.DEVNULL,
            **streams,
        )
        processes.append(process)
        await studio.welcomed()
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ends_well(process: asyncio.subprocess.Process) -> bool:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        return await process.wait() == 0


async def test_a_worker_whose_log_nobody_reads_any_more_goes_on(bare, studio):
    reading, writing = os.pipe()
    process = await bare(stdout=asyncio.subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    os.close(reading)
    for number in range(3):
        await studio.offer(llm_claim(f"j-{number}"))
        await studio.frame("completeJson", job_id=f"j-{number}")
    assert len(studio.sessions) == 1
    assert await ends_well(process)


async def test_a_worker_without_any_open_stream_works(bare, studio):
    process = await bare(stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, close_fds=True)
    await studio.offer(llm_claim("j"))
    await studio.frame("completeJson", job_id="j")
    assert await ends_well(process)


async def test_a_hang_up_of_the_terminal_does_not_end_a_worker(worker, studio):
    worker.signal(signal.SIGHUP)
    await studio.offer(llm_claim("after"))
    await studio.frame("completeJson", job_id="after")
    assert len(studio.sessions) == 1
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 0


async def test_a_worker_that_was_stopped_and_goes_on_finds_its_session_again(worker, studio):
    worker.signal(signal.SIGSTOP)
    studio.session.abort()
    await studio.gone()
    worker.signal(signal.SIGCONT)
    await studio.welcomed(2)
    await studio.offer(llm_claim("after"))
    await studio.frame("completeJson", job_id="after")


async def test_what_a_studio_names_cannot_forge_a_line_or_drive_the_terminal(worker, studio):
    forged = "\n2026-01-01 00:00:00 ERROR forged \x1b]0;owned\x07\x1b[2J\u202e"
    words = {"kind": "llm", "messages": [{"role": "user", "content": "x"}]}
    await studio.offer(claim(words, "j-1", model=f"m{forged}", engine="nobody"))
    await studio.frame("fail", job_id="j-1")
    await studio.offer(claim(words, "bad" + forged))
    await studio.offer(llm_claim("{job[0]} [/nope]"))
    await studio.session.refuse("worker_deleted", "gone" + forged)
    assert await worker.code() == 77
    assert not [line for line in worker.stderr if line.startswith("2026-01-01")]
    for sign in ("\x1b", "\x07", "\u202e"):
        assert sign not in worker.said
    assert "Traceback" not in worker.said
