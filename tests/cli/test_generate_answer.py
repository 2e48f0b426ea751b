"""What came of a local job, as the person who asked gets it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.generate_answer import LiveText, hand_out, text_of
from studio_worker.cli.generate_order import Order
from studio_worker.cli.generate_run import Done
from studio_worker.cli.generate_target import Target
from studio_worker.engines.base import ImageResult, LlmResult, Result, TranscriptResult
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.tasks import parse_task

TASKS = {
    "image": {"kind": "image", "prompt": "a cup"},
    "llm": {"kind": "llm", "messages": [{"role": "user", "content": "hi"}]},
    "audio_stt": {"kind": "audio_stt", "inputUrl": "local:audio"},
}


def answer(text: object = "hello", finish: str = "stop") -> LlmResult:
    return LlmResult({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def given(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Hands a result out; returns stdout and stderr."""

    def hand(kind: str, result: Result, *, out: str | None = None, as_json: bool = False) -> Any:
        source = ModelSource(engine="synthetic")
        order = Order(task=parse_task(TASKS[kind]), model="m", source=source, inputs={}, files=None)
        target = Target(order.kind, Path(out) if out else None)
        done = Done(result=result, meta={"engine": "e", "seed": 7, "loads": 1}, start_secs=0.5, job_secs=1.25)
        live = LiveText(is_wanted=target.is_stdout and not as_json)
        hand_out(order, target, done, live, total_secs=2.0, as_json=as_json)
        return capsys.readouterr()

    return hand


def test_an_answer_is_printed_as_one_text_and_the_rest_is_told_on_stderr(given: Any) -> None:
    assert given("llm", answer("two\nlines")) == ("two\nlines\n", "engine e, seed 7, 1.25 s\n")


def test_a_transcript_is_its_text(given: Any) -> None:
    assert given("audio_stt", TranscriptResult({"text": "good morning", "language": "en"})).out == "good morning\n"


def test_an_answer_that_is_no_text_is_shown_as_the_object_that_it_is() -> None:
    assert json.loads(text_of(answer(None))) == answer(None).json
    assert json.loads(text_of(LlmResult({"choices": []}))) == {"choices": []}


def test_an_answer_that_was_cut_says_how_to_get_a_longer_one(given: Any) -> None:
    assert "--max-tokens" in given("llm", answer(finish="length")).err
    assert "--max-tokens" not in given("llm", answer()).err


def test_bytes_become_a_file_and_its_name_is_told(given: Any) -> None:
    out, err = given("image", ImageResult(b"bytes", "png"))
    assert (out, err) == ("", "wrote image-7.png: 5 bytes\nengine e, seed 7, 1.25 s\n")
    assert Path("image-7.png").read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("out", "ext", "is_misnamed"),
    [("a.png", "png", False), ("a.JPG", "jpeg", False), ("a", "png", False), ("a.mp4", "webp", True)],
)
def test_a_file_whose_name_says_something_else_than_its_bytes_is_told(
    given: Any, out: str, ext: str, is_misnamed: bool
) -> None:
    assert (f" of {ext}, whatever its name says" in given("image", ImageResult(b"x", ext), out=out).err) is is_misnamed


@pytest.mark.parametrize(
    ("out", "written"),
    [("a.txt", "hello\n"), ("answer", "hello\n"), ("a.json", json.dumps(answer().json, indent=2) + "\n")],
)
def test_a_text_goes_to_a_file_and_whole_to_one_that_is_called_json(given: Any, out: str, written: str) -> None:
    assert given("llm", answer(), out=out).out == ""
    assert Path(out).read_text() == written


def test_as_json_one_object_tells_all_of_a_text(given: Any) -> None:
    told = json.loads(given("llm", answer(), as_json=True).out)
    assert told == {
        "kind": "llm",
        "model": "m",
        "engine": "e",
        "source": "synthetic",
        "seed": 7,
        "result": answer().json,
        "seconds": {"start": 0.5, "job": 1.25, "total": 2.0},
        "meta": {"engine": "e", "seed": 7, "loads": 1},
    }


def test_as_json_one_object_tells_where_bytes_are(given: Any) -> None:
    told = json.loads(given("image", ImageResult(b"bytes", "png"), as_json=True).out)
    assert (told["path"], told["bytes"], told["ext"]) == ("image-7.png", 5, "png")
    assert "result" not in told


def test_as_json_a_text_may_go_to_a_file_too(given: Any) -> None:
    told = json.loads(given("llm", answer(), out="a.txt", as_json=True).out)
    assert (told["path"], told["bytes"], told["result"]) == ("a.txt", 6, answer().json)


@pytest.mark.parametrize("pieces", [["two", "\nlines"], ["two\nlines\n"]])
def test_what_was_printed_in_pieces_is_not_printed_again(pieces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveText(is_wanted=True)
    for piece in pieces:
        live.take(piece)
    live.finish("two\nlines")
    assert capsys.readouterr().out == "two\nlines\n"


def test_pieces_are_wanted_only_where_somebody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not LiveText(is_wanted=True).is_live
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert LiveText(is_wanted=True).is_live
    assert not LiveText(is_wanted=False).is_live


def test_no_answer_at_all_is_an_empty_line(given: Any) -> None:
    assert given("llm", answer("")).out == "\n"
