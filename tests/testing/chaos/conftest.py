"""A worker whose only other engine is a faulty one, and small jobs for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker import ImageTask, Job, LlmTask, ModelSource, TtsTask, Worker

CHAOS = ModelSource(engine="chaos")
TASKS = {
    "image": ImageTask(prompt="a clay cup", width=64, height=64, ext="png"),
    "llm": LlmTask(messages=[{"role": "user", "content": "Say hello."}], max_tokens=16),
    "audio_tts": TtsTask(text="Good morning.", ext="wav"),
}


@pytest.fixture
def worker_with(settings: Callable[..., Any]) -> Callable[..., Worker]:
    """A worker without a studio that has these engines."""

    def make(*engines: Any, **fields: Any) -> Worker:
        return Worker(settings(**fields), engines=engines)

    return make


@pytest.fixture
def order() -> Callable[..., Job]:
    """Submits a small job of a kind for the engine ``chaos``."""

    def submit(worker: Worker, kind: str = "llm", **options: Any) -> Job:
        return worker.submit(TASKS[kind], **{"model": f"chaos-{kind}", "source": CHAOS} | options)

    return submit


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on `sys.path`, for the modules of faulty engines."""
    folder = tmp_path / "faults"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder
