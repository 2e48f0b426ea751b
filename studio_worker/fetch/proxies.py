"""The proxy that the environment names for a download."""

from __future__ import annotations

import urllib.request

from yarl import URL

from studio_worker.fetch.addresses import parse_literal


def proxy_for(url: URL) -> URL | None:
    """The proxy for `url`: ``https_proxy``, ``http_proxy``, ``all_proxy``, less what ``no_proxy`` names.

    This machine itself is never asked through a proxy.
    """
    host = url.raw_host or ""
    proxies = urllib.request.getproxies_environment()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_loopback(host) or _is_bypassed(url, proxies):
        return None
    proxy = URL(named if "//" in named else f"http://{named}")
    return proxy if proxy.scheme in ("http", "https") and proxy.host else None


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
