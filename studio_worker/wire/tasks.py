"""The five kinds of task (protocol section 4), each field with its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, model_validator

from studio_worker.errors import BadClaim
from studio_worker.wire.base import (
    FreeJson,
    FreeObject,
    WireModel,
    bad_claim,
    bounded_text,
    matching,
    number,
    shown,
    whole,
)
from studio_worker.wire.json_schema import check_schema
from studio_worker.wire.kinds import TaskKind

MAX_PROMPT = 100_000
"""Characters of a prompt or of a text to speak."""

MAX_CONVERSATION = 4_000_000
"""Characters of all messages of a conversation together."""

MAX_URL = 8_192
MAX_DATA_URL = 12_000_000
MAX_STEPS = 1_000
MAX_SEED = 2**64 - 1
MAX_TOKENS = 1_000_000
MAX_SIDE = 16_384
MAX_PIXELS = 64 * 1024 * 1024
"""Pixel budget of one picture or frame: 8192 x 8192."""

SAMPLING_METHODS = (
    "euler",
    "euler_a",
    "heun",
    "dpm2",
    "dpm++2s_a",
    "dpm++2m",
    "dpm++2mv2",
    "ipndm",
    "ipndm_v",
    "lcm",
    "ddim_trailing",
    "tcd",
    "res_multistep",
    "res_2s",
)
"""The sampler names of stable-diffusion.cpp's command line, which the contract uses."""

Prompt: TypeAlias = Annotated[str, bounded_text(MAX_PROMPT)]
OptionalText: TypeAlias = Annotated[str, bounded_text(MAX_PROMPT, may_be_blank=True)]


def _url(text: str) -> str:
    limit = MAX_DATA_URL if text[:5].lower() == "data:" else MAX_URL
    if not 0 < len(text) <= limit:
        raise ValueError(f"is empty or longer than {limit:,} characters")
    return text


_url.__doc__ = f"at most {MAX_URL:,} characters, as a `data:` URL {MAX_DATA_URL:,}"


def _sampler(name: str) -> str:
    if name not in SAMPLING_METHODS:
        raise ValueError(f"must be one of {', '.join(SAMPLING_METHODS)}")
    return name


_sampler.__doc__ = f"one of {', '.join(f'`{name}`' for name in SAMPLING_METHODS)}"


def _schema(value: Any) -> Any:
    check_schema(value)
    return value


_schema.__doc__ = "a JSON Schema that refers to itself alone, and never in a circle"


Url: TypeAlias = Annotated[str, AfterValidator(_url)]
Sampler: TypeAlias = Annotated[str, AfterValidator(_sampler)]
Side: TypeAlias = Annotated[int, whole(1, MAX_SIDE)]
Steps: TypeAlias = Annotated[int, whole(1, MAX_STEPS)]
CfgScale: TypeAlias = Annotated[float, number(0, 100)]
Seed: TypeAlias = Annotated[int, whole(0, MAX_SEED)]
Language: TypeAlias = Annotated[
    str, matching(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,3}", "a language tag such as 'en' or 'pt-BR'")
]
Voice: TypeAlias = Annotated[
    str,
    matching(
        r"[A-Za-z0-9](?:[A-Za-z0-9 _+-]|\.(?!\.)){0,127}", "a voice name: letters, digits, space, _ + - and single dots"
    ),
]


class ImageTask(WireModel):
    """Make a picture of `width` x `height` pixels, 64 Mi of them at most. A `maskUrl` needs an `initImageUrl`."""

    kind: ClassVar[TaskKind] = TaskKind.IMAGE
    prompt: Prompt
    negative_prompt: OptionalText | None = None
    init_image_url: Url | None = None
    mask_url: Url | None = Field(None, description="White is what to repaint.")
    ref_image_url: Url | None = Field(None, description="Instruction edit: the whole picture is made anew from it.")
    denoise: Annotated[float, number(0, 1)] | None = None
    cfg_scale: CfgScale | None = None
    sampling_method: Sampler | None = None
    width: Side = 512
    height: Side = 512
    steps: Steps = 20
    seed: Seed | None = None
    ext: Literal["webp", "png", "jpg", "jpeg", "gif"] = "webp"

    @model_validator(mode="after")
    def _bounds(self) -> ImageTask:
        _pixel_budget(self.width, self.height)
        if self.mask_url is not None and self.init_image_url is None:
            raise BadClaim("task.maskUrl", "needs initImageUrl: a mask says where to repaint that picture")
        return self


