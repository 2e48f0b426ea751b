"""Asking a running worker from a short command: plain blocking HTTP, nothing heavy to import."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Literal

from studio_worker.errors import StudioWorkerError
from studio_worker.local_api.discovery import Discovery, read_discovery
from studio_worker.text import escape
from studio_worker.wire.strict_json import NotJson, loads

_MAX_BYTES = 16_777_216


class NoDaemon(StudioWorkerError):
    """No worker answers here."""

    def __init__(self) -> None:
        super().__init__("no worker is running here: start one with `studio-worker run`")


class DaemonClient:
    """Talks to the worker that published a discovery file. Every method blocks.

    Args:
        discovery: the file.
        timeout_secs: how long to wait for an answer.
    """

    def __init__(self, discovery: Path, *, timeout_secs: float = 5.0) -> None:
        self._file = discovery
        self._timeout_secs = timeout_secs

    def status(self) -> Mapping[str, Any]:
        """What the worker is doing.

        Raises:
            NoDaemon: none runs, or it has died and left its file behind.
            ConfigError: the discovery file is open to others or damaged.
            StudioWorkerError: it answered with an error, or something else answers there.
        """
        return self._ask("GET", "/daemon/status")

    def pause(self) -> Mapping[str, Any]:
        """Let the worker take no new jobs; raises as `status` does."""
        return self._ask("POST", "/daemon/pause")

    def resume(self) -> Mapping[str, Any]:
        """Let the worker take jobs again; raises as `status` does."""
        return self._ask("POST", "/daemon/resume")

    def _ask(self, method: Literal["GET", "POST"], path: str) -> Mapping[str, Any]:
        found = read_discovery(self._file)
        if found is None:
            raise NoDaemon
        status, raw = self._exchange(found, method, path)
        try:
            answer = loads(raw)
        except NotJson:
            answer = None
        if not isinstance(answer, dict) or (status == 401 and answer.get("error") == "unauthorized"):
            # The worker died without cleaning up, and another program has its port now.
            raise NoDaemon
        if status != 200:
            said = escape(str(answer.get("message") or answer.get("error") or "no reason given"), limit=500)
            raise StudioWorkerError(f"the worker at {found.url} answered {status}: {said}")
        return answer

    def _exchange(self, found: Discovery, method: str, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", found.port, timeout=self._timeout_secs)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {found.token}"})
            response = connection.getresponse()
            return response.status, response.read(_MAX_BYTES)
        except TimeoutError:
            raise StudioWorkerError(
                f"the worker at {found.url} did not answer within {self._timeout_secs:g} s: look at its log"
            ) from None
        except (OSError, HTTPException):
            raise NoDaemon from None
        finally:
            connection.close()
