from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from studio_worker_onnx.region import FEATHER, Frame, crop_box, feather, frame, shown, taken_back


def marks(width: int, height: int, *boxes: tuple[int, int, int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    made = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        made[top:bottom, left:right] = True
    return made


def test_there_is_no_crop_without_a_mark() -> None:
    assert crop_box(marks(100, 80)) is None


def test_a_crop_is_a_square_with_a_quarter_and_32_pixels_around_the_marks() -> None:
    assert crop_box(marks(2_000, 2_000, (900, 1_000, 1_100, 1_040))) == (818, 838, 1_182, 1_202)


def test_a_small_mark_still_gets_256_pixels_to_look_at() -> None:
    assert crop_box(marks(2_000, 2_000, (1_000, 1_000, 1_002, 1_002))) == (873, 873, 1_129, 1_129)


@pytest.mark.parametrize(
    ("mark", "box"), [((0, 0, 10, 10), (0, 0, 256, 256)), ((990, 790, 1_000, 800), (744, 544, 1_000, 800))]
)
def test_a_crop_in_a_corner_is_moved_inside(mark: tuple[int, int, int, int], box: tuple[int, int, int, int]) -> None:
    assert crop_box(marks(1_000, 800, mark)) == box


def test_marks_far_apart_are_in_one_crop() -> None:
    assert crop_box(marks(1_000, 800, (0, 0, 5, 5), (995, 795, 1_000, 800))) == (0, 0, 1_000, 800)


def test_a_wide_mark_in_a_low_picture_is_in_the_crop_whole() -> None:
    assert crop_box(marks(1_000, 100, (100, 40, 900, 60))) == (0, 0, 1_000, 100)


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    data=st.data(),
)
def test_a_crop_holds_every_mark_and_lies_inside_the_picture(width: int, height: int, data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    found = crop_box(marks(width, height, (left, top, right, bottom)))
    assert found is not None
    assert 0 <= found[0] <= left < right <= found[2] <= width
    assert 0 <= found[1] <= top < bottom <= found[3] <= height


@pytest.mark.parametrize(
    ("size", "wanted", "expected"),
    [
        ((256, 256), (512, 512), Frame((512, 512), (512, 512))),
        ((1_000, 500), (512, 512), Frame((512, 256), (512, 512))),
        ((100, 300), (64, 320), Frame((64, 192), (64, 320))),
        ((300, 300), (None, None), Frame((300, 300), (304, 304))),
        ((5, 3), (None, None), Frame((5, 3), (64, 64))),
        ((4_096, 2_048), (None, None), Frame((1_024, 512), (1_024, 512))),
        ((400, 300), (512, None), Frame((400, 300), (512, 304))),
        ((5_000, 1), (512, 512), Frame((512, 1), (512, 512))),
    ],
)
def test_a_crop_is_scaled_and_filled_up_to_the_models_size(size: Any, wanted: Any, expected: Frame) -> None:
    assert frame(size, width=wanted[0], height=wanted[1]) == expected


@given(
    size=st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)),
    wanted=st.tuples(st.none() | st.integers(1, 4_096), st.none() | st.integers(1, 4_096)),
)
def test_a_scaled_crop_always_fits_into_what_the_model_sees(size: Any, wanted: Any) -> None:
    place = frame(size, width=wanted[0], height=wanted[1])
    for inner, outer, fixed in zip(place.inner, place.outer, wanted, strict=True):
        assert 1 <= inner <= outer
        assert outer == fixed if fixed is not None else (64 <= outer <= 1_024 and outer % 8 == 0)


def test_what_fills_up_is_the_crops_edge_and_is_not_marked() -> None:
    crop = Image.new("RGB", (2, 2), (10, 20, 30))
    pixels, mask = shown(crop, marks(2, 2, (0, 0, 2, 2)), Frame((2, 2), (4, 3)))
    assert (pixels.shape, mask.shape) == ((3, 4, 3), (3, 4))
    assert (pixels == (10, 20, 30)).all()
    assert np.argwhere(mask).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_thin_mark_does_not_vanish_from_what_a_model_sees_smaller() -> None:
    _, mask = shown(Image.new("RGB", (4_000, 4_000)), marks(4_000, 4_000, (0, 2_000, 4_000, 2_001)), frame_512())
    assert mask.any(axis=0).all()


def frame_512() -> Frame:
    return frame((4_000, 4_000), width=512, height=512)


def test_what_was_made_comes_back_in_the_crops_size_without_what_filled_up() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:30, :60] = 200
    made = taken_back(pixels, (120, 60), Frame((60, 30), (64, 64)))
    assert made.size == (120, 60)
    assert made.getextrema() == ((200, 200),) * 3


def alpha_of(given: Any) -> list[list[int]]:
    return np.asarray(feather(given)).tolist()


def test_the_soft_edge_lies_inside_the_mark() -> None:
    row = alpha_of(marks(14, 14, (2, 2, 12, 12)))[7]
    edge = [round(255 * share) for share in FEATHER]
    assert row == [0, 0, *edge, 255, 255, 255, 255, *edge[::-1], 0, 0]


@pytest.mark.parametrize("width", range(1, 7))
def test_a_line_too_thin_for_two_edges_is_put_back_whole(width: int) -> None:
    given = marks(40, 40, (10, 0, 10 + width, 40))
    assert set(np.asarray(feather(given))[given].tolist()) == {255}


def test_the_border_of_the_picture_is_no_edge() -> None:
    assert np.asarray(feather(marks(30, 30, (0, 0, 30, 30)))).min() == 255


@given(seed=st.integers(0, 10_000), width=st.integers(1, 60), height=st.integers(1, 60), share=st.floats(0, 1))
def test_nothing_shows_outside_and_something_everywhere_inside(
    seed: int, width: int, height: int, share: float
) -> None:
    given = np.random.default_rng(seed).random((height, width)) < share
    alpha = np.asarray(feather(given))
    assert not alpha[~given].any()
    assert (alpha[given] >= round(255 * FEATHER[0])).all()
