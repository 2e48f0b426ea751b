"""The look at results before they are kept."""

import io
import os
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from studio_worker.engines.base import AudioResult, ImageResult, LlmResult, TranscriptResult, VideoResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.checks import MAX_JSON_BYTES, inspect, is_quickly_inspected
from studio_worker.testing.claims import hum, silence
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import ImageTask, LlmTask, Message, SttTask, TtsTask, VideoTask

COMPLETION = {
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


TASKS = {
    TaskKind.IMAGE: ImageTask(prompt="a cup", width=8, height=8),
    TaskKind.AUDIO_TTS: TtsTask(text="good"),
    TaskKind.VIDEO: VideoTask(prompt="a cup", width=8, height=8),
    TaskKind.LLM: LlmTask(messages=(Message(role="user", content="hi"),)),
    TaskKind.AUDIO_STT: SttTask(input_url="https://studio.example.org/a.wav"),
}


def check(kind, result):
    return inspect(TASKS[kind], result, {})


def refusal(kind, result):
    with pytest.raises(ResultRejected) as caught:
        check(kind, result)
    assert caught.value.retryable
    return caught.value.rule


def noise(side):
    """A picture that nothing can pack."""
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


class TestPictures:
    @pytest.mark.parametrize(("fmt", "ext"), [("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("JPEG", "jpg")])
    def test_that_decode_pass_as_what_they_are(self, make_picture, fmt, ext):
        artifact = inspect(TASKS[TaskKind.IMAGE], ImageResult(make_picture(ext=fmt), ext), {"seed": 1})
        assert (artifact.ext, artifact.kind, artifact.meta) == (ext, TaskKind.IMAGE, {"seed": 1})
        assert artifact.size == len(artifact.data)

    def test_that_are_called_otherwise_get_the_name_of_their_bytes(self, make_picture):
        assert check(TaskKind.IMAGE, ImageResult(make_picture(), "webp")).ext == "png"

    def test_may_be_called_jpeg(self, make_picture):
        assert check(TaskKind.IMAGE, ImageResult(make_picture(ext="JPEG"), "jpeg")).ext == "jpeg"

    def test_in_a_file_stay_in_the_file(self, make_picture, tmp_path):
        file = tmp_path / "out.png"
        file.write_bytes(make_picture())
        artifact = check(TaskKind.IMAGE, ImageResult(file, "png"))
        assert artifact.data == file
        assert artifact.size == file.stat().st_size

    def test_that_are_empty_are_refused(self):
        assert refusal(TaskKind.IMAGE, ImageResult(b"", "png")) == "empty"

    def test_that_are_missing_are_refused(self, tmp_path):
        assert refusal(TaskKind.IMAGE, ImageResult(tmp_path / "no.png", "png")) == "unreadable"

    @pytest.mark.parametrize("fmt", ["PNG", "WEBP", "JPEG", "GIF"])
    def test_that_are_cut_short_are_refused(self, fmt):
        noise = Image.frombytes("RGB", (8, 8), random.Random(1).randbytes(8 * 8 * 3))
        out = io.BytesIO()
        noise.save(out, fmt)
        cut = out.getvalue()[: out.tell() // 2]
        assert refusal(TaskKind.IMAGE, ImageResult(cut, fmt.lower())) == "does-not-decode"

    @pytest.mark.parametrize("data", [b"<html>", b"\x89PNG\r\n\x1a\n garbage", b"BM" + bytes(60), bytes(64)])
    def test_that_are_no_pictures_are_refused(self, data):
        assert refusal(TaskKind.IMAGE, ImageResult(data, "png")) == "does-not-decode"

    def test_that_are_sound_are_refused(self):
        assert refusal(TaskKind.IMAGE, ImageResult(silence(), "png")) == "wrong-kind"

    def test_with_too_many_pixels_are_refused_before_they_are_decoded(self):
        head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        assert refusal(TaskKind.IMAGE, ImageResult(b"\x89PNG\r\n\x1a\n" + chunk + bytes(100), "png")) in (
            "too-large",
            "does-not-decode",
        )

    @given(st.binary(max_size=200))
    def test_that_only_begin_as_pictures_are_refused(self, data):
        assert refusal(TaskKind.IMAGE, ImageResult(b"\x89PNG\r\n\x1a\n" + data, "png")) == "does-not-decode"


class TestSound:
    def test_that_has_a_header_and_a_sample_passes(self):
        assert check(TaskKind.AUDIO_TTS, AudioResult(hum(), "wav")).ext == "wav"

    @pytest.mark.parametrize(
        ("head", "ext"), [(b"OggS", "ogg"), (b"fLaC", "flac"), (b"ID3\x04", "mp3"), (b"\xff\xfb\x90\x00", "mp3")]
    )
    def test_of_other_formats_is_known_by_its_first_bytes(self, head, ext):
        assert check(TaskKind.AUDIO_TTS, AudioResult(head + bytes(100), ext)).ext == ext

    def test_without_a_sample_is_refused(self):
        assert refusal(TaskKind.AUDIO_TTS, AudioResult(silence(secs=0), "wav")) == "does-not-decode"

    def test_that_is_a_picture_is_refused(self, make_picture):
        assert refusal(TaskKind.AUDIO_TTS, AudioResult(make_picture(), "wav")) == "wrong-kind"


class TestVideos:
    def test_may_be_moving_pictures(self, make_picture):
        assert check(TaskKind.VIDEO, VideoResult(make_picture(ext="GIF"), "mp4")).ext == "gif"

    def test_that_are_a_still_format_are_refused(self, make_picture):
        assert refusal(TaskKind.VIDEO, VideoResult(make_picture(), "mp4")) == "wrong-kind"


class TestJson:
    def test_in_the_shape_of_a_completion_passes(self):
        artifact = check(TaskKind.LLM, LlmResult(COMPLETION))
        assert artifact.json == COMPLETION
        assert artifact.data is None

    def test_of_a_completion_keeps_what_else_is_in_it(self):
        assert check(TaskKind.LLM, LlmResult(COMPLETION | {"extra": None})).json["extra"] is None

    @pytest.mark.parametrize("missing", ["model", "choices", "usage"])
    def test_of_a_completion_without_a_part_is_refused(self, missing):
        result = LlmResult({key: value for key, value in COMPLETION.items() if key != missing})
        assert refusal(TaskKind.LLM, result) == "wrong-shape"

    def test_of_a_transcript_passes(self):
        result = {
            "text": "hi",
            "language": "en",
            "duration": 1.0,
            "segments": [{"start": 0.0, "end": 1.0, "text": "hi"}],
        }
        assert check(TaskKind.AUDIO_STT, TranscriptResult(result)).json == result

    def test_of_a_transcript_without_text_is_refused(self):
        assert refusal(TaskKind.AUDIO_STT, TranscriptResult({"duration": 1.0})) == "wrong-shape"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object()])
    def test_that_json_cannot_carry_is_refused(self, value):
        assert refusal(TaskKind.LLM, LlmResult(COMPLETION | {"extra": value})) == "not-json"

    def test_that_does_not_fit_into_a_frame_is_refused(self):
        assert refusal(TaskKind.LLM, LlmResult(COMPLETION | {"extra": "x" * MAX_JSON_BYTES})) == "too-large"


class TestTheQuickLook:
    def test_is_taken_at_small_pictures_and_short_sounds(self, make_picture):
        assert is_quickly_inspected(ImageResult(make_picture(), "png"))
        assert is_quickly_inspected(AudioResult(hum(), "wav"))

    @pytest.mark.parametrize("fmt", ["WEBP", "GIF", "JPEG"])
    def test_is_not_taken_at_what_needs_a_decoder(self, make_picture, fmt):
        assert not is_quickly_inspected(ImageResult(make_picture(ext=fmt), "png"))

    def test_is_not_taken_at_files_many_bytes_or_many_pixels(self, make_picture, tmp_path):
        assert not is_quickly_inspected(ImageResult(tmp_path / "a.png", "png"))
        assert not is_quickly_inspected(AudioResult(hum(secs=60), "wav"))
        assert not is_quickly_inspected(ImageResult(make_picture(1_000, 1_000), "png"))

    def test_is_not_taken_where_a_black_result_would_have_its_input_decoded(self, make_picture, tmp_path):
        assert not is_quickly_inspected(ImageResult(make_picture(), "png"), {"image": tmp_path / "in.png"})

    def test_is_taken_at_a_large_picture_that_was_never_packed(self):
        assert is_quickly_inspected(ImageResult(noise(600), "png"))
        assert not is_quickly_inspected(ImageResult(noise(900), "png"))

    @pytest.mark.parametrize("mode", ["1", "P"])
    def test_is_not_taken_at_pngs_of_few_bits_or_a_palette(self, mode):
        out = io.BytesIO()
        Image.new(mode, (8, 8)).save(out, "PNG", bits=8)
        assert not is_quickly_inspected(ImageResult(out.getvalue(), "png"))
