"""Results as answers that no browser runs: sniffed type, nosniff, a sandbox, a download where it is no medium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from studio_worker.wire.results import MEDIA_TYPES, media_type, sniff_ext
from studio_worker.wire.strict_json import dumps_lossy

_INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_EXTS = {kind: ext for ext, kind in reversed(MEDIA_TYPES.items())}


def file_answer(path: Path, job_id: str, kind: str) -> web.FileResponse:
    """A stored result. Pictures, sounds and videos are shown, anything else is downloaded.

    Args:
        path: the blob.
        job_id: names the download.
        kind: the media type that was sniffed when it came.
    """
    is_medium = kind in _EXTS
    name = job_id.replace(":", "_") + (f".{_EXTS[kind]}" if is_medium else ".bin")
    headers = {
        **_INERT,
        "Content-Type": kind if is_medium else "application/octet-stream",
        "Content-Disposition": f'{"inline" if is_medium else "attachment"}; filename="{name}"',
        "Cache-Control": "private, no-cache",
    }
    return web.FileResponse(path, headers=headers)


def json_answer(result: Any) -> web.Response:
    """A JSON result."""
    return web.Response(
        text=dumps_lossy(result), content_type="application/json", headers={**_INERT, "Cache-Control": "no-store"}
    )


def picture_answer(data: bytes) -> web.Response:
    """A preview."""
    kind = media_type(sniff_ext(data[:64]) or "")
    return web.Response(body=data, content_type=kind, headers={**_INERT, "Cache-Control": "private, max-age=60"})
