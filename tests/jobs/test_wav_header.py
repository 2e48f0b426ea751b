"""The head of a WAV file."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.jobs.wav_header import BadWav, read_wav_header
from studio_worker.testing.claims import silence


def wav(*, channels=1, rate=16_000, data=bytes(100), data_length=None, between=b""):
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * 2, 2, 16)
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + fmt + between
    body += b"data" + struct.pack("<I", len(data) if data_length is None else data_length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(data):
    return read_wav_header(io.BytesIO(data), len(data))


def test_a_header_tells_channels_rate_and_bytes():
    header = read(silence(secs=0.5, rate=8_000))
    assert (header.channels, header.rate, header.data_bytes) == (1, 8_000, 8_000)


def test_chunks_between_format_and_sound_are_passed_over():
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read(wav(between=odd)).data_bytes == 100


@pytest.mark.parametrize("length", [0, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF])
def test_a_length_that_was_never_filled_in_counts_what_lies_there(length):
    assert read(wav(data_length=length)).data_bytes == 100


@pytest.mark.parametrize("missing", [1, 75, 99])
def test_a_file_that_ends_before_its_sound_does_is_refused(missing):
    with pytest.raises(BadWav, match=f"ends after {100 - missing} of its 100 bytes"):
        read(wav()[:-missing])


def test_what_lies_behind_the_sound_is_no_part_of_it():
    assert read(wav() + b"LIST" + struct.pack("<I", 4) + b"abcd").data_bytes == 100


@pytest.mark.parametrize("channels", [0, 65, 255])
def test_channels_that_no_sound_has_are_refused(channels):
    with pytest.raises(BadWav, match="channels"):
        read(wav(channels=channels))


@pytest.mark.parametrize("rate", [0, 10**9])
def test_a_rate_that_no_sound_has_is_refused(rate):
    with pytest.raises(BadWav, match="Hz"):
        read(wav(rate=rate))


def test_no_sound_is_refused():
    with pytest.raises(BadWav, match="no sound"):
        read(wav(data=b""))
    with pytest.raises(BadWav, match="no sound"):
        read(wav()[:36])


def test_sound_without_a_format_is_refused():
    with pytest.raises(BadWav, match="channels"):
        read(b"RIFF\0\0\0\0WAVEdata" + struct.pack("<I", 4) + bytes(4))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFFxxxxWEBP", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0abc"])
def test_what_is_cut_or_something_else_is_refused(data):
    with pytest.raises(BadWav):
        read(data)


@given(st.binary(max_size=300))
def test_any_bytes_have_a_header_or_are_refused(data):
    for candidate in (data, b"RIFF\0\0\0\0WAVE" + data, wav()[:36] + data):
        try:
            assert read(candidate).data_bytes > 0
        except BadWav:
            continue
