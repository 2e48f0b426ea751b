"""Transcripts keyed by the bytes of the sound, with the true duration of a WAV."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from studio_worker.engines.base import EngineJob, TranscriptResult
from studio_worker.errors import BadInput, UnsupportedTask
from studio_worker.wire.results import sniff_ext
from studio_worker.wire.tasks import SttTask

UNKNOWN_SECS = 1.0
"""The duration said of a sound that is no WAV."""

SOUNDS = ("wav", "mp3", "ogg", "flac", "mp4", "webm")
"""What a file may be by its first bytes."""

_CHUNK = 1024 * 1024


def make_transcript(job: EngineJob) -> TranscriptResult:
    """A transcript of the input sound; times are spread evenly over its duration.

    Raises:
        BadInput: the job has no sound, or a file that is none.
    """
    task = job.task
    if not isinstance(task, SttTask):
        raise UnsupportedTask("a synthetic transcript needs an audio_stt task")
    sound = job.inputs.get("audio")
    if sound is None or not sound.is_file():
        raise BadInput("the job brings no sound to transcribe; inputUrl names it")
    if not _is_sound(sound):
        raise BadInput(f"inputUrl is no sound: it is none of {', '.join(SOUNDS)}")
    text = f"[synthetic] transcript of {_digest(job, sound)[:16]}"
    duration = wav_secs(sound) or UNKNOWN_SECS
    out: dict[str, Any] = {
        "text": text,
        "language": "en" if task.translate else task.language or "en",
        "duration": round(duration, 3),
    }
    if task.timestamps:
        out["segments"] = [{"start": 0.0, "end": out["duration"], "text": text}]
    if task.timestamps == "word":
        words = text.split()
        share = duration / len(words)
        out["words"] = [
            {"start": round(place * share, 3), "end": round((place + 1) * share, 3), "word": word}
            for place, word in enumerate(words)
        ]
    return TranscriptResult(out)


def _is_sound(path: Path) -> bool:
    with path.open("rb") as file:
        return sniff_ext(file.read(64)) in SOUNDS


def wav_secs(path: Path) -> float | None:
    """The duration of a WAV file in seconds, by its ``fmt`` and ``data`` chunks; None for anything else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        bytes_a_second = 0
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                bytes_a_second = _bytes_a_second(file, length)
            elif chunk[:4] == b"data":
                # A stream that did not know its length wrote 0 or the largest number.
                left = size - file.tell()
                return min(length or left, left) / bytes_a_second if bytes_a_second else None
            else:
                file.seek(length + length % 2, 1)
    return None


def _bytes_a_second(file: BinaryIO, length: int) -> int:
    body = file.read(16)
    file.seek(max(0, length + length % 2 - 16), 1)
    return int.from_bytes(body[8:12], "little")


def _digest(job: EngineJob, sound: Path) -> str:
    size = sound.stat().st_size
    hashed, done = hashlib.sha256(), 0
    with sound.open("rb") as file:
        while chunk := file.read(_CHUNK):
            job.check_cancelled()
            hashed.update(chunk)
            done += len(chunk)
            job.progress(done, max(done, size), stage="listen")
    return hashed.hexdigest()
