"""The rows of PNG files, counted and looked at without a decoder."""

import io
import random
import struct
import tempfile
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


def shows_nothing(data):
    plan = read_png(io.BytesIO(data), len(data))
    return read_pixels(io.BytesIO(data), plan)


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


FORMS = [(0, 1, 0), (2, 3, 0), (4, 2, 1), (6, 4, 1)]
"""Colour type, bytes of a pixel, bytes of them that are alpha."""

KINDS = st.lists(st.integers(0, 4), min_size=1, max_size=8)


@given(st.sampled_from(FORMS), st.integers(0, 255), KINDS)
def test_equal_black_is_seen_through_every_filter(form, opacity, kinds):
    colour, size, alpha = form
    pixel = bytes(size - alpha) + bytes([opacity]) * alpha
    raw = filtered([pixel * 3] * len(kinds), kinds, size)
    assert shows_nothing(png(raw, width=3, height=len(kinds), colour=colour))


@given(st.data(), KINDS)
def test_clear_pixels_show_nothing_whatever_their_colours(data, kinds):
    colours = data.draw(st.binary(min_size=9 * len(kinds), max_size=9 * len(kinds)))
    pixels = [colours[at : at + 3] + b"\0" for at in range(0, len(colours), 3)]
    rows = [b"".join(pixels[at : at + 3]) for at in range(0, len(pixels), 3)]
    assert shows_nothing(png(filtered(rows, kinds, 4), width=3, height=len(kinds), colour=6))


@given(st.sampled_from(FORMS), st.data(), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_one_value_that_differs_is_seen_through_every_filter(form, data, kinds):
    colour, size, alpha = form
    flat = bytearray((bytes(size - alpha) + bytes([200]) * alpha) * 12)
    flat[data.draw(st.integers(0, len(flat) - 1))] ^= 1
    rows = [bytes(flat[at : at + 3 * size]) for at in range(0, len(flat), 3 * size)]
    made = png(filtered(rows, kinds, size), width=3, height=4, colour=colour)
    assert not shows_nothing(made)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.tobytes() == bytes(flat)


@given(st.integers(1, 65_535))
def test_sixteen_bits_of_alpha_are_clear_only_where_both_bytes_are(opacity):
    pixel = b"\0\x09" * 3
    raw = (b"\0" + pixel + opacity.to_bytes(2)) * 4
    assert not shows_nothing(png(raw, width=1, depth=16, colour=6))
    assert shows_nothing(png((b"\0" + pixel + bytes(2)) * 4, width=1, depth=16, colour=6))


@pytest.mark.parametrize(
    ("mode", "colour", "nothing"),
    [
        ("L", 0, True),
        ("L", 1, False),
        ("RGB", (0, 0, 0), True),
        ("RGB", (7, 9, 11), False),
        ("RGBA", (0, 0, 0, 200), True),
        ("RGBA", (1, 2, 3, 200), False),
        ("RGBA", (1, 2, 3, 0), True),
        ("I;16", 0, True),
        ("I;16", 256, False),
    ],
)
def test_what_an_encoder_makes_of_one_colour_is_seen(mode, colour, nothing):
    out = io.BytesIO()
    Image.new(mode, (700, 700), colour).save(out, "PNG")
    assert shows_nothing(out.getvalue()) is nothing


@pytest.mark.parametrize("level", [0, 1, 9])
def test_noise_is_something_however_it_is_packed(level):
    out = io.BytesIO()
    Image.frombytes("RGB", (600, 600), random.Random(3).randbytes(600 * 600 * 3)).save(out, "PNG", compress_level=level)
    assert not shows_nothing(out.getvalue())


def test_data_in_many_pieces_is_one_stream():
    raw = bytes(13 * 4)
    assert shows_nothing(png(raw, pieces=len(zlib.compress(raw))))


RAW = b"\0" + random.Random(5).randbytes(12) + bytes(13 * 3)
BLOCKS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["stored", "packed"])), max_size=6)


def stored_block(body, *, is_last=False):
    """A block of deflate that holds its bytes as they are (RFC 1951, section 3.2.4)."""
    return bytes([is_last]) + struct.pack("<HH", len(body), len(body) ^ 0xFFFF) + body


def packed_block(body):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)


@given(BLOCKS, st.integers(1, 9), st.sampled_from([b"", b"rest"]))
def test_blocks_that_are_stored_packed_or_both_are_one_stream(blocks, pieces, rest):
    """However the bytes lie in blocks, and the blocks in chunks, and whatever follows the last of them."""
    stream, left = b"\x78\x01", RAW
    for length, kind in blocks:
        body, left = left[:length], left[length:]
        stream += stored_block(body) if kind == "stored" else packed_block(body)
    stream += stored_block(left, is_last=True) + rest
    assert not shows_nothing(png(b"", stream=stream, pieces=pieces))


def test_more_blocks_than_any_encoder_makes_are_still_one_picture():
    raw = (b"\0" + random.Random(7).randbytes(256 * 3)) * 100
    crumbs = b"".join(stored_block(raw[at : at + 1]) for at in range(len(raw) - 1))
    stream = b"\x78\x01" + crumbs + stored_block(raw[-1:], is_last=True)
    assert not shows_nothing(png(b"", stream=stream, width=256, height=100))
    with pytest.raises(BadPng, match="less picture"):
        shows_nothing(png(b"", stream=stream, width=256, height=101))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_byte_that_differs_is_judged_as_an_inflater_does(place, change):
    stream = bytearray(b"\x78\x01" + stored_block(RAW[:30]) + stored_block(RAW[30:], is_last=True))
    stream[place % len(stream)] ^= change
    data = png(b"", stream=bytes(stream), pieces=3)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        assert verdict(io.BytesIO(data), data) == verdict(file, data)


def verdict(file, data):
    """What is said of a file, whether that is its pixels or its fault."""
    try:
        return read_pixels(file, read_png(io.BytesIO(data), len(data)))
    except BadPng as error:
        return str(error)


def test_rows_that_are_missing_are_noticed():
    with pytest.raises(BadPng, match="less picture"):
        shows_nothing(png(bytes(13 * 3)))


def test_rows_beyond_the_last_are_noticed_before_they_are_held():
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 9)
    with pytest.raises(BadPng, match="more picture"):
        shows_nothing(png(b"", stream=bomb))


def test_a_stream_that_is_cut_is_noticed():
    noise = zlib.compress(b"".join(b"\0" + random.Random(row).randbytes(12) for row in range(4)))
    with pytest.raises(BadPng, match="less picture"):
        shows_nothing(png(b"", stream=noise[: len(noise) // 2]))


@pytest.mark.parametrize("stream", [b"x", b"\x78\x9d" + bytes(20), b"<html>nothing</html>", b"\x78\x9c\xff\xff\xff"])
def test_a_stream_that_is_none_is_noticed(stream):
    with pytest.raises(BadPng, match="broken"):
        shows_nothing(png(b"", stream=stream))


def test_a_filter_that_there_is_not_is_noticed():
    with pytest.raises(BadPng, match="filter"):
        shows_nothing(png(bytes(13 * 2) + b"\x05" + bytes(12) + bytes(13)))


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
        shows_nothing(data)
    except BadPng:
        return
