"""A worker with a studio, as an embedder uses it: what it tells, how it is steered, what ends it."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest

from studio_worker import (
    JobAccepted,
    JobDelivered,
    JobFailed,
    JobProgress,
    LlmResult,
    RegistrationChanged,
    SessionLost,
    SessionOpened,
    Worker,
)
from studio_worker.errors import (
    AuthFailed,
    ConfigError,
    DuplicateWorker,
    EngineError,
    ReconnectBudgetSpent,
    RegistrationRejected,
    WorkerDeleted,
)
from studio_worker.session.timings import Timings
from studio_worker.testing.claims import claim, image_claim, llm_claim, stt_claim
from studio_worker.testing.scripted_studio import ScriptedStudio


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def joined(settings, studio):
    """Settings of a worker of this studio."""
    return lambda state="state", **fields: settings(state, **({"api_base_url": studio.url} | fields))


def gated(job_id: str, **more):
    return llm_claim(job_id, claim_fields={"engine": "gate", "model": "gate-llm", **more})


def shipped(studio: ScriptedStudio) -> str:
    return "\n".join(entry["message"] for frame in studio.of_type("logBatch") for entry in frame["entries"])


async def test_events_tell_the_whole_journey_in_order(joined, studio, gate, soon):
    gate.opened.set()
    async with Worker(joined(), engines=[gate]) as worker:
        events = worker.events()
        await studio.offer(gated("good"))
        await studio.frame("completeJson", job_id="good")
        await studio.offer(llm_claim("bad", claim_fields={"engine": "nobody"}))
        await studio.frame("fail", job_id="bad")
    told = [event async for event in events]
    assert [type(event) for event in told if not isinstance(event, JobProgress)] == [
        RegistrationChanged,
        RegistrationChanged,
        SessionOpened,
        JobAccepted,
        JobDelivered,
        JobAccepted,
        JobFailed,
    ]
    pending, approved, opened = told[:3]
    assert (pending.state, pending.detail) == ("pending", "rr-1")
    assert (approved.state, approved.detail) == ("approved", "w-1")
    assert opened.worker_id == "w-1"
    accepted = next(event for event in told if isinstance(event, JobAccepted))
    assert (accepted.job_id, accepted.engine, accepted.origin) == ("good", "gate", "studio")
    failed = told[-1]
    assert (failed.job_id, failed.retryable) == ("bad", False)
    assert "nobody" in failed.error


async def test_progress_is_told_as_events_while_a_job_runs(joined, studio, gate, soon):
    async with Worker(joined(), engines=[gate]) as worker:
        events = worker.events()
        await studio.offer(gated("slow"))
        async with asyncio.timeout(20):
            seen = [event async for event in _until(events, JobProgress)][-1]
        assert (seen.job_id, seen.step, seen.total, seen.stage) == ("slow", 1, 2, "wait")
        (job,) = worker.status()["activeJobs"]
        assert (job["jobId"], job["engine"], job["origin"]) == ("slow", "gate", "studio")
        assert job["progress"] == {"step": 1, "total": 2, "stage": "wait"}
        assert worker.status()["currentJobId"] == "slow"
        gate.opened.set()


async def _until(events, kind):
    async for event in events:
        yield event
        if isinstance(event, kind):
            return


async def test_a_lost_session_is_told_with_its_reason_and_opened_again(joined, studio):
    async with Worker(joined()) as worker:
        events = worker.events()
        await studio.welcomed()
        studio.session.abort()
        await studio.welcomed(2)
    told = [event async for event in events]
    lost = next(event for event in told if isinstance(event, SessionLost))
    assert lost.reason
    assert lost.retry_in_secs >= 0
    assert [type(event) for event in told[-2:]] == [SessionLost, SessionOpened]


async def test_credentials_are_kept_privately_and_the_next_start_does_not_ask_again(joined, studio):
    for number in (1, 2):
        async with Worker(joined()):
            await studio.welcomed(number)
    file = joined().state_path / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len([request for request in studio.requests if "register-request" in request.path]) == 2


async def test_a_person_is_told_what_the_worker_waits_for(joined, studio, soon):
    said: asyncio.Queue[str] = asyncio.Queue()
    studio.decision = "pending"
    async with Worker(joined(), announce=said.put_nowait) as worker:
        sentence = await soon(said.get())
        assert worker.status()["registration"]["state"] == "pending"
        assert worker.status()["registration"]["requestId"] == "rr-1"
    assert "waiting for approval: request rr-1" in sentence
    assert studio.url in sentence
    assert said.empty()


async def test_a_paused_worker_says_so_at_once_and_rejects_offers(joined, studio):
    async with Worker(joined(), timings=Timings(heartbeat_secs=3_600)) as worker:
        await studio.welcomed()
        await studio.frame("heartbeat")
        worker.pause()
        await studio.until(lambda: _auto(studio) is False, what="a paused beat")
        await studio.offer(llm_claim("while-paused"))
        assert (await studio.frame("reject", job_id="while-paused"))["code"] == "paused"
        worker.resume()
        await studio.until(lambda: _auto(studio) is True, what="a beat of a worker that takes jobs")
        await studio.offer(llm_claim("after"))
        await studio.frame("completeJson", job_id="after")


def _auto(studio) -> bool:
    return studio.of_type("heartbeat")[-1]["capabilities"]["autoEnabled"]


async def test_a_job_whose_model_no_disk_holds_is_rejected_and_the_next_one_is_taken(joined, studio, gate):
    gate.opened.set()
    huge = gated("huge")
    huge["modelSource"]["files"] = [
        {"role": "model", "url": f"https://files.example/{at}", "filename": str(at), "approxBytes": 2**44}
        for at in range(64)
    ]
    async with Worker(joined(), engines=[gate]):
        await studio.offer(huge)
        rejected = await studio.frame("reject", job_id="huge")
        assert rejected["code"] == "no_space"
        assert rejected["reason"].startswith("not enough disk space for 64 model files: ")
        await studio.offer(gated("small"))
        await studio.frame("completeJson", job_id="small")
    assert [frame["jobId"] for frame in studio.of_type("accept")] == ["small"]


async def test_a_drain_finishes_the_job_delivers_it_and_says_goodbye(joined, studio, gate, soon):
    async with Worker(joined(), engines=[gate]) as worker:
        await studio.offer(gated("slow"))
        await soon(gate.entered.get())
        draining = asyncio.create_task(worker.drain())
        await studio.until(lambda: _auto(studio) is False, what="a draining beat")
        assert worker.status()["draining"] is True
        await studio.offer(llm_claim("too-late"))
        assert (await studio.frame("reject", job_id="too-late"))["code"] == "paused"
        gate.opened.set()
        await soon(draining)
    assert studio.of_type("completeJson", job_id="slow")
    assert (await studio.gone()).close_code == 1000
    assert studio.violations == []


async def test_abandoning_reports_the_job_as_retryable_before_it_says_goodbye(joined, studio, gate, soon):
    async with Worker(joined(), engines=[gate]) as worker:
        await studio.offer(gated("slow"))
        await soon(gate.entered.get())
        await soon(worker.abandon())
    failed = await studio.frame("fail", job_id="slow")
    assert failed["retryable"] is True
    assert (await studio.gone()).close_code == 1000


async def test_an_error_in_the_block_drops_the_connection_and_lets_the_job_go(joined, studio, gate, soon):
    async def live() -> None:
        async with Worker(joined(), engines=[gate]):
            await studio.offer(gated("slow"))
            await soon(gate.entered.get())
            raise LookupError

    with pytest.raises(LookupError):
        await live()
    await studio.gone()
    assert not studio.of_type("completeJson")


async def test_a_local_job_and_a_studios_job_share_the_seats(joined, studio, gate, words, soon):
    async with Worker(joined(), engines=[gate]) as worker:
        await studio.welcomed()
        local = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        await studio.offer(llm_claim("meanwhile"))
        assert (await studio.frame("reject", job_id="meanwhile"))["code"] == "busy"
        gate.opened.set()
        assert isinstance(await soon(local), LlmResult)
        await studio.offer(llm_claim("after"))
        await studio.frame("completeJson", job_id="after")
    assert not any("local-" in json.dumps(frame.fields) for frame in studio.frames)


async def test_two_workers_serve_two_studios_in_one_loop(settings, studio):
    async with ScriptedStudio() as other:
        one, two = settings("one", api_base_url=studio.url), settings("two", api_base_url=other.url)
        async with Worker(one), Worker(two):
            await asyncio.gather(studio.offer(llm_claim("first")), other.offer(llm_claim("second")))
            await studio.frame("completeJson", job_id="first")
            await other.frame("completeJson", job_id="second")
        assert (len(studio.of_type("accept")), len(other.of_type("accept"))) == (1, 1)


async def test_credentials_of_one_studio_are_never_shown_to_another(settings, studio):
    async with ScriptedStudio() as other:
        other.tokens_issued = 100
        for at in (studio, other):
            async with Worker(settings(api_base_url=at.url)):
                await at.welcomed()
        assert other.token != studio.token
        assert all(studio.token not in json.dumps(request.headers) for request in other.requests)
        assert all(studio.token not in json.dumps(frame.fields) for frame in other.frames)
        async with Worker(settings(api_base_url=studio.url)):
            await studio.welcomed(2)
        assert studio.tokens_issued == 1


async def test_a_rejected_registration_is_raised_by_run_with_the_remedy(joined, studio, soon):
    studio.decision = "rejected"
    async with Worker(joined()) as worker:
        with pytest.raises(RegistrationRejected, match=r"not one of ours.*register --reset"):
            await soon(worker.run())


async def test_a_refused_token_is_raised_after_it_was_asked_again(joined, studio, soon):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        studio.upgrade_answers.always = 401
        studio.session.abort()
        with pytest.raises(AuthFailed):
            await soon(worker.run())
        assert worker.status()["session"]["state"] == "auth_failed"


@pytest.mark.parametrize(("code", "error"), [("duplicate_worker", DuplicateWorker), ("worker_deleted", WorkerDeleted)])
async def test_a_studio_that_closes_for_good_is_raised_by_run(joined, studio, soon, code, error):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        await studio.session.refuse(code)
        with pytest.raises(error):
            await soon(worker.run())
        with pytest.raises(error):
            await worker.run()


async def test_a_spent_reconnect_budget_is_raised_by_run(joined, studio, soon):
    async with Worker(joined(ws_reconnect_attempts=2)) as worker:
        await studio.welcomed()
        await studio.stop()
        with pytest.raises(ReconnectBudgetSpent):
            await soon(worker.run())


async def test_what_ended_the_worker_is_raised_at_the_end_of_the_block_where_nobody_ran_it(joined, studio):
    async def follow() -> None:
        async with Worker(joined()) as worker:
            events = worker.events()
            await studio.welcomed()
            await studio.session.refuse("worker_deleted")
            async for _ in events:
                pass

    with pytest.raises(WorkerDeleted):
        await follow()
    async with Worker(joined("state")):
        pass


async def test_an_error_of_the_block_is_not_replaced_by_what_ended_the_worker(joined, studio):
    async def follow() -> None:
        async with Worker(joined()) as worker:
            events = worker.events()
            await studio.welcomed()
            await studio.session.refuse("worker_deleted")
            async for _ in events:
                pass
            raise LookupError

    with pytest.raises(LookupError):
        await follow()


async def test_an_open_credentials_file_is_refused_with_the_chmod_line(joined, studio, soon):
    async with Worker(joined()):
        await studio.welcomed()
    (joined().state_path / "credentials.json").chmod(0o644)
    async with Worker(joined()) as worker:
        with pytest.raises(ConfigError, match="chmod 600"):
            await soon(worker.run())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"])
async def test_a_shielded_listener_is_never_visited_by_a_studios_job(joined, studio, host):
    visits: list[object] = []
    server = await asyncio.start_server(lambda *streams: visits.append(streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Worker(joined(allow_private_urls=True)) as worker:
        worker.keep_private("127.0.0.1", port)
        await studio.offer(stt_claim("inside", inputUrl=f"http://{host}:{port}/v1/jobs"))
        failed = await studio.frame("fail", job_id="inside")
    assert failed["retryable"] is False
    assert "own-listener" in failed["error"]
    assert visits == []


async def test_status_is_json_and_has_no_secret(joined, studio, gate, soon):
    async with Worker(joined(hf_token="hf_canary"), engines=[gate]) as worker:
        await studio.offer(
            claim({"kind": "llm", "messages": [{"role": "user", "content": "canary"}]}, "j", engine="gate")
        )
        await soon(gate.entered.get())
        text = json.dumps(worker.status())
        gate.opened.set()
    secret = next(request.bearer for request in studio.requests if request.method == "GET")
    for word in (studio.token, secret, "hf_canary", "canary"):
        assert word not in text
    assert json.loads(text)["session"]["state"] == "connected"


async def test_a_plugins_secret_in_its_engines_error_stays_here(joined, studio, gate):
    def behave(job):
        raise EngineError("GET https://api.example/?k=canary-0123456789 was refused")

    gate.behave = behave
    gate.opened.set()
    async with Worker(joined(plugins={"gate": {"api-key": "canary-0123456789"}}), engines=[gate]):
        await studio.offer(gated("told"))
        failed = await studio.frame("fail", job_id="told")
        await studio.until(lambda: "failed (" in shipped(studio))
    assert "GET https://api.example/?k=*** was refused" in failed["error"]
    assert "?k=*** was refused" in shipped(studio)
    assert "canary" not in failed["error"] + shipped(studio)


async def test_pictures_are_uploaded_and_the_delivery_is_told_with_its_size(joined, studio):
    async with Worker(joined()) as worker:
        events = worker.events()
        await studio.offer(image_claim("cup"))
        upload = await studio.upload("cup")
    (delivered,) = [event async for event in events if isinstance(event, JobDelivered)]
    assert (delivered.job_id, delivered.bytes) == ("cup", len(upload.data))


async def test_a_result_that_waits_for_its_studio_is_delivered_in_the_drain(joined, studio, gate, soon):
    studio.withhold = {"completeAck"}
    async with Worker(joined(), engines=[gate]) as worker:
        gate.opened.set()
        await studio.offer(gated("late"))
        await studio.frame("completeJson", job_id="late")
        assert worker.status()["deliveries"]["waiting"] == 1
        draining = asyncio.create_task(worker.drain())
        await studio.until(lambda: _auto(studio) is False, what="a draining beat")
        assert not draining.done()
        await studio.session.send({"type": "completeAck", "jobId": "late"})
        await soon(draining)
    assert worker.status()["deliveries"] == {"pending": 0, "waiting": 0}


async def test_results_that_nobody_acknowledged_are_named_when_the_drains_time_is_over(joined, studio, caplines):
    studio.withhold = {"completeAck"}
    async with Worker(joined(drain_timeout_secs=0.05)):
        await studio.offer(llm_claim("kept"))
        await studio.frame("completeJson", job_id="kept")
    (left,) = [fields for fields in caplines if fields["event"] == "worker.left"]
    assert left["results"] == 1
