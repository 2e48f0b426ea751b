"""Registration carried out: asks, polls and persists, by the rules of `registration`."""

from __future__ import annotations

import asyncio
import re
import secrets
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

import aiohttp
from pydantic import ValidationError

from studio_worker.clock import Clock, rfc3339
from studio_worker.errors import ConfigError, RegistrationRejected, StudioUnreachable
from studio_worker.events import EventSink, RegistrationChanged
from studio_worker.jobs.backoff import RETRY_AFTER_CAP_SECS
from studio_worker.log import LogSink, logger
from studio_worker.retry_after import retry_after
from studio_worker.session import registration as rules
from studio_worker.session.registration import Registration
from studio_worker.session.studio_http import USER_AGENT, Reply, ask
from studio_worker.session.timings import Timings
from studio_worker.state import Credentials, CredentialStore
from studio_worker.text import escape
from studio_worker.wire import registration as wire
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.strict_json import dumps
from studio_worker.wire.urls import StudioUrls

FIRST_POLL_SECS = 2.0
"""From the request to the first poll; later polls come every `register_poll_secs`."""

MAX_REQUEST_BYTES = 60_000
"""The longest request: a studio bounds what strangers may send, ours to 64 KiB and many frameworks to 100 kB."""

SAVE_AGAIN_SECS = 30.0
"""The pace at which a full disk is asked to take the credentials after all."""

_USABLE = re.compile(r"[\x21-\x7e]{1,4096}")
"""What may go into a header and the credentials file: printable ASCII without white space."""


