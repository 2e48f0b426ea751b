"""Where an installed package came from: an index, a file, a folder that is worked in."""

from __future__ import annotations

from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from studio_worker.text import escape
from studio_worker.wire.strict_json import NotJson, loads


def origin_of(distribution: str) -> str:
    """A few words for people, out of what the installer noted down (PEP 610, PEP 376).

    Args:
        distribution: the package's name.
    """
    try:
        package = metadata.distribution(distribution)
        noted = package.read_text("direct_url.json")
        installer = (package.read_text("INSTALLER") or "").strip()
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return "unknown"
    if noted is not None and (direct := _direct(noted)):
        return direct
    return f"an index, by {escape(installer, limit=40)}" if installer else "unknown"


def _direct(noted: str) -> str:
    try:
        found: Any = loads(noted.encode())
        url = urlsplit(found["url"])
        where = url2pathname(url.path) if url.scheme == "file" else url._replace(netloc=_host(url.netloc)).geturl()
        is_editable = bool(found.get("dir_info", {}).get("editable"))
    except (NotJson, UnicodeEncodeError, ValueError, TypeError, KeyError, AttributeError):
        return ""
    return escape(f"{where} (editable)" if is_editable else where, limit=300)


def _host(netloc: str) -> str:
    """Without what an address may carry of a password."""
    return netloc.rpartition("@")[2]
