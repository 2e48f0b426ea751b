"""Uploads that are tried until the studio's word is final."""

import asyncio
import random

import pytest

from studio_worker.errors import ResultRejected
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.owed import Owed
from studio_worker.jobs.results import Artifact, Kept
from studio_worker.jobs.retrying import RetryingUploads
from studio_worker.jobs.settlement import Answer, Done, Gone, NotOurs, Refused
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
async def owed(entry, tmp_path):
    artifact = Artifact(kind=TaskKind.IMAGE, size=3, ext="png", data=tmp_path / "spooled")
    kept = Kept(entry=entry(), artifact=artifact, kept_at=1_000.0)
    return Owed(kept, LocalLink())


@pytest.fixture
async def asked():
    """Times at which the session was told of a refused token."""
    return []


@pytest.fixture
async def retrying(uploads, events, clock, asked):
    return RetryingUploads(
        uploads=uploads,
        chronicle=Chronicle(events, events, clock),
        clock=clock,
        rng=random.Random(1),
        signed_out=lambda: asked.append(clock.monotonic()),
        age_secs=3_600,
    )


async def test_what_has_happened_is_told_while_the_studio_reads(uploads, events, clock, asked, owed):
    chronicle = Chronicle(events, events, clock, soon=lambda tell: None)
    retrying = RetryingUploads(
        uploads=uploads, chronicle=chronicle, clock=clock, rng=random.Random(1), signed_out=asked.append, age_secs=3_600
    )
    chronicle.offered("job-1", "taken")
    assert not events.lines
    await retrying.until_final(owed)
    assert events.lines == [("info", "offered: taken", "job-1")]


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (Answer(status=200), Done),
        (Answer(status=404), Gone),
        (Answer(status=409), NotOurs),
        (Answer(status=413), Refused),
    ],
)
async def test_a_final_answer_ends_the_tries(retrying, uploads, owed, answer, final):
    uploads.answers = [answer]
    assert isinstance(await retrying.until_final(owed), final)
    assert len(uploads.seen) == 1


async def test_waits_grow_from_try_to_try(retrying, uploads, owed, clock):
    uploads.answers = [Answer(status=503)] * 8
    ending = asyncio.create_task(retrying.until_final(owed))
    for number in range(1, 9):
        await clock.asleep(number)
        clock.advance(30)
    assert await ending == Done()
    assert max(clock.slept[:2]) <= 2
    assert max(clock.slept[5:]) > 5
    assert max(clock.slept) <= 30


async def test_only_the_first_failure_is_told(retrying, uploads, owed, clock, events):
    uploads.answers = [Answer(status=503)] * 3
    ending = asyncio.create_task(retrying.until_final(owed))
    for number in range(1, 4):
        await clock.asleep(number)
        clock.advance(30)
    await ending
    assert events.lines == [("warn", "the result waits: the studio answered 503", "job-1")]


async def test_an_answer_that_is_older_than_the_latest_accept_is_not_believed(retrying, uploads, owed):
    uploads.answers = [Answer(status=413), Answer(status=200)]
    uploads.gate.clear()
    ending = asyncio.create_task(retrying.until_final(owed))
    await uploads.started()
    owed.accepts += 1
    uploads.gate.set()
    assert await ending == Done()


async def test_a_result_that_nobody_takes_ends_at_its_age_and_loudly(retrying, uploads, owed, clock, caplines):
    uploads.answers = [Answer(status=503)] * 2
    ending = asyncio.create_task(retrying.until_final(owed))
    await clock.asleep()
    clock.advance(3_601)
    with pytest.raises(ResultRejected, match="too-old"):
        await ending
    assert ("ERROR", "jobs.bounds") in [(line["level"], line.get("event")) for line in caplines]


async def test_a_refused_token_is_told_once_and_waits(retrying, uploads, owed, asked):
    uploads.answers = [Answer(status=401)]
    ending = asyncio.create_task(retrying.until_final(owed))
    await uploads.started()
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked == [1_000.0]
    assert not ending.done()
    retrying.resume()
    assert await ending == Done()


async def test_an_accept_spares_one_wait_and_not_the_next(retrying, uploads, owed, clock):
    uploads.answers = [Answer(status=503)] * 2
    ending = asyncio.create_task(retrying.until_final(owed))
    await clock.asleep()
    owed.accepts += 1
    owed.accepted_again.set()
    await clock.asleep(2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(uploads.seen) == 2
    clock.advance(30)
    assert await ending == Done()


async def test_a_result_whose_token_is_refused_ends_at_its_age(retrying, uploads, owed, clock, asked):
    uploads.answers = [Answer(status=401)]
    uploads.gate.clear()
    ending = asyncio.create_task(retrying.until_final(owed))
    await uploads.started()
    clock.advance(3_601)
    uploads.gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert ending.done()
    with pytest.raises(ResultRejected, match="too-old"):
        await ending
    assert asked == []


async def test_cancelling_ends_a_wait(retrying, uploads, owed, clock):
    uploads.answers = [Answer(status=503)]
    ending = asyncio.create_task(retrying.until_final(owed))
    await clock.asleep()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
