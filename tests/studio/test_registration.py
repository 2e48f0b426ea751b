"""Asking to be admitted, and being told (protocol section 1)."""

import asyncio
import hashlib
import sqlite3
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.clock import SystemClock
from studio_worker.studio.answers import Refusal
from studio_worker.studio.registration import RateLimit, counted_address
from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.raw_worker import Admin, RawWorker, registration

SECRET = "ab" * 32


async def ask(admin: Admin, body: dict[str, Any]) -> tuple[int, Any]:
    async with admin.http.post(admin.base + "/workers/register-request", json=body) as answer:
        return answer.status, await answer.json()


async def poll(admin: Admin, request_id: str, secret: str | None = SECRET) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    url = f"{admin.base}/workers/register-requests/{request_id}"
    async with admin.http.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_request_waits_until_somebody_decides(admin: Admin) -> None:
    status, said = await ask(admin, registration(secret=SECRET))

    assert (status, said["status"]) == (200, "pending")
    assert said["requestId"].startswith("rr-")
    assert await poll(admin, said["requestId"]) == (200, {"status": "pending"})


async def test_a_waiting_worker_is_listed_with_what_it_said(admin: Admin) -> None:
    body = registration(machineName="render-7")
    _, said = await ask(admin, body)

    (waiting,) = await admin.get("/workers/pending")

    assert waiting["requestId"] == said["requestId"]
    assert waiting["installId"] == body["installId"]
    assert waiting["machineName"] == "render-7"
    assert waiting["capabilities"]["vramThresholdGb"] == 12.0
    assert waiting["requestedAt"].endswith("Z")


async def test_an_approved_worker_gets_an_id_and_a_token_that_connects(admin: Admin, studio: StudioServer) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    await admin.call("POST", f"/workers/pending/{said['requestId']}/approve")

    status, decided = await poll(admin, said["requestId"])

    assert (status, decided["status"]) == (200, "approved")
    worker = await RawWorker(admin.http, studio.url, decided["workerId"], decided["authToken"]).connect()
    assert worker.welcome["workerId"] == decided["workerId"]


async def test_each_poll_of_an_approved_request_rotates_the_token(admin: Admin, studio: StudioServer) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    await admin.call("POST", f"/workers/pending/{said['requestId']}/approve")
    _, first = await poll(admin, said["requestId"])
    _, second = await poll(admin, said["requestId"])

    assert first["workerId"] == second["workerId"]
    assert first["authToken"] != second["authToken"]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await RawWorker(admin.http, studio.url, first["workerId"], first["authToken"]).connect()
    assert refusal.value.status == 401


async def test_a_rejected_worker_is_told_the_reason(admin: Admin) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    await admin.call("POST", f"/workers/pending/{said['requestId']}/reject", {"reason": "not ours"})

    assert await poll(admin, said["requestId"]) == (200, {"status": "rejected", "reason": "not ours"})
    assert await admin.get("/workers/pending") == []


async def test_a_rejection_needs_no_reason(admin: Admin) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    status, _ = await admin.call("POST", f"/workers/pending/{said['requestId']}/reject")

    assert status == 200
    assert (await poll(admin, said["requestId"]))[1]["status"] == "rejected"


@pytest.mark.parametrize("verb", ["approve", "reject"])
async def test_a_decision_is_made_once(admin: Admin, verb: str) -> None:
    _, said = await ask(admin, registration())
    await admin.call("POST", f"/workers/pending/{said['requestId']}/approve")

    status, _ = await admin.call("POST", f"/workers/pending/{said['requestId']}/{verb}")

    assert status == 409
    assert len(await admin.get("/workers")) == 1


async def test_two_approvals_at_once_make_one_worker(admin: Admin) -> None:
    _, said = await ask(admin, registration())
    path = f"/workers/pending/{said['requestId']}/approve"

    answers = await asyncio.gather(admin.call("POST", path), admin.call("POST", path))

    assert sorted(status for status, _ in answers) == [200, 409]
    assert len(await admin.get("/workers")) == 1


async def test_deciding_about_nobody_is_a_404(admin: Admin) -> None:
    status, _ = await admin.call("POST", "/workers/pending/rr-unknown/approve")

    assert status == 404


