"""The guard: which URLs of strangers this worker asks, decided twice.

The threat: a claim, a redirect or a name server makes the worker open an address that only it can reach (its own
API, the router, a cloud's metadata service) and send home what is there. The promise: only https to public unicast
addresses, and the very origin of the studio, are ever connected to; `Guard.check` refuses what can be seen in the URL,
`Guard.check_address` decides again on the address that the socket really gets, so that a name that answers
differently the second time wins nothing. A refusal is a `FetchRefused`, which no retry repeats.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from posixpath import normpath
from typing import NoReturn
from urllib.parse import quote, unquote, urlsplit

from yarl import URL

from studio_worker.errors import FetchRefused
from studio_worker.fetch.addresses import METADATA_NAMES, Verdict, parse_literal, plain_host, verdict
from studio_worker.text import escape

MAX_URL = 8_192

MAX_HOST = 253
"""Characters of a name: the bound of DNS. A longer one in other letters would take seconds to be put into ASCII."""

DEFAULT_PORTS = {"http": 80, "https": 443}

SERVICE_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 2375, 2376, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5900, 6000, 6379, 6566}
    | {*range(6665, 6670), 6679, 6697, 9200, 10080, 11211, 27017}
)
"""Ports of services that are no web servers: the blocked list of the Fetch standard above 1023, and databases."""

_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_STUDIO_ROUTE = re.compile(
    r"/graphics/api/(?:(?:workers|models|logs|events)(?:/|$)|jobs(?:/[^/]+(?:/(?:cancel|retry))?)?$)"
)
"""What a studio's API keeps for workers and operators; result and blob paths are everything else."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules, as the settings of this moment make them.

    Attributes:
        own_origin: the studio's origin as `StudioUrls.origin` writes it; always allowed, plain http included.
        allow_private: the operator lets jobs name private hosts (`allow_private_urls`), plain http included.
        closed: host and port of this process's own listeners, which no job may reach.
    """

    own_origin: str | None
    allow_private: bool = False
    closed: frozenset[tuple[str, int]] = frozenset()

    def check(self, url: str, *, what: str = "the URL") -> URL:
        """The URL to ask, its bytes kept as they are (signed links break otherwise).

        Args:
            url: an http or https URL from a stranger; ``data:`` URLs are not the guard's business.
            what: what the URL is for, the subject of the refusal's sentence.

        Raises:
            FetchRefused: with the rule: `bad-url`, `scheme`, `credentials`, `port`, `private-address`,
                `special-address`, `metadata`, `plain-http`, `own-listener`, `studio-route`.
        """
        target = _parse(url, what)
        scheme, host, port = target.scheme, target.raw_host or "", target.port or 0
        if self.is_own(target) and _STUDIO_ROUTE.search(normpath("/" + unquote(target.raw_path).lstrip("/"))):
            _refuse("studio-route", f"{what} names a route of the studio's own API ({shown(url)})")
        literal = parse_literal(host)
        if literal is not None:
            self.check_address(target, str(literal), port, what=what)
            return target
        self._check_closed(host, port, what)
        if self.is_own(target):
            return target
        if host in METADATA_NAMES:
            _refuse("metadata", f"{what} names a cloud's metadata service ({host})")
        if (host == "localhost" or host.endswith(".localhost")) and not self.allow_private:
            _refuse("private-address", f"{what} names this machine itself ({host}), which jobs must not reach")
        if scheme == "http" and not self.allow_private:
            _refuse("plain-http", f"{what} must be https: {shown(url)} would travel unprotected")
        _check_port(scheme, port, what)
        return target

    def check_address(self, url: URL, address: str, port: int, *, what: str = "the URL") -> None:
        """Decide on the address that a connection for `url` is about to use.

        Raises:
            FetchRefused: as `check` does.
        """
        literal = ip_address(address.split("%", 1)[0])
        if isinstance(literal, IPv6Address) and literal.ipv4_mapped is not None:
            literal = literal.ipv4_mapped
        self._check_closed(str(literal), port, what)
        if self.is_own(url):
            return
        found, where = verdict(literal), _where(url, address)
        if found is Verdict.METADATA:
            _refuse("metadata", f"{what} leads to a cloud's metadata service ({where})")
        if found is Verdict.SPECIAL:
            _refuse("special-address", f"{what} leads to {where}, which is no public address")
        if found is Verdict.PRIVATE and not self.allow_private:
            _refuse(
                "private-address",
                f"{what} leads to {where}, a private address; allow_private_urls = true would allow it",
            )
        if url.scheme == "http" and found is not Verdict.PRIVATE:
            _refuse("plain-http", f"{what} must be https: plain http to {where} would travel unprotected")
        _check_port(url.scheme, port, what)

    def is_own(self, url: URL) -> bool:
        """Whether `url` is at the very origin of the studio."""
        return self.own_origin is not None and origin_of(url) == _origin_text(self.own_origin)

    def _check_closed(self, host: str, port: int, what: str) -> None:
        for listener, listener_port in self.closed:
            if port == listener_port and (host == plain_host(listener) or (_is_local(host) and _is_local(listener))):
                _refuse("own-listener", f"{what} leads to this worker's own listener on port {port}")


def origin_of(url: URL) -> str:
    """``scheme://host`` with the port where it is not the scheme's own."""
    host = url.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{host}" + ("" if url.port == DEFAULT_PORTS.get(url.scheme) else f":{url.port}")


