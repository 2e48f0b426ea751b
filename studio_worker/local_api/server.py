"""The loopback listener of a running worker."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from aiohttp import web

from studio_worker.errors import PortInUse
from studio_worker.local_api.control import DaemonControl
from studio_worker.local_api.daemon_routes import daemon_routes
from studio_worker.local_api.discovery import Discovery
from studio_worker.local_api.guard import MAX_BODY_BYTES, guarded
from studio_worker.log import logger
from studio_worker.private_file import reason
from studio_worker.server_log import SERVER_LOG

HOST = "127.0.0.1"


class LocalApi:
    """Serves a worker's control on 127.0.0.1, for programs of the same user.

    Args:
        control: the worker.
        port: where to listen; 0, or a port that is taken: any free one (the latter with a warning).
        discovery: the file that tells address and token while it serves.
    """

    def __init__(self, control: DaemonControl, *, port: int, discovery: Path) -> None:
        self._control = control
        self._port = port
        self._file = discovery
        self._runner: web.AppRunner | None = None
        self._published: Discovery | None = None

    @property
    def url(self) -> str | None:
        """The address, while it serves."""
        return None if self._published is None else self._published.url

    @property
    def port(self) -> int:
        """The port listened on, while it serves; 0 before and after."""
        return 0 if self._published is None else urlsplit(self._published.url).port or 0

    async def start(self) -> str:
        """Listen and publish the discovery file; returns the address.

        Raises:
            PortInUse: not even a free port could be opened.
        """
        token = secrets.token_hex(32)
        app = web.Application(middlewares=[guarded(token)], client_max_size=MAX_BODY_BYTES)
        app.add_routes(daemon_routes(self._control))
        runner = web.AppRunner(app, access_log=None, logger=SERVER_LOG, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            return await self._publish(await self._listen(runner), token)
        except BaseException:
            await self.aclose()
            raise

    async def _publish(self, port: int, token: str) -> str:
        self._published = Discovery(f"http://{HOST}:{port}", token)
        try:
            await asyncio.to_thread(self._published.write, self._file)
        except OSError as error:
            logger.bind(event="local_api.unpublished", file=str(self._file), error=reason(error)).warning(
                "The discovery file cannot be written; status, pause and resume will not find this worker."
            )
        else:
            logger.bind(event="local_api.started", url=self._published.url).info("The local API is ready.")
        return self._published.url

    async def aclose(self) -> None:
        """Withdraw the discovery file and stop listening; harmless when it does not serve."""
        published, self._published = self._published, None
        runner, self._runner = self._runner, None
        try:
            if published is not None:
                await asyncio.to_thread(published.withdraw, self._file)
        finally:
            if runner is not None:
                await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> int:
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except OSError as error:
            if self._port == 0:
                raise PortInUse(f"no port on {HOST} can be opened: {reason(error)}") from None
            logger.bind(event="local_api.port_taken", port=self._port, error=reason(error)).warning(
                "The local API's port cannot be opened; any free one is used."
            )
            try:
                await web.TCPSite(runner, HOST, 0).start()
            except OSError as second:
                raise PortInUse(f"no port on {HOST} can be opened: {reason(second)}") from None
        return int(runner.addresses[0][1])

    async def __aenter__(self) -> LocalApi:
        """Start serving."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        await self.aclose()
