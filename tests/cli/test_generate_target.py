"""Where a local result goes."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import click
import psutil
import pytest

from studio_worker.cli.generate_target import ResultNotWritten, Target
from studio_worker.wire.kinds import TaskKind

IMAGE, LLM = TaskKind.IMAGE, TaskKind.LLM


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "out", "is_stdout"), [(LLM, None, True), (IMAGE, None, False), (IMAGE, "-", True), (LLM, "a", False)]
)
def test_texts_are_printed_and_bytes_become_files_unless_told_otherwise(
    kind: TaskKind, out: str | None, is_stdout: bool
) -> None:
    assert Target(kind, Path(out) if out else None).is_stdout is is_stdout


@pytest.mark.parametrize(
    ("kind", "name"),
    [(IMAGE, "image-7.png"), (TaskKind.AUDIO_TTS, "speech-7.png"), (TaskKind.VIDEO, "video-7.png")],
)
def test_a_file_is_named_by_kind_seed_and_format_where_nobody_named_it(kind: TaskKind, name: str) -> None:
    assert Target(kind).write(b"1", seed=7, ext="png") == Path(name)
    assert Path(name).read_bytes() == b"1"


def test_a_name_that_is_taken_is_left_alone_and_the_next_one_used() -> None:
    target = Target(IMAGE)
    names = [str(target.write(data, seed=7, ext="png")) for data in (b"1", b"2", b"3")]
    assert names == ["image-7.png", "image-7-2.png", "image-7-3.png"]
    assert Path("image-7.png").read_bytes() == b"1"


def test_a_folder_gets_a_file_by_such_a_name(folder: Path) -> None:
    (folder / "out").mkdir()
    assert Target(IMAGE, Path("out")).write(b"1", seed=7, ext="webp") == Path("out/image-7.webp")


@pytest.mark.parametrize(
    ("kind", "out", "given"),
    [
        (TaskKind.AUDIO_TTS, "b.png", "kind audio_tts gives no png; it gives wav, mp3, ogg, flac"),
        (TaskKind.AUDIO_TTS, "b.AAC", "gives no aac; it gives wav, mp3, ogg, flac"),
        (IMAGE, "a.mp4", "kind image gives no mp4; it gives webp, png, jpg, jpeg, gif"),
        (IMAGE, "a.tiff", "gives no tiff"),
        (IMAGE, "a.txt", "gives no txt"),
        (TaskKind.VIDEO, "a.wav", "kind video gives no wav; it gives mp4, webm, webp, gif"),
        (LLM, "a.png", "kind llm gives no png; it gives text, and JSON where the name ends in .json"),
    ],
)
def test_a_name_that_ends_as_no_result_of_the_kind_can_is_refused_before_anything_is_made(
    kind: TaskKind, out: str, given: str
) -> None:
    with pytest.raises(click.UsageError) as refused:
        Target(kind, Path(out), may_replace=True).check(as_json=False)
    assert refused.value.message.startswith(f"-o: {out}: kind ")
    assert given in refused.value.message


@pytest.mark.parametrize(
    ("kind", "out"),
    [
        (IMAGE, "a.JPG"),
        (IMAGE, "a"),
        (IMAGE, "2026.11.27-cup"),
        (IMAGE, "folder.mp4"),
        (TaskKind.VIDEO, "a.gif"),
        (LLM, "a.py"),
        (LLM, "a.json"),
        (TaskKind.AUDIO_STT, "a.srt"),
    ],
)
def test_any_other_ending_may_be(kind: TaskKind, out: str) -> None:
    Path("folder.mp4").mkdir()
    Target(kind, Path(out)).check(as_json=False)


def test_a_file_that_is_there_is_refused_before_anything_is_made() -> None:
    Path("a.png").write_bytes(b"old")
    with pytest.raises(click.UsageError, match=r"-o: a\.png is there already: .*--force"):
        Target(IMAGE, Path("a.png")).check(as_json=False)
    Target(IMAGE, Path("a.png"), may_replace=True).check(as_json=False)


def test_a_file_that_came_in_the_meantime_is_not_overwritten() -> None:
    target = Target(IMAGE, Path("a.png"))
    target.check(as_json=False)
    Path("a.png").write_bytes(b"old")
    with pytest.raises(ResultNotWritten, match=r"a\.png is there now"):
        target.write(b"new", seed=7, ext="png")
    assert Path("a.png").read_bytes() == b"old"


def test_a_file_is_closed_before_it_takes_the_place_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows moves no file that is open."""
    Path("a.png").write_bytes(b"old")
    replace, open_files = Path.replace, []

    def watched(part: Path, target: Path) -> Path:
        open_files.extend(file.path for file in psutil.Process().open_files() if Path(file.path).name == part.name)
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    Target(IMAGE, Path("a.png"), may_replace=True).write(b"new", seed=7, ext="png")
    assert (open_files, Path("a.png").read_bytes()) == ([], b"new")


