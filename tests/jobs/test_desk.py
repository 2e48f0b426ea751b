from studio_worker.events import JobDelivered


async def test_an_offer_is_accepted_run_and_completed(room, wire, claim):
    room.offer(wire, claim())
    done = await wire.until("completeJson")
    assert wire.types == ["accept", "completeJson"]
    assert done.result["choices"][0]["message"]["content"] == "hello"
    assert done.prompt == "a secret question"


async def test_a_binary_result_is_uploaded(room, wire, claim):
    room.offer(wire, claim("image"))
    kept = await room.uploads.started()
    await room.events.until(JobDelivered)
    assert wire.types == ["accept"]
    assert kept.artifact.ext == "png"
    assert kept.artifact.meta["engine"] == "gate"
