from __future__ import annotations

import pytest
from pydantic import ValidationError

from studio_worker.wire.results import ChatCompletion, Transcript, media_type, sniff_ext

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_767_225_600,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "tool_calls": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "details": {"cached": 0}},
}
TRANSCRIPT = {
    "text": "hello there",
    "language": "en",
    "duration": 1.5,
    "segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": "hello there"}],
    "words": [{"start": 0.0, "end": 0.5, "word": "hello", "probability": 0.9}],
}


@pytest.mark.parametrize(("model", "value"), [(ChatCompletion, COMPLETION), (Transcript, TRANSCRIPT)])
def test_a_result_is_read_and_written_whole_extra_keys_and_nulls_included(model, value):
    assert model.from_wire(value).to_wire() == value


@pytest.mark.parametrize(
    "spoil",
    [
        {"choices": []},
        {"choices": None},
        {"model": 5},
        {"object": "text_completion"},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 1, "total_tokens": 0}},
        {"usage": {"prompt_tokens": 1.0, "completion_tokens": 1, "total_tokens": 2}},
        {"usage": None},
    ],
)
def test_a_completion_that_is_not_openais_is_refused(spoil):
    with pytest.raises(ValidationError):
        ChatCompletion.from_wire({**COMPLETION, **spoil})


@pytest.mark.parametrize(
    "spoil",
    [
        {"text": None},
        {"duration": -1},
        {"duration": float("nan")},
        {"segments": {}},
        {"segments": [{"start": 0}]},
        {"words": [{"start": "0", "end": 1}]},
    ],
)
def test_a_transcript_that_breaks_the_contract_is_refused(spoil):
    with pytest.raises(ValidationError):
        Transcript.from_wire({**TRANSCRIPT, **spoil})


def test_a_transcript_without_times_has_none():
    assert Transcript.from_wire({"text": ""}).to_wire() == {"text": ""}


@pytest.mark.parametrize(
    ("ext", "kind"),
    [
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("wav", "audio/wav"),
        ("mp3", "audio/mpeg"),
        ("ogg", "audio/ogg"),
        ("flac", "audio/flac"),
        ("mp4", "video/mp4"),
        ("webm", "video/webm"),
        ("PNG", "image/png"),
        ("bin", "application/octet-stream"),
        ("svg", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_the_ext(ext, kind):
    assert media_type(ext) == kind


@pytest.mark.parametrize(
    ("head", "ext"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 8, "png"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "wav"),
        (b"RIFF\x10\0\0\0AVI LIST", None),
        (b"GIF89a", "gif"),
        (b"GIF87a", "gif"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"OggS", "ogg"),
        (b"fLaC", "flac"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf3\x90\x00", "mp3"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\x1a\x45\xdf\xa3", "webm"),
        (b"<html>", None),
        (b"\xff\xfe<\0h\0", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_the_bytes_say_what_a_file_is(head, ext):
    assert sniff_ext(head) == ext
