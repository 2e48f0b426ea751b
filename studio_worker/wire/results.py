"""JSON results (protocol section 5): OpenAI-shaped completions and transcripts; and what binary results are called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from studio_worker.wire.base import WireModel, number, whole

MEDIA_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
"""Content-Type by ext; anything else is application/octet-stream."""


def media_type(ext: str) -> str:
    """The Content-Type of a result file."""
    return MEDIA_TYPES.get(ext.lower(), "application/octet-stream")


def sniff_ext(head: bytes) -> str | None:
    """The ext that a file's first 64 bytes say it has, or None where they say nothing."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return "webp" if head[8:12] == b"WEBP" else "wav"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    return None


class _Open(WireModel):
    """Snake_case as OpenAI writes it; extra keys are kept."""

    model_config = ConfigDict(alias_generator=None, extra="allow")

    def to_wire(self) -> dict[str, Any]:
        """What was read, nulls and extra keys included."""
        return self.model_dump(mode="json", exclude_unset=True)


class ChatMessage(_Open):
    """What the model said."""

    role: str = "assistant"
    content: str | None
    reasoning_content: str | None = None


class Choice(_Open):
    """One answer."""

    index: Annotated[int, whole(0, 1_000)] = 0
    message: ChatMessage
    finish_reason: str | None = None


class Usage(_Open):
    """True token counts."""

    prompt_tokens: Annotated[int, whole(0, 2**53)]
    completion_tokens: Annotated[int, whole(0, 2**53)]
    total_tokens: Annotated[int, whole(0, 2**53)]


class ChatCompletion(_Open):
    """An LLM result in OpenAI's `chat.completion` shape."""

    object: Literal["chat.completion"] = "chat.completion"
    model: str
    choices: tuple[Choice, ...] = Field(strict=False, min_length=1, fail_fast=True)
    usage: Usage


class Span(_Open):
    """A piece of a transcript, in seconds from the start."""

    start: Annotated[float, number(0, 10_000_000)]
    end: Annotated[float, number(0, 10_000_000)]


class Transcript(_Open):
    """A transcript: `segments` and `words` only where they were asked for."""

    text: str
    language: str | None = None
    duration: Annotated[float, number(0, 10_000_000)] | None = None
    segments: tuple[Span, ...] | None = Field(None, strict=False, fail_fast=True)
    words: tuple[Span, ...] | None = Field(None, strict=False, fail_fast=True)
