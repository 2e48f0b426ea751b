"""What the local API needs of the worker that it controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from studio_worker.readiness import Readiness


class DaemonControl(Protocol):
    """A running worker, as its own machine may steer it. Called on the event loop; nothing here blocks."""

    def status(self) -> Mapping[str, Any]:
        """What the worker is doing, as JSON values without secrets."""
        ...

    def readiness(self) -> Readiness:
        """Whether it would be offered a job now and take it."""
        ...

    def pause(self) -> None:
        """Take no new jobs; harmless when paused."""
        ...

    def resume(self) -> None:
        """Take jobs again; harmless when not paused."""
        ...
