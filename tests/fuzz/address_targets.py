"""Parsers of short texts that decide where something comes from or goes to: URLs, file names, waits, lines of a log."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from yarl import URL

from studio_worker.errors import FetchRefused
from studio_worker.fetch.data_urls import decode
from studio_worker.fetch.guard import Guard, shown
from studio_worker.models.places import sanitised
from studio_worker.retry_after import retry_after as read_retry_after
from studio_worker.testing.claims import silence_url
from studio_worker.text import escape
from studio_worker.wire.model_source import plain_file_name
from studio_worker.wire.urls import StudioUrls
from tests.fuzz.target import reread, target, text

GUARD = Guard("https://studio.example", closed=frozenset({("127.0.0.1", 4787)}))
LIMIT = 10_000
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
CAP_SECS = 300.0
SPELLED = "data:image/png," + "%41%4a" * 100 + "%%41"


@target(FetchRefused, seeds=[silence_url(), "data:,a%20cup", "data:text/plain;charset=utf-8;base64,aGVsbG8", SPELLED])
def data_url(data: bytes, folder: Path) -> None:
    found = decode(text(data), limit_bytes=LIMIT)
    assert len(found.data) <= LIMIT
    again = f"data:{found.media_type};base64,{base64.b64encode(found.data).decode()}"
    assert reread(lambda url: decode(url, limit_bytes=LIMIT), again) == found


@target(
    FetchRefused,
    seeds=[
        "https://example.org/a/b.gguf?sig=a%2Fb&x=1#part",
        "https://studio.example/blobs/a",
        "https://93.184.216.34:8443/x",
        "https://[2606:4700::1111]/",
        "https://bücher.example/ä",
    ],
)
def url(data: bytes, folder: Path) -> None:
    found = GUARD.check(text(data))
    assert reread(GUARD.check, str(found)) == found
    assert shown(found).isprintable()
    if GUARD.is_own(found):
        return
    # What another parser of URLs makes of it, and another list of addresses.
    parts = urlsplit(str(found))
    assert (found.scheme, parts.hostname) == ("https", found.raw_host)
    try:
        address = ip_address(found.raw_host or "")
    except ValueError:
        return
    assert not any((address.is_private, address.is_multicast, address.is_reserved, address.is_unspecified))


@target(
    ValueError, seeds=["https://studio.minis.gg/", "wss://[::1]:8787/mount/graphics/api/?x#y", "http://localhost:8787"]
)
def studio_url(data: bytes, folder: Path) -> None:
    found = StudioUrls.parse(text(data))
    assert reread(StudioUrls.parse, found.home) == found
    assert URL(found.complete("w/1", "j:1")).scheme in ("http", "https")


@target(ValueError, seeds=["d.gguf", "model-00001-of-00002.safetensors", "größe v2.onnx", "a" * 255])
def file_name(data: bytes, folder: Path) -> None:
    name = text(data)
    own = folder / sanitised(name)
    assert own.parent == folder
    assert own.name.isascii()
    path = folder / plain_file_name(name)
    assert (path.parent, path.name) == (folder, name)
    path.touch()
    path.unlink()


@target(
    seeds=["120", "Mon, 05 Jan 2026 08:01:00 GMT", "Mon, 05 Jan 2026 08:01:00 -0100", "05 Jan 26 08:01"],
    through=("email",),
)
def retry_after(data: bytes, folder: Path) -> None:
    wait = read_retry_after(text(data), NOW, cap_secs=CAP_SECS)
    assert wait is None or 0 < wait <= CAP_SECS


@target(seeds=["a cup", "\x1b[2J\u202e", "\u200b\ud7ff\U0001f984\r\n", "x" * 90])
def log_text(data: bytes, folder: Path) -> None:
    said = escape(text(data), limit=80)
    assert said.isprintable()
    assert "\n" not in said
