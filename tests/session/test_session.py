"""One session on a real socket: what is sent when, what is taken from the studio, what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from studio_worker.errors import DuplicateWorker
from studio_worker.events import SessionLost, SessionOpened
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.scripted_session import ScriptedSession
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import CompleteJson, Fail

from .conftest import IMPATIENT, QUICK, LogLines, keeping


async def test_hello_comes_first_with_the_token_and_the_capabilities(studio: ScriptedStudio) -> None:
    async with keeping(studio, capabilities=lambda: Capabilities(machine_name="rig-1")):
        hello = await studio.frame("hello")

    assert hello["authToken"] == studio.token
    assert hello["capabilities"]["machineName"] == "rig-1"
    assert studio.frames[0] is hello


async def test_the_upgrade_carries_the_bearer_and_the_subprotocol(studio: ScriptedStudio) -> None:
    async with keeping(studio):
        request = await studio.request("/workers/w-1/connect")

    assert request.bearer == studio.token
    assert request.headers["Sec-WebSocket-Protocol"] == "studio-worker-v1"
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_nothing_but_hello_is_sent_before_the_welcome(studio: ScriptedStudio) -> None:
    studio.withhold = {"welcome"}
    async with keeping(studio) as kept:
        kept.logs.add("info", "test", "a line that waits")
        session = await studio.connected()
        await studio.frame("hello")
        kept.keeper.nudge()
        await session.send({"type": "heartbeatAck"})
        await asyncio.sleep(0.2)
        assert [frame.type for frame in studio.frames] == ["hello"]
        await session.welcome()
        await studio.frame("heartbeat")

    assert studio.violations == []


async def test_the_first_heartbeat_follows_the_welcome_at_once(studio: ScriptedStudio) -> None:
    async with keeping(studio, timings=replace(QUICK, heartbeat_secs=60.0)):
        await studio.frame("heartbeat")


async def test_heartbeats_keep_their_pace(studio: ScriptedStudio) -> None:
    async with keeping(studio):
        first = await studio.frame("heartbeat", nth=2)
        last = await studio.frame("heartbeat", nth=8)

    assert 0.2 <= last.at - first.at <= 0.9


async def test_capabilities_are_built_anew_for_each_heartbeat(studio: ScriptedStudio) -> None:
    threshold = [12.0]
    async with keeping(studio, capabilities=lambda: Capabilities(vram_threshold_gb=threshold[0])):
        await studio.frame("heartbeat")
        threshold[0] = 24.0
        await studio.until(lambda: studio.frames[-1].get("capabilities", {}).get("vramThresholdGb") == 24.0)

    assert len(studio.sessions) == 1


async def test_a_heartbeat_names_the_current_job_and_leaves_it_out_otherwise(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        assert "currentJobId" not in (await studio.frame("heartbeat")).fields
        kept.desk.current_job_id = "job-1"
        await studio.heartbeat(current_job_id="job-1")


async def test_capacity_is_spoken_of_only_where_the_studio_listed_it(studio: ScriptedStudio) -> None:
    async with keeping(studio, capabilities=lambda: Capabilities(max_concurrent_jobs=3)) as kept:
        kept.desk.current_job_ids = ("a", "b")
        silent = await studio.heartbeat()
    studio.extensions = ("capacity",)
    async with keeping(studio, capabilities=lambda: Capabilities(max_concurrent_jobs=3)) as kept:
        kept.desk.current_job_ids = ("a", "b")
        hello = await studio.frame("hello", nth=2)
        told = await studio.heartbeat(current_job_ids=["a", "b"])

    assert "maxConcurrentJobs" not in silent["capabilities"]
    assert "currentJobIds" not in silent.fields
    assert "maxConcurrentJobs" not in hello["capabilities"]
    assert told["capabilities"]["maxConcurrentJobs"] == 3


async def test_health_is_spoken_of_only_where_the_studio_listed_it(studio: ScriptedStudio) -> None:
    health = {"ready": False, "code": "disk_full", "detail": ""}
    async with keeping(studio, health=lambda: health):
        assert "health" not in (await studio.heartbeat()).fields
    studio.extensions = ("health",)
    async with keeping(studio, health=lambda: health):
        await studio.heartbeat(health=health)


async def test_an_offer_goes_to_the_desk_with_a_link_that_answers_it(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await studio.offer(llm_claim("job-1", claim_fields={"attempt": 3}))
        accept = await studio.frame("accept", job_id="job-1")

    assert accept["attempt"] == 3
    assert kept.desk.offers[0].claim["task"]["kind"] == "llm"


async def test_an_acceptance_and_a_completion_made_together_arrive_in_order(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:

        def take(offer: Any, link: Any) -> None:
            link.accept()
            kept.keeper._session.connection.post(CompleteJson(job_id=offer.job_id, result={"text": "x"}))  # type: ignore[union-attr]

        kept.desk.on_take = take
        await studio.offer(llm_claim("job-1"))
        await studio.frame("completeJson", job_id="job-1")
        await studio.until(lambda: kept.delivery.acknowledged == ["job-1"] or studio.changed())
    assert studio.violations == []


async def test_an_offer_before_the_welcome_is_discarded_with_a_warning(
    studio: ScriptedStudio, log_lines: LogLines
) -> None:
    studio.withhold = {"welcome"}
    async with keeping(studio) as kept:
        session = await studio.connected()
        await studio.frame("hello")
        await session.offer(llm_claim("job-1"))
        await session.welcome()
        await studio.frame("heartbeat")

    assert kept.desk.offers == []
    assert not studio.of_type("accept")
    assert [record["level"].name for record in log_lines.of("session.early")] == ["WARNING"]


async def test_a_cancel_reaches_the_desk_where_the_studio_listed_the_extension(studio: ScriptedStudio) -> None:
    studio.extensions = ("cancel",)
    async with keeping(studio) as kept:
        await (await studio.welcomed()).cancel("job-1", "not\nneeded")
        await studio.heartbeat()

    assert kept.desk.cancelled == [("job-1", "not\\nneeded")]


async def test_a_cancel_of_a_studio_that_did_not_list_it_is_skipped(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await (await studio.welcomed()).cancel("job-1")
        await studio.heartbeat()
        await studio.heartbeat()

    assert kept.desk.cancelled == []


async def test_a_welcome_opens_the_session_and_wakes_the_delivery(studio: ScriptedStudio) -> None:
    studio.extensions = ("progress", "capacity")
    async with keeping(studio) as kept:
        await studio.heartbeat()
        snapshot = kept.keeper.snapshot()

    assert kept.delivery.welcomes == 1
    assert kept.events.of(SessionOpened) == [SessionOpened("w-1")]
    assert snapshot.state.phase == "connected"
    assert snapshot.extensions == ("capacity", "progress")
    assert snapshot.to_json()["state"] == "connected"


async def test_a_second_welcome_changes_nothing(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        await (await studio.welcomed()).welcome(extensions=["cancel"])
        await studio.heartbeat()
        await studio.heartbeat()
        assert kept.keeper.snapshot().extensions == ()

    assert kept.delivery.welcomes == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"offer","claim":',
        "[]",
        "null",
        '"x"',
        "",
        '{"type":"🦄"}',
        '{"type":5}',
        "{}",
        "[" * 100_000,
        '{"type":"heartbeatAck","type":"welcome"}',
        '{"type":"completeAck","jobId":"\\ud800"}',
        '{"type":"completeAck","jobId":5}',
        '{"type":"completeAck","jobId":null}',
        '{"type":"completeAck"}',
        '{"type":"x","n":' + "1" * 5_000 + "}",
        '{"type":"x","n":1e400}',
        '{"type":"x","n":NaN}',
        '{"type":"offer","claim":{"task":{}}}',
        '{"type":"offer","claim":{"jobId":7}}',
        '{"type":"offer","claim":{"jobId":""}}',
    ],
)
async def test_a_frame_that_cannot_be_read_is_skipped(studio: ScriptedStudio, text: str) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        await session.send_text(text)
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")

    assert len(studio.sessions) == 1
    assert len(kept.desk.offers) == 1


async def test_a_binary_frame_is_skipped(studio: ScriptedStudio) -> None:
    async with keeping(studio):
        session = await studio.welcomed()
        await session.send_bytes(b"\x00\xff")
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")

    assert len(studio.sessions) == 1


async def test_one_kind_of_unreadable_frame_is_logged_once(studio: ScriptedStudio, log_lines: LogLines) -> None:
    async with keeping(studio):
        session = await studio.welcomed()
        for _ in range(500):
            await session.send_text('{"type":"unicorn"}')
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")

    assert len(log_lines.of("session.skipped")) == 1


async def test_a_fault_at_the_desk_costs_one_offer_and_not_the_session(
    studio: ScriptedStudio, log_lines: LogLines
) -> None:
    async with keeping(studio) as kept:
        kept.desk.on_take = lambda offer, link: 1 / 0  # type: ignore[assignment, return-value]
        await studio.offer(llm_claim("job-1"))
        await studio.until(lambda: kept.desk.offers or studio.changed())
        kept.desk.on_take = lambda offer, link: link.accept()
        await studio.offer(llm_claim("job-2"))
        await studio.frame("accept", job_id="job-2")

    assert len(studio.sessions) == 1
    assert log_lines.of("session.offer_fault")


async def test_no_welcome_in_time_ends_the_session(studio: ScriptedStudio) -> None:
    studio.withhold = {"welcome"}
    async with keeping(studio, timings=IMPATIENT) as kept:
        await studio.connected(2)

    assert "no welcome within" in kept.events.of(SessionLost)[0].reason


async def test_withheld_acks_end_the_session_though_other_frames_flow(studio: ScriptedStudio) -> None:
    studio.withhold = {"heartbeatAck"}

    async def chatter(session: ScriptedSession, frame: Any) -> bool:
        await session.send({"type": "failAck", "jobId": "job-0"})
        return False

    studio.on_frame = chatter
    async with keeping(studio, timings=IMPATIENT) as kept:
        await studio.connected(2)

    assert "no heartbeatAck" in kept.events.of(SessionLost)[0].reason


async def test_silence_ends_the_session_though_pings_come(studio: ScriptedStudio) -> None:
    studio.withhold = {"heartbeatAck"}
    async with keeping(studio, timings=replace(IMPATIENT, ack_secs=60.0)) as kept:
        session = await studio.welcomed()
        while not session.ended.is_set():
            await session.socket.ping()
            await asyncio.sleep(0.02)
        await studio.connected(2)

    assert "no frame from the studio" in kept.events.of(SessionLost)[0].reason


async def test_a_suspended_machine_drops_its_old_socket_at_once(studio: ScriptedStudio) -> None:
    slept = [0.0]
    import time

    async with keeping(
        studio, timings=replace(QUICK, suspend_secs=20.0), elapsed_clock=lambda: time.monotonic() + slept[0]
    ) as kept:
        await studio.welcomed()
        slept[0] = 8 * 3600.0
        await studio.welcomed(2)

    assert "suspended" in kept.events.of(SessionLost)[0].reason


async def test_the_heartbeats_missed_in_a_pause_are_not_made_up_for(studio: ScriptedStudio) -> None:
    class Jump:
        """A clock whose sleeps return at once and a thousand heartbeats late, once."""

        jumped = 0.0

        def monotonic(self) -> float:
            return asyncio.get_running_loop().time() + self.jumped

        def now(self) -> Any:
            from studio_worker.clock import SystemClock

            return SystemClock().now()

        async def sleep(self, secs: float) -> None:
            await asyncio.sleep(secs)

    clock = Jump()
    async with keeping(studio, clock=clock, timings=replace(QUICK, ack_secs=1e6, silence_secs=1e6)):
        await studio.heartbeat()
        before = len(studio.of_type("heartbeat"))
        clock.jumped = 1000 * QUICK.heartbeat_secs
        await studio.heartbeat()
        await studio.heartbeat()
        await asyncio.sleep(0.1)
        made = len(studio.of_type("heartbeat")) - before

    assert made < 10


async def test_a_flood_of_frames_does_not_stop_the_heartbeats(studio: ScriptedStudio) -> None:
    async with keeping(studio):
        session = await studio.welcomed()
        before = len(studio.of_type("heartbeat"))
        for _ in range(40):
            await asyncio.gather(*(session.send_text('{"type":"failAck","jobId":"x"}') for _ in range(500)))
        await studio.frame("heartbeat", nth=before + 2)

    assert len(studio.sessions) == 1


async def test_sends_are_done_when_written_and_closed_links_say_so(studio: ScriptedStudio) -> None:
    from studio_worker.errors import LinkClosed

    async with keeping(studio) as kept:
        await studio.welcomed()
        connection = kept.keeper._session.connection  # type: ignore[union-attr]
        await connection.post(Fail(job_id="job-1", error="x", retryable=True))
        await studio.connected(2)
        with pytest.raises(LinkClosed):
            connection.post(Fail(job_id="job-1", error="x", retryable=True))


async def test_pausing_is_told_at_once_and_logged_once_each_way(studio: ScriptedStudio) -> None:
    async with keeping(studio, timings=replace(QUICK, heartbeat_secs=60.0, ack_secs=120.0, silence_secs=120.0)) as kept:
        await studio.frame("heartbeat")
        kept.desk.is_paused = True
        kept.keeper.nudge()
        paused = await studio.frame("heartbeat", nth=2)
        kept.keeper.nudge()
        kept.desk.is_paused = False
        kept.keeper.nudge()
        resumed = await studio.frame("heartbeat", nth=4)
        await studio.until(lambda: "resumed" in shipped(studio))

    assert paused["capabilities"]["autoEnabled"] is False
    assert resumed["capabilities"]["autoEnabled"] is True
    assert shipped(studio).count("claiming is paused") == 1
    assert shipped(studio).count("claiming is resumed") == 1


def shipped(studio: ScriptedStudio) -> str:
    return "\n".join(entry["message"] for frame in studio.of_type("logBatch") for entry in frame["entries"])


async def test_lines_are_shipped_and_a_secret_in_one_is_masked(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        kept.logs.add("warn", "job", f"the token is {studio.token}\nforged", job_id="job-1")
        await studio.until(lambda: "the token is" in shipped(studio))
        entry = next(e for f in studio.of_type("logBatch") for e in f["entries"] if e.get("jobId") == "job-1")

    assert entry["message"] == "the token is ***\\nforged"
    assert (entry["level"], entry["category"]) == ("warn", "job")
    assert entry["ts"].endswith("Z")


async def test_lines_that_were_not_shipped_go_with_the_next_session(studio: ScriptedStudio) -> None:
    studio.withhold = {"welcome"}
    async with keeping(studio, timings=IMPATIENT) as kept:
        await studio.connected()
        for number in range(5):
            kept.logs.add("info", "job", f"line {number}")
        await studio.gone(1)
        studio.withhold = set()
        await studio.until(lambda: "line 4" in shipped(studio))

    lines = [line for line in shipped(studio).split("\n") if line.startswith("line")]
    assert lines == [f"line {number}" for number in range(5)]


async def test_the_studios_last_words_are_read_behind_a_write_that_failed(
    studio: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_failed = asyncio.Event()

    async def broken(text: str) -> None:
        has_failed.set()
        raise ConnectionResetError("Cannot write to closing transport")

    async with keeping(studio, timings=replace(QUICK, close_secs=5.0)) as kept:
        session = await studio.welcomed()
        await studio.heartbeat()
        monkeypatch.setattr(kept.keeper._session.connection._websocket, "send_str", broken)  # type: ignore[union-attr]
        await has_failed.wait()
        await session.close(4003)
        refused = await kept.outcome()

    assert isinstance(refused, DuplicateWorker)
    assert refused.exit_code == 77
    assert len(studio.sessions) == 1


async def test_a_close_flushes_the_log_once_and_says_1000(studio: ScriptedStudio) -> None:
    async with keeping(studio, timings=replace(QUICK, log_secs=60.0)) as kept:
        session = await studio.welcomed()
        await studio.until(lambda: "welcomed as w-1" in shipped(studio))
        kept.logs.add("info", "job", "the last words")
        await kept.keeper.close()
        await studio.gone()

    assert "the last words" in shipped(studio)
    assert session.close_code == 1000
    assert kept.task.done()
    assert kept.keeper.state.phase == "stopped"


async def test_a_cancelled_keeper_closes_with_1000_and_leaves_no_task(studio: ScriptedStudio) -> None:
    async with keeping(studio) as kept:
        session = await studio.welcomed()
        kept.task.cancel()
        await asyncio.gather(kept.task, return_exceptions=True)
        await studio.gone()
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("session ")]

    assert session.close_code == 1000
    assert left == []


@pytest.mark.parametrize("part", ["reader", "sender", "heartbeat", "watch", "log shipping", "orders"])
async def test_a_part_that_is_cancelled_ends_the_session_and_the_next_one_comes(
    studio: ScriptedStudio, part: str
) -> None:
    async with keeping(studio) as kept:
        await studio.welcomed()
        next(task for task in asyncio.all_tasks() if task.get_name() == f"session {part}").cancel()
        await studio.welcomed(2)

    assert part in kept.events.of(SessionLost)[0].reason


async def test_the_studios_clock_ten_years_off_is_one_warning(studio: ScriptedStudio, log_lines: LogLines) -> None:
    studio.server_time = "2036-01-01T00:00:00.000Z"
    async with keeping(studio):
        await (await studio.welcomed()).close(1000)
        await studio.welcomed(2)
        await studio.heartbeat()

    assert len(log_lines.of("session.skew")) == 1


@pytest.mark.parametrize("server_time", ["yesterday", None, 7, "2026-01-01", "9" * 300])
async def test_a_server_time_that_cannot_be_read_is_no_trouble(studio: ScriptedStudio, server_time: Any) -> None:
    studio.server_time = server_time
    async with keeping(studio):
        await studio.heartbeat()

    assert len(studio.sessions) == 1


@pytest.mark.parametrize("extensions", ["progress", 5, {"a": 1}, ["x"] * 1_000_000])
async def test_extensions_of_any_shape_are_bounded(studio: ScriptedStudio, extensions: Any) -> None:
    studio.withhold = {"welcome"}
    async with keeping(studio) as kept:
        session = await studio.connected()
        await studio.frame("hello")
        await session.welcome(extensions=extensions)
        await studio.heartbeat()
        assert set(kept.keeper.snapshot().extensions) <= {"x"}


async def test_no_token_is_ever_logged(studio: ScriptedStudio, log_lines: LogLines) -> None:
    async with keeping(studio):
        session = await studio.welcomed()
        await session.refuse("internal_error", f"token {'x' * 10}")
        await studio.welcomed(2)

    assert studio.token not in log_lines.text()
