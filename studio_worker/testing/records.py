"""What a scripted studio has seen, and how a test waits for more without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_T = TypeVar("_T")

PATIENCE_SECS = 30.0
"""How long a test waits for what never comes; a wait that succeeds costs no more than the thing itself."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One text frame of a worker. `fields` is the whole object; `at` is the loop's time in seconds."""

    type: str
    fields: dict[str, Any]
    at: float
    session: int
    size: int

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or `default`."""
        return self.fields.get(name, default)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One HTTP request, upgrades included. `json` is None where the body is none."""

    method: str
    path: str
    headers: dict[str, str]
    at: float
    json: Any = None

    @property
    def bearer(self) -> str | None:
        """The bearer token of the request."""
        value = self.headers.get("Authorization", "")
        return value.removeprefix("Bearer ") if value.startswith("Bearer ") else None


@dataclass(frozen=True, slots=True)
class SeenUpload:
    """One upload of a binary result, read whole. `parts` are the text parts in their order."""

    worker_id: str
    job_id: str
    bearer: str | None
    data: bytes
    filename: str | None
    content_type: str | None
    at: float
    parts: dict[str, str] = field(default_factory=dict)
    status: int = 0


class Record:
    """Lists of what was seen, each entry waking those who wait."""

    def __init__(self) -> None:
        self.frames: list[SeenFrame] = []
        self.requests: list[SeenRequest] = []
        self.uploads: list[SeenUpload] = []
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def changed(self) -> None:
        """Look again at what tests wait for."""
        for ready, future in tuple(self._waiting):
            if not future.done() and ready():
                future.set_result(None)

    async def until(self, ready: Callable[[], _T | None], *, what: str = "", timeout_secs: float | None = None) -> _T:
        """Wait until `ready()` is true and return its value.

        Raises:
            AssertionError: it did not become true in `timeout_secs`; says what was seen instead.
        """
        if value := ready():
            return value
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (ready, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(PATIENCE_SECS if timeout_secs is None else timeout_secs):
                await future
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what or ready}; {self.summary()}") from None
        finally:
            self._waiting.remove(entry)
        value = ready()
        assert value, f"{what or ready} was there and went again"
        return value

    def of_type(self, frame_type: str, **fields: Any) -> list[SeenFrame]:
        """The frames of a type whose fields have the given values; names as on the wire or in snake_case."""
        wanted = {_camel(name): value for name, value in fields.items()}
        return [
            frame
            for frame in self.frames
            if frame.type == frame_type and all(frame.fields.get(name) == value for name, value in wanted.items())
        ]

    def summary(self) -> str:
        """What was seen, in short, for an assertion's message."""
        frames = ", ".join(f"{frame.type}({frame.get('jobId', '')})" for frame in self.frames[-30:])
        requests = ", ".join(f"{request.method} {request.path}" for request in self.requests[-10:])
        return f"last frames: [{frames}]; last requests: [{requests}]; uploads: {len(self.uploads)}"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
