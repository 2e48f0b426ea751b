from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image, ImageSequence
from studio_worker_sdcpp.film import check_film, durations, encode_film

from studio_worker import Cancelled, UnsupportedTask

av = pytest.importorskip("av", reason="needs pip install av")


def never() -> None:
    """Nobody cancels."""


def rising(count: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frames that grow brighter."""
    return [Image.new("RGB", size, (20 * number + 20,) * 3) for number in range(count)]


def brightness(frames: list[Image.Image]) -> list[int]:
    return [frame.convert("L").getpixel((5, 5)) for frame in frames]  # type: ignore[misc]  # L has one level


@pytest.mark.parametrize("size", [(64, 48), (63, 49), (1, 1)])
@pytest.mark.parametrize("ext", ["mp4", "webm"])
def test_a_film_has_its_frames_in_order_at_its_pace(tmp_path: Path, ext: str, size: tuple[int, int]) -> None:
    target = tmp_path / "film"
    encode_film(rising(9, size), target, ext, 12, check_cancelled=never)
    with av.open(str(target), format=ext) as container:
        stream = container.streams.video[0]
        frames = [frame.to_image() for frame in container.decode(stream)]
        assert (stream.width, stream.height) == size
        assert float(stream.average_rate) == pytest.approx(12, abs=0.01)
    assert len(frames) == 9
    levels = brightness([frame.resize((8, 8)) for frame in frames])
    assert all(after - before == pytest.approx(20, abs=8) for before, after in pairwise(levels))


@pytest.mark.parametrize(("ext", "kind"), [("webp", "WEBP"), ("gif", "GIF")])
def test_an_animation_has_its_frames_in_order_and_its_length(tmp_path: Path, ext: str, kind: str) -> None:
    target = tmp_path / "film"
    encode_film(rising(9), target, ext, 12, check_cancelled=never)
    with Image.open(target) as film:
        assert (film.format, film.size, film.n_frames) == (kind, (64, 48), 9)  # type: ignore[attr-defined]  # animated
        copies = [frame.convert("RGB").copy() for frame in ImageSequence.Iterator(film)]
    assert brightness(copies) == pytest.approx([20 * number + 20 for number in range(9)], abs=4)


def test_one_frame_is_a_film_too(tmp_path: Path) -> None:
    for ext in ("mp4", "webm", "webp", "gif"):
        encode_film(rising(1), tmp_path / ext, ext, 16, check_cancelled=never)
        assert (tmp_path / ext).stat().st_size > 50


@pytest.mark.parametrize(("count", "fps"), [(1, 16), (33, 16), (30, 30), (100, 24), (5, 240)])
def test_durations_are_what_gif_knows_and_add_up(count: int, fps: int) -> None:
    millis = durations(count, fps)
    assert all(duration >= 10 and duration % 10 == 0 for duration in millis)
    if fps <= 50:
        assert sum(millis) == pytest.approx(1000 * count / fps, abs=5.1)


def test_encoding_ends_where_the_job_is_cancelled(tmp_path: Path) -> None:
    calls = 0

    def cancel_at_the_third() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        encode_film(rising(9), tmp_path / "film", "mp4", 16, check_cancelled=cancel_at_the_third)
    assert calls == 3


@pytest.mark.parametrize("ext", ["mp4", "webm", "webp", "gif"])
def test_every_ext_can_be_written_here(ext: str) -> None:
    check_film(ext)


def test_without_pyav_a_film_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_sdcpp.film.find_spec", lambda name: None)
    with pytest.raises(UnsupportedTask, match=r"mp4 needs PyAV; ask for webp or gif, or: pip install av"):
        check_film("mp4")
    check_film("gif")


def test_a_pyav_without_the_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["av"], "codecs_available", {"mpeg4"})
    with pytest.raises(UnsupportedTask, match="no libvpx-vp9 to write webm with"):
        check_film("webm")


def test_an_unknown_ext_is_refused() -> None:
    with pytest.raises(UnsupportedTask, match="writes mp4, webm, webp and gif, not avi"):
        check_film("avi")