async def test_an_install_that_waits_gets_its_own_request_again(admin: Admin) -> None:
    install_id = str(uuid.uuid4())
    _, first = await ask(admin, registration(install_id))
    _, second = await ask(admin, registration(install_id))

    assert first["requestId"] == second["requestId"]
    assert len(await admin.get("/workers/pending")) == 1


async def test_an_install_that_lost_its_secret_can_poll_with_the_new_one(admin: Admin) -> None:
    install_id = str(uuid.uuid4())
    await ask(admin, registration(install_id, secret="cd" * 32))
    _, again = await ask(admin, registration(install_id, secret=SECRET))

    assert (await poll(admin, again["requestId"]))[0] == 200
    assert (await poll(admin, again["requestId"], "cd" * 32))[0] == 401


async def test_an_install_that_was_decided_about_asks_anew(admin: Admin) -> None:
    install_id = str(uuid.uuid4())
    _, first = await ask(admin, registration(install_id))
    await admin.call("POST", f"/workers/pending/{first['requestId']}/reject")
    _, second = await ask(admin, registration(install_id))

    assert first["requestId"] != second["requestId"]


@pytest.mark.parametrize(("secret", "expected"), [("ef" * 32, 401), (None, 401)])
async def test_a_poll_without_the_secret_learns_nothing(admin: Admin, secret: str | None, expected: int) -> None:
    _, said = await ask(admin, registration(secret=SECRET))

    assert (await poll(admin, said["requestId"], secret))[0] == expected


async def test_a_poll_of_an_unknown_request_is_a_404(admin: Admin) -> None:
    assert (await poll(admin, "rr-unknown"))[0] == 404


