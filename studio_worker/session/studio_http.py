"""HTTP to a studio: no redirect is followed, no body is read without a bound, no trouble goes unnamed.

The client is `open_http`'s, or an embedder's own, whose habits (errors for statuses, redirects) must not matter.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from studio_worker.errors import StudioUnreachable
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.version import __version__
from studio_worker.wire import strict_json
from studio_worker.wire.urls import StudioUrls

if TYPE_CHECKING:
    _Socket: TypeAlias = aiohttp.ClientWebSocketResponse[Literal[True]]
else:
    _Socket = aiohttp.ClientWebSocketResponse

MAX_BODY = 64 * 1024
"""Bytes of an answer that are read (protocol section 5)."""

USER_AGENT = f"studio-worker/{__version__}"


class RedirectRefused(aiohttp.ClientError):
    """A studio's route redirects; `target` is where to."""

    def __init__(self, target: str) -> None:
        super().__init__(f"redirects to {target}")
        self.target = target


class SessionClosed(aiohttp.ClientError):
    """An embedder has closed the HTTP session that its worker uses."""


def check_open(http: aiohttp.ClientSession) -> None:
    """Raise `SessionClosed` where aiohttp would raise a RuntimeError, which is no trouble of the network's."""
    if http.closed:
        raise SessionClosed("the worker's HTTP session was closed by its owner")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of a studio.

    Attributes:
        status: the HTTP status.
        body: the JSON value of the body, None where it is no JSON or too large.
        said: the body's first line, escaped, for a log.
        retry_after: the header as it was sent.
    """

    status: int
    body: Any = None
    said: str = ""
    retry_after: str | None = None


class StudioSocket(_Socket):
    """A WebSocket that remembers which subprotocol the studio answered, also where it is none of ours."""

    def __init__(
        self, reader: Any, writer: Any, protocol: str | None, response: aiohttp.ClientResponse, *rest: Any, **named: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *rest, **named)
        self.answered_protocol = response.headers.get("Sec-WebSocket-Protocol")


def open_http(urls: StudioUrls, *, tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """The client for every route of one studio: sessions, registration, uploads.

    The environment's proxy is used for all of them, cookies are dropped, addresses are looked up anew for each
    connection, and a redirect raises `RedirectRefused`, for WebSocket upgrades too, which have no switch for it.

    Args:
        urls: the studio's routes.
        tls: whom to trust; the system's authorities where it is None.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    # trust_env would look for `wss_proxy`, which nobody sets, and cost two thread hops a request.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(use_dns_cache=False, ssl=True if tls is None else tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        trace_configs=[trace],
        ws_response_class=StudioSocket,
        proxy=environment_proxy(urls.origin),
    )


def environment_proxy(origin: str) -> URL | None:
    """The proxy that the environment names for an origin (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), if any."""
    target = URL(origin)
    proxies = getproxies()
    named = proxies.get(target.scheme) or proxies.get("all")
    if not named or target.host is None or proxy_bypass(target.host):
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or proxy.host is None:
        logger.bind(event="studio.proxy", scheme=proxy.scheme, host=proxy.host).warning(
            "The environment names a proxy that is not reached by plain http; going without it"
        )
        return None
    return proxy


def redirect_of(websocket: aiohttp.ClientWebSocketResponse[bool]) -> str | None:
    """Where a studio sent the upgrade to, as a client does that is not `open_http`'s; None where it came straight."""
    history = websocket._response.history  # noqa: SLF001 - aiohttp follows redirects of upgrades and tells nobody
    return escape(history[0].headers.get("Location", ""), limit=200) if history else None


async def _refuse_redirect(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    target = params.response.headers.get("Location", "")
    params.response.close()
    raise RedirectRefused(escape(target, limit=200))


async def ask(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    json: Any = None,
    bearer: str | None = None,
    timeout_secs: float = 60.0,
) -> Reply:
    """Ask a studio something small.

    Args:
        http: the client, from `open_http` or the embedder's own.
        method: ``GET`` or ``POST``.
        url: the route.
        json: the body's value, where there is one.
        bearer: the token or secret to authenticate with.
        timeout_secs: for the whole request.

    Raises:
        StudioUnreachable: no answer came, or a redirect; the sentence names the host and the reason.
    """
    headers = {"Content-Type": "application/json"} if json is not None else {}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    data = None if json is None else strict_json.dumps(json).encode()
    timeout = aiohttp.ClientTimeout(total=timeout_secs)
    try:
        check_open(http)
        async with http.request(
            method, url, data=data, headers=headers, allow_redirects=False, raise_for_status=False, timeout=timeout
        ) as response:
            body = await _bounded(response)
            if 300 <= response.status < 400:
                raise RedirectRefused(escape(response.headers.get("Location", ""), limit=200))
            return Reply(
                response.status,
                _json(body),
                escape(body.decode(errors="replace").strip().split("\n", 1)[0], limit=300),
                response.headers.get("Retry-After"),
            )
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise StudioUnreachable(describe_trouble(error, url)) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) <= MAX_BODY:
        piece = await response.content.read(MAX_BODY + 1 - len(body))
        if not piece:
            break
        body += piece
    else:
        # The rest is not wanted: without this, giving the connection back would read on.
        response.close()
    return bytes(body[:MAX_BODY])


def _json(body: bytes) -> Any:
    try:
        return strict_json.loads(body)
    except strict_json.NotJson:
        return None


def describe_trouble(error: BaseException, url: str) -> str:
    """A sentence that names the host and what went wrong; holds no credentials and nothing unescaped."""
    host = URL(url).authority
    match error:
        case RedirectRefused():
            return f"{host} redirects to {error.target or 'nowhere'}: that is not a studio"
        case TimeoutError():
            return f"{host} did not answer in time"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy on the way to {host} answered {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy {error.host}:{error.port} on the way to {host} cannot be reached ({_cause(error)})"
        case aiohttp.ClientConnectorCertificateError():
            return f"{host} shows a certificate that is not trusted ({_cause(error.certificate_error)})"
        case aiohttp.ClientSSLError():
            return f"no secure connection to {host} ({_cause(error)})"
        case aiohttp.ClientConnectorDNSError():
            return f"the name of {host} cannot be resolved ({_cause(error)})"
        case aiohttp.ClientConnectorError():
            return f"{host} cannot be reached ({_cause(error)})"
        case SessionClosed():
            return f"{host} cannot be asked: {error}"
        case aiohttp.WSServerHandshakeError() if error.status != 101:
            kind = error.headers.get("Content-Type", "no content") if error.headers else "no content"
            return f"{host} answered the upgrade with {error.status} and {escape(kind, limit=60)}, expected 101"
        case _:
            return f"the connection to {host} failed ({_cause(error)})"


def _cause(error: BaseException) -> str:
    inner = error.os_error if isinstance(error, aiohttp.ClientOSError) and hasattr(error, "os_error") else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return escape(inner.verify_message, limit=200)
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return escape(str(text), limit=200)
