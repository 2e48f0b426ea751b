"""The proxy that the environment names for a download."""

from __future__ import annotations

import urllib.request

from yarl import URL

from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.addresses import parse_literal
from studio_worker.fetch.guard import shown


def proxy_for(url: URL) -> URL | None:
    """The proxy for `url`: ``https_proxy``, ``http_proxy``, ``all_proxy``, less what ``no_proxy`` names.

    This machine itself is never asked through a proxy.

    Raises:
        ModelUnavailable: it is of a kind that cannot be spoken to; going round it would tell the world what it hides.
    """
    host = url.raw_host or ""
    proxies = urllib.request.getproxies_environment()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_loopback(host) or _is_bypassed(url, proxies):
        return None
    try:
        proxy = URL(named if "//" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if proxy.scheme in ("http", "https") and proxy.host:
        return proxy
    raise ModelUnavailable(
        f"{url.raw_host} cannot be asked: the environment names the proxy {shown(named)}, and only http(s):// "
        f"proxies can be used; set {url.scheme}_proxy, or name the host in no_proxy"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        literal = parse_literal(host)
    except ValueError:
        return False
    return literal is not None and literal.is_loopback


def _is_bypassed(url: URL, proxies: dict[str, str]) -> bool:
    # Public since Python 2.6, and typeshed leaves it out.
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    return bool(bypass(f"{url.raw_host}:{url.port}", proxies))
