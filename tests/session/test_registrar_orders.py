"""Answers, lost answers, operators, full disks and deaths of the process in any order: a worker is admitted once."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from studio_worker.errors import ConfigError, RegistrationRejected
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.registrar import Registrar
from studio_worker.state import Credentials, CredentialStore
from studio_worker.testing.clocks import HandClock
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.urls import StudioUrls

from .conftest import RecordingEvents

URLS = StudioUrls.parse("https://studio.example/")
POLL_SECS = 30.0
LONGEST_WAIT_SECS = 600.0
STRANGE = ["<html>Log in to the Wi-Fi</html>", "", "[]", '{"status": "perhaps"}', '{"requestId": "a b"}', "[" * 2_000]
TROUBLE = st.one_of(
    st.tuples(st.sampled_from([400, 403, 429, 500, 502, 503]), st.just("{}"), st.sampled_from([None, "45", "9999999"])),
    st.tuples(st.sampled_from([200, 201, 302]), st.sampled_from(STRANGE), st.none()),
)


class Answer:
    """What `aiohttp` hands on of an answer."""

    def __init__(self, status: int, body: str, retry_after: str | None = None) -> None:
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.content = self
        self._body = body.encode()

    async def read(self, size: int) -> bytes:
        piece, self._body = self._body[:size], self._body[size:]
        return piece

    def close(self) -> None:
        self._body = b""


class Request:
    """One request under way: it waits until the test answers it or lets the connection break."""

    def __init__(self, method: str, url: str, given: dict[str, Any]) -> None:
        self.is_poll = method == "GET"
        self.text = (given["data"] or b"").decode()
        self.bearer = given["headers"].get("Authorization", "").removeprefix("Bearer ")
        self.request_id = url.rpartition("/")[2] if self.is_poll else ""
        self.reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def secret_hash(self) -> str:
        return str(json.loads(self.text)["registrationSecretHash"])

    @property
    def install_id(self) -> str:
        return str(json.loads(self.text)["installId"])

    async def __aenter__(self) -> Answer:
        return await self.reply

    async def __aexit__(self, *error: object) -> None:
        pass


class Transport:
    """Stands where the client stands, with one request under way at most."""

    closed = False

    def __init__(self) -> None:
        self.under_way: Request | None = None
        self.asked = asyncio.Event()

    def request(self, method: str, url: str, **given: Any) -> Request:
        assert self.under_way is None, "two requests at once"
        assert not given["allow_redirects"]
        self.under_way = Request(method, url, given)
        self.asked.set()
        return self.under_way


class Disk(CredentialStore):
    """The true file, on a disk that may be full. `is_behind` tells that the last save failed."""

    is_full = False
    is_behind = False

    def save(self, credentials: Credentials) -> None:
        self.is_behind = self.is_full
        if self.is_full:
            raise ConfigError("the credentials file cannot be written: no space left on device")
        super().save(credentials)


@dataclass
class Studio:
    """What a studio knows: requests by id with the hash of their secret, decisions, the newest token."""

    hashes: dict[str, str] = field(default_factory=dict)
    decisions: dict[str, str] = field(default_factory=dict)
    taken: int = 0
    tokens: list[str] = field(default_factory=list)

    def hear(self, request: Request) -> Answer:
        if not request.is_poll:
            self.taken += 1
            request_id = f"rr-{self.taken}"
            self.hashes[request_id] = request.secret_hash
            return self._say(requestId=request_id, status="pending")
        if request.request_id not in self.hashes:
            return Answer(404, "{}")
        if sha256(request.bearer.encode()).hexdigest() != self.hashes[request.request_id]:
            return Answer(401, "{}")
        match self.decisions.get(request.request_id, "pending"):
            case "approved":
                self.tokens.append(f"token-{len(self.tokens) + 1}")
                return self._say(status="approved", workerId="w-1", authToken=self.tokens[-1])
            case "rejected":
                return self._say(status="rejected", reason="not one of ours")
            case _:
                return self._say(status="pending")

    @staticmethod
    def _say(**fields: str) -> Answer:
        return Answer(200, json.dumps(fields))

    def decide(self, how: str) -> None:
        for request_id in self.hashes:
            self.decisions.setdefault(request_id, how)


class Worker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.studio = Studio()
        self.clock = HandClock()
        self.disk = Disk(Path(self.folder.name) / "state", URLS.origin)
        self.secrets: set[str] = set()
        self.start()

    # what happens

    @precondition(lambda self: self.request)
    @rule()
    def the_studio_answers(self) -> None:
        request = self.request
        answer = self.studio.hear(request)
        refusals = self.refusals + 1 if answer.status == 401 else 0
        is_forgotten = answer.status == 404 or refusals == 5
        taken = f"rr-{self.studio.taken}" if not request.is_poll else ""
        decision = self.studio.decisions.get(request.request_id) if answer.status == 200 else None
        self.answer(answer)
        if is_forgotten:
            self.must_ask_with_a_new_secret(request)
        elif decision == "approved":
            assert self.task.result().auth_token == self.studio.tokens[-1]
        elif decision == "rejected":
            assert isinstance(self.task.exception(), RegistrationRejected)
            assert self.task.exception().exit_code == 77
        else:
            assert self.next.request_id == (taken or request.request_id)
        self.refusals = 0 if is_forgotten else refusals
        self.must_have_waited(2.0 if taken else POLL_SECS)

    @precondition(lambda self: self.request)
    @rule(reaches_the_studio=st.booleans())
    def the_answer_is_lost(self, reaches_the_studio: bool) -> None:
        if reaches_the_studio:
            self.studio.hear(self.request)
        self.answer(aiohttp.ServerDisconnectedError())
        self.must_ask_the_same()
        self.must_have_waited(POLL_SECS)

    @precondition(lambda self: self.request)
    @rule(trouble=TROUBLE)
    def the_studio_is_in_trouble(self, trouble: tuple[int, str, str | None]) -> None:
        status, body, retry_after = trouble
        self.answer(Answer(status, body, retry_after))
        self.must_ask_the_same()
        self.must_have_waited(POLL_SECS, min(float(retry_after or 0), LONGEST_WAIT_SECS))

    @precondition(lambda self: self.request and self.request.is_poll)
    @rule(times=st.integers(1, 6))
    def the_secret_is_refused(self, times: int) -> None:
        for _ in range(times):
            request = self.request
            if not request.is_poll:
                return
            self.refusals += 1
            self.answer(Answer(401, "{}"))
            if self.refusals < 5:
                self.must_ask_the_same(request)
            else:
                self.must_ask_with_a_new_secret(request)
                self.refusals = 0

    @rule(how=st.sampled_from(["approved", "approved", "rejected"]))
    def an_operator_decides(self, how: str) -> None:
        self.studio.decide(how)

    @rule()
    def the_studio_forgets(self) -> None:
        self.studio.hashes.clear()
        self.studio.decisions.clear()

    @rule(is_full=st.booleans())
    def the_disk_fills_or_empties(self, is_full: bool) -> None:
        self.disk.is_full = is_full

    @rule(reaches_the_studio=st.booleans())
    def the_process_dies_and_starts_again(self, reaches_the_studio: bool) -> None:
        if reaches_the_studio and self.request:
            self.studio.hear(self.request)
        self.die()
        on_disk = self.disk.load()
        self.start()
        if on_disk.is_approved:
            assert self.task.result() == on_disk
        elif on_disk.state == "pending":
            assert self.next.request_id == on_disk.registration_request_id
        elif on_disk.registration_secret:
            assert self.next.secret_hash == sha256(on_disk.registration_secret.encode()).hexdigest()
        if on_disk.install_id:
            assert self.registrar.credentials.install_id == on_disk.install_id

    @precondition(lambda self: not self.disk.is_full)
    @rule()
    def an_operator_resets_the_registration(self) -> None:
        before = self.registrar.credentials.install_id
        self.die()
        self.disk.reset()
        self.start()
        assert not self.next.is_poll
        assert self.next.install_id != before

    # what must hold

    @invariant()
    def a_raw_secret_leaves_as_the_bearer_of_its_own_polls_only(self) -> None:
        secret = self.registrar.credentials.registration_secret
        if not self.request:
            assert secret is None
            return
        self.secrets.add(secret or "")
        if self.request.is_poll:
            assert self.request.bearer == secret
            assert self.studio.hashes.get(self.request.request_id) in (None, sha256(secret.encode()).hexdigest())
        else:
            assert self.request.bearer == ""
            assert secret not in self.request.text
            assert self.request.secret_hash == sha256(secret.encode()).hexdigest()

    @invariant()
    def what_is_known_is_on_the_disk_before_anything_else_happens(self) -> None:
        if not self.disk.is_behind:
            assert self.disk.load() == self.registrar.credentials
            assert stat.S_IMODE(self.disk.path.stat().st_mode) == 0o600

    @invariant()
    def whoever_is_approved_has_dropped_request_and_secret_and_asks_no_more(self) -> None:
        if self.task.done() and not self.task.exception() and not self.disk.is_behind:
            known = self.registrar.credentials
            assert (known.registration_request_id, known.registration_secret) == (None, None)
            assert not any(secret in self.disk.path.read_text() for secret in self.secrets if secret)

    @invariant()
    def each_request_that_waits_was_announced_once(self) -> None:
        assert len(set(self.announced)) == len(self.announced)
        if self.request and self.request.is_poll:
            assert f"request {self.request.request_id};" in self.announced[-1]

    def teardown(self) -> None:
        """From wherever it stands, a studio that is well and says yes admits it within a few answers."""
        self.disk.is_full = False
        for _ in range(6):
            if not self.request:
                if not self.task.exception():
                    break
                self.die()
                self.start()
            if self.request:
                self.studio.decide("approved")
                self.answer(self.studio.hear(self.request))
        assert self.task.result().is_approved
        self.die()
        self.loop.close()
        self.folder.cleanup()

    # what is looked at

    @property
    def request(self) -> Request | None:
        return self.transport.under_way

    @property
    def next(self) -> Request:
        assert self.request is not None, "it has stopped asking"
        return self.request

    def must_ask_the_same(self, before: Request | None = None) -> None:
        before = before or self.answered
        assert (self.next.is_poll, self.next.request_id) == (before.is_poll, before.request_id)
        assert self.next.bearer == before.bearer
        if not before.is_poll:
            assert self.next.text == before.text

    def must_ask_with_a_new_secret(self, before: Request) -> None:
        assert not self.next.is_poll
        assert self.next.secret_hash != sha256(before.bearer.encode()).hexdigest()

    def must_have_waited(self, pace: float, asked_for: float = 0.0) -> None:
        if self.request:
            (wait,) = self.waits
            assert max(0.95 * pace, asked_for) <= wait <= max(1.05 * pace, asked_for)

    # what is done

    def start(self) -> None:
        self.transport = Transport()
        self.disk.is_behind = False
        self.announced: list[str] = []
        self.refusals = 0
        self.registrar = Registrar(
            urls=URLS,
            store=self.disk,
            capabilities=Capabilities,
            http=self.transport,  # type: ignore[arg-type]
            clock=self.clock,
            rng=Random(1),
            poll_secs=POLL_SECS,
            events=RecordingEvents(),
            logs=LogShipper(self.clock),
            announce=self.announced.append,
        )
        self.task = self.loop.create_task(self.registrar.ensure())
        self.go_on()

    def answer(self, what: Answer | Exception) -> None:
        self.answered = self.next
        self.transport.under_way = None
        if isinstance(what, Answer):
            self.answered.reply.set_result(what)
        else:
            self.answered.reply.set_exception(what)
        self.go_on()

    def go_on(self) -> None:
        """Until the worker asks again, or has ended."""
        before = len(self.clock.pauses)

        async def next_request() -> None:
            asked = asyncio.create_task(self.transport.asked.wait())
            await asyncio.wait((self.task, asked), return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            self.transport.asked.clear()

        self.loop.run_until_complete(next_request())
        self.waits = self.clock.pauses[before:]

    def die(self) -> None:
        self.task.cancel()
        self.loop.run_until_complete(asyncio.gather(self.task, return_exceptions=True))


TestAnyOrderOfEvents = Worker.TestCase
TestAnyOrderOfEvents.settings = settings(
    max_examples=settings.default.max_examples * 2 // 5, stateful_step_count=30, deadline=None, print_blob=True
)
