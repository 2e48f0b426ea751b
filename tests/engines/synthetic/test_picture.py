"""Synthetic pictures."""

import io
import time

import pytest
from PIL import Image

from studio_worker.errors import UnsupportedTask
from studio_worker.wire.results import sniff_ext

FORMATS = {"webp": "WEBP", "png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF"}


def opened(result) -> Image.Image:
    picture = Image.open(io.BytesIO(result.data), formats=tuple(set(FORMATS.values())))
    picture.load()
    return picture


@pytest.mark.parametrize("ext", FORMATS)
@pytest.mark.parametrize("size", [(512, 512), (640, 384), (64, 200), (1, 1), (3, 700), (1025, 1023)])
def test_a_picture_has_the_asked_size_in_the_asked_format(ext, size, bench):
    result = bench.make("image", ext=ext, width=size[0], height=size[1])
    picture = opened(result)
    assert (picture.size, picture.format, result.ext) == (size, FORMATS[ext], ext)
    assert sniff_ext(result.data[:64]) in (ext, "jpg")


@pytest.mark.parametrize("change", [{"prompt": "another"}, {"width": 256}, {"ext": "png"}])
def test_another_prompt_size_or_format_is_another_picture(change, bench):
    assert bench.make("image").data != bench.make("image", **change).data


def test_a_picture_is_a_picture_and_no_plain_field(bench):
    picture = opened(bench.make("image", ext="png"))
    assert len(picture.getcolors(maxcolors=1 << 24)) > 1_000
    low, high = zip(*picture.getextrema(), strict=True)
    assert max(high) - min(low) > 80


def test_pictures_of_different_prompts_differ_to_the_eye(bench):
    one, two = (opened(bench.make("image", ext="png", prompt=prompt)).resize((8, 8)) for prompt in ("one", "two"))
    assert sum(abs(a - b) for a, b in zip(one.tobytes(), two.tobytes(), strict=True)) / 192 > 10


@pytest.mark.parametrize("prompt", ["\0 nul", "日本語 🗼", "x" * 100_000, "\u202e"])
def test_any_prompt_makes_a_picture(prompt, bench):
    assert opened(bench.make("image", prompt=prompt, width=64, height=64)).size == (64, 64)


def test_a_webp_beyond_the_formats_limit_is_refused_with_a_remedy(bench):
    with pytest.raises(UnsupportedTask, match="ask for png or jpg"):
        bench.make("image", width=16_384, height=8)


def test_the_longest_side_works_in_the_other_formats(bench):
    assert opened(bench.make("image", width=16_384, height=8, ext="png")).size == (16_384, 8)


def test_the_largest_picture_takes_no_minutes(bench):
    started = time.monotonic()
    result = bench.make("image", width=8_192, height=8_192, ext="jpg")
    assert time.monotonic() - started < 60
    assert len(result.data) < 16 * 1024 * 1024
    with Image.open(io.BytesIO(result.data)) as picture:
        assert picture.size == (8_192, 8_192)
