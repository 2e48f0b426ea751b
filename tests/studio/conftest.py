"""A real studio on a free port, an admin, and workers driven by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.raw_worker import Admin, RawWorker

ROOMY = Limits(register_requests=10_000)
MakeWorker = Callable[..., Awaitable[RawWorker]]


@pytest.fixture
def timings() -> Timings:
    return Timings(close_secs=0.5, shutdown_secs=0.5)


@pytest.fixture
def limits() -> Limits:
    return ROOMY


@pytest.fixture
async def studio(tmp_path: Path, timings: Timings, limits: Limits) -> AsyncIterator[StudioServer]:
    async with StudioServer(tmp_path / "data", port=0, timings=timings, limits=limits) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def admin(http: aiohttp.ClientSession, studio: StudioServer) -> Admin:
    return Admin(http, studio.url, studio.admin_token)


@pytest.fixture
def make_worker(http: aiohttp.ClientSession, studio: StudioServer, admin: Admin) -> MakeWorker:
    """Registers, approves and polls: an admitted worker, not yet connected."""

    async def make(**caps: Any) -> RawWorker:
        return await RawWorker.admitted(http, studio.url, admin, **caps)

    return make


@pytest.fixture
async def worker(make_worker: MakeWorker) -> RawWorker:
    """A connected worker that serves every kind."""
    return await (await make_worker()).connect()
