"""Fault F-13 on the system's own resolver: a server of names that is slow, errs, is silent, or changes its mind.

In a network and a mount namespace of its own, whose `/etc/resolv.conf` names a server of the test.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .names_stage import ANSWER_SECS, HOMES, SYSTEM_SECS

pytestmark = pytest.mark.needs("namespaces", "ip")


async def played(tmp_path: Path, scene: str, *more: str) -> dict[str, Any]:
    """What a worker saw by the end of a scene."""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rmn", sys.executable, "-m", "tests.faults.names_stage", scene, str(tmp_path), *more),
        cwd=Path(__file__).parents[2],
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    print(err.decode())
    return dict(json.loads(out))


@pytest.mark.parametrize("rcode", ["SERVFAIL", "NXDOMAIN"])
async def test_a_name_that_cannot_be_resolved_is_named_and_asked_again(tmp_path: Path, rcode: str) -> None:
    said = await played(tmp_path, "refused", rcode)

    assert said["named"] >= 2
    assert said["runs"] == {"job-1": 1}


async def test_a_slow_server_of_names_delays_the_session_and_nothing_else(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said = await played(tmp_path, "slow")

    record_property(f"event-loop lag while names took {ANSWER_SECS:g} s", f"{said['lag_secs'] * 1_000:.0f} ms at most")
    assert said["local jobs before an answer"] == 20
    assert said["lag_secs"] < ANSWER_SECS / 4
    assert said["runs"]["job-1"] == 1


async def test_a_worker_that_waits_for_a_name_stops_when_it_is_told_to(tmp_path: Path) -> None:
    began = time.monotonic()
    said = await played(tmp_path, "silent")

    assert said["asked"] > 0
    assert time.monotonic() - began < SYSTEM_SECS


async def test_the_second_address_is_used_where_the_first_is_dead(tmp_path: Path) -> None:
    said = await played(tmp_path, "second")

    assert sorted(said["order"]) == sorted(HOMES)
    assert said["runs"] == {"job-1": 1}


async def test_a_name_that_moves_is_followed_by_the_next_session_and_ends_none(tmp_path: Path) -> None:
    said = await played(tmp_path, "moved")

    assert said["sessions before"] == [1, 0]
    assert said["sessions after"] == [1, 1]
    assert said["runs"] == {"job-1": 1, "job-2": 1}
