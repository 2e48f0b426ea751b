"""What both bridges need of HTTP: an address from the settings, bounded answers, errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from studio_worker import Available, BadInput, ConfigError, EngineError, Unavailable

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer that are read: a long film, not more."""


def address(settings: Mapping[str, Any], key: str) -> str:
    """The server's address without a slash at its end; empty where the settings name none.

    Raises:
        ConfigError: it is no http(s) address.
    """
    url = settings.get(key, "")
    if url and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
        raise ConfigError(f"[plugins.bridge] {key} must be an http:// or https:// address")
    return str(url).rstrip("/")


def names(settings: Mapping[str, Any], key: str, default: str) -> list[str]:
    """The model ids to advertise.

    Raises:
        ConfigError: it is no list of texts.
    """
    found = settings.get(key) or [default]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f'[plugins.bridge] {key} must be a list of model ids, such as ["qwen3-8b"]')
    return found


def named(url: str, key: str, example: str) -> Available | Unavailable:
    """Available once the server is named; nobody is asked, since a server may come later."""
    if url:
        return Available()
    return Unavailable(f"{key} is not set", f'set {key} = "{example}" in the table [plugins.bridge]')


@asynccontextmanager
async def client(url: str, key: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the server for one job; its trouble becomes an `EngineError` that another try may cure."""
    import aiohttp

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            yield http
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"the server at {url} cannot be used: {error or type(error).__name__}") from error


async def answer(response: aiohttp.ClientResponse) -> bytes:
    """The whole body of an answer.

    Raises:
        BadInput: the server says that the request is at fault.
        EngineError: it says anything else but yes, or more than 256 MiB.
    """
    body = bytearray()
    async for piece in response.content.iter_chunked(256 * 1024):
        body += piece
        if len(body) > MAX_ANSWER:
            raise EngineError(f"the server answers with more than {MAX_ANSWER:,} bytes", retryable=False)
    if response.status in (400, 413, 422):
        raise BadInput(f"the server refuses the job: {_said(body)}")
    if response.status >= 400:
        is_passing = response.status in (408, 425, 429) or response.status >= 500
        raise EngineError(f"the server answers {response.status}: {_said(body)}", retryable=is_passing)
    return bytes(body)


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        EngineError: it is none.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise EngineError("the server's answer is no JSON object")
    return value


def _said(body: bytes | bytearray) -> str:
    return body[:300].decode(errors="replace").strip() or "it says nothing"
