"""A worker with a third party's engines against a studio that keeps the protocol: the main job, whole."""

import asyncio
import hashlib
import json
import re
import stat

from studio_worker.testing.claims import CLAIM_BUILDERS, claim, image_claim, llm_claim
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import sniff_ext


def words(text: str) -> dict:
    return {"kind": "llm", "messages": [{"role": "user", "content": text}]}


async def test_a_first_start_says_what_it_waits_for_and_goes_on_once_approved(start_run, studio, machine):
    studio.decision = "pending"
    worker = await start_run()
    line = await worker.says("waiting for approval")
    assert "rr-1" in line
    assert studio.url.rstrip("/") in line
    studio.decision = "approved"
    await studio.welcomed()
    assert machine.credentials["worker_id"] == "w-1"
    assert stat.S_IMODE((machine.state / "credentials.json").stat().st_mode) == 0o600
    asked = studio.requests[0].json
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", asked["installId"])
    assert asked["userAgent"].startswith("studio-worker/")
    polled = next(request for request in studio.requests if request.method == "GET")
    assert hashlib.sha256(polled.bearer.encode()).hexdigest() == asked["registrationSecretHash"]


async def test_the_advert_is_the_union_of_all_engines_with_the_sources_that_they_serve(worker, studio):
    hello = await studio.frame("hello")
    capabilities = hello["capabilities"]
    assert capabilities["engine"] == "multi"
    assert set(capabilities["taskKinds"]) == {"image", "llm", "audio_stt", "audio_tts", "video"}
    assert "acme-paint:*" in capabilities["supportedModelsPerKind"]["image"]
    assert {"acme-text", "acme-sleep", "synthetic"} <= set(capabilities["sources"]["llm"])
    assert "*" not in capabilities["supportedModels"]
    assert hello["authToken"] == studio.token


async def test_hello_comes_first_and_heartbeats_only_after_the_welcome(start_run, studio):
    studio.withhold = {"welcome"}
    await start_run()
    await studio.connected()
    await studio.frame("hello")
    assert [frame.type for frame in studio.frames] == ["hello"]
    studio.withhold = set()
    await studio.session.send({"type": "welcome", "workerId": "w-1", "serverTime": studio.server_time})
    await studio.heartbeat()
    assert [frame.type for frame in studio.frames][:2] == ["hello", "heartbeat"]


async def test_all_five_kinds_come_back_from_the_synthetic_engine(worker, studio):
    for kind, build in CLAIM_BUILDERS.items():
        job_id = f"job-{kind}"
        await studio.offer(build(job_id))
        await studio.frame("accept", job_id=job_id)
        if TaskKind(kind).is_binary:
            upload = await studio.upload(job_id)
            assert upload.status == 200
            assert sniff_ext(upload.data[:64]) == upload.parts["ext"]
            assert upload.filename == f"{job_id}.{upload.parts['ext']}"
            assert list(upload.parts)[:2] == ["prompt", "ext"]
        else:
            assert (await studio.frame("completeJson", job_id=job_id))["result"]
    assert studio.violations == []
    assert not studio.of_type("readyForMore")


async def test_a_third_partys_engine_serves_its_source_and_the_bytes_name_the_file(worker, studio):
    await studio.offer(image_claim("paint", steps=3, width=40, height=30, claim_fields={"engine": "acme-paint"}))
    upload = await studio.upload("paint")
    assert upload.filename == "paint.png"
    assert upload.content_type == "image/png"
    assert upload.parts["ext"] == "png"
    assert upload.parts["prompt"] == "a clay cup"
    meta = json.loads(upload.parts["generationMeta"])
    assert meta["engine"] == "painter"
    assert meta["loads"] == 1
    assert isinstance(meta["seed"], int)


async def test_a_loaded_model_stays_warm_for_the_next_job(worker, studio):
    for number in (1, 2):
        await studio.offer(image_claim(f"paint-{number}", claim_fields={"engine": "acme-paint"}))
        upload = await studio.upload(f"paint-{number}")
    assert json.loads(upload.parts["generationMeta"])["loads"] == 2


async def test_an_engine_that_is_not_installed_fails_the_job_and_nothing_else_serves_it(worker, studio):
    await studio.offer(image_claim("sd", claim_fields={"engine": "parakeet", "model": "z-image"}))
    await studio.frame("accept", job_id="sd")
    failed = await studio.frame("fail", job_id="sd")
    assert failed["retryable"] is False
    for part in ("parakeet", "z-image", "image", "pip install studio-worker-parakeet"):
        assert part in failed["error"]
    assert studio.uploads == []


async def test_a_source_that_serves_another_kind_fails_without_a_fall_back(worker, studio):
    await studio.offer(llm_claim("mixed", claim_fields={"engine": "acme-paint"}))
    failed = await studio.frame("fail", job_id="mixed")
    assert failed["retryable"] is False
    assert "acme-paint" in failed["error"]


async def test_errors_of_an_engine_become_frames_that_say_whether_another_try_helps(worker, studio):
    for word, retryable in (("explode", True), ("starve", True), ("refuse", False)):
        await studio.offer(claim(words(word), word, engine="acme-text"))
        failed = await studio.frame("fail", job_id=word)
        assert failed["retryable"] is retryable
        assert "writer" in failed["error"]


async def test_the_whole_prompt_goes_with_a_json_result(worker, studio):
    text = "a long prompt " * 100
    await studio.offer(claim(words(text), "long", engine="acme-text"))
    done = await studio.frame("completeJson", job_id="long")
    assert done["prompt"] == text
    assert done["result"]["choices"][0]["message"]["content"] == text.upper()


