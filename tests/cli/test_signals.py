from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from studio_worker.cli.signals import SignalLadder


class Steps:
    """Counts what each step was asked, and lets a test wait for the next."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._changed = asyncio.Event()

    def step(self, name: str) -> Callable[[], None]:
        def take() -> None:
            self.taken.append(name)
            self._changed.set()

        return take

    async def after(self, number: int) -> list[str]:
        """Send that signal to this process and wait for what it causes."""
        self._changed.clear()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await self._changed.wait()
        return self.taken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_each_signal_takes_the_next_step(number: int) -> None:
    steps = Steps()
    with SignalLadder(steps.step("drain"), steps.step("abandon"), steps.step("end")):
        assert await steps.after(number) == ["drain"]
        assert await steps.after(number) == ["drain", "abandon"]
        assert await steps.after(number) == ["drain", "abandon", "end"]
        assert await steps.after(number) == ["drain", "abandon", "end", "end"]


async def test_the_two_signals_climb_one_ladder() -> None:
    steps = Steps()
    with SignalLadder(steps.step("drain"), steps.step("abandon"), steps.step("end")):
        await steps.after(signal.SIGINT)
        assert await steps.after(signal.SIGTERM) == ["drain", "abandon"]


async def test_the_last_step_does_not_wait_for_the_loop() -> None:
    steps = Steps()
    with SignalLadder(steps.step("drain"), steps.step("end")):
        await steps.after(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert steps.taken == ["drain", "end"]


async def test_a_hang_up_is_ignored() -> None:
    with SignalLadder(lambda: None, lambda: None):
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_the_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with SignalLadder(lambda: None, lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
