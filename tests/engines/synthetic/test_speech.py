"""Synthetic sound."""

import array
import io
import wave

import pytest


def wav(result) -> wave.Wave_read:
    return wave.open(io.BytesIO(result.data))


def secs(result) -> float:
    with wav(result) as file:
        return file.getnframes() / file.getframerate()


def test_sound_is_16_bit_mono_at_22050_hz(bench):
    with wav(bench.make("audio_tts")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22_050)


def test_sound_is_heard_and_never_clips(bench):
    with wav(bench.make("audio_tts")) as file:
        samples = array.array("h", file.readframes(file.getnframes()))
    assert 5_000 < max(map(abs, samples)) < 32_000


def test_a_longer_text_takes_longer(bench):
    lengths = [secs(bench.make("audio_tts", text="word " * count)) for count in (1, 2, 10, 100)]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize("speed", [0.5, 2.0, 4.0])
def test_speed_is_honoured(speed, bench):
    ratio = secs(bench.make("audio_tts")) / secs(bench.make("audio_tts", speed=speed))
    assert ratio == pytest.approx(speed, rel=0.02)


@pytest.mark.parametrize("ext", ["mp3", "ogg", "flac", "wav"])
def test_whatever_is_asked_for_the_ext_says_what_it_is(ext, bench):
    result = bench.make("audio_tts", ext=ext)
    assert result.ext == "wav"
    assert result.data[:4] == b"RIFF"


@pytest.mark.parametrize("change", [{"text": "another"}, {"voice": "deep"}, {"speed": 1.5}])
def test_another_text_voice_or_speed_is_another_sound(change, bench):
    assert bench.make("audio_tts").data != bench.make("audio_tts", **change).data


@pytest.mark.parametrize("options", [{"text": "x" * 100_000, "speed": 0.1}, {"text": "x" * 100_000}])
def test_the_longest_text_is_cut_at_ten_minutes(options, bench):
    assert 599 < secs(bench.make("audio_tts", **options)) <= 600


def test_the_shortest_text_at_the_highest_speed_is_still_sound(bench):
    assert secs(bench.make("audio_tts", text=".", speed=10.0)) > 0