async def test_a_missing_model_file_fails_the_job_by_name(worker, studio):
    files = [{"role": "model", "url": "https://10.0.0.1/cup.bin", "filename": "cup.bin"}]
    await studio.offer(image_claim("files", claim_fields={"engine": "acme-paint", "files": files}))
    failed = await studio.frame("fail", job_id="files")
    assert "cup.bin" in failed["error"]


async def test_an_attempt_is_echoed_wherever_the_job_is_spoken_of(worker, studio):
    await studio.offer(image_claim("binary", claim_fields={"attempt": 3}))
    upload = await studio.upload("binary")
    assert upload.parts["attempt"] == "3"
    await studio.offer(llm_claim("text", claim_fields={"attempt": 4}))
    assert (await studio.frame("accept", job_id="text"))["attempt"] == 4
    assert (await studio.frame("completeJson", job_id="text"))["attempt"] == 4


async def test_input_is_fetched_from_the_studios_own_origin(worker, studio):
    from studio_worker.testing.claims import silence, stt_claim

    studio.blobs["speech"] = silence(0.5)
    await studio.offer(stt_claim("heard", inputUrl=studio.blob_url("speech")))
    done = await studio.frame("completeJson", job_id="heard")
    assert done["result"]["duration"] == 0.5
    assert done["prompt"] == studio.blob_url("speech")


async def test_an_input_elsewhere_on_this_machine_is_refused_and_never_visited(worker, studio):
    visits: list[object] = []
    server = await asyncio.start_server(lambda *streams: visits.append(streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    from studio_worker.testing.claims import stt_claim

    await studio.offer(stt_claim("inside", inputUrl=f"http://127.0.0.1:{port}/secret.wav"))
    failed = await studio.frame("fail", job_id="inside")
    assert failed["retryable"] is False
    assert visits == []
    server.close()


async def test_a_broken_claim_ends_its_job_by_field_and_the_session_goes_on(worker, studio):
    broken = {
        "no-task": {"task": None},
        "no-source": {"modelSource": None},
        "wide": {"task": {"kind": "image", "prompt": "x", "width": 16385}},
        "kind": {"task": {"kind": "exec"}},
        "ext": {"task": {"kind": "image", "prompt": "x", "ext": "png\r\nX: y"}},
    }
    names = {"no-task": "task", "no-source": "modelSource", "wide": "width", "kind": "kind", "ext": "ext"}
    for job_id, fields in broken.items():
        await studio.offer(image_claim(job_id) | fields)
        await studio.frame("accept", job_id=job_id)
        failed = await studio.frame("fail", job_id=job_id)
        assert failed["retryable"] is False
        assert names[job_id] in failed["error"]
    await studio.offer(llm_claim("fine"))
    await studio.frame("completeJson", job_id="fine")
    assert len(studio.sessions) == 1


async def test_a_jobid_that_would_leave_its_route_is_refused_and_nothing_is_uploaded(worker, studio):
    await studio.offer(image_claim("../../admin"))
    failed = await studio.frame("fail", job_id="../../admin")
    assert "jobId" in failed["error"]
    assert studio.uploads == []


async def test_frames_that_cannot_be_read_never_end_the_session(worker, studio):
    for text in ("{", "[]", "null", '"x"', "", '{"type": "\N{UNICORN FACE}"}', '{"type": 5}', "[" * 100_000):
        await studio.session.send_text(text)
    await studio.session.send_bytes(b"\x00\x01")
    await studio.session.send({"type": "offer", "claim": {"model": "no id"}})
    await studio.offer(llm_claim("after"))
    await studio.frame("completeJson", job_id="after")
    assert len(studio.sessions) == 1


async def test_each_jobs_offer_acceptance_and_outcome_are_shipped_as_log_lines(worker, studio):
    await studio.offer(llm_claim("logged"))
    await studio.frame("completeJson", job_id="logged")

    def lines() -> list[dict]:
        batches = studio.of_type("logBatch")
        return [entry for batch in batches for entry in batch["entries"] if entry.get("jobId") == "logged"]

    await studio.until(lambda: len(lines()) >= 3, what="three log lines")
    assert all(entry["category"] and entry["ts"].endswith("Z") for entry in lines())
    assert "Say hello" not in json.dumps(lines())


async def test_no_token_or_secret_or_prompt_is_ever_printed(worker, studio, machine):
    await studio.offer(claim(words("explode with a canary-prompt"), "loud", engine="acme-text"))
    await studio.frame("fail", job_id="loud")
    await studio.session.send({"type": "error", "message": f"Bearer {studio.token} is not liked"})
    await worker.says("Bearer *** is not liked")
    worker.signal(15)
    assert await worker.code() == 0
    secrets = [studio.token, next(request.bearer for request in studio.requests if request.method == "GET")]
    shipped = json.dumps([frame.fields for frame in studio.of_type("logBatch")])
    for secret in (*secrets, "canary-prompt"):
        assert secret not in worker.said
        assert secret not in shipped


async def test_an_upload_is_retried_until_the_studio_takes_it(worker, studio):
    studio.upload_answers.once(503, 503)
    await studio.offer(image_claim("late"))
    assert (await studio.upload("late", nth=3)).status == 200
    assert not studio.of_type("fail")


async def test_an_upload_that_is_refused_fails_with_the_status_and_the_first_line(worker, studio):
    studio.upload_answers.once((422, {"error": "no such palette"}))
    await studio.offer(image_claim("refused"))
    failed = await studio.frame("fail", job_id="refused")
    assert failed["retryable"] is False
    assert "422" in failed["error"]
    assert "no such palette" in failed["error"]
