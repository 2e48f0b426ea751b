"""Synthetic transcripts."""

import hashlib
import io
import struct
import wave
from itertools import pairwise

import pytest

from studio_worker.engines.synthetic.transcript import wav_secs
from studio_worker.errors import BadInput
from studio_worker.wire.results import Transcript


def wav_bytes(seconds: float, rate: int = 8_000, width: int = 2, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(int(seconds * rate) * width * channels))
    return out.getvalue()


def test_a_transcript_is_keyed_by_the_bytes_of_the_sound(bench, sound):
    audio = sound()
    result = bench.make("audio_stt", inputs={"audio": audio})
    assert result.json["text"] == f"[synthetic] transcript of {hashlib.sha256(audio.read_bytes()).hexdigest()[:16]}"
    assert result.json["text"] != bench.make("audio_stt", inputs={"audio": sound("other", "b.wav")}).json["text"]


def test_a_transcript_passes_the_contract_and_says_no_more_than_was_asked(bench, sound):
    result = bench.make("audio_stt", inputs={"audio": sound()})
    Transcript.model_validate(result.json)
    assert set(result.json) == {"text", "language", "duration"}


@pytest.mark.parametrize(
    ("fields", "language"),
    [({}, "en"), ({"language": "pt-BR"}, "pt-BR"), ({"language": "de", "translate": True}, "en")],
)
def test_the_language_is_the_asked_one(fields, language, bench, sound):
    assert bench.make("audio_stt", inputs={"audio": sound()}, **fields).json["language"] == language


def test_the_duration_of_a_wav_is_its_true_one(bench, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(3.25))
    assert bench.make("audio_stt", inputs={"audio": path}).json["duration"] == 3.25


def test_segments_are_given_where_they_are_asked_for(bench, sound):
    result = bench.make("audio_stt", inputs={"audio": sound()}, timestamps="segment")
    (segment,) = result.json["segments"]
    assert (segment["start"], segment["end"], segment["text"]) == (0.0, result.json["duration"], result.json["text"])
    assert "words" not in result.json


def test_words_are_given_where_they_are_asked_for(bench, sound):
    result = bench.make("audio_stt", inputs={"audio": sound()}, timestamps="word")
    words = result.json["words"]
    assert " ".join(word["word"] for word in words) == result.json["text"]
    assert words[0]["start"] == 0.0
    assert words[-1]["end"] == pytest.approx(result.json["duration"], abs=0.002)
    assert all(one["end"] == two["start"] for one, two in pairwise(words))
    Transcript.model_validate(result.json)


@pytest.mark.parametrize("inputs", [{}, {"audio": None}])
def test_a_job_without_a_sound_is_refused(inputs, bench, tmp_path):
    inputs = dict.fromkeys(inputs, tmp_path / "gone.wav")
    with pytest.raises(BadInput, match="no sound"):
        bench.make("audio_stt", inputs=inputs)


# the length of a file


@pytest.mark.parametrize(("rate", "width", "channels"), [(8_000, 1, 1), (22_050, 2, 1), (48_000, 4, 2), (44_100, 3, 6)])
def test_any_pcm_wav_is_measured(rate, width, channels, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(0.5, rate, width, channels))
    assert wav_secs(path) == pytest.approx(0.5)


def test_chunks_before_the_sound_are_passed_over(tmp_path):
    data = wav_bytes(1.0)
    path = tmp_path / "a.wav"
    path.write_bytes(data[:12] + b"LIST" + struct.pack("<I", 5) + b"note\0\0" + data[12:])
    assert wav_secs(path) == 1.0


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_stream_that_did_not_know_its_length_is_measured_by_its_file(length, tmp_path):
    data = bytearray(wav_bytes(2.0))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", length)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    assert wav_secs(path) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "data",
    [
        b"OggS" + bytes(60),
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd",
        b"RIFF\0\0\0\0WAVEfmt \0",
    ],
)
def test_a_sound_whose_length_nobody_can_tell_has_still_a_transcript(data, bench, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert wav_secs(path) is None
    assert bench.make("audio_stt", inputs={"audio": path}).json["duration"] == 1.0


@pytest.mark.parametrize("data", [b"", b"RIFF", b"this is no sound", b"\x89PNG\r\n\x1a\n" + bytes(60)])
def test_what_is_no_sound_is_refused(data, bench, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    with pytest.raises(BadInput, match="inputUrl is no sound: it is none of wav, mp3"):
        bench.make("audio_stt", inputs={"audio": path})
