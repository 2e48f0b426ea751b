from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from studio_worker.local_api.server import LocalApi
from studio_worker.readiness import READY, Readiness


class Control:
    """A worker as far as the local API knows it."""

    def __init__(self) -> None:
        self.is_paused = False
        self.extra: dict[str, Any] = {}
        self.problem: Exception | None = None
        self.verdict = READY

    def status(self) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        return {"paused": self.is_paused, **self.extra}

    def readiness(self) -> Readiness:
        return self.verdict

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def discovery_file(tmp_path: Path) -> Path:
    return tmp_path / "local-api.json"


@pytest.fixture
async def api(control: Control, discovery_file: Path) -> AsyncIterator[LocalApi]:
    async with LocalApi(control, port=0, discovery=discovery_file) as serving:
        yield serving
