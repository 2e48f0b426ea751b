"""The rules of registration (protocol section 1): state in, answer in, state out. No socket, no file, no clock.

::

    Pristine ──ask──▶ Pending ──poll──▶ Approved
       ▲                │  ▲ │
       │                │  └─┴ pending, 5xx, 429, no network, 401 (up to five in a row)
       └─ 404, 401 × 5 ─┤
                        └──▶ Rejected
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, TypeAlias

from studio_worker.state import Credentials

UNAUTHORISED_LIMIT = 5
"""401s in a row after which the studio is taken to have forgotten the secret."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The studio has taken the request."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody has decided yet."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The worker is approved; the token is already another one than any poll before it gave."""

    worker_id: str
    auth_token: str

    def __repr__(self) -> str:
        return f"Admitted({self.worker_id!r}, ***)"


@dataclass(frozen=True, slots=True)
class TurnedDown:
    """An operator rejected the request."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The studio does not know the request (404)."""


@dataclass(frozen=True, slots=True)
class Unauthorised:
    """The studio does not accept the secret (401)."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing that says anything: no network, 5xx, 429, something that is no studio.

    Attributes:
        why: a sentence for the log.
        retry_after: seconds that the studio asked to wait, within bounds.
    """

    why: str
    retry_after: float | None = None


AskAnswer: TypeAlias = Taken | NoAnswer
PollAnswer: TypeAlias = Undecided | Admitted | TurnedDown | Forgotten | Unauthorised | NoAnswer
Phase: TypeAlias = Literal["pristine", "pending", "approved", "rejected"]


@dataclass(frozen=True, slots=True)
class Registration:
    """Where a registration stands.

    Attributes:
        credentials: what is (to be) persisted.
        unauthorised: 401s in a row.
        rejection: the operator's reason, once rejected.
    """

    credentials: Credentials
    unauthorised: int = 0
    rejection: str | None = None

    @property
    def phase(self) -> Phase:
        """The state's name. Empty strings count as absent."""
        if self.rejection is not None:
            return "rejected"
        return self.credentials.state

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to ask."""
        return self.phase in ("approved", "rejected")

    @property
    def detail(self) -> str:
        """What goes with the phase: a worker id, a request id, a reason."""
        known = self.credentials
        match self.phase:
            case "approved":
                return known.worker_id or ""
            case "pending":
                return known.registration_request_id or ""
            case "rejected":
                return self.rejection or ""
            case _:
                return ""


def prepared(registration: Registration, *, install_id: uuid.UUID, secret: str) -> Registration:
    """The registration with everything that asking needs; what is already there stays.

    A request id without its secret can never be polled and is dropped; a secret without a request id was made for a
    request whose answer was lost, and is used again.

    Args:
        registration: as it stands, pristine or pending.
        install_id: a new UUIDv4, used at the first launch only.
        secret: a new secret of 256 random bits as hex, used where there is none.
    """
    known = registration.credentials
    if known.registration_secret and known.install_id:
        return registration
    return replace(
        registration,
        credentials=replace(
            known,
            install_id=known.install_id or str(install_id),
            registration_secret=known.registration_secret or secret,
            registration_request_id=known.registration_request_id if known.registration_secret else None,
        ),
    )


def secret_hash(secret: str) -> str:
    """What of the secret may leave the machine: the SHA-256, as hex, of its text."""
    return sha256(secret.encode()).hexdigest()


def asked(registration: Registration, answer: AskAnswer, *, now: str) -> Registration:
    """The registration after the answer to a request; `now` (RFC 3339) becomes `since`."""
    match answer:
        case Taken(request_id):
            return replace(
                registration,
                unauthorised=0,
                credentials=replace(
                    registration.credentials, registration_request_id=request_id, registration_requested_at=now
                ),
            )
        case NoAnswer():
            return registration


def polled(registration: Registration, answer: PollAnswer) -> Registration:
    """The registration after the answer to a poll."""
    match answer:
        case Undecided():
            return replace(registration, unauthorised=0)
        case NoAnswer():
            return registration
        case Unauthorised() if registration.unauthorised + 1 < UNAUTHORISED_LIMIT:
            return replace(registration, unauthorised=registration.unauthorised + 1)
        case Unauthorised() | Forgotten():
            return Registration(_without_request(registration.credentials))
        case TurnedDown(reason):
            return Registration(_without_request(registration.credentials), rejection=reason)
        case Admitted(worker_id, auth_token):
            cleared = _without_request(registration.credentials)
            return Registration(replace(cleared, worker_id=worker_id, auth_token=auth_token))


def _without_request(credentials: Credentials) -> Credentials:
    return replace(credentials, registration_request_id=None, registration_secret=None, registration_requested_at=None)
