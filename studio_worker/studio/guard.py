"""Which hosts and origins may talk to the studio: a page somewhere else cannot reach it through a browser."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from studio_worker.studio.answers import Refusal

_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class HostRule:
    """Which `Host` headers are answered.

    Against DNS rebinding: a hostile page can point its own public name at this machine, but never an address, a
    bare name or a name of the local network. A studio bound to loopback answers loopback names only.

    Args:
        bound: the host that the studio listens on.
        allowed: further names, as a proxy in front may send them.
    """

    def __init__(self, bound: str, allowed: Sequence[str] = ()) -> None:
        self._names = {bound.lower(), "localhost", *(name.lower() for name in allowed)}
        self._is_public = not _is_loopback(bound)
        if self._is_public:
            self._names |= {socket.gethostname().lower()}

    def allows(self, host: str) -> bool:
        """Whether a `Host` header (with or without its port) names this studio."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return self._is_public and ("." not in name or name.endswith(_LOCAL_ENDINGS))
        return self._is_public or address.is_loopback


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_origin(request: web.Request) -> str:
    """``http://host:port`` as the asker sees this studio; a proxy says by X-Forwarded-Proto that it is https."""
    forwarded = request.headers.get("X-Forwarded-Proto", "").strip().lower()
    scheme = "https" if forwarded == "https" or request.scheme == "https" else "http"
    return f"{scheme}://{request.host}"


def is_same_origin(request: web.Request) -> bool:
    """Whether a browser says that the request comes from the studio's own pages."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site") == "same-origin"
    return _is_own(origin, request.host)


def _is_own(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def guard(rule: HostRule) -> Middleware:
    """The middleware: 421 for a foreign `Host`, 403 for a foreign `Origin` (``null`` and WebSockets included)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not rule.allows(request.host):
            raise Refusal(421, "this studio does not answer to that host name; start it with that name allowed")
        origin = request.headers.get("Origin")
        if origin is not None and not _is_own(origin, request.host):
            raise Refusal(403, "requests from pages of another origin are refused")
        return await handler(request)

    return check
