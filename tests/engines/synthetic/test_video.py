"""Synthetic films."""

import io

import pytest
from PIL import Image, ImageChops

from studio_worker.engines.synthetic.canvas import Scene
from studio_worker.engines.synthetic.digest import hexdigest
from studio_worker.engines.synthetic.video import MAX_FRAMES, frame_count, has_codec, make_video
from studio_worker.errors import UnsupportedTask
from studio_worker.wire.results import sniff_ext
from studio_worker.wire.tasks import parse_task


def animation(result) -> tuple[Image.Image, int, int]:
    """An animated picture, its frames, and its length in milliseconds."""
    picture = Image.open(io.BytesIO(result.data))
    total = 0
    for number in range(picture.n_frames):
        picture.seek(number)
        picture.load()
        total += picture.info["duration"]
    return picture, picture.n_frames, total


def task(**fields):
    return parse_task({"kind": "video", "prompt": "waves", **fields})


@pytest.mark.parametrize("ext", ["webp", "gif"])
@pytest.mark.parametrize(("size", "seconds", "fps"), [((320, 192), 1.5, 12), ((64, 64), 2.0, 8), ((33, 17), 0.5, 10)])
def test_an_animation_has_the_asked_size_length_and_pace(ext, size, seconds, fps, bench):
    result = bench.make("video", ext=ext, width=size[0], height=size[1], seconds=seconds, fps=fps)
    picture, frames, millis = animation(result)
    assert (result.ext, sniff_ext(result.data[:64])) == (ext, ext)
    assert (picture.size, frames, millis) == (size, round(seconds * fps), round(seconds * 1000))


@pytest.mark.parametrize("ext", ["webp", "gif"])
def test_the_frames_of_an_animation_differ(ext, bench):
    picture, frames, _ = animation(bench.make("video", ext=ext, width=64, height=64))
    shown = set()
    for number in range(frames):
        picture.seek(number)
        shown.add(picture.convert("RGB").tobytes())
    assert len(shown) == frames > 1


@pytest.mark.parametrize("ext", ["mp4", "webm"])
def test_without_pyav_a_film_becomes_a_webp_and_says_so(ext, bench):
    result = make_video(bench.job("video", ext=ext, width=64, height=64), can_encode=lambda ext: False)
    assert (result.ext, sniff_ext(result.data[:64])) == ("webp", "webp")
    assert animation(result)[1] > 1


@pytest.mark.parametrize("ext", ["mp4", "webm"])
@pytest.mark.parametrize("size", [(320, 192), (33, 17), (64, 65)])
def test_with_pyav_a_film_is_what_was_asked_for(ext, size, bench):
    av = pytest.importorskip("av", reason="needs pip install av")
    assert has_codec(ext)
    result = bench.make("video", ext=ext, width=size[0], height=size[1], seconds=1.5, fps=12)
    assert (result.ext, sniff_ext(result.data[:64])) == (ext, ext)
    with av.open(io.BytesIO(result.data)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.width, stream.height) == size
        assert len(frames) == 18
        assert float(frames[-1].pts * stream.time_base) == pytest.approx(17 / 12, abs=0.01)


def test_a_film_shows_the_same_picture_as_an_animation_of_it_would(bench):
    av = pytest.importorskip("av")
    film = bench.make("video", ext="mp4", width=64, height=64)
    with av.open(io.BytesIO(film.data)) as container:
        planes = next(container.decode(video=0)).reformat(format="rgb24").planes
    plane = planes[0]
    rows = [bytes(plane)[at : at + 3 * 64] for at in range(0, 64 * plane.line_size, plane.line_size)]
    shown = Image.frombytes("RGB", (64, 64), b"".join(rows))
    *_, drawn = Scene(hexdigest("video", "waves rolling in", 64, 64, "mp4"), 64, 64).paint()
    difference = ImageChops.difference(shown, drawn).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert max(difference) < 12


# how many frames


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"seconds": 2.0}, 16),
        ({"seconds": 2.0, "fps": 24}, 48),
        ({"seconds": 0.001, "fps": 1}, 2),
        ({"seconds": 600.0, "fps": 240}, MAX_FRAMES),
        ({"seconds": 600.0}, MAX_FRAMES),
        ({"seconds": 2.0, "fps": 24, "width": 3840, "height": 2160}, 8),
        ({"seconds": 2.0, "fps": 24, "width": 8192, "height": 8192}, 2),
    ],
)
def test_frames_are_seconds_times_pace_within_bounds(fields, count):
    assert frame_count(task(**fields)) == count


def test_a_film_with_fewer_frames_than_asked_is_as_long_as_asked(bench):
    _, frames, millis = animation(bench.make("video", ext="webp", width=64, height=64, seconds=60.0, fps=30))
    assert (frames, millis) == (MAX_FRAMES, 60_000)


def test_the_shortest_film_has_two_frames(bench):
    assert animation(bench.make("video", ext="gif", width=16, height=16, seconds=0.001))[1] == 2


@pytest.mark.parametrize("ext", ["mp4", "webm"])
def test_the_shortest_and_the_slowest_film_can_be_written(ext, bench):
    pytest.importorskip("av")
    for fields in ({"seconds": 0.001}, {"seconds": 600.0, "fps": 1}):
        assert bench.make("video", ext=ext, width=16, height=16, **fields).ext == ext


@pytest.mark.parametrize(
    "fields",
    [{"width": 8192, "height": 8192}, {"width": 16_384, "height": 16, "ext": "webp"}, {"width": 4096, "height": 4096}],
)
def test_a_film_that_would_take_gigabytes_is_refused_with_the_limit(fields, bench):
    with pytest.raises(UnsupportedTask, match="at most 8,388,608 pixels"):
        bench.make("video", **fields)


@pytest.mark.parametrize("change", [{"prompt": "another"}, {"width": 32}, {"seconds": 0.5}])
def test_another_prompt_size_or_length_is_another_film(change, bench):
    small = {"ext": "gif", "width": 16, "height": 16}
    assert bench.make("video", **small).data != bench.make("video", **{**small, **change}).data
