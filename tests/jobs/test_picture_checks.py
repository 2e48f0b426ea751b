"""What a picture must be: whole, of the asked size, and of more than one colour where words alone made it."""

import io

import pytest
from PIL import Image

from studio_worker.engines.base import ImageResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import inspect
from studio_worker.wire.tasks import MAX_SIDE, ImageTask

FORMATS = ["PNG", "WEBP", "GIF", "JPEG"]
PHOTO = "https://studio.example.org/photo.png"


def encoded(picture, fmt="PNG", **options):
    out = io.BytesIO()
    picture.save(out, fmt, **options)
    return out.getvalue()


def flat(width=64, height=64, colour=(0, 0, 0), fmt="PNG", mode="RGB", **options):
    return encoded(Image.new(mode, (width, height), colour), fmt, **options)


def task(width=64, height=64, **fields):
    return ImageTask(prompt="a cup", width=width, height=height, **fields)


def check(asked, data):
    return inspect(asked, ImageResult(data, "png"), {})


def rule(asked, data):
    with pytest.raises(ResultRejected) as caught:
        check(asked, data)
    assert caught.value.retryable
    return caught.value.rule


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255)])
def test_a_picture_of_one_colour_is_refused(fmt, colour):
    assert rule(task(), flat(colour=colour, fmt=fmt)) == "one-value"


@pytest.mark.parametrize(("mode", "colour"), [("1", 0), ("P", 3), ("RGBA", (0, 0, 0, 0))])
def test_one_colour_is_seen_in_every_form_of_png(mode, colour):
    assert rule(task(), flat(colour=colour, mode=mode)) == "one-value"


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_picture_that_shows_something_passes(fmt, make_picture):
    assert check(task(), make_picture(64, 64, fmt)).size


@pytest.mark.parametrize("field", ["init_image_url", "ref_image_url"])
def test_a_blank_wall_that_is_repainted_stays_blank(field):
    assert check(task(**{field: PHOTO}), flat())


def test_a_dot_may_be_one_colour():
    assert check(task(15, 15), flat(15, 15))
    assert rule(task(16, 16), flat(16, 16)) == "one-value"


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


def test_a_picture_of_more_pixels_than_any_task_has_is_refused_before_it_is_decoded():
    wide = flat(MAX_SIDE, 1, mode="1", colour=0)
    huge = wide.replace((MAX_SIDE).to_bytes(4) + (1).to_bytes(4), (MAX_SIDE).to_bytes(4) * 2, 1)
    import struct
    import zlib

    head = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(head)) + huge[33:]
    assert rule(task(init_image_url=PHOTO), huge) == "too-large"
