"""Sound pictures, sounds and films with damage: what an engine gives is taken or refused, and nothing else happens."""

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from spoiled import damaged

from studio_worker.engines.base import AudioResult, ImageResult, VideoResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import inspect
from studio_worker.jobs.film_boxes import BadFilm, check_mp4, check_webm
from studio_worker.jobs.wav_header import MAX_CHANNELS, MAX_RATE, BadWav, read_wav_header
from studio_worker.testing.claims import hum
from studio_worker.wire.tasks import ImageTask, TtsTask, VideoTask

from .test_film_checks import animation, film

SOUND = hum()
PICTURES = {}
for fmt in ("PNG", "JPEG", "WEBP", "GIF"):
    out = io.BytesIO()
    Image.effect_noise((16, 16), 60).convert("RGB").save(out, fmt)
    PICTURES[fmt] = out.getvalue()
FILMS = {ext: film(ext)[:4_000] for ext in ("mp4", "webm")}


@settings(print_blob=True, deadline=None)
@given(data=damaged(SOUND[:200]))
def test_a_damaged_wav_has_a_possible_head_or_is_refused(data):
    with suppress(BadWav):
        header = read_wav_header(io.BytesIO(data), len(data))
        assert 1 <= header.channels <= MAX_CHANNELS
        assert 1 <= header.rate <= MAX_RATE
        assert 0 < header.start < header.start + header.data_bytes <= len(data)
        assert header.seconds is None or header.seconds > 0


@settings(print_blob=True, deadline=None)
@given(ext=st.sampled_from(sorted(FILMS)), data=st.data())
def test_a_damaged_film_is_walked_to_its_end_or_refused(ext, data):
    broken = data.draw(damaged(FILMS[ext]))
    with suppress(BadFilm):
        {"mp4": check_mp4, "webm": check_webm}[ext](io.BytesIO(broken), len(broken))


@pytest.mark.filterwarnings("ignore")
@settings(print_blob=True, deadline=None)
@given(fmt=st.sampled_from(sorted(PICTURES)), data=st.data())
def test_a_damaged_picture_is_taken_or_rejected(fmt, data):
    broken = data.draw(damaged(PICTURES[fmt]))
    with suppress(ResultRejected):
        assert inspect(ImageTask(prompt="a cup", width=16, height=16), ImageResult(broken, fmt.lower()), {}).ext


@settings(print_blob=True, deadline=None)
@given(data=damaged(SOUND[:2_000]))
def test_a_damaged_sound_is_taken_or_rejected(data):
    with suppress(ResultRejected):
        assert inspect(TtsTask(text="hello"), AudioResult(data, "wav"), {}).ext


@pytest.mark.filterwarnings("ignore")
@settings(print_blob=True, deadline=None)
@given(fmt=st.sampled_from(["GIF", "WEBP"]), data=st.data())
def test_a_damaged_animation_is_taken_or_rejected(fmt, data):
    broken = data.draw(damaged(animation(fmt, (16, 16))))
    task = VideoTask(prompt="a cup", seconds=1.0, fps=8, width=16, height=16)
    with suppress(ResultRejected):
        assert inspect(task, VideoResult(broken, fmt.lower()), {}).ext
