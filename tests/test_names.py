"""Names to addresses, in threads that hold up nobody."""

import asyncio
import socket
import threading

import pytest

from studio_worker.names import Names

PATIENCE_SECS = 20.0


async def test_a_name_of_this_machine_is_found():
    (first, *_) = await Names().resolve("localhost", 80, socket.AF_INET)
    assert (first["hostname"], first["host"], first["port"]) == ("localhost", "127.0.0.1", 80)


async def test_a_name_that_nobody_knows_is_the_systems_error():
    with pytest.raises(socket.gaierror):
        await Names().resolve("no such name", 80)


async def test_questions_that_hang_leave_the_loops_own_threads_to_others(monkeypatch):
    answers, asked = threading.Event(), []

    def hang(host, port, **more):
        asked.append(host)
        answers.wait(PATIENCE_SECS)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    names = Names()
    waiting = [asyncio.create_task(names.resolve(f"host-{number}", 80)) for number in range(40)]
    async with asyncio.timeout(PATIENCE_SECS):
        while len(asked) < len(waiting):
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(int) == 0
        answers.set()
        found = await asyncio.gather(*waiting)
    assert {entry["host"] for (entry,) in found} == {"127.0.0.1"}


async def test_a_question_that_is_given_up_is_answered_to_nobody(monkeypatch, caplog):
    asked, answers = threading.Event(), threading.Event()

    def hang(host, port, **more):
        asked.set()
        answers.wait(PATIENCE_SECS)
        raise socket.gaierror("gone")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await Names().resolve("studio.example", 80)
    (thread,) = [each for each in threading.enumerate() if each.name == "names"]
    answers.set()
    await asyncio.to_thread(thread.join, PATIENCE_SECS)
    assert asked.is_set()
    assert not thread.is_alive()
    assert caplog.records == []
