"""The worker: wires the rooms together; what the command line and embedders start, pause, drain and stop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from studio_worker.advert import capabilities
from studio_worker.clock import Clock, SystemClock
from studio_worker.config import Config
from studio_worker.ending import first_error, hand_on, wait_out
from studio_worker.engines.base import Engine
from studio_worker.engines.certificate_guard import CertificateGuard
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.device_finder import DeviceFinder
from studio_worker.engines.devices import DeviceProvider
from studio_worker.engines.given import describe_factories
from studio_worker.engines.host import Host
from studio_worker.engines.installed_engines import InstalledEngines
from studio_worker.engines.process_runner import EngineKey
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.roster import in_force, trusted
from studio_worker.engines.route_book import RouteBook
from studio_worker.engines.router import Routes
from studio_worker.engines.surroundings import Surroundings
from studio_worker.errors import ConfigError, StudioWorkerError
from studio_worker.event_bus import EventBus, EventReader
from studio_worker.followed_config import FollowedConfig, followed
from studio_worker.jobs.admission import Admission
from studio_worker.jobs.local_order import FilePath, local_order
from studio_worker.local_job import Job
from studio_worker.log import announce_in_log
from studio_worker.machine import UNKNOWN, look_at_machine
from studio_worker.models.residency import Residency
from studio_worker.readiness import Readiness
from studio_worker.runtime import Runtime
from studio_worker.second_look import SecondLook
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.timings import Timings
from studio_worker.state import StateLock
from studio_worker.status import snapshot
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.tasks import Task
from studio_worker.worker_arguments import check_arguments, checked_engines

if TYPE_CHECKING:
    import aiohttp

ABANDON_SECS = 10.0
"""How long cancelled jobs may take to be reported before the worker ends without them."""


class Worker:
    """A generation node: registers, holds a session, runs jobs, delivers results.

    ``async with Worker(Config(...)) as worker`` starts it and, at the end of the block, lets running jobs finish
    (`drain`); after an error in the block it stops at once. It installs no signal handler, sets up no logging and
    keeps no global state: several workers with a `state_dir` each live in one process.

    Args:
        config: the settings. ``api_base_url=None``: local jobs only, nothing is sent anywhere.
        engines: engines beside those of installed plugins: objects, or ``"package.module:factory"``, which each start
            describes in a process of its own, as it does a plugin.
        config_source: follows a config file; its changes take effect by the next heartbeat.
        announce: takes sentences that a person should see at the start ("waiting for approval: …").
        clock: time, for tests.
        rng: seeds and jitter, for tests.
        timings: intervals and bounds of registration and session, for tests.
        ledger: the file that remembers hashes and uses of model files; workers may share one. By default it lies in
            the state folder.
        devices: where the devices are known from, for tests.
        installed: the engines of installed plugins; workers that are given the same object ask the plugins once.
        http: a session of the embedder's for all that goes to the studio (registration, WebSocket, uploads), used as it
            is and never closed here; by default the worker's own. What a job names is always asked by a guarded client.

    A worker object starts once; what ends it (`run` names the errors) is raised by `run`, else at the end of the block.

    Raises:
        TypeError: (at the call) an argument is of a wrong type; the sentence names it.
        AlreadyRunning: (at start) another worker holds the state folder.
        ConfigError: (at start, the credentials later) a folder or the credentials cannot be used, or a device that the
            settings name is not here.
        PluginError: (at start) one of `engines` cannot be used, or does not describe itself within ten seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        engines: Sequence[Engine | str] = (),
        config_source: FollowedConfig | None = None,
        announce: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
        timings: Timings | None = None,
        ledger: Path | None = None,
        devices: DeviceProvider | None = None,
        installed: InstalledEngines | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        check_arguments(config, installed)
        self._config = config
        self._ledger = ledger
        self._installed = installed or InstalledEngines()
        self._http = http
        self._timings = timings
        self._source = config_source
        self._given = checked_engines(engines)
        self._announce = announce or announce_in_log
        self._clock = clock or SystemClock()
        self._rng = rng or Random(secrets.randbits(64))  # noqa: S311  # jitter and seeds, no secrets
        self._bus = EventBus()
        self._logs = LogShipper(self._clock, self.secrets)
        self._lock = StateLock(config.state_path)
        self._second_look = SecondLook(lambda: self._installed.described(self._config), self._take_found)
        self._certificates = CertificateGuard(lambda: self._config, self._second_look.want)
        self._machine = UNKNOWN
        self._descriptions: tuple[EngineDescription, ...] = ()
        self._book = RouteBook(Quarantine(self._clock), self._clock)
        self._finder = DeviceFinder(devices)
        self._runtime: Runtime | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_used = False
        self._is_end_told = False
        self._seen_config = config
        self._drain_wanted = asyncio.Event()
        self._abandon_wanted = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._is_used:
            raise RuntimeError("this worker has been started before: make another Worker")
        self._is_used = True
        try:
            await self._lock.take()
            await self._look_around()
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._main = asyncio.create_task(self._live(ready), name="worker")
            self._main.add_done_callback(lambda main: hand_on(main, ready))
            await ready
        except BaseException:
            await self._stop_now()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._main is not None and not self._main.done():
                await self.drain()
        finally:
            await self._stop_now()
        if kind is None and not self._is_end_told:
            # Whoever followed events or only submitted jobs has not heard why the worker ended.
            self._raise_end()

    async def run(self) -> None:
        """Work until the worker has ended: by `drain`, by `abandon`, with its block, or since the studio refuses it.

        Raises:
            StudioRefused: the studio does not want this worker; the sentence says what to do.
            ReconnectBudgetSpent: `ws_reconnect_attempts` is used up.
            ConfigError: the credentials cannot be used.
        """
        await asyncio.wait([self._task])
        self._is_end_told = True
        self._raise_end()

    async def drain(self) -> None:
        """Take no new jobs, let those that run finish and deliver, then end; at most `drain_timeout_secs`.

        What still runs then is cancelled and reported as retryable; results that nobody has acknowledged stay kept.
        """
        await self._ended(self._drain_wanted)

    async def abandon(self) -> None:
        """Cancel what runs, report it as retryable, then end."""
        await self._ended(self._abandon_wanted, self._drain_wanted)

    def pause(self) -> None:
        """Reject offers from now on; what runs goes on. A restart takes jobs again."""
        self._live_runtime.pause()

    def resume(self) -> None:
        """Take offers again."""
        self._live_runtime.resume()

    def submit(
        self,
        task: Task,
        *,
        model: str,
        source: ModelSource | None = None,
        inputs: Mapping[str, FilePath] | None = None,
        files: Mapping[str, Sequence[FilePath]] | None = None,
        seed: int | None = None,
        stream: bool = False,
    ) -> Job:
        """Run a job of this process.

        Args:
            task: what to make.
            model: the model id.
            source: which engine and files; None routes by the exact pair of kind and model.
            inputs: files of this machine in place of the task's URLs, by role (``image``, ``mask``, ``ref_image``,
                ``audio``) or by field; a field that a task must have, such as `inputUrl`, may then say anything.
            files: model files of this machine by role, used where they lie, in place of the source's.
            seed: in place of a random one, from 0 to 2^64 - 1, also for kinds whose task carries none.
            stream: whether the job's iteration also gives the pieces of the result, where the engine can stream.

        Returns:
            The job: it waits for a seat in turn, and everything that goes wrong with it is raised by awaiting it.

        Raises:
            TypeError: an argument is of a wrong type; the sentence names it.
        """
        desk = self._live_runtime.jobs.desk
        self._refresh()
        job_id = f"local-{secrets.token_hex(8)}"
        order = local_order(job_id, task, model=model, source=source, inputs=inputs, files=files, seed=seed)
        job = Job(job_id, desk.cancel, stream=stream)
        desk.submit(order, job.link)
        return job

    def keep_private(self, host: str, port: int) -> None:
        """Keep jobs away from a listener of this process: no URL that a studio names may reach it."""
        self._live_runtime.closed_ports |= {(host, port)}

    def events(self) -> EventReader:
        """What happens from this call on, as an async iterator that ends with the worker; it never holds it up."""
        return self._bus.events()

    def status(self) -> dict[str, Any]:
        """What the worker is doing, as JSON values without secrets."""
        return snapshot(self._config, self._machine, self.engines, self._book.advertised, self._runtime)

    def secrets(self) -> tuple[str | None, ...]:
        """What no log line may show: the worker's token, and what its settings keep from others."""
        return self._config.secrets if self._runtime is None else self._runtime.secrets()

    def readiness(self) -> Readiness:
        """Whether the worker would be offered a job now and take it, and if not, why."""
        return self._live_runtime.readiness()

    @property
    def routes(self) -> Routes:
        """Which engine serves what, at this moment."""
        return self._book.advertised

    @property
    def engines(self) -> tuple[EngineDescription, ...]:
        """Every engine that was found, those that cannot run, are disabled or lack a certificate included."""
        return in_force(self._descriptions, self._config, Surroundings.of(self._machine, self._finder.devices))

    @property
    def _task(self) -> asyncio.Task[None]:
        if self._main is None:
            raise RuntimeError("the worker is not started: use `async with Worker(...) as worker`")
        return self._main

    @property
    def _live_runtime(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("the worker is not started: use `async with Worker(...) as worker`")
        return self._runtime

    async def _ended(self, *wanted: asyncio.Event) -> None:
        """Return once the worker has ended, since this is wanted; one that is not started is left as it is."""
        task = self._task
        for each in wanted:
            each.set()
        await asyncio.wait([task])

    async def _look_around(self) -> None:
        self._machine = await look_at_machine()
        await self._finder.look()
        if (problem := self._finder.missing(self._config.devices)) is not None:
            raise ConfigError(problem)
        found = await self._installed.described(self._config)
        self._host = Host(
            found,
            given=await describe_factories(self._given),
            tables=self._config.plugins,
            clock=self._clock,
            engine_idle_secs=self._config.engine_idle_secs,
            slots=lambda: self._config.max_concurrent_jobs,
            on_death=self._engine_died,
            on_gone=lambda *gone: self._admission.ended(*gone),  # noqa: PLW0108 - it is made below
            devices=self._finder.devices,
            check=self._certificates.check,
        )
        self._residency = Residency(
            self._finder.devices.budget, clock=self._clock, pinned=lambda: self._config.pinned_models
        )
        self._admission = Admission(self._host, self._residency, self._finder.devices)
        self._descriptions = self._host.descriptions
        self._draw_routes()

    async def _look_at_devices(self) -> None:
        """See what is left of the devices, and serve or refuse those who wait for their memory."""
        await self._finder.look()
        self._draw_routes()
        self._residency.refresh()

    def _draw_routes(self) -> None:
        engines = self.engines
        self._host.call_hooks_of(trusted(engines, self._config))
        self._book.draw(engines, self._config.engine_preferences)

    def _engine_died(self, engine: EngineKey, model: str | None, why: str) -> None:
        """What rests now is withdrawn; and a GPU may be what has died."""
        if self._finder.devices.gpus and self._runtime is not None:
            self._runtime.spawn(self._look_at_devices(), name="devices")
        dead = next((each for each in self._descriptions if each.key == engine), None)
        is_resting = dead is not None and self._book.died(dead, model, why, self._host.restarts(engine))
        if is_resting and self._runtime is not None:
            self._runtime.tell_rest()

    async def _live(self, ready: asyncio.Future[None]) -> None:
        try:
            async with Runtime(
                config=lambda: self._config,
                routes=self._book,
                host=self._host,
                admission=self._admission,
                capabilities=self._capabilities,
                logs=self._logs,
                events=self._bus,
                announce=self._announce,
                clock=self._clock,
                rng=self._rng,
                timings=self._timings,
                ledger=self._ledger,
                http=self._http,
            ) as runtime:
                self._runtime = runtime
                ready.set_result(None)
                await self._drain_wanted.wait()
                await runtime.wind_down(
                    self._abandon_wanted, drain_secs=self._config.drain_timeout_secs, abandon_secs=ABANDON_SECS
                )
        except* StudioWorkerError as group:
            raise first_error(group) from None
        finally:
            self._bus.close()

    def _capabilities(self) -> Capabilities:
        """The capabilities of this moment; a changed config file takes effect here, before each heartbeat."""
        self._refresh()
        runtime = self._runtime
        return capabilities(
            self._config,
            self._book.advertised,
            self._machine,
            is_paused=runtime is not None and not runtime.jobs.desk.takes_jobs,
            install_id=runtime.credentials.install_id if runtime is not None else None,
        )

    def _refresh(self) -> None:
        if self._source is not None and (config := self._source.refresh()) is not self._seen_config:
            self._seen_config = config
            self._take_settings(config)
        self._certificates.look()
        if self._runtime is not None:
            self._second_look.begin(self._runtime.spawn)

    def _take_settings(self, config: Config) -> None:
        before = self._config
        self._config = followed(before, config, self._finder.missing)
        self._draw_routes()
        if set(before.disabled_engines) - set(config.disabled_engines):
            self._second_look.want()

    def _take_found(self, found: tuple[EngineDescription, ...]) -> None:
        self._descriptions = (*found, *(each for each in self._descriptions if not each.plugin))
        self._draw_routes()

    async def _stop_now(self) -> None:
        try:
            if self._main is not None and not self._main.done():
                self._main.cancel()
                await wait_out(self._main)
        finally:
            self._bus.close()
            releasing = asyncio.create_task(asyncio.to_thread(self._lock.release))
            await wait_out(releasing)
            releasing.result()

    def _raise_end(self) -> None:
        main = self._main
        if main is not None and main.done() and not main.cancelled() and (error := main.exception()) is not None:
            raise error
