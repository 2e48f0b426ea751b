"""One session: a connection's life from hello to its end (protocol section 3).

A TaskGroup holds its parts: reader, sender, heartbeat, watch, log shipping, and one that waits for orders to end it.
The first part that comes to an end ends them all, and its word is why the session ended; no part raises.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NoReturn

from studio_worker.clock import Clock
from studio_worker.errors import LinkClosed
from studio_worker.jobs.links import ClaimLink
from studio_worker.log import logger
from studio_worker.session.connection import Connection
from studio_worker.session.counterparts import Acknowledged, OfferDesk
from studio_worker.session.ending import SessionEnded
from studio_worker.session.heartbeats import Heartbeats
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.pulse import Pulse
from studio_worker.session.set_aside import SetAside
from studio_worker.session.suspension import SuspensionWatch
from studio_worker.session.timings import Timings
from studio_worker.text import escape
from studio_worker.wire.frames import (
    MAX_JOB_REF,
    CancelJob,
    CompleteAck,
    ErrorCode,
    ErrorFrame,
    FailAck,
    HeartbeatAck,
    Offer,
    StudioFrame,
    Unreadable,
    Welcome,
    read_studio_frame,
)

MAX_SKIP_NOTES = 20
"""Kinds of unreadable frames that one session complains about."""

BREATH_FRAMES = 64
"""Frames read before the other tasks get a turn, however many more wait."""


class Session:
    """See the head of this module.

    Args:
        connection: upgraded, nothing sent yet.
        token: for hello.
        desk: takes offers and cancellations.
        delivery: takes acknowledgements; told of the welcome.
        heartbeats: builds hello and heartbeats.
        set_aside: offers not to take.
        logs: shipped while the session is welcome.
        clock: waits and times.
        elapsed: a clock that goes on while the machine is suspended.
        timings: every bound.
        on_welcome: called with the welcome, before anything else happens on the session.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        token: str,
        desk: OfferDesk,
        delivery: Acknowledged,
        heartbeats: Heartbeats,
        set_aside: SetAside,
        logs: LogShipper,
        clock: Clock,
        elapsed: Callable[[], float],
        timings: Timings,
        on_welcome: Callable[[Welcome], None],
    ) -> None:
        self.connection = connection
        self.pulse = Pulse(clock.monotonic(), timings)
        self._token = token
        self._desk = desk
        self._delivery = delivery
        self._heartbeats = heartbeats
        self._set_aside = set_aside
        self._logs = logs
        self._clock = clock
        self._elapsed = elapsed
        self._timings = timings
        self._on_welcome = on_welcome
        self._welcome = asyncio.Event()
        self._order: asyncio.Future[SessionEnded] = asyncio.get_running_loop().create_future()
        self._skipped: set[str] = set()

    async def run(self) -> SessionEnded:
        """Live until something ends the session; the socket is closed by then, within a bound."""
        try:
            ended = await self._live()
        finally:
            await self.connection.close(reason="session ended")
        if self._set_aside.ended(ended):
            logger.bind(event="session.set_aside", reason=ended.reason).error(
                "An offer has broken the connection three times running and is set aside for a while"
            )
        return replace(ended, welcome_secs=self.pulse.welcome_secs(self._clock.monotonic()))

    def end(self, ended: SessionEnded) -> None:
        """Have the session end so; the first order counts. Logs are flushed once where it is a stop."""
        if not self._order.done():
            self._order.set_result(ended)

    def beat(self) -> None:
        """Send a heartbeat now; before the welcome and after the end, nothing."""
        if self.pulse.welcome_at is None:
            return
        try:
            self.connection.post(self._heartbeats.beat(self.connection.extensions))
        except LinkClosed:
            return
        self.pulse.beat(self._clock.monotonic())

    async def _live(self) -> SessionEnded:
        self.connection.post(self._heartbeats.hello(self._token))
        parts = {
            "reader": self._read(),
            "sender": self.connection.send_queued(),
            "heartbeat": self._keep_beating(),
            "watch": self._watch(),
            "log shipping": self._ship_logs(),
            "orders": self._obey(),
        }
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(_told(name, part), name=f"session {name}"): name for name, part in parts.items()}
            reader = next(iter(tasks))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reader not in done and self.connection.is_broken:
                # The studio's last words (4003, say) may lie unread behind a write that failed.
                await asyncio.wait((reader,), timeout=self._timings.close_secs)
                done |= {reader} if reader.done() else set()
            for task in tasks:
                task.cancel()
        if reader in done:
            return _word(reader, tasks[reader])
        first = next(task for task in tasks if task in done)
        return _word(first, tasks[first])

    async def _read(self) -> SessionEnded:
        count = 0
        while True:
            message = await self.connection.receive()
            if isinstance(message, SessionEnded):
                return message
            if isinstance(message, bytes):
                self._skip("a binary frame")
            elif (ended := self._hear(message)) is not None:
                return ended
            count += 1
            if count % BREATH_FRAMES == 0:
                await asyncio.sleep(0)

    def _hear(self, text: str) -> SessionEnded | None:
        self.pulse.heard(self._clock.monotonic())
        try:
            frame = read_studio_frame(text)
        except Unreadable as error:
            self._skip(str(error))
            return None
        return self.dispatch(frame)

    def dispatch(self, frame: StudioFrame) -> SessionEnded | None:
        """Hand one frame to whom it concerns; returns the end where the frame is one."""
        match frame:
            case Offer() if self.pulse.welcome_at is not None:
                self._offer(frame)
            case ErrorFrame():
                known = frame.code in ErrorCode.__members__.values()
                code = ErrorCode(frame.code).close_code if known else None
                return SessionEnded.by_error(frame.code, code, frame.message)
            case Welcome():
                self._open(frame)
            case _ if self.pulse.welcome_at is None:
                logger.bind(event="session.early", type=frame.type).warning("A frame before the welcome was discarded")
            case HeartbeatAck():
                self.pulse.acknowledged(self._clock.monotonic())
            case CompleteAck():
                self._delivery.acknowledge(frame.job_id)
            case FailAck():
                logger.bind(event="session.fail_ack", job_id=frame.job_id).debug("The studio has noted the failure")
            case CancelJob() if "cancel" in self.connection.extensions:
                self._desk.cancel(frame.job_id, escape(frame.reason, limit=500))
            case CancelJob():
                self._skip("cancel, which this studio's welcome did not list")
        return None

    def _open(self, welcome: Welcome) -> None:
        if self.pulse.welcome_at is not None:
            self._skip("a second welcome")
            return
        self.connection.extensions = frozenset(welcome.extensions)
        self.pulse.welcomed(self._clock.monotonic())
        self._on_welcome(welcome)
        self.beat()
        self._delivery.resume()
        self._welcome.set()

    def _offer(self, offer: Offer) -> None:
        job_id = offer.job_id
        if len(job_id) > MAX_JOB_REF or not job_id.strip("\0 \t\r\n"):
            self._skip("an offer whose jobId no answer can carry")
            return
        link = ClaimLink(self.connection, job_id, offer.attempt, masked=self._logs.masked)
        try:
            if self._set_aside.holds(job_id):
                logger.bind(event="session.set_aside", job_id=job_id).warning(
                    "An offer that kept breaking the link was rejected"
                )
                link.reject("this offer broke the connection three times running; this worker has set it aside")
                return
            self._set_aside.offered(job_id)
            self._desk.take(offer, link)
        except LinkClosed:
            logger.bind(event="session.offer_lost", job_id=job_id).info("The session ended before it was answered")
        except Exception:  # noqa: BLE001  a fault at one offer costs that offer: the studio releases it in 30 s
            logger.bind(event="session.offer_fault", job_id=job_id).exception("An offer could not be taken")

    def _skip(self, why: str) -> None:
        kind = why[:40]
        if kind in self._skipped or len(self._skipped) >= MAX_SKIP_NOTES:
            return
        self._skipped.add(kind)
        logger.bind(event="session.skipped", why=why).warning("A frame that cannot be read was skipped")

    async def _keep_beating(self) -> NoReturn:
        await self._welcome.wait()
        every = self._timings.heartbeat_secs
        due = self._clock.monotonic() + every
        while True:
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            self.beat()
            # After a pause of the process, one heartbeat, not all that were missed.
            now = self._clock.monotonic()
            due = due + every if due + every > now else now + every

    async def _watch(self) -> SessionEnded:
        suspension = SuspensionWatch(self._elapsed)
        every = self._timings.watch_secs
        while True:
            await self._clock.sleep(every)
            gap = suspension.look(every)
            if gap >= self._timings.suspend_secs:
                return SessionEnded(f"the machine was suspended for {gap:,.0f} s")
            if self.pulse.failure(self._clock.monotonic()) is None:
                continue
            # What came while this process had no time to read it counts: a second look decides.
            await self._clock.sleep(every / 4)
            if (why := self.pulse.failure(self._clock.monotonic())) is not None:
                return SessionEnded(why)

    async def _ship_logs(self) -> NoReturn:
        await self._welcome.wait()
        while True:
            await self._ship_round()
            await self._clock.sleep(self._timings.log_secs)

    async def _ship_round(self) -> None:
        batches = deque(self._logs.take())
        try:
            while batches:
                await self.connection.post_text(batches[0].text)
                batches.popleft()
        except LinkClosed:
            return
        finally:
            self._logs.put_back(batches)

    async def _obey(self) -> SessionEnded:
        ended = await self._order
        if ended.is_stop and self._welcome.is_set():
            try:
                async with asyncio.timeout(self._timings.flush_secs):
                    await self._ship_round()
            except TimeoutError:
                logger.bind(event="session.flush").debug("The last log lines could not be shipped in time")
        return ended


async def _told(name: str, part: Coroutine[Any, Any, SessionEnded]) -> SessionEnded:
    """A part whose failure is a word like any other end, told to the log with its trace."""
    try:
        return await part
    except Exception:  # noqa: BLE001  a fault in one part ends one session, never the worker
        logger.bind(event="session.failure", part=name).exception("A part of the session failed")
        return SessionEnded(f"an internal error in the session's {name}")


def _word(task: asyncio.Task[SessionEnded], name: str) -> SessionEnded:
    return SessionEnded(f"the session's {name} was cancelled") if task.cancelled() else task.result()
