"""Sound that follows a text: a short tone for each character, a rest for each gap."""

from __future__ import annotations

import io
import math
import sys
import wave
from array import array

from studio_worker.engines.base import AudioResult, EngineJob
from studio_worker.engines.synthetic.digest import Dice, hexdigest
from studio_worker.errors import UnsupportedTask
from studio_worker.wire.tasks import TtsTask

RATE_HZ = 22_050
TONE_SECS = 0.06
MAX_SECS = 600.0
"""The longest sound that is made; a text that would take longer is cut."""

_BASE_HZ = 196.0
_SCALE = (0, 2, 4, 7, 9, 12, 14, 16, 19, 21)
"""A pentatonic scale over two octaves, in semitones: no row of tones sounds wrong."""

_CHUNK = 512


def make_speech(job: EngineJob) -> AudioResult:
    """A WAV, 16-bit mono at 22,050 Hz, keyed by text, voice and speed; always ext ``wav``.

    Each character takes 0.06 s at speed 1, so that a longer text takes longer.
    """
    task = job.task
    if not isinstance(task, TtsTask):
        raise UnsupportedTask("synthetic speech needs an audio_tts task")
    speed = task.speed or 1.0
    tone_frames = max(1, round(RATE_HZ * TONE_SECS / speed))
    text = task.text[: max(1, int(MAX_SECS * RATE_HZ) // tone_frames)]
    dice = Dice(hexdigest("speech", task.text, task.voice, speed))
    tones = [_tone(_BASE_HZ * 2 ** (semitones / 12), tone_frames) for semitones in _SCALE]
    rest = bytes(2 * tone_frames)
    parts: list[bytes] = []
    for start in range(0, len(text), _CHUNK):
        job.check_cancelled()
        chunk = text[start : start + _CHUNK]
        parts += [rest if char.isspace() else tones[(ord(char) + dice.below(3)) % len(tones)] for char in chunk]
        job.progress(min(start + _CHUNK, len(text)), len(text), stage="speak")
    return AudioResult(_wav(b"".join(parts)), "wav")


def _tone(hertz: float, frames: int) -> bytes:
    """One tone that swells and fades, so that tones join without a click."""
    samples = array(
        "h",
        (
            round(
                9_000
                * math.sin(math.pi * frame / frames)
                * (
                    math.sin(math.tau * hertz * frame / RATE_HZ)
                    + 0.3 * math.sin(2 * math.tau * hertz * frame / RATE_HZ)
                )
            )
            for frame in range(frames)
        ),
    )
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _wav(pcm: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm)
    return out.getvalue()
