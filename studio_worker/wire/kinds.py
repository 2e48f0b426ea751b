"""The kinds of job. Imports nothing heavy, so that engines can name a kind for free."""

from __future__ import annotations

from enum import StrEnum


class TaskKind(StrEnum):
    """What a job makes; the values are the wire's (protocol section 4)."""

    IMAGE = "image"
    LLM = "llm"
    AUDIO_STT = "audio_stt"
    AUDIO_TTS = "audio_tts"
    VIDEO = "video"

    @property
    def is_binary(self) -> bool:
        """Whether the result is bytes to upload; the others are JSON over the socket."""
        return self in (TaskKind.IMAGE, TaskKind.AUDIO_TTS, TaskKind.VIDEO)
