"""The dashboard: server-rendered pages and their partials."""

from __future__ import annotations

from aiohttp import web

from studio_worker.clock import Clock
from studio_worker.studio.access import Access
from studio_worker.studio.peer import Roster
from studio_worker.studio.store.port import Store


class Pages:
    """`/` and what belongs to it."""

    def __init__(self, store: Store, roster: Roster, access: Access, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._access = access
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
