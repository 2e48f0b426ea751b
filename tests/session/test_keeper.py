"""The keeper: which end of a session leads to another one, which to an exit, and what it shows meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from studio_worker.errors import AuthFailed, DuplicateWorker, StudioRefused, WorkerDeleted
from studio_worker.events import SessionLost, SessionOpened
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.scripted_session import ScriptedSession
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.frames import MAX_FRAME_BYTES

from .conftest import QUICK, Kept, LogLines, keeping


def lost(kept: Kept) -> list[str]:
    return [event.reason for event in kept.events.of(SessionLost)]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4002, 4999])
async def test_these_close_codes_lead_to_the_next_session(studio: ScriptedStudio, code: int) -> None:
    async with keeping(studio) as kept:
        await (await studio.welcomed()).close(code, "good\x1bbye")
        await studio.welcomed(2)

    assert str(code) in lost(kept)[0]
    assert "good\\x1bbye" in lost(kept)[0]


@pytest.mark.parametrize("code", ["internal_error", "protocol_violation", "something_new", ""])
async def test_these_error_frames_lead_to_the_next_session(studio: ScriptedStudio, code: str) -> None:
    async with keeping(studio) as kept:
        await (await studio.welcomed()).send({"type": "error", "code": code, "message": "x"})
        await studio.welcomed(2)
        assert not kept.task.done()


async def test_a_lost_connection_leads_to_the_next_session(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        (await studio.welcomed()).abort()
        await studio.welcomed(2)
        assert kept.delivery.ends == 1

    assert "connection was lost" in lost(kept)[0]


@pytest.mark.parametrize(
    ("code", "error", "kind"),
    [
        (4003, "duplicate_worker", DuplicateWorker),
        (4004, "worker_deleted", WorkerDeleted),
    ],
)
@pytest.mark.parametrize("by_frame", [True, False])
async def test_a_duplicate_and_a_deleted_worker_end_at_once_with_the_remedy(
    studio: ScriptedStudio, code: int, error: str, kind: type[StudioRefused], by_frame: bool
) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        if by_frame:
            await session.send({"type": "error", "code": error, "message": "x"})
        else:
            await session.close(code)
        refused = await kept.outcome()

    assert isinstance(refused, kind)
    assert refused.exit_code == 77
    assert "studio-worker register --reset" in str(refused)
    assert kept.keeper.state.phase == "fatal"
    assert len(studio.sessions) == 1


async def test_a_refused_token_is_asked_again_three_times_and_then_ends_with_77(studio: ScriptedStudio) -> None:
    studio.upgrade_answers.always = 401
    async with keeping(studio, base_secs=0.001) as kept:
        refused = await kept.outcome()

    assert isinstance(refused, AuthFailed)
    assert refused.exit_code == 77
    assert "studio-worker register --reset" in str(refused)
    assert kept.keeper.state.phase == "auth_failed"
    assert [event.retry_in_secs for event in kept.events.of(SessionLost)] == [0.001, 0.01, 0.06]
    assert len(studio.requests) == 4


@pytest.mark.parametrize("way", ["upgrade", "close", "frame"])
async def test_a_token_refused_once_is_survived(studio: ScriptedStudio, way: str) -> None:
    async def refuse(session: ScriptedSession, frame: Any) -> bool:
        if frame.type != "hello" or session.number > 1:
            return False
        await (session.close(4001) if way == "close" else session.refuse("auth_failed", "no"))
        return True

    if way == "upgrade":
        studio.upgrade_answers.once(401)
    else:
        studio.on_frame = refuse
    async with keeping(studio) as kept:
        await studio.until(lambda: studio.sessions and studio.sessions[-1].welcomed, what="a welcome")

    assert [event.retry_in_secs for event in kept.events.of(SessionLost)] == [0.01]


async def test_a_refused_upload_has_the_session_asked_again_as_after_4001(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await studio.heartbeat()
        kept.keeper.signed_out()
        await studio.welcomed(2)
        await studio.heartbeat()

    assert [event.retry_in_secs for event in kept.events.of(SessionLost)] == [0.01]
    assert kept.delivery.welcomes == 2


async def test_uploads_that_stay_refused_end_with_77(studio: ScriptedStudio) -> None:
    async with keeping(studio, base_secs=0.001) as kept:
        for number in range(1, 5):
            await studio.welcomed(number)
            while kept.keeper.state.phase != "connected":
                await asyncio.sleep(0.001)
            kept.keeper.signed_out()
        assert isinstance(await kept.outcome(), AuthFailed)


async def test_a_welcome_that_lasted_wipes_the_counts_out(studio: ScriptedStudio) -> None:
    async with keeping(studio, timings=replace(QUICK, settled_secs=0.0)) as kept:
        for number in range(1, 8):
            session = await studio.welcomed(number)
            await studio.heartbeat()
            await session.close(4001 if number % 2 else 1012)
        await studio.welcomed(8)
        assert not kept.task.done()

    assert all(event.retry_in_secs <= 0.01 for event in kept.events.of(SessionLost))


async def test_a_frame_of_exactly_16_mib_is_read(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await studio.welcomed()
        claim = llm_claim("job-1")
        claim["padding"] = ""
        await studio.offer(claim)
        await studio.frame("accept", job_id="job-1")
        claim = llm_claim("job-2")
        head = '{"type":"offer","claim":{"jobId":"job-2","padding":"'
        await studio.session.send_text(head + "x" * (MAX_FRAME_BYTES - len(head) - 3) + '"}}')
        studio.session.offered.add("job-2")
        await studio.frame("accept", job_id="job-2")

    assert lost(kept) == []


async def test_a_larger_frame_ends_the_session_with_1009(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        with suppress(ConnectionError):
            await session.send_text('"' + "x" * (MAX_FRAME_BYTES + 1) + '"')
        await studio.welcomed(2)

    assert "cannot be read" in lost(kept)[0]
    assert session.close_code == 1009


@pytest.mark.parametrize(
    "raw",
    [
        b"\x81\x7f\x80" + b"\x00" * 7,  # a length of 2^63
        b"\x81\x02\xff\xfe",  # text that is no UTF-8
        b"\xc1\x02{}",  # compressed, which nobody negotiated
        b"\xa1\x02{}",  # a reserved bit
        b"\x89\x7e\x00\x7e" + b"x" * 126,  # a ping of 126 bytes
        b"\x09\x00",  # a fragmented ping
        b"\x88\x01\x03",  # a close frame of one byte
        b"\x88\x02\x03\xe7",  # close code 999
        b"\x83\x00",  # an opcode that does not exist
    ],
)
async def test_a_breach_of_rfc_6455_ends_the_connection_and_the_next_one_comes(
    studio: ScriptedStudio, raw: bytes
) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        await session.send_raw(raw)
        await studio.welcomed(2)

    assert len(lost(kept)) == 1


async def test_many_fragments_and_empty_texts_are_survived(studio: ScriptedStudio) -> None:
    async with keeping(studio):
        session = await studio.welcomed()
        await session.send_raw(b"\x01\x01{" + b"\x00\x01 " * 20_000 + b"\x80\x01}" + b"\x81\x00" * 10_000)
        await studio.heartbeat()
        await studio.until(lambda: studio.sessions[-1].welcomed)
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")


async def test_an_error_message_of_a_megabyte_is_cut_and_escaped(studio: ScriptedStudio, log_lines: LogLines) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        await session.send({"type": "error", "code": "internal_error", "message": "\x1b]0;owned\x07" * 100_000})
        await studio.welcomed(2)

    assert len(lost(kept)[0]) < 5_000
    assert "\x1b" not in lost(kept)[0]
    assert "\x1b" not in log_lines.text()


async def test_an_offer_that_breaks_the_link_three_times_running_is_set_aside(studio: ScriptedStudio) -> None:
    async def break_it(session: ScriptedSession) -> None:
        await session.offer(llm_claim("job-1"))
        if session.number <= 3:
            await session.send_raw(b"\x83\x00")

    studio.on_welcome = break_it
    async with keeping(studio) as kept:
        reject = await studio.frame("reject", job_id="job-1")
        await studio.offer(llm_claim("job-2"))
        await studio.frame("accept", job_id="job-2")

    assert reject.session == 4
    assert "code" not in reject.fields
    assert [offer.job_id for offer in kept.desk.offers].count("job-2") == 1


async def test_an_offer_that_cannot_be_read_and_keeps_coming_makes_the_worker_shy(studio: ScriptedStudio) -> None:
    async def flood(session: ScriptedSession) -> None:
        if session.number <= 3:
            await session.send_raw(b"\x81\x7f\x00\x00\x00\x00\x04\x00\x00\x00")

    studio.on_welcome = flood
    async with keeping(studio) as kept:
        await studio.welcomed(4)
        hello = next(frame for frame in studio.of_type("hello") if frame.session == 4)
        await studio.heartbeat()
        assert kept.keeper.snapshot().is_shy

    assert hello["capabilities"]["autoEnabled"] is False
    assert len(studio.sessions) == 4


async def test_the_wrong_subprotocol_is_refused_by_name(studio: ScriptedStudio) -> None:
    studio.subprotocol = "studio-worker-v9"
    async with keeping(studio) as kept:
        while not lost(kept):
            await asyncio.sleep(0.005)

    assert "expected studio-worker-v1, got studio-worker-v9" in lost(kept)[0]
    assert not studio.of_type("hello")


async def test_no_subprotocol_is_refused_by_name(studio: ScriptedStudio) -> None:
    studio.subprotocol = None
    async with keeping(studio) as kept:
        while not lost(kept):
            await asyncio.sleep(0.005)

    assert "expected studio-worker-v1, got none" in lost(kept)[0]


@pytest.mark.parametrize("status", [200, 403, 404, 500, 503])
async def test_another_status_for_101_is_one_failed_try_naming_both(studio: ScriptedStudio, status: int) -> None:
    studio.upgrade_answers.once(status)
    async with keeping(studio) as kept:
        await studio.welcomed()

    assert str(status) in lost(kept)[0]
    assert "expected 101" in lost(kept)[0]


async def test_the_state_tells_what_the_keeper_does(studio: ScriptedStudio) -> None:
    async with keeping(studio, base_secs=5.0) as kept:
        assert kept.keeper.state.phase in ("waiting_for_approval", "connecting")
        await studio.heartbeat()
        connected = kept.keeper.snapshot()
        await studio.session.close(1012)
        while kept.keeper.state.phase != "reconnecting":
            await asyncio.sleep(0.001)
        waiting = kept.keeper.snapshot().to_json()

    assert connected.state.phase == "connected"
    assert connected.worker_id == "w-1"
    assert (connected.welcome_secs or 9.0) < 2.0
    assert waiting["state"] == "reconnecting"
    assert waiting["attempt"] == 1
    assert 3.7 <= waiting["retryInSecs"] <= 5.0
    assert waiting["lastFrameSecs"] < 2.0
    assert kept.keeper.last_frame_at is not None
    assert kept.keeper.last_ack_at is not None


async def test_a_stop_in_the_wait_is_immediate(studio: ScriptedStudio) -> None:
    async with keeping(studio, base_secs=100.0) as kept:
        await (await studio.welcomed()).close(1012)
        while kept.keeper.state.phase != "reconnecting":
            await asyncio.sleep(0.001)
        before = asyncio.get_running_loop().time()
        await kept.keeper.close()
        assert asyncio.get_running_loop().time() - before < 0.5
        assert await kept.outcome() is None


async def test_a_stop_in_the_connecting_is_immediate(studio: ScriptedStudio) -> None:
    from studio_worker.testing import answers

    studio.upgrade_answers.always = answers.hang
    async with keeping(studio, timings=replace(QUICK, upgrade_secs=60.0)) as kept:
        await studio.request("/connect")
        before = asyncio.get_running_loop().time()
        await kept.keeper.close()
        assert asyncio.get_running_loop().time() - before < 0.5
        assert await kept.outcome() is None


async def test_a_stop_against_a_studio_that_does_not_answer_is_bounded(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        (await studio.welcomed()).stop_reading()
        before = asyncio.get_running_loop().time()
        await kept.keeper.close()
        assert asyncio.get_running_loop().time() - before < 2.0
        assert await kept.outcome() is None


async def test_a_close_before_the_run_is_no_trouble(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        kept.task.cancel()
        await kept.keeper.close()
        await kept.keeper.close()


async def test_a_studio_that_restarts_on_its_port_is_found_again(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await studio.heartbeat()
        await studio.stop()
        while not lost(kept):
            await asyncio.sleep(0.005)
        await studio.start()
        await studio.welcomed(2)

    assert len(kept.events.of(SessionOpened)) == 2


async def test_what_is_advertised_is_told_before_the_welcome(studio: ScriptedStudio, log_lines: LogLines) -> None:
    async with keeping(studio):
        await studio.welcomed()
        lines = await studio.frame("logBatch")

    assert lines["entries"][0]["message"].startswith("advertising nothing by 0 model names")
    events = [record["extra"].get("event") for record in log_lines.records]
    assert events.index("session.connected") < events.index("session.opened")
