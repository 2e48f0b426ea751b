"""A child with everything that it started: ended, and looked for afterwards."""

import asyncio
import subprocess
import sys

import pytest

from studio_worker.engines.lifeline import Lifeline
from studio_worker.engines.process_group import end_group, group_is_gone, living_members

SLEEP = "import time; time.sleep(600)"
FAMILY = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print('up', flush=True); {SLEEP}"
)


@pytest.fixture
def family():
    """A process that has started another, in a group of their own."""
    process = subprocess.Popen([sys.executable, "-c", FAMILY], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    yield process
    end_group(process.pid, is_hard=True)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("is_hard", [True, False])
async def test_a_group_is_ended_whole(is_hard, family):
    assert len(await asyncio.to_thread(living_members, family.pid)) == 2
    end_group(family.pid, is_hard=is_hard)
    await asyncio.to_thread(family.wait)
    assert await group_is_gone(family.pid, within_secs=20)
    assert await asyncio.to_thread(living_members, family.pid) == []


async def test_a_group_that_lives_is_not_gone(family):
    assert not await group_is_gone(family.pid, within_secs=0.01)


async def test_a_zombie_that_nobody_has_buried_holds_nothing(family):
    end_group(family.pid, is_hard=True)
    assert await group_is_gone(family.pid, within_secs=1)


def test_ending_a_group_that_is_gone_does_nothing(family):
    end_group(family.pid, is_hard=True)
    family.wait()
    family.stdout.read()
    end_group(family.pid, is_hard=True)


def test_a_lifeline_that_is_let_go_kills_the_group():
    code = (
        "import os, sys, ctypes; from studio_worker.engines.lifeline import hold; hold(int(sys.argv[1])); "
        "print('up', flush=True); ctypes.PyDLL(None).sleep(600)"
    )
    lifeline = Lifeline()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(lifeline.fd)],
        pass_fds=(lifeline.fd,),
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    lifeline.started()
    assert process.stdout.readline() == b"up\n"
    lifeline.close()
    assert process.wait(20) == -9
    process.stdout.close()
