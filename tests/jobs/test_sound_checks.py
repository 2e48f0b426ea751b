"""What speech must be: about as long as its text, and not silent."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.base import AudioResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import inspect
from studio_worker.jobs.sound_checks import plausible_secs
from studio_worker.testing.claims import hum, silence
from studio_worker.wire.tasks import TtsTask

SENTENCE = "Good morning, and welcome to the lighthouse."


def rule(text, data, **fields):
    with pytest.raises(ResultRejected) as caught:
        check(text, data, **fields)
    assert caught.value.retryable
    return caught.value.rule


def check(text, data, **fields):
    return inspect(TtsTask(text=text, **fields), AudioResult(data, "wav"), {})


def eight_bits(sample, secs=3.0):
    pcm = bytes([sample]) * int(8_000 * secs)
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 8_000, 1, 8)
    return b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVE" + head + b"data" + struct.pack("<I", len(pcm)) + pcm


def test_speech_of_a_sentence_passes():
    assert check(SENTENCE, hum(secs=3.0)).ext == "wav"


def test_silence_in_place_of_words_is_refused():
    assert rule(SENTENCE, silence(secs=3.0)) == "silent"


def test_one_sound_at_the_very_end_is_no_silence():
    data = silence(secs=30.0)
    assert check(SENTENCE, data[:-2] + b"\x01\x00")


def test_silence_of_unsigned_samples_is_known_too():
    assert rule(SENTENCE, eight_bits(0x80)) == "silent"
    assert check(SENTENCE, eight_bits(0x00))


@pytest.mark.parametrize("text", ["…", "?!", "— — —"])
def test_a_text_without_words_may_be_silent(text):
    assert check(text, silence(secs=0.05))


def test_a_click_in_place_of_a_sentence_is_refused():
    assert rule(SENTENCE, hum(secs=0.05)) == "too-short"
    assert rule(SENTENCE * 100, hum(secs=2.0)) == "too-short"


def test_hours_in_place_of_a_word_are_refused():
    assert rule("Yes.", hum(secs=90.0)) == "too-long"
    assert check("Yes.", hum(secs=50.0))


def test_a_letter_may_be_short_and_a_slow_voice_takes_its_time():
    assert check("a", hum(secs=0.06))
    assert check("a", hum(secs=0.006), speed=10.0)
    assert check("word " * 10, hum(secs=300.0), speed=0.1)


def test_a_file_without_a_sample_does_not_decode():
    assert rule(SENTENCE, silence(secs=0)) == "does-not-decode"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300).filter(str.strip)


@given(TEXTS, st.floats(0.1, 10))
def test_speech_at_any_common_pace_is_plausible(text, speed):
    shortest, longest = plausible_secs(TtsTask(text=text, speed=speed))
    assert shortest <= 0.06 * len(text) / speed <= longest
    assert 0 <= shortest <= 60


def test_a_very_long_text_may_be_cut_by_its_engine():
    shortest, longest = plausible_secs(TtsTask(text="a" * 100_000))
    assert shortest <= 600 <= longest


def test_speech_that_was_cut_is_refused():
    assert rule(SENTENCE, hum(secs=8.0)[: 16_000 * 2 * 3]) == "does-not-decode"


def test_sound_in_a_file_is_read_from_the_file(tmp_path):
    file = tmp_path / "out.wav"
    file.write_bytes(silence(secs=3.0))
    with pytest.raises(ResultRejected) as caught:
        inspect(TtsTask(text=SENTENCE), AudioResult(file, "wav"), {})
    assert caught.value.rule == "silent"


def test_a_format_without_frames_of_a_length_is_not_measured():
    data = bytearray(hum(secs=3.0))
    assert io.BytesIO(data).read(36)[32:34] == b"\x02\x00"
    data[32:34] = b"\x00\x00"
    assert check(SENTENCE, bytes(data))
