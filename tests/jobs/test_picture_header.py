"""What the first bytes of a picture say of it."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio_worker.jobs.picture_header import PictureHeader, UnknownPicture, read_picture_header
from studio_worker.wire.results import sniff_ext


def header(data):
    return read_picture_header(io.BytesIO(data))


def encoded(fmt, size=(70, 45), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, fmt, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(500), "comment": b"\xff\xc0" * 20}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(50)}),
    ],
)
def test_the_size_is_what_a_decoder_finds(fmt, options):
    assert header(encoded(fmt, **options)) == PictureHeader(fmt, 70, 45)


@pytest.mark.parametrize(("mode", "options", "depth"), [("I;16", {}, 16), ("1", {}, 1), ("P", {}, 1)])
def test_a_png_says_how_many_bits_a_value_has(mode, options, depth):
    assert header(encoded("PNG", mode=mode, **options)).depth == depth


@pytest.mark.parametrize("side", [1, 255, 16_383])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(50)}])
def test_every_side_of_webp_is_read(side, options):
    assert header(encoded("WEBP", (side, 1), **options)) == PictureHeader("WEBP", side, 1)
    assert header(encoded("WEBP", (1, side), **options)) == PictureHeader("WEBP", 1, side)


def test_bytes_between_the_segments_of_a_jpeg_are_skipped():
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8, 8, 45, 70, 0)
    assert header(b"\xff\xd8\xff\xff\xff\x01\xff\xd0" + frame) == PictureHeader("JPEG", 70, 45)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<!DOCTYPE html><title>Sign in</title>",
        b"8BPS\0\1" + bytes(40),
        b"II*\0" + bytes(40),
        b"BM" + bytes(60),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        b"RIFF\x24\0\0\0WEBPVP9 " + bytes(40),
        b"\xff\xd8\xff\xda" + bytes(40),
        b"\xff\xd8\xff\xe0\0\1" + bytes(40),
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\xff\xd8" + b"\xff\xe0\0\2" * 20_000,
    ],
)
def test_what_is_no_picture_of_the_four_formats_is_unknown(data):
    with pytest.raises(UnknownPicture):
        header(data)


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.integers(0, 40))
def test_a_head_that_is_cut_says_nothing_wrong(fmt, length):
    try:
        assert header(encoded(fmt)[:length]) == PictureHeader(fmt, 70, 45)
    except UnknownPicture:
        return


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF1234WEBPVP8", b"GIF89a"]), st.binary(max_size=80))
def test_any_bytes_have_a_header_or_are_unknown(start, rest):
    try:
        assert header(start + rest).format.lower() == (sniff_ext(start + rest) or "").replace("jpg", "jpeg")
    except UnknownPicture:
        return
