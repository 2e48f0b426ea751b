"""The rows of PNG files, counted and compared without a decoder."""

import io
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio_worker.jobs.png_chunks import SIGNATURE, BadPng, read_png
from studio_worker.jobs.png_pixels import read_pixels


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(raw, *, width=4, height=4, depth=8, colour=2, interlace=0, pieces=1, stream=None):
    """A PNG file of inflated rows, or of a zlib stream as it stands."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(raw) if stream is None else stream
    step = -(-len(data) // pieces)
    idat = b"".join(chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step))
    return SIGNATURE + chunk(b"IHDR", head) + idat + chunk(b"IEND", b"")


def is_one_value(data, *, compares=True):
    plan = read_png(io.BytesIO(data), len(data))
    return read_pixels(io.BytesIO(data), plan, compares=compares)


def filtered(rows, kinds, pixel_bytes):
    """Rows of raw bytes, each put through the filter of its kind (PNG specification, section 9.2)."""
    out, above = b"", bytes(len(rows[0]))
    for row, kind in zip(rows, kinds, strict=True):
        line = bytearray([kind])
        for at, value in enumerate(row):
            left = row[at - pixel_bytes] if at >= pixel_bytes else 0
            corner = above[at - pixel_bytes] if at >= pixel_bytes else 0
            line.append((value - guess(kind, left, above[at], corner)) % 256)
        out, above = out + bytes(line), row
    return out


def guess(kind, left, up, corner):
    if kind == 4:
        return min((left, up, corner), key=lambda value: abs(left + up - corner - value))
    return (0, left, up, (left + up) // 2)[kind]


@given(
    st.sampled_from([(0, 1), (2, 3), (4, 2), (6, 4)]), st.binary(min_size=4, max_size=4), st.lists(st.integers(0, 4))
)
def test_one_colour_is_seen_through_every_filter(form, pixel, kinds):
    colour, channels = form
    kinds = kinds or [0]
    rows = [pixel[:channels] * 3] * len(kinds)
    raw = filtered(rows, kinds, channels)
    assert is_one_value(png(raw, width=3, height=len(kinds), colour=colour))


@given(st.integers(0, 35), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_one_value_that_differs_is_seen_through_every_filter(place, kinds):
    flat = bytearray(bytes([200, 30, 31]) * 12)
    flat[place] ^= 1
    rows = [bytes(flat[at : at + 9]) for at in range(0, 36, 9)]
    data = png(filtered(rows, kinds, 3), width=3, height=4)
    assert not is_one_value(data)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.tobytes() == bytes(flat)


@pytest.mark.parametrize(("mode", "colour"), [("L", 0), ("RGB", (7, 9, 11)), ("RGBA", (1, 2, 3, 200)), ("I;16", 3_000)])
def test_what_an_encoder_makes_of_one_colour_is_seen(mode, colour):
    out = io.BytesIO()
    Image.new(mode, (700, 700), colour).save(out, "PNG")
    assert is_one_value(out.getvalue())


@pytest.mark.parametrize("level", [0, 1, 9])
def test_noise_is_more_than_one_colour_however_it_is_packed(level):
    out = io.BytesIO()
    Image.frombytes("RGB", (600, 600), random.Random(3).randbytes(600 * 600 * 3)).save(out, "PNG", compress_level=level)
    assert not is_one_value(out.getvalue())


def test_nothing_is_compared_where_nobody_asks():
    assert not is_one_value(png(bytes(13 * 4)), compares=False)


def test_data_in_many_pieces_is_one_stream():
    raw = bytes(13 * 4)
    assert is_one_value(png(raw, pieces=len(zlib.compress(raw))))


def test_rows_that_are_missing_are_noticed():
    with pytest.raises(BadPng, match="less picture"):
        is_one_value(png(bytes(13 * 3)))


def test_rows_beyond_the_last_are_noticed_before_they_are_held():
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 9)
    with pytest.raises(BadPng, match="more picture"):
        is_one_value(png(b"", stream=bomb))


def test_a_stream_that_is_cut_is_noticed():
    noise = zlib.compress(b"".join(b"\0" + random.Random(row).randbytes(12) for row in range(4)))
    with pytest.raises(BadPng, match="less picture"):
        is_one_value(png(b"", stream=noise[: len(noise) // 2]))


@pytest.mark.parametrize("stream", [b"x", b"\x78\x9d" + bytes(20), b"<html>nothing</html>", b"\x78\x9c\xff\xff\xff"])
def test_a_stream_that_is_none_is_noticed(stream):
    with pytest.raises(BadPng, match="broken"):
        is_one_value(png(b"", stream=stream))


def test_a_filter_that_there_is_not_is_noticed():
    with pytest.raises(BadPng, match="filter"):
        is_one_value(png(bytes(13 * 2) + b"\x05" + bytes(12) + bytes(13)))


@pytest.mark.parametrize(
    "fields", [{"depth": 3}, {"colour": 5}, {"colour": 2, "depth": 4}, {"interlace": 2}], ids=lambda fields: str(fields)
)
def test_a_header_that_no_picture_has_is_noticed(fields):
    data = png(bytes(13 * 4), **fields)
    with pytest.raises(BadPng, match="header"):
        read_png(io.BytesIO(data), len(data))


def test_a_plan_tells_size_form_and_whether_its_rows_come_plainly():
    data = png(bytes(13 * 4), pieces=2)
    plan = read_png(io.BytesIO(data), len(data))
    assert (plan.width, plan.height, plan.channels, plan.row_bytes, plan.is_plain) == (4, 4, 3, 13, True)
    assert len(plan.data) == 2
    assert not read_png(io.BytesIO(woven := png(b"x", interlace=1)), len(woven)).is_plain


@given(st.binary(max_size=200))
def test_any_stream_is_a_picture_or_is_refused(stream):
    data = png(b"", stream=b"\x78\x9c" + stream)
    try:
        is_one_value(data)
    except BadPng:
        return
