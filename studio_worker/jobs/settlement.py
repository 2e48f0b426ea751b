"""What an answer to an upload means (protocol section 5), as one pure table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import TypeAlias

from studio_worker.jobs.backoff import RETRY_AFTER_CAP_SECS, full_jitter
from studio_worker.retry_after import retry_after
from studio_worker.text import escape

TRANSIENT = frozenset({408, 425, 429})
"""Client errors that another try may cure; so may every 5xx."""

_PROXY_WANTS_A_PASSWORD = 407


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from an upload.

    Attributes:
        status: the HTTP status; None where no answer came (no network, a stall, a cut).
        reason: the ``reason`` of a 409's JSON body, where it had one.
        retry_after: the header as it was sent.
        text: the first line of the body, or what went wrong on the way.
        is_page: whether the body is a web page, as a captive portal answers.
    """

    status: int | None
    reason: str | None = None
    retry_after: str | None = None
    text: str = ""
    is_page: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The studio has the result: forget it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The job is over without us: forget the result and send nothing. `is_done` tells that the studio has one."""

    is_done: bool
    why: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The job is not ours now; the result stays kept until the studio offers the job again."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The studio will never take this result: fail the job, not retryable, with this text."""

    error: str


@dataclass(frozen=True, slots=True)
class Again:
    """Another try may do: after this many seconds.

    Attributes:
        after_secs: how long to wait.
        why: for people.
        is_asked: whether the studio has named the time; otherwise an offer of the job tells that it is there again.
    """

    after_secs: float
    why: str
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The token is not accepted: the session asks, and the upload waits for its next welcome."""


Settlement: TypeAlias = Done | Gone | NotOurs | Refused | Again | SignedOut


def settle(answer: Answer, tries: int, *, now: datetime, rng: Random) -> Settlement:
    """What to do after an answer.

    Args:
        answer: what came back.
        tries: uploads of this result that have ended in `Again` in a row, this one included.
        now: the wall clock, for a ``Retry-After`` that is a date.
        rng: where the jitter of the wait comes from.
    """
    status = answer.status
    if status is None:
        return Again(full_jitter(tries, rng), answer.text or "no network")
    if status == _PROXY_WANTS_A_PASSWORD:
        return Again(full_jitter(tries, rng), "a proxy on the way to the studio wants a password (407)")
    if 200 <= status < 300:
        if answer.is_page:
            return Again(full_jitter(tries, rng), f"a web page came ({status}), which is no studio's answer")
        return Done()
    if status == 401:
        return SignedOut()
    if status == 404:
        return Gone(False, "the studio knows no such job of this worker (404)")
    if status == 409:
        return _conflict(answer.reason)
    if status in TRANSIENT or status >= 500 or status < 400:
        wait = retry_after(answer.retry_after, now, cap_secs=RETRY_AFTER_CAP_SECS)
        why = f"the studio answered {status}"
        return Again(full_jitter(tries, rng), why) if wait is None else Again(wait, why, is_asked=True)
    said = escape(answer.text, limit=300)
    return Refused(f"the studio refused the result with status {status}" + (f": {said}" if said else ""))


def _conflict(reason: str | None) -> Settlement:
    if reason == "done":
        return Gone(True, "the studio has a result of this job already (409 done)")
    if reason == "cancelled":
        return Gone(False, "the job was cancelled at the studio (409 cancelled)")
    return NotOurs("the studio does not hold this job for this worker now (409)")
