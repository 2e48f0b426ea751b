"""The happy walks: offer, accept, result."""

from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job


async def test_a_json_job_walks_from_the_queue_to_its_acknowledged_result(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    claim = await worker.offer()
    await worker.send("accept", jobId="talk", attempt=claim["attempt"])
    await worker.send("completeJson", jobId="talk", result={"choices": [], "x": None}, prompt="Hello")

    assert await worker.receive("completeAck") == {"type": "completeAck", "jobId": "talk"}
    job = await admin.job("talk")
    assert job["state"] == "done"
    assert job["result"] == {"choices": [], "x": None}
    assert job["workerId"] == worker.worker_id
    assert job["attempts"] == 0


async def test_a_binary_job_walks_from_the_queue_to_its_stored_upload(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")

    status, _ = await worker.upload("fox")

    assert status == 200
    job = await admin.job("fox")
    assert (job["state"], job["resultType"], job["resultBytes"]) == ("done", "image/png", len(PNG))
    async with admin.http.get(job["resultUrl"], headers=admin.headers) as response:
        assert await response.read() == PNG