async def test_a_poll_after_the_worker_was_deleted_is_a_404(admin: Admin) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    await admin.call("POST", f"/workers/pending/{said['requestId']}/approve")
    _, decided = await poll(admin, said["requestId"])
    await admin.call("DELETE", f"/workers/{decided['workerId']}")

    assert (await poll(admin, said["requestId"]))[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"installId": "no-uuid"}, "installId"),
        ({"registrationSecretHash": "short"}, "registrationSecretHash"),
        ({"capabilities": None}, "capabilities"),
        ({"capabilities": {"vramTotalGb": "much"}}, "capabilities.vramTotalGb"),
        ({"userAgent": 7}, "userAgent"),
    ],
)
async def test_a_bad_request_is_refused_by_the_name_of_the_field(
    admin: Admin, change: dict[str, Any], field: str
) -> None:
    status, said = await ask(admin, registration() | change)

    assert (status, said["field"]) == (400, field)
    assert field in said["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"installId": NaN}', b"\xff\xfe"])
async def test_a_body_that_is_no_json_object_is_refused(admin: Admin, body: bytes) -> None:
    async with admin.http.post(admin.base + "/workers/register-request", data=body) as answer:
        assert answer.status == 400
        assert "error" in await answer.json()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_encoded_as_it_says_is_refused_and_no_error_of_ours(
    admin: Admin, encoding: str, caplines: list[dict[str, Any]]
) -> None:
    headers = {"Content-Encoding": encoding}
    url = admin.base + "/workers/register-request"
    async with admin.http.post(url, data=b"junk", headers=headers) as answer:
        assert answer.status == 400
    assert "ERROR" not in {line["level"] for line in caplines}


async def test_a_body_over_the_bound_is_refused(admin: Admin) -> None:
    async with admin.http.post(admin.base + "/workers/register-request", data=b" " * (64 * 1024 + 1)) as answer:
        assert answer.status == 413


async def test_a_request_with_hundreds_of_names_is_taken(admin: Admin) -> None:
    names = [f"some-owner/some-model-{number}" for number in range(500)]
    body = registration(supportedModels=names, supportedModelsPerKind={"llm": names})

    assert (await ask(admin, body))[0] == 200


async def test_a_body_over_the_bound_without_a_length_is_refused(admin: Admin) -> None:
    async def chunks() -> Any:
        for _ in range(32):
            yield b" " * 65_536

    async with admin.http.post(admin.base + "/workers/register-request", data=chunks()) as answer:
        assert answer.status == 413


async def test_secrets_and_tokens_are_kept_as_hashes_only(admin: Admin, tmp_path: Path) -> None:
    _, said = await ask(admin, registration(secret=SECRET))
    await admin.call("POST", f"/workers/pending/{said['requestId']}/approve")
    _, decided = await poll(admin, said["requestId"])

    dump = "\n".join(sqlite3.connect(tmp_path / "data" / "studio.db").iterdump())

    assert SECRET not in dump
    assert decided["authToken"] not in dump
    assert hashlib.sha256(decided["authToken"].encode()).hexdigest() in dump


class TestRateLimit:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits()

    async def test_the_eleventh_request_in_a_minute_is_put_off(self, admin: Admin) -> None:
        statuses = [(await ask(admin, registration()))[0] for _ in range(11)]

        assert statuses == [200] * 10 + [429]

    async def test_the_answer_says_when_to_ask_again(self, admin: Admin) -> None:
        for _ in range(10):
            await ask(admin, registration())
        async with admin.http.post(admin.base + "/workers/register-request", json=registration()) as answer:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60

    def test_the_window_moves_on(self) -> None:
        now = [0.0]
        rate = RateLimit(2, 60, lambda: now[0])
        rate.check("a")
        now[0] = 30
        rate.check("a")
        with pytest.raises(Refusal):
            rate.check("a")
        now[0] = 60
        rate.check("a")

    def test_addresses_are_counted_apart(self) -> None:
        rate = RateLimit(1, 60, lambda: 0.0)
        rate.check("a")
        rate.check("b")

    @pytest.mark.parametrize(
        ("address", "counted"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("unknown", "unknown"),
        ],
    )
    def test_what_an_address_is_counted_by(self, address: str, counted: str) -> None:
        assert counted_address(address) == counted

    def test_addresses_of_one_ipv6_site_are_counted_together(self) -> None:
        rate = RateLimit(1, 60, lambda: 0.0)
        rate.check("2001:db8:1:2::1")
        rate.check("2001:db8:1:3::1")
        with pytest.raises(Refusal):
            rate.check("2001:db8:1:2:ffff::9")


class TestPendingBound:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(register_requests=100, pending_requests=2)

    async def test_no_more_requests_wait_than_the_bound(self, admin: Admin) -> None:
        statuses = [(await ask(admin, registration()))[0] for _ in range(3)]

        assert statuses == [200, 200, 429]

    async def test_an_install_that_waits_gets_its_own_request_at_the_bound(self, admin: Admin) -> None:
        install_id = str(uuid.uuid4())
        _, first = await ask(admin, registration(install_id))
        await ask(admin, registration())

        status, again = await ask(admin, registration(install_id))

        assert (status, again["requestId"]) == (200, first["requestId"])

    async def test_the_admin_reads_as_many_as_are_asked_for(self, admin: Admin) -> None:
        for _ in range(2):
            await ask(admin, registration())

        assert len(await admin.get("/workers/pending?limit=1")) == 1
        assert (await admin.call("GET", "/workers/pending?limit=0"))[0] == 400


class Calendar(SystemClock):
    """The machine's clock, with a wall that can be set ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


async def test_a_request_is_forgotten_a_day_after_its_last_poll(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    clock = Calendar()
    timings = Timings(sweep_secs=0.01, shutdown_secs=0.5)
    async with StudioServer(tmp_path / "days", port=0, clock=clock, timings=timings) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        _, polled = await ask(admin, registration(secret=SECRET))
        _, silent = await ask(admin, registration(secret=SECRET))
        async with http.get(admin.base + "/events", headers=admin.headers) as events:
            await events.content.readline()
            clock.ahead = timedelta(hours=23)
            assert (await poll(admin, polled["requestId"]))[0] == 200
            clock.ahead = timedelta(hours=25)

            async with asyncio.timeout(10):
                while silent["requestId"] not in (await events.content.readline()).decode():
                    pass

        assert (await poll(admin, silent["requestId"]))[0] == 404
        assert await poll(admin, polled["requestId"]) == (200, {"status": "pending"})


async def test_a_studio_that_approves_by_itself_admits_at_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with StudioServer(tmp_path / "auto", port=0, auto_approve=True) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        _, said = await ask(admin, registration(secret=SECRET))

        assert said["status"] == "pending"
        assert (await poll(admin, said["requestId"]))[1]["status"] == "approved"
