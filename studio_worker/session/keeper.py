"""Keeps one session with the studio: opens it, notes its end, and opens the next by the rules of `reconnect`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from random import Random
from typing import Any, TypeVar

import aiohttp

from studio_worker.clock import Clock
from studio_worker.errors import AuthFailed, ReconnectBudgetSpent, StudioRefused
from studio_worker.events import EventSink, SessionLost, SessionOpened
from studio_worker.log import logger
from studio_worker.session.connection import Connection, UpgradeFailed
from studio_worker.session.counterparts import Acknowledged, OfferDesk
from studio_worker.session.ending import SessionEnded
from studio_worker.session.heartbeats import Heartbeats
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.reconnect import Reconnect
from studio_worker.session.session import Session
from studio_worker.session.set_aside import SetAside
from studio_worker.session.state import SessionSnapshot, SessionState
from studio_worker.session.suspension import elapsed
from studio_worker.session.timings import Timings
from studio_worker.state import Credentials
from studio_worker.text import escape
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import CloseCode, Welcome
from studio_worker.wire.urls import StudioUrls

_T = TypeVar("_T")


class SessionKeeper:
    """The worker's side of all sessions with one studio, one after another.

    Args:
        urls: the studio's routes.
        credentials: who the worker is; approved when `run` starts.
        http: the client, from `studio_http.open_http` or the embedder's own.
        desk: takes offers and cancellations.
        delivery: takes acknowledgements, and is told of each welcome and of each session's end.
        capabilities: what the worker says of itself, asked for each heartbeat.
        logs: what each session ships; outlives sessions.
        events: told of each opening and loss.
        clock: waits and times.
        rng: spreads reconnects.
        timings: every bound of a session.
        reconnect_attempts: reconnects in a row before giving up; 0 for ever.
        reconnect_base_secs: the first wait; the later ones are its multiples.
        health: the extension `health`'s object.
        elapsed_clock: a clock that goes on while the machine is suspended.
    """

    def __init__(
        self,
        *,
        urls: StudioUrls,
        credentials: Callable[[], Credentials],
        http: aiohttp.ClientSession,
        desk: OfferDesk,
        delivery: Acknowledged,
        capabilities: Callable[[], Capabilities],
        logs: LogShipper,
        events: EventSink,
        clock: Clock,
        rng: Random,
        timings: Timings | None = None,
        reconnect_attempts: int = 0,
        reconnect_base_secs: float = 1.0,
        health: Callable[[], dict[str, Any] | None] | None = None,
        elapsed_clock: Callable[[], float] = elapsed,
    ) -> None:
        self._urls = urls
        self._credentials = credentials
        self._http = http
        self._desk = desk
        self._delivery = delivery
        self._logs = logs
        self._events = events
        self._clock = clock
        self._timings = timings or Timings()
        self._elapsed_clock = elapsed_clock
        self._set_aside = SetAside(clock, self._timings.aside_secs)
        self._heartbeats = Heartbeats(capabilities, desk, self._set_aside, logs, health)
        self._reconnect = Reconnect(
            studio=urls.origin,
            attempts=reconnect_attempts,
            base_secs=reconnect_base_secs,
            settled_secs=self._timings.settled_secs,
            rng=rng,
        )
        self._state = SessionState()
        self._session: Session | None = None
        self._last_frame_at: float | None = None
        self._last_ack_at: float | None = None
        self._skew_told = False
        self._stop = asyncio.Event()
        self._running = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Keep a session until `close`.

        Raises:
            StudioRefused: `AuthFailed`, `DuplicateWorker` or `WorkerDeleted`, each with its remedy.
            ReconnectBudgetSpent: `reconnect_attempts` came to nothing.
        """
        self._running = True
        try:
            while not self._stop.is_set():
                ended = await self._one_session()
                if not self._stop.is_set():
                    await self._after(ended)
        finally:
            if self._state.phase not in ("auth_failed", "fatal"):
                self._state = SessionState("stopped")
            self._over.set()

    async def close(self) -> None:
        """End the session with 1000 after one last round of log lines, all within a bound; `run` then returns."""
        self._stop.set()
        if self._session is not None:
            self._session.end(SessionEnded("this worker stops", CloseCode.NORMAL, is_stop=True))
        if not self._running:
            return
        bound = self._timings.flush_secs + 2 * self._timings.close_secs
        try:
            async with asyncio.timeout(bound):
                await self._over.wait()
        except TimeoutError:
            logger.bind(event="session.close").warning("The session did not end in time")

    def nudge(self) -> None:
        """Send a heartbeat now: something that it says has changed."""
        if self._session is not None:
            self._session.beat()

    def signed_out(self) -> None:
        """The studio refused the token of an upload: the session is asked again, as after 4001."""
        if self._session is not None:
            self._session.end(SessionEnded("the studio refused the token of an upload (401)", CloseCode.AUTH_FAILED))

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._state

    @property
    def last_frame_at(self) -> float | None:
        """When the studio's last text frame came, by the clock's monotonic time; over all sessions."""
        return (self._session and self._session.pulse.last_frame_at) or self._last_frame_at

    @property
    def last_ack_at(self) -> float | None:
        """When a heartbeat was last acknowledged, by the clock's monotonic time; over all sessions."""
        return (self._session and self._session.pulse.last_ack_at) or self._last_ack_at

    def snapshot(self) -> SessionSnapshot:
        """One look at everything, for `status`."""
        now = self._clock.monotonic()
        frame, ack, session = self.last_frame_at, self.last_ack_at, self._session
        return SessionSnapshot(
            state=self._state,
            worker_id=self._credentials().worker_id,
            extensions=tuple(sorted(session.connection.extensions)) if session is not None else (),
            welcome_secs=session.pulse.welcome_secs(now) if session is not None else None,
            last_frame_secs=None if frame is None else now - frame,
            last_ack_secs=None if ack is None else now - ack,
            is_shy=self._set_aside.is_shy,
        )

    async def _one_session(self) -> SessionEnded:
        self._state = SessionState("connecting", self._reconnect.attempt)
        opened = await self._unless_stopped(self._open())
        if opened is None:
            return SessionEnded("this worker stops", is_stop=True)
        if isinstance(opened, SessionEnded):
            return opened
        summary = self._heartbeats.summary()
        logger.bind(event="session.connected", studio=self._urls.origin, advert=summary).info("Connected to the studio")
        if self._reconnect.attempt == 0:
            self._logs.add("info", "session", summary)
        session = Session(
            opened,
            token=self._credentials().auth_token or "",
            desk=self._desk,
            delivery=self._delivery,
            heartbeats=self._heartbeats,
            set_aside=self._set_aside,
            logs=self._logs,
            clock=self._clock,
            elapsed=self._elapsed_clock,
            timings=self._timings,
            on_welcome=self._welcomed,
        )
        self._session = session
        if self._stop.is_set():
            session.end(SessionEnded("this worker stops", CloseCode.NORMAL, is_stop=True))
        try:
            return await session.run()
        finally:
            self._last_frame_at, self._last_ack_at = self.last_frame_at, self.last_ack_at
            self._session = None
            self._delivery.suspend()

    async def _open(self) -> Connection | SessionEnded:
        known = self._credentials()
        try:
            return await Connection.open(
                self._http,
                self._urls.connect(known.worker_id or ""),
                known.auth_token or "",
                upgrade_secs=self._timings.upgrade_secs,
                close_secs=self._timings.close_secs,
            )
        except UpgradeFailed as failed:
            return failed.ended

    async def _after(self, ended: SessionEnded) -> None:
        try:
            wait = self._reconnect.after(ended)
        except (StudioRefused, ReconnectBudgetSpent) as refused:
            self._state = SessionState(
                "auth_failed" if isinstance(refused, AuthFailed) else "fatal", reason=str(refused)
            )
            raise
        self._state = SessionState("reconnecting", self._reconnect.attempt, wait, ended.reason)
        log = logger.bind(event="session.lost", reason=ended.reason, retry_in_secs=round(wait, 3))
        log.warning("No session with the studio; trying again")
        if ended.welcome_secs is not None or self._reconnect.attempt <= 1:
            self._logs.add("warn", "session", f"no session: {ended.reason}; trying again in {wait:.1f} s")
        self._events.emit(SessionLost(ended.reason, wait))
        await self._unless_stopped(self._clock.sleep(wait))

    def _welcomed(self, welcome: Welcome) -> None:
        worker_id = escape(welcome.worker_id, limit=256)
        self._state = SessionState("connected")
        extensions = ", ".join(escape(name) for name in welcome.extensions) or "none"
        logger.bind(event="session.opened", worker_id=worker_id, extensions=extensions).info("The studio said welcome")
        self._logs.add(
            "info", "session", f"welcomed as {worker_id}, server time {escape(welcome.server_time, limit=64)}"
        )
        self._events.emit(SessionOpened(worker_id))
        self._look_at_clock(welcome.server_time)

    def _look_at_clock(self, server_time: str) -> None:
        try:
            theirs = datetime.fromisoformat(server_time)
        except ValueError:
            return
        if theirs.tzinfo is None or self._skew_told:
            return
        off = (theirs - self._clock.now()).total_seconds()
        if abs(off) > self._timings.skew_secs:
            self._skew_told = True
            logger.bind(event="session.skew", seconds=round(off)).warning(
                "This machine's clock and the studio's differ; times in the logs will not match"
            )

    async def _unless_stopped(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """What `work` returns; None where `close` was called first, and the work is cancelled then."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            stop = group.create_task(self._stop.wait())
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not task.done():
                task.cancel()
        return None if task.cancelled() else task.result()
