from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.models_source import Asked, BadSource, read_sources, source_of
from studio_worker.errors import BadClaim

ROOT = Path(__file__).parents[2]


def file(name: str, **more: Any) -> dict[str, Any]:
    return {"role": "model", "url": f"https://files.example/{name}", "filename": name, **more}


def source(*files: dict[str, Any]) -> dict[str, Any]:
    return {"engine": "onnx", "files": list(files)}


def told(asked: list[Asked]) -> list[tuple[str, str]]:
    return [(each.model, each.file.filename) for each in asked]


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., Path]:
    """A file that holds these texts, a line each."""

    def write(*lines: str) -> Path:
        path = tmp_path / "given.json"
        path.write_text("\n".join(lines))
        return path

    return write


def test_a_model_source_asks_for_its_files_in_order(given: Callable[..., Path]) -> None:
    path = given(json.dumps(source(file("b.onnx"), file("a.onnx")), indent=2))
    assert told(read_sources(path, "org/m")) == [("org/m", "b.onnx"), ("org/m", "a.onnx")]


def test_a_file_that_is_called_stdin_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stdin").write_text(json.dumps(source(file("a.onnx"))))
    assert [name for _, name in told(read_sources(Path("stdin"), model=None))] == ["a.onnx"]


def test_a_model_without_an_id_is_called_after_its_first_file(given: Callable[..., Path]) -> None:
    path = given(json.dumps(source(file("b.v2.onnx"), file("a.onnx"))))
    assert told(read_sources(path, None)) == [("b.v2", "b.v2.onnx"), ("b.v2", "a.onnx")]


def test_a_job_says_the_id_of_its_model_itself(given: Callable[..., Path]) -> None:
    path = given(json.dumps({"id": "j", "model": "org/m", "task": {}, "modelSource": source(file("a.onnx"))}))
    assert told(read_sources(path, "another")) == [("org/m", "a.onnx")]


def test_jobs_come_a_line_each_and_a_file_that_two_want_is_asked_for_once(given: Callable[..., Path]) -> None:
    first = json.dumps({"model": "m", "modelSource": source(file("a.onnx"))})
    second = json.dumps({"model": "m", "modelSource": source(file("a.onnx"), file("b.onnx"))})
    assert told(read_sources(given(first, "", second), None)) == [("m", "a.onnx"), ("m", "b.onnx")]


def test_one_name_with_two_addresses_is_two_files(given: Callable[..., Path]) -> None:
    lines = [
        json.dumps({"model": "m", "modelSource": source(file("a.onnx", url=f"https://{host}.example/a.onnx"))})
        for host in ("one", "two")
    ]
    assert len(read_sources(given(*lines), None)) == 2


def test_a_model_without_files_asks_for_none(given: Callable[..., Path]) -> None:
    assert read_sources(given(json.dumps({"engine": "synthetic", "files": []})), None) == []


def test_the_jobs_of_the_documentation_are_understood() -> None:
    asked = read_sources(ROOT / "docs" / "examples" / "jobs.jsonl", None)
    assert {each.file.filename for each in asked} >= {"en_US-joe-medium.onnx", "whisper-tiny.en-model.bin"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([""], "is no JSON"),
        (["{"], "is no JSON"),
        (["[1]"], "is no JSON object"),
        (['{"files": []}'], "neither engine and files"),
        (['{"model": "m"}'], "neither engine and files"),
        (['{"engine": "onnx", "files": [{"role": "model"}]}'], "modelSource.files.0.url: is required"),
        (['{"model": 5, "modelSource": {"engine": "onnx"}}'], "model must be the id"),
        (['{"engine": "synthetic"}', "oops"], "line 2: not JSON"),
        (['{"engine": "synthetic"}', '{"engine": "a b"}'], "line 2: modelSource.engine"),
        (['{"model": "m", "modelSource": null}'], "modelSource: must be an object"),
    ],
)
def test_what_asks_for_nothing_is_refused_by_line_and_field(
    given: Callable[..., Path], lines: list[str], words: str
) -> None:
    with pytest.raises(BadSource) as error:
        read_sources(given(*lines), None)
    assert words in str(error.value)
    assert error.value.exit_code == 2


def test_a_file_that_is_not_there_or_too_long_is_refused(
    tmp_path: Path, given: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadSource, match="cannot be read: No such file"):
        read_sources(tmp_path / "nowhere", None)
    monkeypatch.setattr("studio_worker.cli.models_source.MAX_BYTES", 10)
    with pytest.raises(BadSource, match="more than 10 bytes"):
        read_sources(given("x" * 11), None)


def test_a_name_from_outside_is_shown_escaped(given: Callable[..., Path]) -> None:
    bad = {"engine": "onnx", "files": [file("a\x1b[2J")]}
    with pytest.raises(BadSource) as error:
        read_sources(given(json.dumps(bad)), None)
    assert "\x1b" not in str(error.value)


def test_a_url_gives_its_file_a_name() -> None:
    asked = source_of("https://x.example/d/a%20b.gguf?sig=1", role="model", filename=None, sha256=None, model=None)
    assert (asked.model, asked.file.filename, asked.file.role) == ("a b", "a b.gguf", "model")
    assert asked.file.url == "https://x.example/d/a%20b.gguf?sig=1"


def test_what_is_given_beside_a_url_counts() -> None:
    asked = source_of("https://x.example/d", role="vae", filename="v.bin", sha256="A" * 64, model="org/m")
    assert asked.model == "org/m"
    assert (asked.file.role, asked.file.filename, asked.file.sha256) == ("vae", "v.bin", "A" * 64)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"filename": "../x"}, "filename"),
        ({"url": "https://x.example/"}, "filename"),
        ({"sha256": "abc"}, "sha256"),
        ({"role": "a b"}, "role"),
        ({"url": "https://[x/a.bin"}, "url"),
        ({"url": "https://x.example/a" + "a" * 10_000, "filename": "a"}, "url"),
    ],
)
def test_a_bad_part_of_what_is_given_is_named_by_its_option(more: dict[str, str], field: str) -> None:
    given: dict[str, Any] = {
        "url": "https://x.example/a.bin", "role": "model", "filename": None, "sha256": None, "model": None
    }  # fmt: skip
    given |= more
    with pytest.raises(BadClaim) as error:
        source_of(given.pop("url"), **given)
    assert error.value.field == field
