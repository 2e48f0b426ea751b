"""Runs for toy engines, in a thread and on the loop."""

import asyncio

import pytest

WAIT_SECS = 20.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def in_thread(value):
    """A run that does in a thread what `value` does."""

    def run(job):
        return value(job)

    return run


def on_loop(value):
    """A run that does on the loop what `value` does."""

    async def run(job):
        return value(job)

    return run


BOTH = pytest.mark.parametrize("way", [in_thread, on_loop])


def raising(error):
    def run(job):
        raise error

    return run
