"""JSON answers of the local API; an error is always ``{error: code, message}``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from studio_worker.wire.strict_json import dumps_lossy

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_answer(value: Any, *, status: int = 200) -> web.Response:
    """`value` as valid JSON, whatever it holds."""
    return web.Response(text=dumps_lossy(value), status=status, content_type="application/json", headers=HEADERS)


def error_answer(status: int, code: str, message: str) -> web.Response:
    """An error: a code for programs, a sentence for people."""
    return json_answer({"error": code, "message": message}, status=status)
