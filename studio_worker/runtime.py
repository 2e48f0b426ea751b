"""The parts of a running worker: who is made of what, who owns which task, and the order in which all of it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import aiohttp

from studio_worker.clock import Clock, SystemClock
from studio_worker.config import Config
from studio_worker.ending import first_error
from studio_worker.engines.host import Host
from studio_worker.engines.quarantine import Quarantined
from studio_worker.engines.route_book import RouteBook
from studio_worker.engines.speeds import Speed
from studio_worker.engines.speeds_file import SpeedsKeeper
from studio_worker.errors import ConfigError, NoRoom
from studio_worker.events import EventSink
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.http import Fetcher
from studio_worker.jobs.admission import Admission
from studio_worker.jobs.jobs import Jobs
from studio_worker.jobs.journal import Journal, NoJournal
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.side_task import cancelled_task
from studio_worker.jobs.uploads import Uploader
from studio_worker.log import logger
from studio_worker.loop_lag import LoopLag
from studio_worker.models.ledger import Ledger
from studio_worker.models.settings import guard, open_store
from studio_worker.models.store import Store
from studio_worker.private_file import is_full, reason
from studio_worker.readiness import READY, DiskWatch, Readiness, session_problem
from studio_worker.session.keeper import SessionKeeper
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.registrar import Registrar
from studio_worker.session.studio_http import USER_AGENT, open_http
from studio_worker.session.timings import Timings
from studio_worker.state import Credentials, CredentialStore
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.urls import StudioUrls

CLOSE_SECS = 5.0
"""How long the closing of the session may take at the end of a drain."""


class Runtime:
    """``async with Runtime(...)``: everything runs; at the end everything has stopped.

    An error of the session (the studio refuses the worker) or of the jobs' bookkeeping ends the block that it
    surrounds, as a task group does.
    """

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        routes: RouteBook,
        host: Host,
        admission: Admission,
        capabilities: Callable[[], Capabilities],
        logs: LogShipper,
        events: EventSink,
        announce: Callable[[str], None],
        clock: Clock,
        rng: Random,
        timings: Timings | None = None,
        ledger: Path | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self._http = http
        self._timings = timings or Timings()
        self._ledger = ledger
        self._config = config
        self._book = routes
        self._host = host
        self._admission = admission
        self._capabilities = capabilities
        self._logs = logs
        self._events = events
        self._announce = announce
        self._clock = clock
        self._rng = rng
        self._stack = AsyncExitStack()
        self.closed_ports: frozenset[tuple[str, int]] = frozenset()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._is_ending = False
        self._end = ""
        # They watch the machine, whose time no test moves.
        self._lag = LoopLag(SystemClock())
        self._disk = DiskWatch(config().state_path, SystemClock())
        self.registrar: Registrar | None = None
        self.keeper: SessionKeeper | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException as error:
            # Nobody else closes what a failed start has opened; the error of a task takes the place of the
            # cancellation by which its group stopped the start.
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._is_ending = True
        for task in reversed(list(self._tasks)):
            task.cancel()
        return await self._stack.__aexit__(kind, error, trace)

    def spawn(self, work: Coroutine[object, object, None], *, name: str) -> None:
        """Start a task that the runtime owns: its error, or its cancellation, ends it all, and it ends with it all.

        Where everything is about to end, it is not begun.
        """
        if self._is_ending:
            work.close()
            return
        task = self._group.create_task(self._owned(work, name), name=name)
        # One that is cancelled before its first step has not begun the work, which nobody else would close.
        task.add_done_callback(lambda _: work.close())
        self._tasks[task] = None
        task.add_done_callback(lambda _: self._tasks.pop(task, None))

    @property
    def credentials(self) -> Credentials:
        """Who the worker is at its studio, as far as that is known; empty without a studio."""
        return self.registrar.credentials if self.registrar is not None else Credentials(origin="")

    def secrets(self) -> tuple[str | None, ...]:
        """What no log line may show, and no job's error."""
        config, known = self._config(), self.credentials
        return (known.auth_token, known.registration_secret, *config.secrets)

    def pause(self) -> None:
        """Reject offers, and say so in a heartbeat at once."""
        self.jobs.desk.pause()
        self.nudge()

    def resume(self) -> None:
        """Take offers again, and say so in a heartbeat at once."""
        self.jobs.desk.resume()
        self.nudge()

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """The engines that are left alone for a while, with the models on which they keep dying."""
        return self._book.quarantine.pairs

    @property
    def speeds(self) -> tuple[Speed, ...]:
        """How long jobs take, by engine and model, those of workers before this one included."""
        return self._host.speeds.read()

    def readiness(self) -> Readiness:
        """Whether an offer would come and be taken; what an operator has asked for is told first.

        What could not be written is told ahead of what the disk looks like: it has happened.
        """
        if self._is_ending:
            return Readiness("stopped", self._end or "the worker has stopped")
        desk = self.jobs.desk
        if desk.is_closed:
            return Readiness("draining", "the worker is stopping")
        if desk.is_paused:
            return Readiness("paused", "the operator paused the worker")
        if not self._book.advertised.task_kinds:
            rest = self._book.rest
            return (
                Readiness("engine_down", rest) if rest else Readiness("no_engine", "no engine can run on this machine")
            )
        found = desk.trouble or self._disk.problem()
        trouble = None if found is None else Readiness(found.code, found.detail)
        session = session_problem(self.keeper.snapshot(), self._timings) if self.keeper is not None else None
        problem = trouble or self._lag.problem() or session
        return problem or replace(READY, detail=self.jobs.note)

    async def wind_down(self, abandon: asyncio.Event, *, drain_secs: float, abandon_secs: float) -> None:
        """Stop in order: the desk closes, jobs empty, deliveries flush, the session closes.

        Args:
            abandon: when it is set, running jobs are cancelled at once.
            drain_secs: how long running jobs and deliveries may take.
            abandon_secs: how long cancelled jobs may take to be reported.
        """
        self.jobs.desk.close()
        self.nudge()
        if not await _within(drain_secs, self._emptied(), abandon):
            why = "the operator stopped the worker" if abandon.is_set() else "the worker stops and its time is over"
            self.jobs.desk.abandon(why)
            await _within(abandon_secs, self.jobs.desk.drained())
        if left := self.jobs.delivery.pending + self.jobs.delivery.waiting:
            logger.bind(event="worker.left", results=left).warning(
                "Results that nobody has acknowledged are left behind"
            )
        self.jobs.tell()
        if self.keeper is not None:
            await _within(CLOSE_SECS, self.keeper.close())

    async def _owned(self, work: Coroutine[object, object, None], name: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            if self._is_ending:
                raise
            # A task group takes it for a quiet end; a worker without this task would only look alive.
            self._is_ending, self._end = True, f"its task {name!r} was cancelled"
            raise cancelled_task(name) from None
        except BaseException as error:
            self._is_ending, self._end = True, f"its task {name!r} has ended: {first_error(error)}"
            raise

    async def _emptied(self) -> None:
        await self.jobs.desk.drained()
        await self.jobs.delivery.flushed()

    async def _open(self) -> None:
        config = self._config()
        urls = config.urls if config.api_base_url is not None else None
        http = self._http
        if http is None:
            http = await self._stack.enter_async_context(open_http(urls) if urls else aiohttp.ClientSession())
        await self._host.start()
        self._stack.push_async_callback(self._host.aclose)
        keeper = SpeedsKeeper(config.state_path, SystemClock())
        self._host.speeds = await keeper.open()
        self._stack.push_async_callback(keeper.aclose)
        fetcher = Fetcher(self._guard, user_agent=USER_AGENT)
        self._stack.push_async_callback(fetcher.aclose)
        self.jobs = Jobs(
            settings=self._config,
            routes=lambda: self._book.served,
            host=self._host,
            store=self._store(),
            fetcher=fetcher,
            journal=self._journal(config, urls),
            upload=Uploader(http, lambda: self._config().urls, self._token),
            events=self._events,
            logs=self._logs,
            clock=self._clock,
            rng=self._rng,
            state_dir=config.state_path,
            admission=self._admission,
            quarantine=self._book.quarantine,
            signed_out=self._signed_out,
        )
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self.spawn(self._run_jobs(config.state_path), name="jobs")
        await self.jobs.ready()
        self.spawn(self._lag.run(), name="loop lag")
        self.spawn(self._disk.run(), name="disk watch")
        self.spawn(keeper.run(), name="speeds")
        if urls is not None:
            self.registrar = Registrar(
                urls=urls,
                store=CredentialStore(config.state_path, urls.origin, legacy_config=config.config_path),
                capabilities=self._capabilities,
                http=http,
                clock=self._clock,
                rng=self._rng,
                poll_secs=config.register_poll_secs,
                timings=self._timings,
                events=self._events,
                logs=self._logs,
                announce=self._announce,
            )
            self.keeper = SessionKeeper(
                urls=urls,
                credentials=lambda: self.credentials,
                http=http,
                desk=self.jobs.desk,
                delivery=self.jobs.delivery,
                capabilities=self._capabilities,
                health=lambda: self.readiness().to_json(),
                logs=self._logs,
                events=self._events,
                clock=self._clock,
                rng=self._rng,
                timings=self._timings,
                reconnect_attempts=config.ws_reconnect_attempts,
                reconnect_base_secs=config.reconnect_base_secs,
            )
            self.spawn(self._hold_session(self.registrar, self.keeper), name="session")

    def _journal(self, config: Config, urls: StudioUrls | None) -> Journal:
        if urls is None:
            return NoJournal()
        return KeptJournal(config.state_path, urls.origin, self._clock, on_trouble=self.nudge, disk=self._disk.problem)

    def _store(self) -> Store:
        store = open_store(
            self._config,
            guard=self._guard,
            user_agent=USER_AGENT,
            ledger=None if self._ledger is None else Ledger(self._ledger),
            clock=self._clock,
            rng=self._rng,
        )
        self._stack.push_async_callback(store.aclose)
        return store

    async def _run_jobs(self, state: Path) -> None:
        try:
            await self.jobs.run()
        except OSError as error:
            if is_full(error):
                raise NoRoom(f"the state folder {state} cannot be used: {reason(error)}; make room") from None
            raise ConfigError(
                f"the state folder {state} cannot be used: {reason(error)}; make it writable or set state_dir"
            ) from None

    async def _hold_session(self, registrar: Registrar, keeper: SessionKeeper) -> None:
        await registrar.ensure()
        self.spawn(registrar.save_owed(), name="credentials")
        await self.jobs.recall(self.credentials.worker_id or "")
        await keeper.run()

    def _token(self) -> tuple[str, str] | None:
        known = self.credentials
        return (known.worker_id, known.auth_token) if known.worker_id and known.auth_token else None

    def _guard(self) -> Guard:
        return guard(self._config(), closed=self.closed_ports)

    def tell_rest(self) -> None:
        """Have a heartbeat say at once what rests, and another one when the first of what rests may work again."""
        self.nudge()
        self.spawn(self._nudge_after(self._book.rest_secs), name="rest of an engine")

    async def _nudge_after(self, secs: float) -> None:
        await self._clock.sleep(secs)
        self.nudge()

    def nudge(self) -> None:
        """Have a heartbeat say at once what is new."""
        if self.keeper is not None:
            self.keeper.nudge()

    def _signed_out(self) -> None:
        if self.keeper is not None:
            self.keeper.signed_out()


async def _within(secs: float, work: Coroutine[object, object, None], unless: asyncio.Event | None = None) -> bool:
    """Whether `work` was done within `secs` and before `unless` was set; it is cancelled otherwise."""
    doing = asyncio.create_task(work)
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(unless.wait())] if unless is not None else []
    waiting.append(doing)
    try:
        await asyncio.wait(waiting, timeout=secs, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    if doing.cancelled():
        return False
    doing.result()
    return True
