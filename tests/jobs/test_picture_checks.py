"""What a picture must be: whole, of the asked size, and something to see unless it began with nothing."""

import io
import struct
import zlib

import pytest
from PIL import Image

from studio_worker.engines.base import ImageResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import inspect
from studio_worker.jobs.picture_header import MAX_PICTURE_SIDE
from studio_worker.jobs.png_chunks import SIGNATURE
from studio_worker.wire.tasks import MAX_SIDE, ImageTask

FORMATS = ["PNG", "WEBP", "GIF", "JPEG"]
PHOTO = "https://studio.example.org/photo.png"


def encoded(picture, fmt="PNG", **options):
    out = io.BytesIO()
    picture.save(out, fmt, **options)
    return out.getvalue()


def flat(width=64, height=64, colour=(0, 0, 0), fmt="PNG", mode="RGB", **options):
    return encoded(Image.new(mode, (width, height), colour), fmt, **options)


@pytest.fixture
def woven():
    """Makes PNG files whose rows come in seven passes; Pillow reads them and writes none."""

    def make(mode, value):
        depth, colour = {"1": (1, 0), "L": (8, 0), "P": (8, 3), "I;16": (16, 0)}[mode]
        passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]
        row = {1: lambda n: bytes([-value % 256]) * -(-n // 8)}.get(depth, lambda n: value.to_bytes(depth // 8) * n)
        raw = b"".join((b"\0" + row(width)) * height for width, height in passes)
        palette = chunk(b"PLTE", bytes(3) + b"\x50" * 3) if mode == "P" else b""
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, depth, colour, 0, 0, 1))
        return SIGNATURE + head + palette + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")

    return make


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def task(width=64, height=64, **fields):
    return ImageTask(prompt="a cup", width=width, height=height, **fields)


def check(asked, data, inputs=None):
    return inspect(asked, ImageResult(data, "png"), {}, inputs or {})


def rule(asked, data, inputs=None):
    with pytest.raises(ResultRejected) as caught:
        check(asked, data, inputs)
    assert caught.value.retryable
    return caught.value.rule


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_picture_that_is_all_black_is_refused(fmt):
    assert rule(task(), flat(fmt=fmt)) == "black"


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("1", 0), ("L", 0), ("P", 0), ("I;16", 0), ("LA", (0, 255)), ("RGBA", (0, 0, 0, 255)), ("RGBA", (0, 0, 0, 77))],
)
def test_black_is_seen_in_every_form_of_png(mode, colour):
    assert rule(task(), flat(colour=colour, mode=mode)) == "black"


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (9, 8, 7, 0)), ("LA", (200, 0))])
def test_a_picture_that_is_wholly_transparent_is_refused(mode, colour):
    assert rule(task(), flat(colour=colour, mode=mode)) == "black"
    assert rule(task(), flat(colour=colour, mode=mode, fmt="WEBP", lossless=True, exact=True)) == "black"


def test_a_palette_whose_colour_is_transparent_shows_nothing():
    assert rule(task(), flat(colour=3, mode="P", transparency=3)) == "black"


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_woven_rows_are_looked_at_as_well(mode, woven):
    assert rule(task(), woven(mode, 0)) == "black"
    assert check(task(), woven(mode, 1))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("colour", [(128, 128, 128), (255, 255, 255), (0, 0, 9)])
def test_any_other_single_colour_may_have_been_asked_for(fmt, colour):
    assert check(task(), flat(colour=colour, fmt=fmt))


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_a_black_drawing_on_a_clear_ground_is_something(fmt):
    icon = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    icon.paste((0, 0, 0, 255), (16, 16, 48, 48))
    assert check(task(), encoded(icon, fmt, **({"lossless": True} if fmt == "WEBP" else {})))


@pytest.mark.parametrize("fmt", FORMATS)
def test_one_bright_corner_is_something(fmt):
    night = Image.new("RGB", (64, 64))
    night.paste((250, 250, 250), (56, 56, 64, 64))
    assert check(task(), encoded(night, fmt))


