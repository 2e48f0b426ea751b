"""Registration against a scripted studio, with the real credentials file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import stat
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.clock import SystemClock
from studio_worker.errors import ConfigError, RegistrationRejected
from studio_worker.events import RegistrationChanged
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.registrar import Registrar
from studio_worker.session.timings import Timings
from studio_worker.state import Credentials, CredentialStore
from studio_worker.testing import answers
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.version import __version__
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.urls import StudioUrls

from .conftest import LogLines, RecordingEvents


class NotedClock(SystemClock):
    """Sleeps a thousandth as long, and notes what it was asked for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, secs: float) -> None:
        self.slept.append(secs)
        await asyncio.sleep(min(secs / 1000, 0.01))


class Desk:
    """A registrar and everything around it."""

    def __init__(self, studio: ScriptedStudio, http: aiohttp.ClientSession, folder: Path, log: LogLines) -> None:
        self.urls = StudioUrls.parse(studio.url)
        self.store = CredentialStore(folder, self.urls.origin)
        self.events = RecordingEvents()
        self.clock = NotedClock()
        self.announced: list[str] = []
        self.http = http
        self.log = log

    def registrar(self, store: Any = None, capabilities: Callable[[], Capabilities] = Capabilities) -> Registrar:
        return Registrar(
            urls=self.urls,
            store=store or self.store,
            capabilities=capabilities,
            http=self.http,
            clock=self.clock,
            rng=random.Random(1),
            poll_secs=30.0,
            events=self.events,
            logs=LogShipper(self.clock),
            announce=self.announced.append,
            timings=Timings(request_secs=1.0),
        )

    async def ensure(self) -> Credentials:
        async with asyncio.timeout(10):
            return await self.registrar().ensure()

    def phases(self) -> list[str]:
        return [event.state for event in self.events.of(RegistrationChanged)]


@pytest.fixture
async def desk(studio: ScriptedStudio, http: aiohttp.ClientSession, tmp_path: Path, log_lines: LogLines) -> Desk:
    return Desk(studio, http, tmp_path / "state", log_lines)


async def test_a_fresh_worker_asks_polls_and_keeps_what_it_is_given(desk: Desk, studio: ScriptedStudio) -> None:
    credentials = await desk.ensure()

    assert (credentials.worker_id, credentials.auth_token) == ("w-1", studio.token)
    assert desk.store.load() == credentials
    assert credentials.registration_secret is None
    assert desk.phases() == ["pending", "approved"]
    assert stat.S_IMODE(desk.store.path.stat().st_mode) == 0o600


async def test_the_request_carries_hash_id_capabilities_and_user_agent(desk: Desk, studio: ScriptedStudio) -> None:
    async with asyncio.timeout(10):
        await desk.registrar(capabilities=lambda: Capabilities(machine_name="rig-1")).ensure()
    ask = await studio.request("register-request")
    poll = await studio.request("register-requests/rr-1")

    assert set(ask.json) == {"installId", "registrationSecretHash", "capabilities", "userAgent"}
    assert uuid.UUID(ask.json["installId"]).version == 4
    assert ask.json["registrationSecretHash"] == hashlib.sha256((poll.bearer or "").encode()).hexdigest()
    assert len(poll.bearer or "") == 64
    assert ask.json["userAgent"] == f"studio-worker/{__version__}" == ask.headers["User-Agent"]
    assert ask.json["capabilities"]["machineName"] == "rig-1"
    assert ask.bearer is None


async def test_a_request_stays_short_however_many_models_there_are(desk: Desk, studio: ScriptedStudio) -> None:
    names = tuple(f"some-owner/some-model-{number}" for number in range(5_000))
    advert = Capabilities(
        machine_name="rig-1", task_kinds=("llm",), supported_models=names, supported_models_per_kind={"llm": names}
    )
    async with asyncio.timeout(10):
        await desk.registrar(capabilities=lambda: advert).ensure()
    ask = await studio.request("register-request")

    assert ask.json["capabilities"]["supportedModels"] == []
    assert ask.json["capabilities"]["supportedModelsPerKind"] == {}
    assert ask.json["capabilities"]["taskKinds"] == ["llm"]
    assert ask.json["capabilities"]["machineName"] == "rig-1"


async def test_an_approved_worker_asks_nothing(desk: Desk, studio: ScriptedStudio) -> None:
    desk.store.save(Credentials(desk.urls.origin, worker_id="w-1", auth_token="token-1"))
    await desk.ensure()

    assert studio.requests == []


