"""Synthetic jobs, run without a host."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.engines.base import EngineJob, Result
from studio_worker.engines.synthetic import SyntheticEngine
from studio_worker.log import logger
from studio_worker.wire.tasks import parse_task

DEFAULTS: dict[str, dict[str, Any]] = {
    "image": {"prompt": "a lighthouse at dusk"},
    "llm": {"messages": [{"role": "user", "content": "what is a lighthouse for"}]},
    "audio_stt": {"inputUrl": "https://example.com/a.wav"},
    "audio_tts": {"text": "the light is lit"},
    "video": {"prompt": "waves rolling in", "seconds": 1.0},
}


class Bench:
    """Makes synthetic results, and remembers the progress of the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress: list[tuple[int, int, str, bytes | None]] = []
        self.cancel = threading.Event()

    def job(self, kind: str, inputs: dict[str, Path] | None = None, seed: int = 1, **fields: Any) -> EngineJob:
        self.progress.clear()
        return EngineJob(
            id="j-1",
            model="synthetic",
            task=parse_task({"kind": kind, **DEFAULTS[kind], **fields}),
            seed=seed,
            work_dir=self.folder,
            log=logger,
            inputs=inputs or {},
            _on_progress=lambda *report: self.progress.append(report),
            _cancel=self.cancel,
        )

    def make(self, kind: str, **options: Any) -> Result:
        return SyntheticEngine().run(self.job(kind, **options))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def sound(tmp_path: Path, bench: Bench) -> Callable[..., Path]:
    """A WAV file of the synthetic voice."""

    def make(text: str = "the light is lit", name: str = "a.wav") -> Path:
        path = tmp_path / name
        path.write_bytes(bench.make("audio_tts", text=text).data)
        return path

    return make
