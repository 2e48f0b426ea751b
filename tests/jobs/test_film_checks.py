"""What a film must be: whole, of the asked size, of more than one frame, and something to see."""

import io
import random
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio_worker.engines.base import VideoResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import inspect
from studio_worker.jobs.film_boxes import BadFilm, check_mp4, check_webm
from studio_worker.wire.tasks import VideoTask

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def animation(fmt="GIF", size=(64, 64), colours=COLOURS, *, dotted=True, **options):
    frames = [Image.new("RGB", size, colour) for colour in colours]
    for frame in frames:
        if dotted:
            frame.putpixel((0, 0), (250, 250, 250))
    out = io.BytesIO()
    frames[0].save(out, fmt, save_all=True, append_images=frames[1:], duration=100, **options)
    return out.getvalue()


def film(ext):
    """A true film of a few frames, as PyAV writes it."""
    out, codec = io.BytesIO(), {"mp4": "mpeg4", "webm": "libvpx"}[ext]
    with av.open(out, "w", format=ext) as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        noise = np.random.default_rng(1)
        for _ in range(8):
            pixels = noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture(scope="module", params=["mp4", "webm"])
def made(request):
    return request.param, film(request.param)


def task(seconds=1.0, fps=8, size=(64, 64), **fields):
    return VideoTask(prompt="a cup", seconds=seconds, fps=fps, width=size[0], height=size[1], **fields)


def check(data, asked=None):
    return inspect(asked or task(), VideoResult(data, "mp4"), {})


def rule(data, asked=None):
    with pytest.raises(ResultRejected) as caught:
        check(data, asked)
    assert caught.value.retryable
    return caught.value.rule


@pytest.mark.parametrize("fmt", ["GIF", "WEBP"])
class TestAnAnimation:
    def test_that_moves_passes(self, fmt):
        assert check(animation(fmt)).ext == fmt.lower()

    def test_of_one_frame_is_refused(self, fmt):
        assert rule(animation(fmt, colours=COLOURS[:1])) == "still"

    @pytest.mark.parametrize(("seconds", "fps"), [(0.1, 8), (0.2, None), (1.0, 1)])
    def test_may_be_one_frame_where_no_more_was_asked_for(self, fmt, seconds, fps):
        assert check(animation(fmt, colours=COLOURS[:1]), task(seconds, fps))

    def test_of_another_size_is_refused(self, fmt):
        assert rule(animation(fmt, (64, 32))) == "wrong-size"

    def test_that_a_picture_began_keeps_the_size_of_that(self, fmt):
        assert check(animation(fmt, (64, 32)), task(init_image_url="https://studio.example.org/a.png"))

    def test_that_is_cut_in_its_first_frame_is_refused(self, fmt):
        noise = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
        out = io.BytesIO()
        noise.save(out, fmt, save_all=True, append_images=[noise.rotate(90)])
        assert rule(out.getvalue()[: out.tell() // 8]) == "does-not-decode"

    def test_may_begin_in_black(self, fmt):
        assert check(animation(fmt, colours=[(0, 0, 0), *COLOURS], dotted=False))


def twice(data):
    """A GIF film whose first frame is said twice: an encoder would join the two."""
    frame = data[data.index(b"\x2c\0\0\0\0") : -1]
    return data[:-1] + frame + b";"


def test_a_film_that_stays_black_is_refused():
    assert rule(twice(animation("GIF", colours=[(0, 0, 0)], dotted=False))) == "black"
    assert rule(animation("WEBP", colours=[(0, 0, 0), (0, 0, 1)], dotted=False, lossless=False)) == "black"


def test_a_film_that_stays_black_is_refused_where_its_encoder_joined_the_frames():
    assert rule(animation("GIF", colours=[(0, 0, 0)] * 3, dotted=False)) == "black"


def test_a_film_of_a_black_picture_may_stay_black(tmp_path):
    source = tmp_path / "input"
    Image.new("RGB", (64, 64)).save(source, "PNG")
    data = twice(animation("GIF", colours=[(0, 0, 0)], dotted=False))
    asked = task(init_image_url="https://studio.example.org/a.png")
    assert inspect(asked, VideoResult(data, "gif"), {}, {"image": source})


def test_a_film_may_hold_one_frame_for_long():
    assert check(twice(animation("GIF", colours=COLOURS[:1])))


def test_equal_frames_that_an_encoder_joined_are_no_still():
    joined = animation("GIF", colours=COLOURS[:1] * 8)
    with Image.open(io.BytesIO(joined)) as film:
        assert not film.is_animated
    assert check(joined)
    assert rule(joined, task(seconds=3.0)) == "still"


class TestAFilmFile:
    def test_that_is_whole_passes(self, made):
        ext, data = made
        assert check(data).ext == ext

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_that_is_cut_is_refused(self, made, share):
        _, data = made
        assert rule(data[: int(len(data) * share)]) == "does-not-decode"

    @pytest.mark.parametrize("head", [b"\x00\x00\x00\x18ftypmp42", b"\x1a\x45\xdf\xa3"])
    def test_that_only_begins_as_one_is_refused(self, head):
        assert rule(head + bytes(100)) == "does-not-decode"


def box(name, body):
    return struct.pack(">I", 8 + len(body)) + name + body


def test_an_index_without_pictures_is_no_film():
    data = box(b"ftyp", b"mp42") + box(b"moov", b"x")
    with pytest.raises(BadFilm, match="no pictures"):
        check_mp4(io.BytesIO(data), len(data))


def test_empty_pictures_are_none():
    data = box(b"ftyp", b"mp42") + box(b"moov", b"x") + box(b"mdat", b"")
    with pytest.raises(BadFilm, match="no pictures"):
        check_mp4(io.BytesIO(data), len(data))


def test_long_and_open_lengths_are_read():
    long = struct.pack(">I4sQ", 1, b"moov", 20) + b"abcd"
    data = box(b"ftyp", b"mp42") + long + struct.pack(">I4s", 0, b"mdat") + b"pictures"
    check_mp4(io.BytesIO(data), len(data))


def test_a_live_webm_leaves_its_lengths_open():
    head = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    data = head + b"\x16\x54\xae\x6b\x81x" + b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"pictures"
    check_webm(io.BytesIO(data), len(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_film_or_are_refused(data):
    for check_file in (check_mp4, check_webm):
        try:
            check_file(io.BytesIO(data), len(data))
        except BadFilm:
            continue
