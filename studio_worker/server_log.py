"""What aiohttp says of our servers, as lines of our log; what a client did wrong is no trouble of the server."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from studio_worker.log import LibraryLines

_THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError, asyncio.IncompleteReadError)
"""Bytes that are no HTTP and connections that broke off: any stranger can cause them, as often as it likes."""


class _ServerLines(LibraryLines):
    def severity(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return "DEBUG" if isinstance(error, _THEIRS) else super().severity(record)


SERVER_LOG = logging.getLogger("studio_worker.http")
"""For `AppRunner(logger=…)`: a request that is no HTTP is one line of level debug in our log."""
SERVER_LOG.propagate = False
SERVER_LOG.addHandler(_ServerLines())
