"""The engine: sound goes in, a transcript comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from studio_worker import (
    Available,
    BadInput,
    Engine,
    EngineCapabilities,
    EngineError,
    EngineJob,
    Estimate,
    ModelFiles,
    PluginConfig,
    TaskKind,
    TranscriptResult,
    Unavailable,
    UnsupportedTask,
    hookimpl,
)

if TYPE_CHECKING:
    from studio_worker import SttTask
    from studio_worker_whisper.model import Model

MAX_AUDIO_SECS = 4 * 3600.0
"""Seconds of sound that one job may bring, unless the operator says otherwise."""


@dataclass(slots=True)
class _Transcript:
    """What has been heard so far; times in seconds from the start of the sound."""

    text: str = ""
    language: str | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)
    end: float = 0.0


class WhisperEngine(Engine):
    """Writes down speech with a Whisper model in CTranslate2's layout.

    The model files of a claim are ``model.bin``, ``config.json``, ``tokenizer.json`` and ``vocabulary.txt`` or
    ``.json``, in any role.

    Args:
        max_audio_secs: the longest sound that a job may bring.
        compute_type: CTranslate2's name of the arithmetic; None for int8 on the CPU, the fastest on CUDA.
        device: ``cuda`` or ``cuda:1`` where a job's load options name none; anything else is the CPU.
    """

    name = "whisper"

    def __init__(
        self, *, max_audio_secs: float = MAX_AUDIO_SECS, compute_type: str | None = None, device: str | None = None
    ) -> None:
        self._max_audio_secs = max_audio_secs
        self._compute_type = compute_type
        self._device = device

    def capabilities(self) -> EngineCapabilities:
        """Any Whisper model that a claim brings."""
        return EngineCapabilities({TaskKind.AUDIO_STT: ["whisper:*"]})

    def availability(self) -> Available | Unavailable:
        """Whether faster-whisper and PyAV are installed."""
        for module, package in (("faster_whisper", "faster-whisper"), ("av", "av")):
            if find_spec(module) is None:
                return Unavailable(f"the package {package} is not installed", f"pip install {package}")
        return Available()

    def estimate(self, model: ModelFiles) -> Estimate:
        """The weights, and what one piece of sound takes."""
        from studio_worker_whisper.model import model_files, place

        weights = model_files(model.files)["model.bin"].stat().st_size
        on_cuda = place(model.options.device or self._device)[0] == "cuda"
        working = 500_000_000
        return Estimate(ram_bytes=working if on_cuda else weights + working, vram_bytes=2 * weights if on_cuda else 0)

    def load(self, model: ModelFiles) -> Model:
        """Load the model.

        Raises:
            EngineError: the files are no such model, or the device fails.
            OutOfMemory: it does not fit.
        """
        from studio_worker_whisper.model import load_model

        return load_model(model, device=model.options.device or self._device, compute_type=self._compute_type)

    def run(self, job: EngineJob) -> TranscriptResult:
        """Write down `job.inputs["audio"]`.

        Raises:
            BadInput: not audio, too long, a language or a translation that the model does not know.
        """
        import ctranslate2

        from studio_worker import SttTask
        from studio_worker_whisper.sound import RATE, decode

        task, model = job.task, job.loaded
        if not isinstance(task, SttTask):
            raise UnsupportedTask(f"whisper serves audio_stt, not {task.kind}")
        language = check_language(task, model)
        pcm = job.work_dir / "sound.pcm"
        job.progress(0, 1, stage="decode")
        total = decode(job.inputs["audio"], pcm, limit_secs=self._max_audio_secs, check_cancelled=job.check_cancelled)
        duration = total / RATE
        ctranslate2.set_random_seed(job.seed % 2**31)
        heard = _Transcript(language=language)
        for _ in _listen(job, task, model, total, heard):
            job.check_cancelled()
            job.progress(min(int(heard.end), math.ceil(duration)), math.ceil(duration), stage="transcribe")
        job.progress(math.ceil(duration), math.ceil(duration), stage="transcribe")
        result: dict[str, Any] = {
            "text": heard.text.strip(),
            "language": heard.language,
            "duration": round(duration, 3),
        }
        if task.timestamps == "segment":
            result["segments"] = heard.segments
        if task.timestamps == "word":
            result["words"] = heard.words
        return TranscriptResult(result)


def check_language(task: SttTask, model: Model) -> str | None:
    """The task's language as Whisper calls it, None to find it out.

    Raises:
        BadInput: the model does not know it, or cannot translate.
    """
    if task.translate and not model.is_multilingual:
        raise BadInput("task.translate: the model knows English only and cannot translate; use a multilingual one")
    if task.language is None:
        return None
    language = task.language.replace("_", "-").split("-", 1)[0].lower()
    if language not in model.languages:
        known = "English only" if not model.is_multilingual else f"{len(model.languages)} languages, not this one"
        raise BadInput(f"task.language: {task.language} is not known to the model; it knows {known}")
    return language


def _listen(job: EngineJob, task: SttTask, model: Model, total: int, heard: _Transcript) -> Iterator[None]:
    """Grow `heard` by one segment at a time."""
    from studio_worker_whisper.model import failure
    from studio_worker_whisper.sound import RATE, windows

    for start, samples in windows(job.work_dir / "sound.pcm", total):
        end = start + len(samples) / RATE
        try:
            segments, info = model.whisper.transcribe(
                samples,
                language=heard.language,
                task="translate" if task.translate else "transcribe",
                initial_prompt=task.prompt or None,
                vad_filter=bool(task.vad),
                word_timestamps=task.timestamps == "word",
            )
            for segment in segments:
                _add(heard, segment, start, end)
                yield
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "whisper could not go on", retryable=True) from error
        except ValueError as error:
            # Tokens that the vocabulary has no text for.
            raise EngineError(
                f"the files of {job.model} do not belong together: {error}; check them in the modelSource",
                retryable=False,
            ) from error
        if heard.text or end * RATE >= total:
            heard.language = info.language
        heard.end = end
        yield


def _add(heard: _Transcript, segment: Any, start: float, end: float) -> None:
    """Take one segment of the piece from `start` to `end`; times only ever grow."""

    def at(secs: float, after: float) -> float:
        return round(min(max(start + float(secs), after), end), 3)

    heard.text += segment.text
    begun = at(segment.start, heard.segments[-1]["end"] if heard.segments else 0.0)
    ended = at(segment.end, begun)
    heard.segments.append({"start": begun, "end": ended, "text": segment.text.strip()})
    for word in segment.words or ():
        word_begun = at(word.start, heard.words[-1]["end"] if heard.words else 0.0)
        heard.words.append({"start": word_begun, "end": at(word.end, word_begun), "word": word.word.strip()})
    heard.end = ended


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The engine, as ``[plugins.whisper]`` sets it: `max_audio_secs`, `compute_type` and `device`."""
    limit = config.plugin.get("max_audio_secs", MAX_AUDIO_SECS)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise ValueError(f"plugins.whisper.max_audio_secs must be a number above 0, not {limit!r}")
    texts: dict[str, str | None] = {}
    for name in ("compute_type", "device"):
        texts[name] = config.plugin.get(name)
        if texts[name] is not None and not isinstance(texts[name], str):
            raise ValueError(f"plugins.whisper.{name} must be a text, not {texts[name]!r}")
    return [WhisperEngine(max_audio_secs=float(limit), **texts)]
