from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from studio_worker_sdcpp.previews import INTERVAL_SECS, MAX_BYTES, MAX_SIDE, Previews, small_jpeg


class Clock:
    """A clock that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (384, 384), (2048, 512), (1, 5000)])
def test_a_preview_is_small_in_every_way(size: tuple[int, int]) -> None:
    data = small_jpeg(noise(*size))
    assert data is not None
    assert len(data) <= MAX_BYTES
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, max(picture.size) <= MAX_SIDE) == ("JPEG", True)


def test_a_preview_that_is_small_already_keeps_its_size() -> None:
    data = small_jpeg(noise(128, 64))
    assert data is not None
    assert Image.open(io.BytesIO(data)).size == (128, 64)


def test_there_are_at_most_two_previews_a_second() -> None:
    clock = Clock()
    previews = Previews(clock)
    taken = 0
    for _ in range(33):
        previews.show(noise(8, 8))
        taken += previews.take() is not None
        clock.now += 0.0625
    assert (INTERVAL_SECS, taken) == (0.5, 5)


def test_a_preview_is_taken_once() -> None:
    previews = Previews(Clock())
    assert previews.take() is None
    previews.show(noise(8, 8))
    assert previews.take() is not None
    assert previews.take() is None


def test_the_newest_preview_takes_the_place_of_an_older_one() -> None:
    clock = Clock()
    previews = Previews(clock)
    previews.show(Image.new("RGB", (8, 8), "white"))
    clock.now += 1
    previews.show(Image.new("RGB", (8, 8), "black"))
    data = previews.take()
    assert data is not None
    assert Image.open(io.BytesIO(data)).getpixel((4, 4)) == (0, 0, 0)
