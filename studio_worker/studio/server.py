"""StudioServer: start it, use it, stop it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from studio_worker.clock import Clock, SystemClock, rfc3339
from studio_worker.errors import ConfigError, PortInUse
from studio_worker.log import logger
from studio_worker.server_log import SERVER_LOG
from studio_worker.studio.app import create_app
from studio_worker.studio.folder import DataFolder
from studio_worker.studio.guard import HostRule
from studio_worker.studio.parts import Parts, build
from studio_worker.studio.store.sqlite import SqliteStore
from studio_worker.studio.timings import Limits, Timings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
_MAX_LINE = 16_384


class StudioServer:
    """A studio over one data folder: the server side of the protocol, its admin routes and its dashboard.

    ``async with StudioServer(folder, port=0) as studio:`` starts it; so do `start` and `aclose`. Once started,
    ``admin.json`` in the folder (0600) holds its address and its admin token.

    Args:
        data_dir: database, results, keys. One studio at a time.
        host: the address to listen on.
        port: the port; 0 takes any free one.
        auto_approve: admit every worker that asks. For development on a machine of one's own.
        admin_token: the bearer of the admin routes, at least 16 characters; None: the one of an earlier start in
            this folder, else a new random one.
        allowed_hosts: further host names to answer to, as a proxy in front of the studio may use them.
        timings: every wait.
        limits: every bound.
        clock: where time comes from.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8787,
        auto_approve: bool = False,
        admin_token: str | None = None,
        allowed_hosts: Sequence[str] = (),
        timings: Timings | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._data_dir = Path(data_dir).expanduser()
        self._host = host
        self._port = port
        self._auto_approve = auto_approve
        self._given_token = admin_token
        self._host_rule = HostRule(host, allowed_hosts)
        self._timings = timings or Timings()
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._folder: DataFolder | None = None
        self._parts: Parts | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._url = ""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:8787``: the address of the dashboard, and a worker's `api_base_url`."""
        return self._url

    @property
    def admin_token(self) -> str:
        """The bearer of the admin routes."""
        if self._folder is None:
            raise RuntimeError("the studio has not been started")
        return self._folder.admin_token

    def login_url(self) -> str:
        """A link that opens the dashboard in a browser, once."""
        if self._parts is None:
            raise RuntimeError("the studio has not been started")
        return f"{self._url}/?token={self._parts.access.login_code()}"

    async def start(self) -> None:
        """Open the folder, bind the port, serve.

        Raises:
            AlreadyRunning: another studio holds the folder.
            ConfigError: the folder cannot be written, or the host cannot be bound.
            PortInUse: the port is taken.
        """
        try:
            self._folder = await asyncio.to_thread(DataFolder.open, self._data_dir, self._given_token)
            store = await asyncio.to_thread(SqliteStore, self._folder.database, lambda: rfc3339(self._clock.now()))
            self._parts = build(
                store=store,
                blobs=self._folder.blobs,
                signing_key=self._folder.signing_key,
                admin_token=self._folder.admin_token,
                host_rule=self._host_rule,
                auto_approve=self._auto_approve,
                clock=self._clock,
                timings=self._timings,
                limits=self._limits,
            )
            await store.release_all()
            await asyncio.to_thread(self._folder.blobs.sweep, await store.blobs())
            await self._bind(self._parts)
            await asyncio.to_thread(self._folder.announce, self._url)
        except BaseException:
            await self.aclose()
            raise
        self._tasks = [
            asyncio.create_task(self._parts.offers.run(), name="studio-offers"),
            asyncio.create_task(self._parts.presence.watch(), name="studio-watch"),
        ]
        self._parts.offers.nudge()
        logger.bind(event="studio.started", url=self._url, data=str(self._data_dir)).info("The studio is ready")

    async def aclose(self) -> None:
        """Stop: sockets end with 1001, their claims go back into the queue, the folder is let go. Repeatable."""
        parts, runner, folder = self._parts, self._runner, self._folder
        self._parts = self._runner = None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if parts is not None:
            parts.hub.close()
            parts.presence.close_all()
        if runner is not None:
            await runner.cleanup()
        if parts is not None:
            await parts.store.aclose()
        if folder is not None:
            await asyncio.to_thread(folder.close)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.aclose()

    async def _bind(self, parts: Parts) -> None:
        self._runner = web.AppRunner(
            create_app(parts),
            access_log=None,
            logger=SERVER_LOG,
            handle_signals=False,
            shutdown_timeout=self._timings.shutdown_secs,
            max_line_size=_MAX_LINE,
            keepalive_timeout=self._timings.idle_secs,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {self._port} on {self._host} is taken by another program; choose another with --port "
                    "(0 takes any free one)"
                ) from None
            raise ConfigError(
                f"the studio cannot listen on {self._host} port {self._port} ({error.strerror or error})"
            ) from None
        port = int(self._runner.addresses[0][1])
        host = _ANYWHERE.get(self._host, self._host)
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        parts.access.cookie = f"studio_session_{port}"
