"""The plugin API: what an engine is, what it is given, what it returns. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from studio_worker.engines.needs import Needs
from studio_worker.errors import Cancelled
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.wire.kinds import TaskKind

if TYPE_CHECKING:
    from loguru import Logger

    from studio_worker.engines.job_watch import JobWatch
    from studio_worker.wire.model_source import ModelSource
    from studio_worker.wire.tasks import Task

Isolation: TypeAlias = Literal["process", "thread", "loop"]


class EngineCapabilities:
    """What an engine serves: for each kind, the model ids that it advertises.

    A real engine that loads whatever a claim names advertises a label such as ``onnx:*``; the label is for
    people and is never matched as a pattern.

    Args:
        models: kind to model ids; order is kept, repeats are dropped. A kind without any is served by source alone.

    Raises:
        TypeError: it is no mapping, or the ids of a kind are no list of texts.
        ValueError: there is no such kind.
    """

    __slots__ = ("models",)

    def __init__(self, models: Mapping[TaskKind, Sequence[str]]) -> None:
        self.models: Mapping[TaskKind, tuple[str, ...]] = MappingProxyType(dict(_models(models)))

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """The kinds served."""
        return tuple(self.models)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EngineCapabilities) and dict(self.models) == dict(other.models)

    def __hash__(self) -> int:
        return hash(tuple(self.models.items()))

    def __repr__(self) -> str:
        return f"EngineCapabilities({dict(self.models)!r})"


def _models(models: Mapping[TaskKind, Sequence[str]]) -> Iterator[tuple[TaskKind, tuple[str, ...]]]:
    if not isinstance(models, Mapping):
        raise TypeError(f"models is a {type(models).__name__}; such as {{TaskKind.LLM: ['an-id']}} is needed")
    for kind, ids in models.items():
        if kind not in list(TaskKind):
            raise ValueError(f"there is no kind {kind!r:.100}; there are {', '.join(TaskKind)}")
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise TypeError(f"the models of {TaskKind(kind)} are {ids!r:.100}; a list of model ids is needed")
        found = tuple(dict.fromkeys(ids))
        for model_id in found:
            if not isinstance(model_id, str):
                raise TypeError(f"{model_id!r:.100} is no model id of {TaskKind(kind)}; a text is needed")
        yield TaskKind(kind), found


@dataclass(frozen=True, slots=True)
class Available:
    """The engine can run here."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The engine cannot run here: it is shown, not advertised.

    Attributes:
        reason: what is missing.
        remedy: what to do about it, a command where there is one.
    """

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """A picture: encoded bytes, or a file inside the job's `work_dir`."""

    data: bytes | Path
    ext: str


@dataclass(frozen=True, slots=True)
class AudioResult:
    """Sound: encoded bytes, or a file inside the job's `work_dir`."""

    data: bytes | Path
    ext: str = "wav"


@dataclass(frozen=True, slots=True)
class VideoResult:
    """A moving picture: encoded bytes, or a file inside the job's `work_dir`."""

    data: bytes | Path
    ext: str = "mp4"


@dataclass(frozen=True, slots=True)
class LlmResult:
    """A completion in OpenAI's ``chat.completion`` shape, with true token counts."""

    json: dict[str, Any]

    @classmethod
    def of(
        cls,
        text: str,
        *,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        finish_reason: Literal["stop", "length"] = "stop",
        reasoning: str = "",
    ) -> LlmResult:
        """A completion of one answer.

        Args:
            text: the answer.
            model: the model id, as a rule the job's.
            prompt_tokens: tokens of the conversation.
            completion_tokens: tokens of the answer, its reasoning included.
            finish_reason: ``length`` where `max_tokens` cut it.
            reasoning: the model's thinking, apart from the answer.
        """
        message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
        return cls(
            {
                "object": "chat.completion",
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            }
        )


@dataclass(frozen=True, slots=True)
class TranscriptResult:
    """A transcript: ``{text, language, duration, segments?, words?}``, times in seconds."""

    json: dict[str, Any]


Result: TypeAlias = ImageResult | AudioResult | VideoResult | LlmResult | TranscriptResult
"""What an engine's `run` returns: the type that belongs to the kind of its task."""

