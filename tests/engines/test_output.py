"""What engines return, and what is believed of it."""

import os
from pathlib import Path

import pytest

from studio_worker.engines.base import AudioResult, ImageResult, LlmResult, TranscriptResult, VideoResult
from studio_worker.engines.output import check_output
from studio_worker.errors import EngineError
from studio_worker.wire.kinds import TaskKind

GOOD = {
    TaskKind.IMAGE: ImageResult(b"x", "png"),
    TaskKind.LLM: LlmResult({"choices": []}),
    TaskKind.AUDIO_STT: TranscriptResult({"text": "hi"}),
    TaskKind.AUDIO_TTS: AudioResult(b"x"),
    TaskKind.VIDEO: VideoResult(b"x"),
}


def check(result, kind=TaskKind.IMAGE, meta=None, work_dir=Path("/nowhere")):
    return check_output("toy", kind, result, {} if meta is None else meta, work_dir)


def refusal(result, kind=TaskKind.IMAGE, **options) -> str:
    with pytest.raises(EngineError) as caught:
        check(result, kind, **options)
    assert caught.value.retryable
    assert str(caught.value).startswith("engine 'toy' returned ")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_result_of_its_kind_passes_as_it_is(kind):
    assert check(GOOD[kind], kind).result == GOOD[kind]


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize("other", list(TaskKind))
def test_the_result_of_another_kind_is_refused(kind, other):
    if kind is not other:
        assert f"returned {type(GOOD[other]).__name__}, a" in refusal(GOOD[other], kind)


@pytest.mark.parametrize("result", [None, "text", b"bytes", {"a": 1}, 3, object(), (item for item in ())])
def test_what_is_no_result_is_refused_by_its_type(result):
    assert "an ImageResult is needed" in refusal(result)


def test_a_coroutine_is_refused_and_closed():
    async def run():
        raise AssertionError

    assert "returned coroutine" in refusal(run())


# ext


@pytest.mark.parametrize("ext", ["png", "webp", "gif", "jpg", "jpeg"])
def test_pictures_have_these_exts(ext):
    assert check(ImageResult(b"x", ext)).result.ext == ext


@pytest.mark.parametrize("ext", ["mp4", "webm", "webp", "gif"])
def test_videos_have_these_exts(ext):
    assert check(VideoResult(b"x", ext), TaskKind.VIDEO).result.ext == ext


@pytest.mark.parametrize("ext", ["exe", "", ".png", "PNG", "wav", "mp4", "../x", "png\n", None, 3, ["png"]])
def test_a_picture_of_another_ext_is_refused(ext):
    assert "known are png, webp, gif, jpg, jpeg" in refusal(ImageResult(b"x", ext))


@pytest.mark.parametrize("ext", ["mp4", "png"])
def test_sound_of_another_ext_is_refused(ext):
    refusal(AudioResult(b"x", ext), TaskKind.AUDIO_TTS)


# data


@pytest.mark.parametrize("data", [None, "text", 3, bytearray(b"x"), memoryview(b"x"), [1]])
def test_data_that_is_neither_bytes_nor_a_path_is_refused(data):
    assert "bytes or a Path is needed" in refusal(ImageResult(data, "png"))


def test_no_bytes_are_no_result():
    assert "0 bytes" in refusal(ImageResult(b"", "png"))


def test_a_file_in_the_work_dir_is_taken_by_its_real_path(tmp_path):
    (tmp_path / "out.png").write_bytes(b"x")
    result = check(ImageResult(tmp_path / "out.png", "png"), work_dir=tmp_path).result
    assert result == ImageResult((tmp_path / "out.png").resolve(), "png")


def test_a_file_in_a_folder_of_the_work_dir_is_taken(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "out.png").write_bytes(b"x")
    assert check(ImageResult(tmp_path / "sub" / "out.png", "png"), work_dir=tmp_path).result.data.name == "out.png"


def test_a_file_outside_the_work_dir_is_refused(tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    for path in (tmp_path / "secret.png", work_dir / ".." / "secret.png"):
        assert "outside the job's work_dir" in refusal(ImageResult(path, "png"), work_dir=work_dir)


def test_a_link_that_leads_out_of_the_work_dir_is_refused(tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (work_dir / "out.png").symlink_to(tmp_path / "secret.png")
    assert "outside the job's work_dir" in refusal(ImageResult(work_dir / "out.png", "png"), work_dir=work_dir)


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "out.png").symlink_to(tmp_path / "out.png")
    words = refusal(ImageResult(tmp_path / "out.png", "png"), work_dir=tmp_path)
    assert str(tmp_path) not in words


def test_a_missing_file_is_refused_by_its_name_and_not_by_where_it_should_lie(tmp_path):
    words = refusal(ImageResult(tmp_path / "gone.png", "png"), work_dir=tmp_path)
    assert "cannot be found: gone.png: No such file" in words
    assert str(tmp_path) not in words


def test_a_folder_is_no_result(tmp_path):
    (tmp_path / "out").mkdir()
    assert "no regular file" in refusal(ImageResult(tmp_path / "out", "png"), work_dir=tmp_path)


def test_a_pipe_is_no_result_and_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "out")
    assert "no regular file" in refusal(ImageResult(tmp_path / "out", "png"), work_dir=tmp_path)


def test_an_empty_file_is_no_result(tmp_path):
    (tmp_path / "out.png").touch()
    assert "0 bytes" in refusal(ImageResult(tmp_path / "out.png", "png"), work_dir=tmp_path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path):
    with (tmp_path / "out.png").open("wb") as file:
        file.truncate(10 * 1024**3)
    assert "10,737,418,240 bytes" in refusal(ImageResult(tmp_path / "out.png", "png"), work_dir=tmp_path)


# JSON

CYCLE: dict = {}
CYCLE["self"] = CYCLE
DEEP: dict = {}
for _ in range(100):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {"n": float("nan")},
        {"n": [1, {"m": float("inf")}]},
        {"s": "\ud800"},
        {"b": b"bytes"},
        {"o": object()},
        {3: "key"},
        DEEP,
        CYCLE,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(("kind", "make"), [(TaskKind.LLM, LlmResult), (TaskKind.AUDIO_STT, TranscriptResult)])
def test_json_that_cannot_be_sent_is_refused(value, kind, make):
    assert "JSON that cannot be sent" in refusal(make(value), kind)


def test_json_of_every_sort_of_value_passes():
    value = {"a": [1, 2.5, True, None, "é"], "b": {"c": {}}, "t": (1, 2)}
    assert check(LlmResult(value), TaskKind.LLM).result.json == value


# meta


def test_meta_passes():
    assert check(GOOD[TaskKind.IMAGE], meta={"steps": 3}).meta == {"steps": 3}


@pytest.mark.parametrize("meta", [{"n": float("nan")}, {"o": object()}, {3: 4}, "text", None, CYCLE])
def test_meta_that_is_no_json_is_left_out_with_a_warning(meta, log_lines):
    assert check_output("toy", TaskKind.IMAGE, GOOD[TaskKind.IMAGE], meta, Path("/nowhere")).meta == {}
    assert [line["event"] for line in log_lines] == ["engine.meta"]
