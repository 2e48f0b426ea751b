"""Start, stop and refusal of a real worker process: signals, exit codes, one instance, the older worker's settings."""

import asyncio
import json
import os
import signal
import time
import tomllib

import pytest

from studio_worker.testing.claims import claim, llm_claim


def sleeping(job_id: str, seconds: float | str, engine: str = "acme-sleep") -> dict:
    content = str(seconds) if engine == "acme-sleep" else f"sleep {seconds}"
    return claim({"kind": "llm", "messages": [{"role": "user", "content": content}]}, job_id, engine=engine)


async def test_an_idle_worker_stops_sooner_than_it_starts_and_says_goodbye(start_run, studio):
    begin = time.monotonic()
    worker = await start_run()
    await studio.heartbeat()
    started = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 0
    assert time.monotonic() - started < started - begin
    assert studio.session.close_code == 1000


async def test_a_worker_that_waits_for_approval_stops_at_once(start_run, studio):
    studio.decision = "pending"
    worker = await start_run()
    await worker.says("waiting for approval")
    worker.signal(signal.SIGINT)
    assert await worker.code() == 0


@pytest.mark.parametrize("engine", ["acme-sleep", "acme-text"])
async def test_the_first_signal_lets_the_job_finish_and_delivers_it(worker, studio, engine):
    await studio.offer(sleeping("slow", 1.0, engine))
    await studio.frame("accept", job_id="slow")
    worker.signal(signal.SIGTERM)
    await studio.until(lambda: not studio.of_type("heartbeat")[-1]["capabilities"]["autoEnabled"], what="a last beat")
    await studio.offer(llm_claim("too-late"))
    assert (await studio.frame("reject", job_id="too-late"))["code"] == "paused"
    await studio.frame("completeJson", job_id="slow")
    assert await worker.code() == 0


async def test_the_second_signal_cancels_and_reports(worker, studio):
    await studio.offer(sleeping("slow", 60))
    await studio.frame("accept", job_id="slow")
    worker.signal(signal.SIGTERM)
    await worker.says("step=1")
    worker.signal(signal.SIGTERM)
    failed = await studio.frame("fail", job_id="slow")
    assert failed["retryable"] is True
    assert await worker.code() == 0


async def test_the_end_of_the_drains_time_cancels_and_reports(start_run, studio):
    worker = await start_run(STUDIO_WORKER_DRAIN_TIMEOUT_SECS="0.3")
    await studio.offer(sleeping("slow", 60))
    await studio.frame("accept", job_id="slow")
    worker.signal(signal.SIGTERM)
    failed = await studio.frame("fail", job_id="slow")
    assert failed["retryable"] is True
    assert await worker.code() == 0


async def test_the_third_signal_ends_at_once(worker, studio):
    await studio.offer(sleeping("slow", "deaf 60"))
    await studio.frame("accept", job_id="slow")
    worker.signal(signal.SIGTERM)
    await worker.says("step=1")
    worker.signal(signal.SIGTERM)
    assert (await studio.frame("fail", job_id="slow"))["retryable"] is True
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 1


async def test_a_rejected_registration_ends_with_77_and_the_remedy(start_run, studio):
    studio.decision = "rejected"
    worker = await start_run()
    assert await worker.code() == 77
    assert "not one of ours" in worker.said
    assert "studio-worker register --reset" in worker.said


async def test_a_refused_token_is_asked_again_three_times_and_then_ends_with_77(start_run, studio):
    worker = await start_run()
    await studio.welcomed()
    studio.upgrade_answers.always = 401
    studio.session.abort()
    assert await worker.code() == 77
    assert "register --reset" in worker.said
    assert len([request for request in studio.requests if request.path.endswith("/connect")]) == 5


@pytest.mark.parametrize(("code", "name"), [("duplicate_worker", "connected"), ("worker_deleted", "register --reset")])
async def test_a_duplicate_or_deleted_worker_ends_with_77(worker, studio, code, name):
    await studio.session.refuse(code)
    assert await worker.code() == 77
    assert name in worker.said


async def test_a_spent_reconnect_budget_ends_with_69(start_run, studio):
    worker = await start_run(STUDIO_WORKER_WS_RECONNECT_ATTEMPTS="2")
    await studio.welcomed()
    await studio.stop()
    assert await worker.code() == 69
    assert "ws_reconnect_attempts" in worker.said


async def test_a_second_worker_on_the_same_state_ends_with_75_naming_the_first(worker, start_run):
    second = await start_run()
    assert await second.code() == 75
    assert str(worker.process.pid) in second.said


async def test_a_worker_that_was_killed_leaves_no_lock_behind(worker, start_run, studio):
    worker.process.kill()
    await worker.code()
    await start_run()
    await studio.welcomed(2)
    assert len([request for request in studio.requests if request.method == "POST"]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vram_threshold_gb = nan", ["vram_threshold_gb"]),
        ("stream_port = 70000", ["stream_port", "65535"]),
        ('drain_timeout_secs = "30"', ["drain_timeout_secs"]),
        ("api_base_url = 'ftp://x'", ["api_base_url", "https"]),
        ("[[[[", ["config.toml"]),
        ("a = 1\na = 2", ["config.toml", "line 2"]),
    ],
)
async def test_a_broken_config_ends_with_78_naming_file_and_field(machine, text, words):
    machine.configure(text)
    worker = await machine.start("run")
    assert await worker.code() == 78
    for word in words:
        assert word in worker.said
    assert "Traceback" not in worker.said


async def test_a_bad_variable_ends_with_78_naming_it(start_run):
    worker = await start_run(STUDIO_WORKER_MAX_CONCURRENT_JOBS="١٢")
    assert await worker.code() == 78
    assert "STUDIO_WORKER_MAX_CONCURRENT_JOBS" in worker.said


