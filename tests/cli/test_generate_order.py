"""A command line and a line of a jobs file become one order, or a sentence that says what is wrong."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from studio_worker.cli.generate_order import Asked, Order, read_json, read_order
from studio_worker.cli.jobs_file import BadJobsFile
from studio_worker.wire.kinds import TaskKind

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "jobs.jsonl"
CUP = {"kind": "image", "prompt": "a cup", "seed": 5}


def order(kind: str | None = "image", *, prompt: str | None = "a cup", **asked: Any) -> Order:
    everyday = {"prompt": prompt, **asked.pop("everyday", {})}
    return read_order(Asked(kind=kind, everyday=everyday, **{"source_id": "synthetic", **asked}))


def refused(*args: Any, **asked: Any) -> str:
    with pytest.raises(click.UsageError) as caught:
        order(*args, **asked)
    return caught.value.message


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"png")
    return path


@pytest.fixture
def jobs_file(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: dict[str, Any]) -> Path:
        path = tmp_path / "jobs.jsonl"
        path.write_text("\n".join(json.dumps({"model": "m", **line}) for line in lines))
        return path

    return write


def test_options_make_a_task_a_source_and_a_model() -> None:
    found = order("image", everyday={"steps": 4}, fields=["width=64", "ext=png"], model="cups")
    assert (found.kind, found.task.prompt, found.task.steps, found.task.width) == (TaskKind.IMAGE, "a cup", 4, 64)
    assert found.task.model_fields_set == {"prompt", "steps", "width", "ext"}
    assert (found.source.engine, found.model, found.files, found.inputs) == ("synthetic", "cups", None, {})


def test_a_field_by_its_wire_name_wins_over_the_everyday_option_and_null_takes_one_away() -> None:
    assert order(everyday={"steps": 4}, fields=["steps=6"]).task.steps == 6
    assert "seed" not in order(everyday={"seed": 4}, fields=["seed=null"]).task.model_fields_set


def test_a_seed_is_a_field_of_pictures_and_goes_beside_other_tasks() -> None:
    picture, answer = order("image", everyday={"seed": 7}), order("llm", everyday={"seed": 7})
    assert (picture.task.seed, picture.seed) == (7, None)
    assert (answer.seed, "seed" in type(answer.task).model_fields) == (7, False)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("image", "--prompt"), ("llm", "--prompt"), ("tts", "--text"), ("stt", "--audio")]
)
def test_what_a_kind_cannot_do_without_is_asked_for_by_its_option(kind: str, remedy: str) -> None:
    assert refused(kind, prompt=None).startswith(f"give {remedy} ")


def test_a_value_out_of_its_range_is_refused_by_the_fields_name() -> None:
    assert refused(everyday={"width": 0}) == "task.width: must be a whole number from 1 to 16384 (got 0)"


def test_nothing_at_all_says_what_kinds_there_are() -> None:
    assert refused(None).startswith("say what to make: KIND is one of image, llm, stt, tts, video")


def test_without_source_and_model_the_ways_to_name_an_engine_are_told() -> None:
    said = refused(source_id=None)
    for way in ("--source-id", "--file", "--source", "--model", "studio-worker engines"):
        assert way in said


def test_a_model_alone_is_routed_by_its_name() -> None:
    found = order(source_id=None, model="synthetic-image")
    assert (found.source, found.model) == (None, "synthetic-image")


def test_a_source_id_that_is_none_is_refused() -> None:
    assert "modelSource.engine" in refused(source_id="no such/engine")


def test_files_are_kept_by_role_and_in_order_and_name_the_model(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("tiny.gguf", "a.lora", "b.lora")]
    for path in paths:
        path.write_bytes(b"w")
    pairs = [f"model={paths[0]}", f"lora={paths[1]}", f"lora={paths[2]}"]
    found = order(files=pairs)
    assert found.files == {"model": [paths[0]], "lora": paths[1:]}
    assert found.model == "tiny"
    assert found.source.files == ()


def test_files_without_an_engine_are_refused(png: Path) -> None:
    assert refused(source_id=None, model="m", files=[f"model={png}"]).endswith("give --source-id ID")


def test_a_source_is_read_from_a_file_and_names_the_model(tmp_path: Path) -> None:
    path = tmp_path / "source.json"
    files = [{"role": "model", "url": "https://files.example/a", "filename": "sd-turbo.gguf"}]
    path.write_text(json.dumps({"engine": "sd-cpp", "files": files, "cliDefaults": {"steps": 4, "cfgScale": 1}}))
    found = order(source_id=None, source=path, defaults=["steps=8", "flowShift=3"])
    assert (found.source.engine, found.source.files[0].filename, found.model) == ("sd-cpp", "sd-turbo.gguf", "sd-turbo")
    defaults = found.source.cli_defaults
    assert (defaults.steps, defaults.cfg_scale, defaults.flow_shift) == (8, 1.0, 3.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "JSON"), ("[]", "modelSource: must be an object"), ('{"files": []}', "modelSource.engine: is required")],
)
def test_a_source_file_that_is_none_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "source.json"
    path.write_text(text)
    assert why in refused(source_id=None, source=path)


def test_a_file_that_cannot_be_read_is_refused_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"--schema: .*none\.json cannot be read: No such file"):
        read_json("--schema", tmp_path / "none.json")


def test_two_sources_or_a_default_of_none_are_refused(tmp_path: Path) -> None:
    assert refused(source=tmp_path / "x") == "give --source or --source-id, not both"
    assert "give --source-id" in refused(source_id=None, model="m", defaults=["steps=1"])
    assert "did you mean contextSize" in refused(defaults=["context_size=1"])


def test_inputs_are_files_by_role_or_field_and_stand_in_the_task(png: Path) -> None:
    found = order(inputs=[("--init-image", "image", str(png)), ("--input", "maskUrl", str(png))])
    assert found.inputs == {"image": png, "mask": png}
    assert (found.task.init_image_url, found.task.mask_url) == ("local:image", "local:mask")


def test_a_url_is_an_input_too_and_is_fetched_as_a_studios_is(png: Path) -> None:
    found = order("stt", prompt=None, inputs=[("--audio", "audio", "https://files.example/a.wav")])
    assert (found.inputs, found.task.input_url) == ({}, "https://files.example/a.wav")


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("image", ("--input", "maks", "x"), "--input: kind image has no input 'maks'; did you mean mask?"),
        ("llm", ("--audio", "audio", "x"), "--audio: kind llm has no input 'audio'"),
        ("video", ("--mask", "mask", "x"), "--mask: kind video has no input 'mask'; there are image"),
        ("image", ("--init-image", "image", "no.png"), "--init-image: no.png cannot be used: No such file"),
        ("image", ("--init-image", "image", os.curdir), "--init-image: . cannot be used: it is no regular file"),
    ],
)
def test_an_input_that_cannot_be_one_is_refused_by_its_option(kind: str, given: Any, why: str) -> None:
    assert refused(kind, inputs=[given]).startswith(why)


def test_a_mask_needs_its_picture(png: Path) -> None:
    assert "needs initImageUrl" in refused(inputs=[("--mask", "mask", str(png))])


@pytest.mark.parametrize(
    ("out", "fields", "ext"),
    [
        ("a.png", [], "png"),
        ("a.JPG", [], "jpg"),
        ("a.bmp", [], "webp"),
        ("a.png", ["ext=gif"], "gif"),
        ("-", [], "webp"),
    ],
)
def test_the_name_of_the_file_says_the_format_unless_the_task_does(out: str, fields: list[str], ext: str) -> None:
    assert order(out=Path(out), fields=fields).task.ext == ext


def test_a_line_of_a_jobs_file_is_an_order_as_it_stands(jobs_file: Any) -> None:
    source = {"engine": "synthetic", "files": [], "cliDefaults": {"steps": 3}}
    found = order(None, prompt=None, source_id=None, job=jobs_file({"id": "a", "task": CUP, "modelSource": source}))
    assert (found.kind, found.task.prompt, found.task.seed, found.model) == (TaskKind.IMAGE, "a cup", 5, "m")
    assert (found.source.engine, found.source.cli_defaults.steps) == ("synthetic", 3)


def test_options_change_the_line(jobs_file: Any, png: Path) -> None:
    job = jobs_file({"task": CUP, "modelSource": {"engine": "sd-cpp"}})
    found = order("image", prompt="a jug", job=job, model="mine", files=[f"model={png}"], fields=["seed=6"])
    assert (found.task.prompt, found.task.seed, found.source.engine) == ("a jug", 6, "synthetic")
    assert (found.model, found.files) == ("mine", {"model": [png]})


def test_one_line_of_several_is_named_by_its_id(jobs_file: Any) -> None:
    job = jobs_file({"id": "a", "task": CUP}, {"id": "b", "task": {**CUP, "seed": 9}})
    assert order(None, prompt=None, job=job, job_id="b").task.seed == 9
    assert "holds 2 jobs: name one by --job-id" in refused(None, job=job)
    assert "has no job 'c'" in refused(None, job=job, job_id="c")
    assert "give --job FILE" in refused(job_id="a")


def test_a_line_comes_from_stdin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"model": "m", "task": CUP}).encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(line)))
    assert order(None, prompt=None, job=Path("-")).task.seed == 5


def test_a_kind_that_is_not_the_lines_is_refused(jobs_file: Any) -> None:
    assert refused("llm", job=jobs_file({"task": CUP})) == "the job of --job is of kind image, not llm"


def test_the_result_of_another_job_is_asked_for_as_a_file(png: Path) -> None:
    asked = {"job": EXAMPLES, "job_id": "transcript", "source_id": None}
    assert "give --input audio=PATH" in refused(None, prompt=None, **asked)
    found = order(None, prompt=None, inputs=[("--audio", "audio", str(png))], **asked)
    assert (found.inputs, found.task.timestamps) == ({"audio": png}, "segment")


def test_a_broken_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"model": "m"}')
    with pytest.raises(BadJobsFile, match="line 1: task: is required"):
        order(None, job=path)
    with pytest.raises(BadJobsFile, match="cannot be read: No such file"):
        order(None, job=tmp_path / "none")


@pytest.mark.parametrize("job_id", ["picture", "answer", "clip", "speech"])
def test_the_examples_that_go_to_a_studio_can_be_tried_here(job_id: str) -> None:
    assert order(None, prompt=None, source_id=None, job=EXAMPLES, job_id=job_id).source is not None
