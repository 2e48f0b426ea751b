"""The head of a WAV file, read without a decoder (RIFF, Microsoft and IBM 1991)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

MAX_CHANNELS = 64
MAX_RATE = 1_000_000
_MAX_CHUNKS = 1_000
_UNTOLD = 0x7FFF_F000
"""A length from here on was never filled in: who writes to a pipe can't go back, and begins with this one (eSpeak) or
the largest (FFmpeg)."""

_UNSIGNED_BITS = 8
"""Samples of one byte are unsigned, so that their silence is not 0."""


class BadWav(ValueError):
    """The header can't be right; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV file says of itself.

    Attributes:
        channels: 1 to `MAX_CHANNELS`.
        rate: frames a second.
        bits: of one sample; 0 where the format has none.
        frame_bytes: bytes of one frame of all channels; 0 where the format has none.
        start: where the sound begins in the file, in bytes.
        data_bytes: what really lies there of it.
    """

    channels: int
    rate: int
    bits: int
    frame_bytes: int
    start: int
    data_bytes: int

    @property
    def seconds(self) -> float | None:
        """How long the sound is, where frames have a length."""
        return self.data_bytes / self.frame_bytes / self.rate if self.frame_bytes else None

    @property
    def silence(self) -> int:
        """The byte that silence consists of."""
        return 0x80 if self.bits == _UNSIGNED_BITS else 0


def read_wav_header(file: BinaryIO, size: int) -> WavHeader:
    """The header of a WAV file. A length that was never filled in (0, or a huge number) counts what lies there.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadWav: no format or no sound in it, less sound than it says, or numbers that no sound has.
    """
    if file.read(4) != b"RIFF" or len(file.read(4)) != 4 or file.read(4) != b"WAVE":
        raise BadWav("does not begin as a WAV file does")
    channels = rate = frame_bytes = bits = 0
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = struct.unpack("<4sI", head)
        if name == b"fmt ":
            fields = file.read(16)
            if len(fields) < 16:
                raise BadWav("ends inside its format")
            channels, rate, _, frame_bytes, bits = struct.unpack_from("<HIIHH", fields, 2)
            length -= 16
        elif name == b"data":
            start = file.tell()
            there = size - start
            told = length if 0 < length < _UNTOLD else there
            if 0 < there < told:
                raise BadWav(f"ends after {there:,} of its {told:,} bytes of sound")
            return _checked(WavHeader(channels, rate, bits, frame_bytes, start, min(told, there)))
        file.seek(length + (length & 1), 1)
    raise BadWav("holds no sound")


def _checked(header: WavHeader) -> WavHeader:
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise BadWav(f"claims {header.channels} channels")
    if not 1 <= header.rate <= MAX_RATE:
        raise BadWav(f"claims {header.rate} Hz")
    if header.data_bytes <= 0:
        raise BadWav("holds no sound")
    return header
