"""Bodies, hosts and signatures that are sound but for a place or two: taken, or refused with a status below 500."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spoiled import damaged, spoiled

from studio_worker.errors import BadClaim
from studio_worker.studio.answers import Refusal
from studio_worker.studio.bodies import read_json
from studio_worker.studio.guard import HostRule
from studio_worker.studio.job_json import job_from_json
from studio_worker.studio.model_routes import model_from_json
from studio_worker.studio.signing import Signer

FILE = {"role": "model", "url": "https://h/m.gguf", "filename": "m.gguf", "approxBytes": 5}
SOURCE = {"engine": "sd-cpp", "files": [FILE], "cliDefaults": {"steps": 8}}
TASK = {"kind": "image", "prompt": "a cup", "initImageUrl": "https://h/a.png", "width": 64, "height": 64}
JOB = {"id": "cup", "model": "m", "task": TASK, "modelSource": SOURCE, "vramGbEstimate": 1.0}
MODEL = {"id": "m", "kind": "image", "engine": "sd-cpp", "modelSource": SOURCE, "vramGbEstimate": 1.0, "enabled": True}


class EmptyStore:
    """Knows no job and no model."""

    async def job(self, job_id: str) -> None:
        return None

    async def model(self, model_id: str) -> None:
        return None


@settings(print_blob=True)
@given(
    body=spoiled(JOB, st.sampled_from(["result:cup", "result:../x", "result:", 5, None, "", [], {}, True, -1, 2**64]))
)
def test_a_job_is_taken_or_refused_by_its_field(body: Any) -> None:
    with suppress(BadClaim, Refusal):
        job = asyncio.run(job_from_json(body, EmptyStore()))  # type: ignore[arg-type]
        assert json.loads(json.dumps(job.task)) == job.task
        assert job.title.isprintable()


@settings(print_blob=True)
@given(body=spoiled(MODEL))
def test_a_model_is_taken_or_refused_by_its_field(body: Any) -> None:
    with suppress(BadClaim, Refusal):
        model = model_from_json(body, "2026-01-05T08:00:00.000Z")
        assert model.id.isprintable()
        assert model.engine


@settings(print_blob=True)
@given(body=damaged(json.dumps(JOB).encode()) | st.binary(max_size=50))
@example(body=b"[" * 3_000)
def test_any_body_is_an_object_or_refused(body: bytes) -> None:
    async def read() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        payload.feed_data(body)
        payload.feed_eof()
        return await read_json(make_mocked_request("POST", "/", payload=payload), 2_000, 5.0)

    try:
        found = asyncio.run(read())
    except Refusal as refusal:
        status = refusal.status
    else:
        assert isinstance(found, dict)
        return
    assert status in (400, 413)


PIECES = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "evil.com", ":8787", ".", "@", "/", "#", "?", "\\", "[", "%00"]
)


@settings(print_blob=True)
@given(host=st.lists(PIECES | st.text(max_size=3), max_size=5).map("".join))
def test_a_studio_on_loopback_answers_no_host_whose_end_is_another_name(host: str) -> None:
    allows = HostRule("127.0.0.1").allows(host)
    assert isinstance(allows, bool)
    assert not (allows and host.partition(":")[0].endswith("evil.com"))


@settings(print_blob=True)
@given(until=st.text(max_size=14) | st.just("99"), signature=st.text(max_size=70), job_id=st.text(max_size=5))
@example(until="٩٩", signature="", job_id="a")
@example(until="99", signature="é", job_id="a")
def test_nobody_guesses_a_signature(until: str, signature: str, job_id: str) -> None:
    assert not Signer(bytes(32)).holds("result", job_id, until, signature, 10.0)