def shown(url: str | URL) -> str:
    """A URL for people: no credentials, no query (signatures live there), short, escaped."""
    text = str(url)
    head = re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", text, maxsplit=1)[0])
    return escape(head, limit=200)


def _origin_text(origin: str) -> str:
    try:
        return origin_of(_parse(origin, "the studio's address"))
    except FetchRefused:
        return ""


def _parse(url: str, what: str) -> URL:
    """The URL in canonical form: host folded, path and query escaped but otherwise untouched, no fragment."""
    if not 0 < len(url) <= MAX_URL:
        _refuse("bad-url", f"{what} is empty or longer than {MAX_URL:,} characters")
    if any(char in "\\ " or unicodedata.category(char)[0] in "CZ" for char in url):
        _refuse("bad-url", f"{what} holds white space, a backslash or a control character: {shown(url)}")
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse("bad-url", f"{what} is no URL: {shown(url)}")
    if parts.scheme not in DEFAULT_PORTS:
        _refuse("scheme", f"{what} must start with https:// (got {shown(url)})")
    if "@" in parts.netloc:
        _refuse("credentials", f"{what} holds a user name or password; use a signed link instead")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        _refuse("bad-url", f"{what} has no usable host: {escape(parts.netloc, limit=80)!r}")
    host = _host(authority["host"], what)
    port = _port(authority["port"], what) if authority["port"] else DEFAULT_PORTS[parts.scheme]
    text = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}"
    text += ("" if port == DEFAULT_PORTS[parts.scheme] else f":{port}") + (_ascii(parts.path) or "/")
    return URL(f"{text}?{_ascii(parts.query)}" if parts.query else text, encoded=True)


def _host(raw: str, what: str) -> str:
    try:
        literal = parse_literal(raw)
    except ValueError:
        _refuse("bad-url", f"{what} has a host that is no address: {escape(raw, limit=80)}")
    if literal is not None:
        return str(literal)
    host = plain_host(raw)
    try:
        host = host.encode("idna").decode() if not host.isascii() and len(host) <= MAX_HOST else host
    except UnicodeError:
        _refuse("bad-url", f"{what} has a host that is no name: {escape(raw, limit=80)}")
    if not _HOST.fullmatch(host) or ".." in host or len(host) > MAX_HOST:
        _refuse("bad-url", f"{what} has no usable host: {escape(raw, limit=80)!r}")
    return host


def _port(digits: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", digits) or not 0 < int(digits) < 65_536:
        _refuse("port", f"{what} names a port that does not exist: {escape(digits, limit=20)}")
    return int(digits)


def _check_port(scheme: str, port: int, what: str) -> None:
    if port != DEFAULT_PORTS[scheme] and (port < 1024 or port in SERVICE_PORTS):
        _refuse("port", f"{what} names port {port}, which belongs to another kind of service")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = parse_literal(host)
    except ValueError:
        return False
    return address is not None and (address.is_loopback or address.is_unspecified)


def _where(url: URL, address: str) -> str:
    host = url.raw_host or ""
    return address if host == address else f"{host} at {address}"


def _ascii(text: str) -> str:
    return quote(text, safe="".join(map(chr, range(0x21, 0x7F))))


def _refuse(rule: str, sentence: str) -> NoReturn:
    raise FetchRefused(rule, sentence)
