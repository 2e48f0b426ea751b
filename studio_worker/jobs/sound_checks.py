"""Speech that an engine made, looked at before it is kept: it is whole, about as long as its text, and not silent.

Only WAV is read: the other formats would take a decoder, and an encoder that failed leaves no file that begins as one.
"""

from __future__ import annotations

from typing import BinaryIO

from studio_worker.errors import ResultRejected
from studio_worker.jobs.wav_header import BadWav, WavHeader, read_wav_header
from studio_worker.wire.tasks import Task, TtsTask

SHORTEST_SECS = 0.1
"""The shortest word takes twice as long."""

LONGEST_SECS = 60.0
"""How long anything may take, before the text is counted; a row of signs can become many words."""

_QUICK_SECS = 0.005
_BRIEF_SECS = 0.05
_SLOW_SECS = 2.0
"""Seconds a character: people speak about 15 characters a second; a tenth of that time, and thirty times it."""

_LEAST_SECS = 60.0
"""An engine may cut a very long text; it must not be held to all of it."""

_PIECE_BYTES = 256 * 1024


def check_wav(file: BinaryIO, size: int, task: Task) -> None:
    """A WAV file that answers a text.

    Args:
        file: open at its start.
        size: bytes of the whole file.
        task: what was asked for.

    Raises:
        ResultRejected: ``does-not-decode``, ``too-short``, ``too-long``, ``silent``.
    """
    try:
        header = read_wav_header(file, size)
    except BadWav as error:
        raise ResultRejected("does-not-decode", f"the wav file {error}") from None
    if not isinstance(task, TtsTask):
        return
    shortest, longest = plausible_secs(task)
    seconds = header.seconds
    if seconds is not None and seconds < shortest:
        raise ResultRejected("too-short", f"{seconds:.3g} seconds of sound cannot hold the text")
    if seconds is not None and seconds > longest:
        raise ResultRejected("too-long", f"{seconds:,.0f} seconds of sound are too many for the text")
    if spoken_characters(task.text) and _is_silent(file, header):
        raise ResultRejected("silent", "there is nothing but silence in the sound")


def plausible_secs(task: TtsTask) -> tuple[float, float]:
    """The shortest and the longest speech, in seconds, that the text of a task may have become."""
    spoken = spoken_characters(task.text)
    speed = task.speed or 1.0
    brief = max(min(SHORTEST_SECS, _BRIEF_SECS * spoken), _QUICK_SECS * spoken)
    return min(_LEAST_SECS, brief) / max(1.0, speed), LONGEST_SECS + _SLOW_SECS * len(task.text) / min(1.0, speed)


def spoken_characters(text: str) -> int:
    """How many characters of a text are sounds: a row of dots may rightly be silent."""
    return sum(char.isalnum() for char in text)


def _is_silent(file: BinaryIO, header: WavHeader) -> bool:
    file.seek(header.start)
    left, silence = header.data_bytes, bytes([header.silence])
    while left > 0:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            break
        left -= len(piece)
        if piece.count(silence) != len(piece):
            return False
    return True
