"""Where a studio's routes are (protocol, head and section 3). Pure text; nothing is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

PREFIX = "/graphics/api"


@dataclass(frozen=True, slots=True)
class StudioUrls:
    """The routes under one `api_base_url`.

    A base that already ends in ``/graphics/api`` is not prefixed twice, an outer mount path is kept, query and
    fragment are dropped. Make one with `StudioUrls.parse`.
    """

    api: str
    """``https://host/mount/graphics/api``, without a trailing slash."""

    origin: str
    """``https://host`` or ``http://host:8787``, lower case, default ports left out."""

    @classmethod
    @lru_cache(maxsize=32)
    def parse(cls, base_url: str) -> StudioUrls:
        """The routes of a studio.

        Raises:
            ValueError: the reason, in words that hold no credentials.
        """
        if not base_url or re.search(r"[\x00-\x20\x7f\\]", base_url):
            raise ValueError("is empty or holds white space, a backslash or a control character")
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise ValueError("is no URL") from None
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme.lower(), parts.scheme.lower())
        if scheme not in ("http", "https"):
            raise ValueError("must start with https:// or http://")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user name or password")
        if not parts.hostname or port == 0:
            raise ValueError("names no host")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        default = {"http": 80, "https": 443}[scheme]
        origin = f"{scheme}://{host}" + (f":{port}" if port and port != default else "")
        path = parts.path.rstrip("/").removesuffix(PREFIX).rstrip("/")
        return cls(api=f"{origin}{path}{PREFIX}", origin=origin)

    @property
    def home(self) -> str:
        """The studio's front page, for people."""
        return self.api.removesuffix(PREFIX) + "/"

    @property
    def register_request(self) -> str:
        """Where a worker asks to be admitted (POST)."""
        return f"{self.api}/workers/register-request"

    def poll(self, request_id: str) -> str:
        """Where a worker asks for the decision (GET)."""
        return f"{self.api}/workers/register-requests/{quote(request_id, safe='')}"

    def connect(self, worker_id: str) -> str:
        """The session's WebSocket URL."""
        return f"ws{self.api.removeprefix('http')}/workers/{quote(worker_id, safe='')}/connect"

    def complete(self, worker_id: str, job_id: str) -> str:
        """Where a binary result goes (POST, multipart)."""
        return f"{self.api}/workers/{quote(worker_id, safe='')}/jobs/{quote(job_id, safe='')}/complete"