@pytest.mark.parametrize(("field", "role"), [("init_image_url", "image"), ("ref_image_url", "ref_image")])
class TestAPictureMadeFromAnother:
    def test_may_be_black_where_that_was_black(self, field, role, tmp_path):
        source = tmp_path / "input"
        source.write_bytes(flat(fmt="WEBP"))
        assert check(task(**{field: PHOTO}), flat(), {role: source})

    def test_is_refused_as_black_where_that_showed_something(self, field, role, tmp_path, make_picture):
        source = tmp_path / "input"
        source.write_bytes(make_picture(64, 64))
        assert rule(task(**{field: PHOTO}), flat(), {role: source}) == "black"

    @pytest.mark.parametrize("left", [None, b"", b"<html>", flat()[:50]])
    def test_is_refused_as_black_where_that_cannot_be_read(self, field, role, tmp_path, left):
        source = tmp_path / "input"
        if left is not None:
            source.write_bytes(left)
        assert rule(task(**{field: PHOTO}), flat(), {role: source}) == "black"


def test_a_black_mask_excuses_no_black_picture(tmp_path, make_picture):
    for name, data in (("image", make_picture(64, 64)), ("mask", flat())):
        (tmp_path / name).write_bytes(data)
    inputs = {"image": tmp_path / "image", "mask": tmp_path / "mask"}
    assert rule(task(init_image_url=PHOTO, mask_url=PHOTO), flat(), inputs) == "black"


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_picture_of_another_size_is_refused(fmt, make_picture):
    assert rule(task(64, 64), make_picture(32, 64, fmt)) == "wrong-size"
    assert rule(task(64, 64), make_picture(64, 65, fmt)) == "wrong-size"


@pytest.mark.parametrize("size", [(512, 384), (448, 320), (496, 376), (512, 376)])
def test_a_size_in_the_steps_of_a_model_is_the_asked_one(size, make_picture):
    assert check(task(500, 380), make_picture(*size))


def test_a_size_between_the_steps_is_another(make_picture):
    assert rule(task(500, 380), make_picture(501, 380)) == "wrong-size"
    assert rule(task(500, 380), make_picture(380, 500)) == "wrong-size"


@pytest.mark.parametrize("field", ["init_image_url", "ref_image_url"])
def test_a_picture_made_from_another_keeps_the_size_of_that(field, make_picture):
    assert check(task(512, 512, **{field: PHOTO}), make_picture(300, 200))


@pytest.mark.parametrize("mode", ["1", "P", "RGB"])
def test_forms_that_need_a_decoder_are_decoded(mode, make_picture):
    with Image.open(io.BytesIO(make_picture(64, 64))) as picture:
        data = encoded(picture.convert(mode))
    assert check(task(), data)
    broken = data.replace(b"IDAT", b"IDAx", 1)
    assert rule(task(), broken) == "does-not-decode"


@pytest.mark.parametrize("cut", [1, 12, 40])
def test_a_png_that_ends_early_is_refused(cut, make_picture):
    assert rule(task(), make_picture(64, 64)[:-cut]) == "does-not-decode"


def test_a_png_whose_pixels_are_broken_is_refused(make_picture):
    data = bytearray(make_picture(64, 64))
    at = data.index(b"IDAT") + 4
    data[at + 4 : at + 12] = b"\xff" * 8
    assert rule(task(), bytes(data)) == "does-not-decode"


def test_a_line_of_pixels_is_refused_before_it_is_decoded():
    long = flat(MAX_PICTURE_SIDE + 1, 1, colour=9, mode="L")
    assert rule(task(init_image_url=PHOTO), long) == "too-large"
    assert check(task(init_image_url=PHOTO), flat(MAX_PICTURE_SIDE, 1, colour=9, mode="L"))


def test_a_picture_of_more_pixels_than_any_task_has_is_refused_before_it_is_decoded():
    wide = flat(MAX_SIDE, 1, mode="1", colour=0)
    huge = wide.replace((MAX_SIDE).to_bytes(4) + (1).to_bytes(4), (MAX_SIDE).to_bytes(4) * 2, 1)
    head = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(head)) + huge[33:]
    assert rule(task(init_image_url=PHOTO), huge) == "too-large"
