"""The registration routes: ask, poll, approve, reject (protocol section 1)."""

from __future__ import annotations

import ipaddress
import secrets
import uuid
from collections import deque
from collections.abc import Callable
from datetime import datetime

from aiohttp import web
from pydantic import ValidationError

from studio_worker.clock import Clock, rfc3339
from studio_worker.log import logger
from studio_worker.studio.access import bearer, check_hash
from studio_worker.studio.answers import Conflict, NotFound, Refusal, answer
from studio_worker.studio.bodies import read_json
from studio_worker.studio.events import Hub
from studio_worker.studio.signing import token_hash
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Registration, Worker
from studio_worker.studio.timings import Limits, Timings
from studio_worker.wire.base import bad_claim
from studio_worker.wire.registration import Approved, Pending, RegisterAnswer, RegisterRequest, Rejected

MAX_ADDRESSES = 10_000
POLLS_NOTED_SECS = 3_600.0
"""How often a poll is written down: workers that wait poll every 30 s, and only a day without one counts."""

V6_SITE_BITS = 64
"""The part of an IPv6 address that its owner does not choose (RFC 6177): whoever has one address has a whole /64."""


def counted_address(address: str) -> str:
    """What requests are counted by: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), V6_SITE_BITS), strict=False))


class RateLimit:
    """So many requests of one address (of IPv6, of one /64) in a window.

    Args:
        requests: how many.
        window_secs: the window.
        monotonic: seconds that only grow.
    """

    def __init__(self, requests: int, window_secs: float, monotonic: Callable[[], float]) -> None:
        self._requests = requests
        self._window_secs = window_secs
        self._monotonic = monotonic
        self._seen: dict[str, deque[float]] = {}

    def check(self, address: str) -> None:
        """Count one request. Raises a 429 with Retry-After."""
        now = self._monotonic()
        address = counted_address(address)
        times = self._seen.pop(address, deque())
        while times and now - times[0] >= self._window_secs:
            times.popleft()
        self._seen[address] = times
        while len(self._seen) > MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]
        if len(times) >= self._requests:
            wait = max(1, round(self._window_secs - (now - times[0])))
            raise Refusal(
                429, f"too many registration requests; ask again in {wait} s", headers={"Retry-After": str(wait)}
            )
        times.append(now)


class Registrar:
    """Admits workers. Of secrets and tokens only hashes are kept."""

    def __init__(
        self, store: Store, hub: Hub, clock: Clock, timings: Timings, limits: Limits, *, auto_approve: bool
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._timings = timings
        self._limits = limits
        self._auto_approve = auto_approve
        self._rate = RateLimit(limits.register_requests, limits.register_window_secs, clock.monotonic)

    async def ask(self, request: web.Request) -> web.Response:
        """Handle `POST /workers/register-request`; an install that waits already gets its own request again.

        So it does where as many wait as may: nobody new is taken in then.
        """
        address = request.remote or "unknown"
        self._rate.check(address)
        body = await read_json(request, self._limits.register_bytes, self._timings.body_secs)
        try:
            wanted = RegisterRequest.from_wire(body)
        except ValidationError as error:
            raise bad_claim(error) from None
        kept = await self._store.ask(
            Registration(
                id=f"rr-{uuid.uuid4()}",
                install_id=wanted.install_id.lower(),
                secret_hash=wanted.registration_secret_hash.lower(),
                capabilities=wanted.capabilities.to_wire(),
                user_agent=wanted.user_agent,
                source_ip=address,
                status="pending",
                reason="",
                worker_id=None,
                requested_at=rfc3339(self._clock.now()),
                decided_at=None,
            ),
            most=self._limits.pending_requests,
        )
        if kept is None:
            raise Refusal(429, "too many registrations wait for a decision", headers={"Retry-After": "60"})
        logger.bind(event="studio.registration", request_id=kept.id, machine=wanted.capabilities.machine_name).info(
            "A worker asks to be admitted"
        )
        self._hub.publish("pending", requestId=kept.id)
        if self._auto_approve:
            await self.approve(kept.id)
        return answer(RegisterAnswer(request_id=kept.id).to_wire())

    async def poll(self, request: web.Request) -> web.Response:
        """Handle `GET /workers/register-requests/{request_id}`: each poll of an approved request gets a new token."""
        request_id = request.match_info["request_id"]
        kept = await self._store.registration(request_id)
        if kept is None:
            raise NotFound("there is no such registration request")
        check_hash(bearer(request), kept.secret_hash)
        if kept.status == "pending":
            await self._note_poll(kept)
            return answer(Pending().to_wire())
        if kept.status == "rejected" or kept.worker_id is None:
            return answer(Rejected(reason=kept.reason).to_wire())
        token = secrets.token_hex(32)
        if not await self._store.rotate(request_id, token_hash(token)):
            raise NotFound("the worker of this request was deleted")
        return answer(Approved(worker_id=kept.worker_id, auth_token=token).to_wire())

    async def approve(self, request_id: str) -> str:
        """Admit; the worker's id. Raises 404, or 409 where it was decided already."""
        kept = await self._undecided(request_id)
        worker = Worker(
            id=f"w-{uuid.uuid4()}",
            token_hash=token_hash(secrets.token_hex(32)),
            install_id=kept.install_id,
            capabilities=kept.capabilities,
            user_agent=kept.user_agent,
            created_at=rfc3339(self._clock.now()),
            last_seen_at=None,
            deleted_at=None,
        )
        if not await self._store.approve(request_id, worker):
            raise Conflict(f"request {request_id} was decided just now")
        logger.bind(event="studio.approved", request_id=request_id, worker_id=worker.id).info("A worker was admitted")
        self._hub.publish("pending", requestId=request_id)
        self._hub.publish("worker", workerId=worker.id)
        return worker.id

    async def reject(self, request_id: str, reason: str) -> None:
        """Refuse. Raises 404, or 409 where it was decided already."""
        await self._undecided(request_id)
        if not await self._store.reject(request_id, reason, rfc3339(self._clock.now())):
            raise Conflict(f"request {request_id} was decided just now")
        logger.bind(event="studio.rejected", request_id=request_id, reason=reason).info("A worker was refused")
        self._hub.publish("pending", requestId=request_id)

    async def _note_poll(self, kept: Registration) -> None:
        now = self._clock.now()
        noted = datetime.fromisoformat(kept.polled_at or kept.requested_at)
        if abs((now - noted).total_seconds()) >= POLLS_NOTED_SECS:
            await self._store.polled(kept.id, rfc3339(now))

    async def _undecided(self, request_id: str) -> Registration:
        kept = await self._store.registration(request_id)
        if kept is None:
            raise NotFound("there is no such registration request")
        if kept.status != "pending":
            raise Conflict(f"request {request_id} is {kept.status} already")
        return kept