RESULT_TYPES: Mapping[TaskKind, type[Result]] = {
    TaskKind.IMAGE: ImageResult,
    TaskKind.AUDIO_TTS: AudioResult,
    TaskKind.VIDEO: VideoResult,
    TaskKind.LLM: LlmResult,
    TaskKind.AUDIO_STT: TranscriptResult,
}


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of an answer, in order; `reasoning` is a piece of the model's thinking."""

    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A piece of sound: 16-bit little-endian mono PCM at `rate` Hz."""

    pcm: bytes
    rate: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a model takes once loaded."""

    ram_bytes: int = 0
    vram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """What the operator set for one plugin: its ``[plugins.<name>]`` table; none of the worker's secrets."""

    plugin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as hooks see it. `origin` is ``studio`` or ``local``; `source` is the ModelSource's engine id."""

    id: str
    kind: TaskKind
    model: str
    engine: str
    source: str | None = None
    origin: str = "studio"
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. `status` is ``done``, ``failed`` or ``cancelled``; `seconds` is from accept to end."""

    status: Literal["done", "failed", "cancelled"]
    seconds: float
    error: str | None = None
    retryable: bool = False


ProgressCallback: TypeAlias = Callable[[int, int, str, bytes | None], None]


def _no_progress(step: int, total: int, stage: str, preview: bytes | None) -> None:
    """Progress that nobody follows."""


class CancelFlag:
    """Asks one job to end: set once, read from any thread. Nobody waits for it, so it is lighter than an event."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Ask."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether somebody has asked."""
        return self._is_set


@dataclass(slots=True, kw_only=True)
class EngineJob:
    """One job as its engine sees it.

    Attributes:
        id: the job id.
        model: the model id.
        task: the task, with every default resolved (protocol section 4).
        source: the claim's `ModelSource`; None for a local job without one.
        files: role to local paths, downloaded and verified, in the claim's order.
        inputs: fetched inputs: ``image``, ``mask``, ``ref_image`` (image, video), ``audio`` (audio_stt). The worker has
            decoded every picture: a still PNG, JPEG or WebP of 8-bit grey, RGB or RGBA, upright, of at most 64 Mi
            pixels, a mask of its picture's size. Sound is as it came, from a stranger.
        options: how the model is to be loaded.
        loaded: what the engine's `load` returned.
        seed: always set; random where the task has none, and reported in `generationMeta`.
        work_dir: a private folder, gone after the job.
        log: a logger bound to the job.
        meta: JSON values that go into `generationMeta`.
    """

    id: str
    model: str
    task: Task
    seed: int
    work_dir: Path
    log: Logger
    source: ModelSource | None = None
    files: Mapping[str, list[Path]] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    options: LoadOptions = LoadOptions()
    loaded: Any = None
    meta: dict[str, Any] = field(default_factory=dict)
    _on_progress: ProgressCallback = field(default=_no_progress, repr=False)
    _cancel: CancelFlag = field(default_factory=CancelFlag, repr=False)
    _watch: JobWatch | None = field(default=None, repr=False)

    def progress(self, step: int, total: int, *, stage: str = "run", preview: bytes | None = None) -> None:
        """Say how far the job is. Cheap, from any thread.

        Args:
            step: steps done, 0 to `total`.
            total: steps in all.
            stage: a word for what is going on.
            preview: a small encoded picture of what there is so far.
        """
        self._on_progress(step, total, stage, preview)

    @property
    def cancelled(self) -> bool:
        """Whether the job is to end now."""
        return self._cancel.is_set()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` where the job is to end now; call it between steps."""
        if self._cancel.is_set():
            raise Cancelled


DECLARED = ("name", "sources", "isolation", "concurrency", "api_version", "deterministic", "needs")
"""The attributes by which an `Engine` tells of itself; whoever stands in for an engine has all of them."""


class Engine(ABC):
    """Runs jobs of one or more kinds.

    Attributes:
        name: how people call the engine; defaults to nothing, so set it.
        sources: the ModelSource.engine ids that it serves; empty means ``(name,)``.
        isolation: where it runs: ``process``, ``thread`` or ``loop``.
        concurrency: how many jobs it can run at once.
        api_version: the plugin API that it was written for.
        deterministic: the same job with the same seed gives the same bytes.
        needs: what the machine must have; None: nothing in particular. Where it is missing the engine is shown as
            unavailable, with the remedy.
    """

    name: str = ""
    sources: tuple[str, ...] = ()
    isolation: Isolation = "process"
    concurrency: int = 1
    api_version: int = 1
    deterministic: bool = False
    needs: Needs | None = None

    @abstractmethod
    def capabilities(self) -> EngineCapabilities:
        """The kinds and model ids served. Cheap and pure; imports nothing heavy."""

    def availability(self) -> Available | Unavailable:
        """Whether the engine can run here, by `find_spec` and file look-ups; imports nothing heavy."""
        return Available()

    def load(self, model: ModelFiles) -> Any:
        """Load a model; what is returned stays warm and is handed on as `job.loaded`. Heavy imports belong here."""
        return None

    def unload(self, loaded: Any) -> None:
        """Give back what `load` took."""

    def estimate(self, model: ModelFiles) -> Estimate | None:
        """Bytes of RAM and VRAM that `load` will take, None where unknown."""
        return None

    @abstractmethod
    def run(self, job: EngineJob) -> Any:
        """Run a job and return its result.

        A plain method for isolation ``process`` and ``thread``, ``async def`` for ``loop``.

        Raises:
            UnsupportedTask: the engine cannot do this task; never retried.
            BadInput: an input is not what the task needs; never retried.
            OutOfMemory: retried, here or elsewhere.
            EngineError: with `retryable` as given; any other exception is a retryable failure.
        """

    def stream(self, job: EngineJob) -> Iterator[Any] | AsyncIterator[Any]:
        """Optional: yield `TextDelta` or `AudioChunk` as they come, and the result last."""
        raise NotImplementedError