class Message(WireModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, bounded_text(MAX_CONVERSATION, may_be_blank=True)]


class LlmTask(WireModel):
    """Continue a conversation, whose messages hold 4,000,000 characters together at most."""

    kind: ClassVar[TaskKind] = TaskKind.LLM
    messages: Annotated[tuple[Message, ...], Field(strict=False, min_length=1, max_length=2_000, fail_fast=True)]
    system: OptionalText | None = None
    max_tokens: Annotated[int, whole(1, MAX_TOKENS)] = 512
    temperature: Annotated[float, number(0, 10)] = 0.7
    top_p: Annotated[float, number(0, 1)] | None = None
    stop: (
        Annotated[
            tuple[Annotated[str, bounded_text(1_000, may_be_blank=True)], ...],
            Field(strict=False, max_length=64, fail_fast=True),
        ]
        | None
    ) = None
    json_schema: Annotated[FreeJson, AfterValidator(_schema)] | None = None
    reasoning: FreeJson | None = None
    chat_template_kwargs: FreeObject | None = None

    @model_validator(mode="after")
    def _bounds(self) -> LlmTask:
        if sum(len(message.content) for message in self.messages) > MAX_CONVERSATION:
            raise BadClaim("task.messages", f"hold more than {MAX_CONVERSATION:,} characters together")
        if self.stop and not all(self.stop):
            raise BadClaim("task.stop", "holds an empty text, which would stop every answer at once")
        return self


class SttTask(WireModel):
    """Write down speech."""

    kind: ClassVar[TaskKind] = TaskKind.AUDIO_STT
    input_url: Url
    language: Language | None = None
    translate: bool | None = None
    prompt: OptionalText | None = None
    vad: bool | None = None
    timestamps: Literal["segment", "word"] | None = None


class TtsTask(WireModel):
    """Speak a text."""

    kind: ClassVar[TaskKind] = TaskKind.AUDIO_TTS
    text: Prompt
    voice: Voice = "default"
    speed: Annotated[float, number(0.1, 10)] | None = None
    language: Language | None = None
    ext: Literal["wav", "mp3", "ogg", "flac"] = "wav"


class VideoTask(WireModel):
    """Make a moving picture of `seconds` seconds; each frame has 64 Mi pixels at most."""

    kind: ClassVar[TaskKind] = TaskKind.VIDEO
    prompt: Prompt
    negative_prompt: OptionalText | None = None
    init_image_url: Url | None = None
    seconds: Annotated[float, number(0, 600, above=True)] = 2.0
    fps: Annotated[int, whole(1, 240)] | None = None
    width: Side = 512
    height: Side = 512
    ext: Literal["mp4", "webm", "webp", "gif"] = "mp4"

    @model_validator(mode="after")
    def _bounds(self) -> VideoTask:
        _pixel_budget(self.width, self.height)
        return self


Task: TypeAlias = ImageTask | LlmTask | SttTask | TtsTask | VideoTask

TASK_TYPES: Mapping[TaskKind, type[Task]] = {
    model.kind: model for model in (ImageTask, LlmTask, SttTask, TtsTask, VideoTask)
}


def parse_task(raw: Any) -> Task:
    """The task of a claim; fields that the raw object carries are in the result's `model_fields_set`.

    Raises:
        BadClaim: names the field by its wire name, ``task.width``.
    """
    if not isinstance(raw, dict):
        raise BadClaim("task", "must be an object with a 'kind'")
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in TaskKind.__members__.values():
        raise BadClaim("task.kind", f"must be one of {', '.join(TaskKind)}{shown(kind)}")
    try:
        return TASK_TYPES[TaskKind(kind)].from_wire(raw)
    except ValidationError as error:
        raise bad_claim(error, "task") from None


def task_to_wire(task: Task) -> dict[str, Any]:
    """The task as the wire carries it, with its `kind` first."""
    return {"kind": task.kind.value, **task.to_wire()}


def whole_prompt(task: Task) -> str:
    """The prompt that goes with a result: the whole of it, never a preview (protocol section 3)."""
    match task:
        case ImageTask() | VideoTask():
            return task.prompt
        case LlmTask():
            return task.messages[-1].content
        case SttTask():
            return task.input_url
        case TtsTask():
            return task.text


def _pixel_budget(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadClaim("task.width", f"{width} x {height} is over the pixel budget of {MAX_PIXELS:,} pixels")