class Registrar:
    """Gets this machine admitted at one studio.

    Args:
        urls: the studio's routes.
        store: where credentials are kept; its blocking calls run in a thread.
        capabilities: what the worker says of itself, asked anew for each request.
        http: the client, from `studio_http.open_http` or the embedder's own.
        clock: waits and dates.
        rng: spreads the polls, so that a fleet that started together does not ask together.
        poll_secs: from poll to poll.
        events: told of every change of state, after it was persisted.
        logs: lines for the studio's log view, shipped once there is a session.
        announce: told once, in one sentence, which request waits for approval and where.
        timings: bounds of the requests.
    """

    def __init__(
        self,
        *,
        urls: StudioUrls,
        store: CredentialStore,
        capabilities: Callable[[], Capabilities],
        http: aiohttp.ClientSession,
        clock: Clock,
        rng: Random,
        poll_secs: float,
        events: EventSink,
        logs: LogSink,
        announce: Callable[[str], None],
        timings: Timings | None = None,
    ) -> None:
        self._urls = urls
        self._store = store
        self._capabilities = capabilities
        self._http = http
        self._clock = clock
        self._rng = rng
        self._poll_secs = poll_secs
        self._events = events
        self._logs = logs
        self._announce = announce
        self._timings = timings or Timings()
        self._announced: str | None = None
        self._state = Registration(Credentials(origin=urls.origin))
        self._is_owed = False

    @property
    def registration(self) -> Registration:
        """Where the registration stands, for `status`."""
        return self._state

    @property
    def credentials(self) -> Credentials:
        """What is known now; `install_id` is set before the first request is made."""
        return self._state.credentials

    async def ensure(self) -> Credentials:
        """Wait until an operator has approved this worker; without any request where that is so already.

        Returns:
            The credentials, persisted (or, where that failed and was logged, in memory: `save_owed` tries it again).

        Raises:
            RegistrationRejected: an operator turned the worker down.
            ConfigError: the credentials file may not be used.
        """
        self._state = Registration(await asyncio.to_thread(self._store.load))
        wait = 0.0
        while not self._state.is_over:
            await self._clock.sleep(wait)
            wait = await self._step()
        if self._state.phase == "rejected":
            reason = escape(self._state.detail, limit=500) or "no reason given"
            raise RegistrationRejected(
                f"an operator of {self._urls.origin} rejected this worker: {reason}. "
                "The next start asks again; `studio-worker register --reset` makes it ask under a new install id."
            )
        return self._state.credentials

    async def save_owed(self) -> None:
        """Write what the disk has refused, until it takes it: a token that is not on disk is lost with this process."""
        while self._is_owed:
            await self._clock.sleep(SAVE_AGAIN_SECS)
            await self._persist("the credentials that are in memory alone")

    async def _step(self) -> float:
        """Make one request and live with its answer; returns seconds until the next."""
        fresh = rules.prepared(self._state, install_id=uuid.uuid4(), secret=secrets.token_hex(32))
        if fresh is not self._state:
            self._state = fresh
            await self._persist("a new registration secret")
        answer: rules.AskAnswer | rules.PollAnswer
        if self._state.phase == "pending":
            self._tell_who_waits()
            answer = await self._poll()
            await self._enter(rules.polled(self._state, answer), answer)
        else:
            answer = await self._ask()
            now = rfc3339(self._clock.now())
            await self._enter(rules.asked(self._state, answer, now=now), answer)
        asked_to_wait = answer.retry_after if isinstance(answer, rules.NoAnswer) else None
        # A studio that approves by itself has decided by now; a person takes longer, and is asked at the usual pace.
        pace = min(self._poll_secs, FIRST_POLL_SECS) if isinstance(answer, rules.Taken) else self._poll_secs
        return max(asked_to_wait or 0.0, pace * self._rng.uniform(0.95, 1.05))

    async def _ask(self) -> rules.AskAnswer:
        # Of the extensions nothing is used before a welcome has listed them.
        capabilities = self._capabilities().model_copy(update={"max_concurrent_jobs": None})
        body = self._asking(capabilities)
        if len(dumps(body).encode()) > MAX_REQUEST_BYTES:
            # What models there are is for the session; who decides about a worker sees its kinds and its machine.
            nameless: dict[str, object] = {"supported_models": (), "supported_models_per_kind": {}}
            body = self._asking(capabilities.model_copy(update=nameless))
        reply = await self._request("POST", self._urls.register_request, json=body)
        if isinstance(reply, rules.NoAnswer):
            return reply
        if 200 <= reply.status < 300:
            try:
                request_id = wire.RegisterAnswer.from_wire(reply.body).request_id
            except ValidationError:
                request_id = ""
            if not _USABLE.fullmatch(request_id):
                return rules.NoAnswer(f"{self._urls.origin} answered, but not as a studio: {reply.said}")
            return rules.Taken(request_id)
        return self._no_answer(reply)

    def _asking(self, capabilities: Capabilities) -> dict[str, Any]:
        known = self._state.credentials
        return wire.RegisterRequest(
            install_id=known.install_id or "",
            registration_secret_hash=rules.secret_hash(known.registration_secret or ""),
            capabilities=capabilities,
            user_agent=USER_AGENT,
        ).to_wire()

    async def _poll(self) -> rules.PollAnswer:
        known = self._state.credentials
        url = self._urls.poll(known.registration_request_id or "")
        reply = await self._request("GET", url, bearer=known.registration_secret)
        if isinstance(reply, rules.NoAnswer):
            return reply
        match reply.status:
            case 404:
                return rules.Forgotten()
            case 401:
                return rules.Unauthorised()
            case status if 200 <= status < 300:
                return self._decision(reply.body)
            case _:
                return self._no_answer(reply)

    def _decision(self, body: Any) -> rules.PollAnswer:
        given = {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body
        try:
            answer = wire.POLL_ANSWER.validate_python(given)
        except ValidationError:
            # Never the body itself: it may hold a token.
            return rules.NoAnswer(f"{self._urls.origin} answered the poll, but not as a studio does")
        match answer:
            case wire.Approved() if not (_USABLE.fullmatch(answer.worker_id) and _USABLE.fullmatch(answer.auth_token)):
                return rules.NoAnswer(f"{self._urls.origin} approved with an id or a token that no header can carry")
            case wire.Approved():
                return rules.Admitted(answer.worker_id, answer.auth_token)
            case wire.Rejected():
                return rules.TurnedDown(answer.reason)
            case wire.Pending():
                return rules.Undecided()

    async def _request(self, method: str, url: str, **given: Any) -> Reply | rules.NoAnswer:
        try:
            return await ask(self._http, method, url, timeout_secs=self._timings.request_secs, **given)
        except StudioUnreachable as error:
            return rules.NoAnswer(str(error))

    def _no_answer(self, reply: Reply) -> rules.NoAnswer:
        said = f": {reply.said}" if reply.said else ""
        wait = retry_after(reply.retry_after, self._clock.now(), cap_secs=RETRY_AFTER_CAP_SECS)
        return rules.NoAnswer(f"{self._urls.origin} answered {reply.status}{said}", wait)

    async def _enter(self, state: Registration, answer: rules.AskAnswer | rules.PollAnswer) -> None:
        before, self._state = self._state, state
        if state.credentials != before.credentials:
            # Before anything else: a token that is not on disk is lost with this process.
            await self._persist("approved credentials" if state.phase == "approved" else f"a {state.phase} request")
        self._note(answer, "poll" if before.phase == "pending" else "register-request")
        if state.phase != before.phase:
            self._events.emit(RegistrationChanged(state.phase, escape(state.detail, limit=500)))
        if state.phase == "approved":
            logger.bind(event="registration.approved", worker_id=state.detail).info("The studio has approved us")
            self._logs.add("info", "registration", "approved by an operator")
        elif state.phase == "pending":
            self._tell_who_waits()

    def _note(self, answer: rules.AskAnswer | rules.PollAnswer, op: str) -> None:
        log = logger.bind(event="registration.trouble", op=op)
        match answer:
            case rules.NoAnswer(why):
                log.bind(error=why).warning("The registration got no usable answer; asking again at the next poll")
            case rules.Unauthorised():
                log.bind(error="401").warning("The studio does not accept the registration secret")
            case rules.Forgotten():
                log.bind(error="404").warning("The studio does not know the registration request; starting over")
            case _:
                log.bind(event="registration.answer").debug("The studio answered")

    async def _persist(self, what: str) -> None:
        try:
            await asyncio.to_thread(self._store.save, self._state.credentials)
        except (OSError, ConfigError) as error:
            logger.bind(event="registration.save", what=f"persist {what}", error=str(error)).error(
                "The credentials file could not be written; going on with what is in memory"
            )
            self._is_owed = True
        else:
            self._is_owed = False

    def _tell_who_waits(self) -> None:
        request_id = self._state.detail
        if self._announced == request_id:
            return
        self._announced = request_id
        self._announce(
            f"waiting for approval: request {escape(request_id, limit=256)}; "
            f"an operator approves it at {self._urls.home}"
        )
