"""The admin side of a studio over plain blocking HTTP, for short commands."""

from __future__ import annotations

from collections.abc import Collection
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from studio_worker.errors import ConfigError, StudioUnreachable, StudioWorkerError
from studio_worker.private_file import read_private
from studio_worker.text import escape
from studio_worker.version import __version__
from studio_worker.wire.strict_json import NotJson, dumps, loads
from studio_worker.wire.urls import StudioUrls

MAX_ANSWER_BYTES = 268_435_456
PAGE = 100
"""Jobs that one answer of a list may hold; each may carry its inputs."""


class StudioSaysNo(StudioWorkerError):
    """A studio answered with an error.

    Args:
        status: the HTTP status.
        message: the sentence for people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StudioAdmin:
    """Asks a studio as its operator. Every method blocks.

    Args:
        url: the studio's address.
        token: its admin token.
        timeout_secs: how long to wait for the network.

    Raises:
        ConfigError: the address or the token cannot be used.
    """

    def __init__(self, url: str, token: str, *, timeout_secs: float = 30.0) -> None:
        try:
            self._urls = StudioUrls.parse(url)
        except ValueError as error:
            raise ConfigError(f"the studio's address {error}") from None
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ConfigError("the admin token must be printable ASCII without white space")
        self._token = token
        self._timeout_secs = timeout_secs

    @classmethod
    def from_file(cls, path: Path) -> StudioAdmin:
        """As the owner of a studio on this machine: by its ``admin.json``.

        Raises:
            ConfigError: the file is missing, open to others or damaged.
        """
        try:
            found = loads(read_private(path, limit_bytes=65_536))
        except FileNotFoundError:
            raise ConfigError(
                f"there is no {path}: start a studio by `studio-worker studio`, or name one by --studio and --token"
            ) from None
        except NotJson:
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("url", "token")):
            raise ConfigError(f"{path} is no admin file of a studio: start the studio again")
        return cls(found["url"], found["token"])

    @property
    def home(self) -> str:
        """The studio's front page."""
        return self._urls.home

    def jobs(self, job_ids: Collection[str] | None = None) -> list[dict[str, Any]]:
        """The studio's jobs, newest first.

        Args:
            job_ids: only these; None: all that there are.

        Raises:
            StudioUnreachable: no usable answer.
            StudioSaysNo: the studio refuses; the sentence has its reason.
        """
        found: list[dict[str, Any]] = []
        missing = None if job_ids is None else set(job_ids)
        after = ""
        while missing is None or missing:
            page = self._ask("GET", f"/jobs?limit={PAGE}{after}")
            if not isinstance(page, list) or not all(isinstance(job, dict) and "jobId" in job for job in page):
                raise self._no_studio()
            found += [job for job in page if missing is None or job["jobId"] in missing]
            if missing is not None:
                missing -= {str(job["jobId"]) for job in page}
            if len(page) < PAGE:
                break
            after = f"&after={quote(str(page[-1]['jobId']), safe='')}"
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """One job; raises as `jobs` does."""
        return self._object("GET", f"/jobs/{quote(job_id, safe='')}")

    def add(self, job: dict[str, Any]) -> str:
        """Queue a job; returns its id. Raises as `jobs` does."""
        answer = self._object("POST", "/jobs", dumps(job).encode())
        if not isinstance(answer.get("jobId"), str):
            raise self._no_studio()
        return str(answer["jobId"])

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; raises as `jobs` does."""
        return self._object("POST", f"/jobs/{quote(job_id, safe='')}/cancel")

    def retry(self, job_id: str) -> dict[str, Any]:
        """Queue a job anew; raises as `jobs` does."""
        return self._object("POST", f"/jobs/{quote(job_id, safe='')}/retry")

    def result(self, job_id: str) -> bytes:
        """The bytes of a job's result; raises as `jobs` does."""
        status, raw = self._exchange("GET", f"/jobs/{quote(job_id, safe='')}/result", None)
        if status != 200:
            raise StudioSaysNo(
                status, f"the studio at {self.home} answered {status} when asked for the result of {escape(job_id)}"
            )
        return raw

    def _object(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        answer = self._ask(method, path, body)
        if not isinstance(answer, dict):
            raise self._no_studio()
        return answer

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        status, raw = self._exchange(method, path, body)
        try:
            answer = loads(raw) if raw.strip() else {}
        except NotJson:
            raise self._no_studio() from None
        if 200 <= status < 300:
            return answer
        said = ""
        if isinstance(answer, dict):
            said = ": " + escape(str(answer.get("message") or answer.get("error") or answer.get("reason")), limit=500)
        hint = " (is the admin token right?)" if status in (401, 403) else ""
        raise StudioSaysNo(status, f"the studio at {self.home} answered {status}{said}{hint}")

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        parts = urlsplit(self._urls.api)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._timeout_secs)
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": f"studio-worker/{__version__}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, parts.path + path, body=body, headers=headers)
            response = connection.getresponse()
            raw = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, HTTPException) as error:
            why = escape(str(error) or type(error).__name__, limit=300)
            raise StudioUnreachable(f"the studio at {self.home} does not answer: {why}") from None
        finally:
            connection.close()
        if len(raw) > MAX_ANSWER_BYTES:
            raise StudioUnreachable(f"the answer of {self.home} is larger than {MAX_ANSWER_BYTES:,} bytes")
        return response.status, raw

    def _no_studio(self) -> StudioUnreachable:
        return StudioUnreachable(f"what answers at {self.home} is not a studio: check the address")