def test_with_force_it_is_replaced_whole_and_nothing_else_is_left() -> None:
    Path("a.png").write_bytes(b"old")
    assert Target(IMAGE, Path("a.png"), may_replace=True).write(b"new", seed=7, ext="png") == Path("a.png")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a.png": b"new"}


def test_a_device_is_written_to_and_never_replaced(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        Target(IMAGE, folder / "pipe", may_replace=True).write(b"new", seed=7, ext="png")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize("out", ["none/a.png", "../none/x.png"])
def test_a_folder_that_is_not_there_is_a_usage_error(out: str) -> None:
    with pytest.raises(click.UsageError, match="-o: there is no folder"):
        Target(IMAGE, Path(out)).check(as_json=False)


def test_a_disk_that_refuses_is_told_with_the_path(folder: Path) -> None:
    with pytest.raises(ResultNotWritten, match=r"a\.png cannot be written: .*No such file or directory; give -o"):
        Target(IMAGE, folder / "gone" / "a.png").write(b"1", seed=7, ext="png")


@pytest.mark.parametrize("may_replace", [False, True])
def test_a_write_that_fails_leaves_no_half_a_file(may_replace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, "x") if mode == "xb" else None)
    with pytest.raises(ResultNotWritten, match="No space left on device"):
        Target(IMAGE, Path("a.png"), may_replace=may_replace).write(b"1", seed=7, ext="png")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("may_replace", [False, True])
def test_a_file_has_its_name_when_it_is_whole_and_not_before(
    may_replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill leaves in the middle must not look like a result, nor be in the next one's way."""
    is_named = []

    class Watched(io.FileIO):
        def flush(self) -> None:
            is_named.append(Path("a.png").exists())
            super().flush()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: Watched(path, "x"))
        Target(IMAGE, Path("a.png"), may_replace=may_replace).write(b"new", seed=7, ext="png")
    assert not any(is_named)
    assert is_named
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a.png": b"new"}


def test_a_file_that_comes_while_it_is_written_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.FileIO):
        def flush(self) -> None:
            Path("a.png").touch()
            super().flush()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: Slow(path, "x"))
        with pytest.raises(ResultNotWritten, match=r"a\.png is there now"):
            Target(IMAGE, Path("a.png")).write(b"new", seed=7, ext="png")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a.png": b""}


@pytest.mark.parametrize("may_replace", [False, True])
def test_a_name_as_long_as_the_disk_takes_is_written_to(may_replace: bool) -> None:
    path = Path("灯" * 83 + ".png")
    assert Target(IMAGE, path, may_replace=may_replace).write(b"1", seed=7, ext="png").read_bytes() == b"1"


def test_a_file_system_without_hard_links_gets_the_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    names = [str(Target(IMAGE).write(data, seed=7, ext="png")) for data in (b"1", b"2")]
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"image-7.png": b"1", "image-7-2.png": b"2"}
    assert names == ["image-7.png", "image-7-2.png"]


def test_stdout_is_not_for_json_and_bytes_at_once() -> None:
    with pytest.raises(click.UsageError, match="give -o a file"):
        Target(IMAGE, Path("-")).check(as_json=True)


def test_bytes_are_never_sent_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(click.UsageError, match="would write bytes to the terminal"):
        Target(IMAGE, Path("-")).check(as_json=False)
    Target(LLM, Path("-")).check(as_json=False)