async def test_a_journal_that_is_a_link_ends_with_78_naming_it_and_the_remedy(machine, start_run, tmp_path):
    machine.state.mkdir(parents=True)
    (machine.state / "journal.sqlite3").symlink_to(tmp_path / "elsewhere")
    worker = await start_run()
    assert await worker.code() == 78
    assert f"{machine.state / 'journal.sqlite3'} is a symbolic link" in worker.said
    assert "put the file itself there" in worker.said
    assert "Traceback" not in worker.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("name", ["spool", "work"])
async def test_a_folder_of_another_user_in_the_state_ends_with_78_naming_it_and_the_remedy(machine, start_run, name):
    folder = machine.state / name
    folder.mkdir(parents=True)
    os.chown(folder, 12345, -1)
    worker = await start_run()
    assert await worker.code() == 78
    assert f"{folder} belongs to the user with id 12345" in worker.said
    assert f"`chown 0 '{folder}'`" in worker.said
    assert "Traceback" not in worker.said


async def test_an_installed_older_worker_goes_on_without_a_new_approval(machine, start_run, studio):
    studio.claimed("none", "w-7")
    studio.worker_id = "w-7"
    machine.configure(
        f"""# my own notes
api_base_url = "{studio.url}"
worker_id = "w-7"
auth_token = "{studio.token}"
install_id = "0f0e0d0c-0b0a-0908-0706-050403020100"
vram_threshold_gb = 6.0 # half of it
engines = ["sdcpp"]
"""
    )
    await machine.start("run")
    await studio.welcomed()
    hello = await studio.frame("hello")
    assert hello["authToken"] == studio.token
    assert hello["capabilities"]["vramThresholdGb"] == 6.0
    assert not [request for request in studio.requests if "register" in request.path]
    assert machine.credentials["worker_id"] == "w-7"


async def test_a_changed_threshold_is_in_the_next_heartbeat(machine, studio):
    machine.configure(f'api_base_url = "{studio.url}"\nvram_threshold_gb = 4.0\n')
    await machine.start("run")
    await studio.welcomed()
    assert (await studio.frame("heartbeat"))["capabilities"]["vramThresholdGb"] == 4.0
    code, _ = await machine.call("config", "set", "vram_threshold_gb", "5.5")
    assert code == 0
    assert (await studio.heartbeat())["capabilities"]["vramThresholdGb"] == 5.5
    assert tomllib.loads(machine.config_file.read_text())["vram_threshold_gb"] == 5.5


async def test_status_pause_and_resume_reach_the_running_worker(worker, studio, machine):
    code, status = await machine.call("status")
    assert code == 0
    assert status["running"] is True
    assert status["session"]["state"] == "connected"
    assert status["registration"]["workerId"] == "w-1"
    assert studio.token not in json.dumps(status)
    assert (await machine.call("pause"))[0] == 0
    await studio.frame("heartbeat", nth=len(studio.of_type("heartbeat")))
    await studio.until(lambda: not studio.of_type("heartbeat")[-1]["capabilities"]["autoEnabled"], what="a paused beat")
    await studio.offer(llm_claim("while-paused"))
    assert (await studio.frame("reject", job_id="while-paused"))["code"] == "paused"
    assert (await machine.call("resume"))[0] == 0
    await studio.offer(llm_claim("after"))
    await studio.frame("completeJson", job_id="after")


async def test_a_busy_worker_rejects_the_offer_as_transient(worker, studio):
    await studio.offer(sleeping("slow", 1.0))
    await studio.frame("accept", job_id="slow")
    await studio.offer(llm_claim("second"))
    assert (await studio.frame("reject", job_id="second"))["code"] == "busy"
    await studio.frame("completeJson", job_id="slow")


async def test_a_job_offered_again_after_a_lost_connection_is_adopted(worker, studio):
    await studio.offer(sleeping("slow", 1.5))
    await studio.frame("accept", job_id="slow")
    studio.session.abort()
    await studio.welcomed(2)
    await studio.offer(sleeping("slow", 1.5))
    await studio.frame("accept", job_id="slow", nth=2)
    await studio.frame("completeJson", job_id="slow")
    assert len(studio.of_type("completeJson", job_id="slow")) == 1
    assert studio.violations == []


async def test_heartbeats_name_the_running_job(worker, studio):
    await studio.offer(sleeping("slow", 6.0))
    await studio.frame("accept", job_id="slow")
    await studio.heartbeat(currentJobId="slow")


async def test_where_the_studio_offers_more_several_jobs_run_at_once(start_run, studio):
    studio.extensions = ("capacity",)
    await start_run(STUDIO_WORKER_MAX_CONCURRENT_JOBS="2")
    await studio.welcomed()
    for job_id in ("one", "two", "three"):
        await studio.offer(sleeping(job_id, 1.0, "acme-text"))
    assert (await studio.frame("reject", job_id="three"))["code"] == "busy"
    for job_id in ("one", "two"):
        await studio.frame("completeJson", job_id=job_id)


async def test_a_port_in_use_does_not_stop_the_worker(start_run, studio, machine):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    worker = await start_run(STUDIO_WORKER_LOCAL_API_PORT=str(port))
    await studio.welcomed()
    assert (await machine.call("status"))[1]["running"] is True
    assert str(port) in worker.said
    server.close()


async def test_a_folder_that_cannot_be_written_ends_with_a_sentence(start_run, machine, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    worker = await start_run(STUDIO_WORKER_STATE_DIR=str(blocked / "state"))
    assert await worker.code() == 78
    assert str(blocked) in worker.said
    assert "Traceback" not in worker.said
