"""How a worker's main task ends."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker.ending import first_error, hand_on, wait_out


async def fail() -> None:
    raise ValueError("broken")


async def test_a_start_that_waits_is_ended_by_the_error_that_ended_the_worker():
    main = asyncio.create_task(fail())
    ready = asyncio.get_running_loop().create_future()
    main.add_done_callback(lambda main: hand_on(main, ready))
    with pytest.raises(ValueError, match="broken"):
        await ready


async def test_a_start_that_is_over_hears_nothing_more():
    main = asyncio.create_task(fail())
    ready = asyncio.get_running_loop().create_future()
    ready.set_result(None)
    await asyncio.wait([main])
    hand_on(main, ready)
    assert ready.result() is None


async def test_a_start_is_cancelled_where_the_worker_ended_without_an_error():
    main = asyncio.create_task(asyncio.sleep(0))
    ready = asyncio.get_running_loop().create_future()
    await main
    hand_on(main, ready)
    assert ready.cancelled()


def test_the_first_error_is_found_in_groups_of_groups():
    inner = ExceptionGroup("inner", [KeyError("a"), ValueError("b")])
    assert repr(first_error(ExceptionGroup("outer", [inner, OSError("c")]))) == "KeyError('a')"
    error = OSError("alone")
    assert first_error(error) is error


async def test_a_task_is_waited_out_however_often_its_caller_is_cancelled():
    main = asyncio.create_task(stop_slowly())
    await asyncio.sleep(0)
    main.cancel()
    caller = asyncio.create_task(wait_out(main))
    for _ in range(5):
        await asyncio.sleep(0.005)
        caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert main.done()


async def test_what_a_task_that_is_waited_out_ended_with_is_not_raised():
    main = asyncio.create_task(fail())
    await wait_out(main)
    assert isinstance(main.exception(), ValueError)


async def stop_slowly() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