async def test_the_token_is_polled_for_exactly_once_after_the_approval(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once({"status": "pending"}, {"status": "pending"}, None)
    await desk.ensure()

    assert studio.tokens_issued == 1
    assert len([request for request in studio.requests if request.method == "GET"]) == 3


async def test_the_wait_is_announced_once_with_request_and_address(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once(*[{"status": "pending"}] * 3, None)
    await desk.ensure()

    assert desk.announced == [f"waiting for approval: request rr-1; an operator approves it at {studio.url}"]


async def test_a_restart_goes_on_polling_the_same_request(desk: Desk, studio: ScriptedStudio) -> None:
    studio.decision = "pending"
    first = asyncio.create_task(desk.registrar().ensure())
    await studio.request("register-requests/rr-1")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    since = desk.store.load().registration_requested_at
    studio.decision = "approved"
    await desk.ensure()

    assert len([request for request in studio.requests if request.method == "POST"]) == 1
    assert datetime.fromisoformat(since or "") <= datetime.now(UTC)


async def test_polls_keep_their_pace_with_a_little_spread(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once(*[{"status": "pending"}] * 20, None)
    await desk.ensure()

    first, *waits = [wait for wait in desk.clock.slept if wait]
    assert 1.9 <= first <= 2.1, "a studio that approves by itself has decided by then"
    assert all(28.5 <= wait <= 31.5 for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize(
    "trouble",
    [
        500,
        503,
        403,
        429,
        "<html>Log in to the Wi-Fi</html>",
        (302, "", {"Location": "http://127.0.0.1:9/"}),
        {"status": "pending", "requestId": 5},
        (200, "not json"),
        (200, "[" * 70_000),
        (200, ["pending"]),
        {"status": "perhaps"},
        {"status": "approved", "workerId": "w-1"},
        {"status": "approved", "workerId": "w-1", "authToken": "a\r\nX: y"},
        answers.reset,
        answers.endless,
    ],
)
async def test_trouble_with_a_poll_stays_pending_and_asks_again(
    desk: Desk, studio: ScriptedStudio, trouble: Any
) -> None:
    studio.poll_answers.once(trouble, trouble)
    credentials = await desk.ensure()

    assert credentials.auth_token == studio.token
    assert desk.phases() == ["pending", "approved"]
    warned = desk.log.of("registration.trouble")
    # A status that any poll may have is no trouble: {"status": "pending", "requestId": 5} is simply pending.
    assert all(record["level"].name == "WARNING" and record["extra"]["op"] == "poll" for record in warned)


@pytest.mark.parametrize("trouble", [500, 429, "<html>", (302, "", {"Location": "/"}), {"requestId": "a b"}, {}])
async def test_trouble_with_the_request_stays_pristine_with_the_same_secret(
    desk: Desk, studio: ScriptedStudio, trouble: Any
) -> None:
    studio.register_answers.once(trouble)
    await desk.ensure()

    first, second = [request.json for request in studio.requests if request.method == "POST"]
    assert first["registrationSecretHash"] == second["registrationSecretHash"]
    assert first["installId"] == second["installId"]
    assert desk.log.of("registration.trouble")[0]["extra"]["op"] == "register-request"


async def test_no_network_is_waited_for(desk: Desk, studio: ScriptedStudio) -> None:
    await studio.stop()
    task = asyncio.create_task(desk.ensure())
    while len(desk.clock.slept) < 3:
        await asyncio.sleep(0.005)
    await studio.start()

    assert (await task).worker_id == "w-1"
    assert "cannot be reached" in desk.log.of("registration.trouble")[0]["extra"]["error"]


async def test_a_redirect_is_never_followed(desk: Desk, studio: ScriptedStudio) -> None:
    async with ScriptedStudio() as thief:
        studio.register_answers.once((307, "", {"Location": thief.url}))
        studio.poll_answers.once((302, "", {"Location": thief.url}))
        await desk.ensure()

        assert thief.requests == []


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("120", 120, 120),
        ("99999999999", 600, 600),
        ("-1", 28.5, 31.5),
        ("NaN", 28.5, 31.5),
        ("5", 28.5, 31.5),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 600, 600),
    ],
)
async def test_retry_after_is_honoured_in_range(
    desk: Desk, studio: ScriptedStudio, header: str, low: float, high: float
) -> None:
    studio.poll_answers.once((429, {}, {"Retry-After": header}))
    await desk.ensure()

    assert low <= desk.clock.slept[-1] <= high


async def test_a_forgotten_request_is_made_anew_with_a_new_secret(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once(404)
    credentials = await desk.ensure()

    first, second = [request.json for request in studio.requests if request.method == "POST"]
    assert first["registrationSecretHash"] != second["registrationSecretHash"]
    assert first["installId"] == second["installId"] == credentials.install_id
    assert desk.phases() == ["pending", "pristine", "pending", "approved"]


async def test_four_401s_are_borne_and_the_fifth_starts_over(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once(401, 401, 401, 401, 500, 401)
    await desk.ensure()

    assert len([request for request in studio.requests if request.method == "POST"]) == 2


async def test_an_approval_whose_answer_was_lost_is_made_good_by_the_next_poll(
    desk: Desk, studio: ScriptedStudio
) -> None:
    async def approve_and_cut(request: Any) -> Any:
        studio.tokens_issued += 1
        return await answers.reset(request)

    # aiohttp asks once more by itself after a reset.
    studio.poll_answers.once(approve_and_cut, approve_and_cut)
    credentials = await desk.ensure()

    assert credentials.auth_token == studio.token
    assert studio.tokens_issued == 3


async def test_a_rejection_clears_the_request_and_names_the_remedy(desk: Desk, studio: ScriptedStudio) -> None:
    studio.decision = "rejected"
    studio.reject_reason = "unknown\x1b[2J machine"
    with pytest.raises(RegistrationRejected) as caught:
        await desk.ensure()

    assert caught.value.exit_code == 77
    assert "studio-worker register --reset" in str(caught.value)
    assert "unknown\\x1b[2J machine" in str(caught.value)
    assert desk.store.load().registration_request_id is None
    assert desk.store.load().registration_secret is None
    assert desk.phases() == ["pending", "rejected"]


@pytest.mark.parametrize("body", [{"status": "rejected"}, {"status": "rejected", "reason": None}])
async def test_a_rejection_without_a_reason_is_one(desk: Desk, studio: ScriptedStudio, body: Any) -> None:
    studio.poll_answers.once(body)
    with pytest.raises(RegistrationRejected, match="no reason given"):
        await desk.ensure()


class FullDisk:
    """A store whose disk is full from a given save on."""

    def __init__(self, store: CredentialStore, saves: int) -> None:
        self.store, self.saves = store, saves

    def load(self) -> Credentials:
        return self.store.load()

    def save(self, credentials: Credentials) -> None:
        self.saves -= 1
        if self.saves < 0:
            raise ConfigError("the credentials file cannot be written: no space left on device")
        self.store.save(credentials)


@pytest.mark.parametrize("saves", [0, 1, 2])
async def test_a_save_that_fails_is_an_error_line_without_the_token_and_the_worker_goes_on(
    desk: Desk, studio: ScriptedStudio, saves: int
) -> None:
    async with asyncio.timeout(10):
        credentials = await desk.registrar(store=FullDisk(desk.store, saves)).ensure()

    assert credentials.auth_token == studio.token
    last = desk.log.of("registration.save")[-1]
    assert last["level"].name == "ERROR"
    assert last["extra"]["what"] == "persist approved credentials"
    assert studio.token not in desk.log.text()


async def test_what_a_full_disk_refused_is_written_once_there_is_room(desk: Desk, studio: ScriptedStudio) -> None:
    full = FullDisk(desk.store, 2)
    registrar = desk.registrar(store=full)
    async with asyncio.timeout(10):
        await registrar.ensure()
        assert desk.store.load().auth_token is None
        owing = asyncio.create_task(registrar.save_owed())
        while full.saves > -4:
            await asyncio.sleep(0)
        full.saves = 1
        await owing
        assert desk.store.load().auth_token == studio.token
        await registrar.save_owed()

    assert full.saves == 0


async def test_what_is_approved_is_on_disk_before_anybody_hears_of_it(desk: Desk, studio: ScriptedStudio) -> None:
    on_disk: list[str | None] = []
    emit = desk.events.emit
    desk.events.emit = lambda event: (on_disk.append(desk.store.load().auth_token), emit(event))[1]  # type: ignore[method-assign, func-returns-value]
    await desk.ensure()

    assert on_disk[-1] == studio.token


async def test_neither_secret_nor_token_is_ever_logged(desk: Desk, studio: ScriptedStudio) -> None:
    studio.poll_answers.once(401, 500, {"status": "approved", "workerId": 5, "authToken": "leaked-token-1"}, None)
    await desk.ensure()
    poll = await studio.request("register-requests/rr-1")

    text = desk.log.text()
    assert studio.token not in text
    assert "leaked-token-1" not in text
    assert (poll.bearer or "") not in text


async def test_the_secret_is_gone_from_the_file_after_the_approval(desk: Desk, studio: ScriptedStudio) -> None:
    await desk.ensure()
    poll = await studio.request("register-requests/rr-1")

    assert (poll.bearer or "") not in desk.store.path.read_text()
    assert json.loads(desk.store.path.read_text())["worker_id"] == "w-1"


async def test_the_install_id_is_known_when_the_capabilities_are_asked_for(desk: Desk, studio: ScriptedStudio) -> None:
    seen: list[str | None] = []

    def advert() -> Capabilities:
        seen.append(registrar.credentials.install_id)
        return Capabilities()

    registrar = desk.registrar(capabilities=advert)
    async with asyncio.timeout(10):
        credentials = await registrar.ensure()

    assert seen == [credentials.install_id]
    assert registrar.registration.phase == "approved"
