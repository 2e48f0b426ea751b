"""The studio's paces and bounds, injectable so that tests can use small ones (protocol section 3)."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Every wait of the studio, in seconds."""

    hello_secs: float = 15.0
    """From the upgrade to the first frame."""

    door_secs: float = 10.0
    """The longest that an upgrade waits for its turn where many workers come at once; they give up after 15 s."""

    stale_secs: float = 30.0
    """A session without a heartbeat for this long is dropped and its claims are released."""

    sweep_secs: float = 10.0
    """Pace of the alarm that looks for stale sessions and unanswered offers."""

    offer_secs: float = 30.0
    """An offer that is not answered in this time is released."""

    cancel_secs: float = 60.0
    """How long a cancelled claim keeps its slot while the worker says nothing."""

    close_secs: float = 2.0
    """How long a closing socket waits for the worker's own close frame."""

    keep_alive_secs: float = 15.0
    """Pace of the comments that keep an event stream open."""

    upload_idle_secs: float = 30.0
    """An upload that sends nothing for this long is ended."""

    upload_secs: float = 1_800.0
    """The whole of one upload."""

    body_secs: float = 30.0
    """The whole of one body that is no upload."""

    idle_secs: float = 75.0
    """A connection without a request, or without the end of its head, is closed; proxies keep theirs for 60 s."""

    registration_secs: float = 86_400.0
    """A registration that waits is forgotten once its worker has not polled for this long."""

    link_secs: float = 86_400.0
    """How long a signed result link inside a claim is good for."""

    login_secs: float = 43_200.0
    """How long a browser stays signed in."""

    shutdown_secs: float = 3.0
    """How long requests in flight may go on when the studio stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of the studio."""

    json_bytes: int = MIB
    """A JSON body."""

    job_bytes: int = 15 * MIB
    """The body of `POST /jobs`, whose task may hold a `data:` URL; its offer must fit into one 16 MiB frame."""

    upload_bytes: int = 512 * MIB
    """The file of a result."""

    upload_parts: int = 16
    """Parts of one upload form."""

    upload_text_bytes: int = MIB
    """One text part of an upload form."""

    register_bytes: int = 65_536
    """The body of a registration, which anybody may send; one by all of our engines takes about 1,000 bytes."""

    login_bytes: int = 4_096
    """The body of the sign-in form, which anybody may send."""

    advert_bytes: int = 4 * MIB
    """A hello or a heartbeat, of which the latest is kept for each worker; 10,000 names of models have room in it."""

    register_requests: int = 10
    """Registration requests that one address (of IPv6, one /64) may send in `register_window_secs`."""

    register_window_secs: float = 60.0

    joins_per_sec: float = 300.0
    """Workers that are let in in a second: 10,000 that come back at once are back within a minute."""

    pending_requests: int = 1_000
    """Registrations that wait for a decision, all together."""

    event_queue: int = 256
    """Events that wait for one reader of the event stream before it is dropped."""

    event_readers: int = 64
    """Event streams open at once."""

    outgoing_frames: int = 1_000
    """Frames that wait for one worker's socket before its session is ended."""

    log_rows: int = 50_000
    """Log lines kept; the oldest go."""

    max_attempts: int = 3
    """Failures after which a job is not queued again."""
