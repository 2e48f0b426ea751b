"""The head of a WAV file, read without a decoder (RIFF, Microsoft and IBM 1991)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

MAX_CHANNELS = 64
MAX_RATE = 1_000_000
_MAX_CHUNKS = 1_000


class BadWav(ValueError):
    """The header can't be right; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV file says of itself. `data_bytes` is what really lies there of its sound."""

    channels: int
    rate: int
    data_bytes: int


def read_wav_header(file: BinaryIO, size: int) -> WavHeader:
    """The header of a WAV file.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadWav: no format or no sound in it, or numbers that no sound has.
    """
    if file.read(4) != b"RIFF" or len(file.read(4)) != 4 or file.read(4) != b"WAVE":
        raise BadWav("does not begin as a WAV file does")
    channels = rate = 0
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = struct.unpack("<4sI", head)
        if name == b"fmt ":
            fields = file.read(16)
            if len(fields) < 16:
                raise BadWav("ends inside its format")
            _, channels, rate = struct.unpack_from("<HHI", fields)
            length -= 16
        elif name == b"data":
            return _checked(channels, rate, min(length, size - file.tell()))
        file.seek(length + (length & 1), 1)
    raise BadWav("holds no sound")


def _checked(channels: int, rate: int, data_bytes: int) -> WavHeader:
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadWav(f"claims {channels} channels")
    if not 1 <= rate <= MAX_RATE:
        raise BadWav(f"claims {rate} Hz")
    if data_bytes <= 0:
        raise BadWav("holds no sound")
    return WavHeader(channels, rate, data_bytes)
