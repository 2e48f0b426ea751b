"""When two models are the same load."""

import os
from dataclasses import replace

import pytest

from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.identity import LOAD_OPTIONS, mark_of
from studio_worker.wire.model_source import parse_model_source


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"weights")
    return ModelFiles("a", files={"model": [path]}, options=LoadOptions(context_size=1), dir=tmp_path)


def test_the_same_files_and_options_are_the_same_load(model, tmp_path):
    twin = ModelFiles("a", files={"model": [tmp_path / "a"]}, options=LoadOptions(context_size=1), dir=tmp_path)
    assert mark_of(model) == mark_of(twin)


@pytest.mark.parametrize("change", ["size", "time", "id", "role", "hash", "dir"])
def test_a_model_is_another_load_after_a_change_of(change, model, tmp_path):
    before = mark_of(model)
    path = tmp_path / "a"
    after = model
    match change:
        case "size":
            path.write_bytes(b"longer than it was")
        case "time":
            os.utime(path, ns=(1, 1))
        case "id":
            after = replace(model, id="b")
        case "role":
            after = replace(model, files={"lora": [path]})
        case "hash":
            file = {"role": "model", "url": "https://x/a", "filename": "a", "sha256": "0" * 64}
            after = replace(model, source=parse_model_source({"engine": "toy", "files": [file]}))
        case "dir":
            after = replace(model, dir=None)
    assert mark_of(after).identity != before.identity


OTHER = {
    "context_size": 2,
    "flow_shift": 3.0,
    "zero_cond_t": True,
    "offload_to_cpu": True,
    "threads": 4,
    "device": "cuda:1",
}


@pytest.mark.parametrize("option", LOAD_OPTIONS)
def test_a_model_is_another_load_with_another(option, model):
    other = replace(model, options=replace(model.options, **{option: OTHER[option]}))
    assert mark_of(other).identity != mark_of(model).identity


def test_values_for_the_chat_template_make_no_other_load(model):
    other = replace(model, options=replace(model.options, chat_template_kwargs={"thinking": False}))
    assert mark_of(other) == mark_of(model)


def test_every_option_either_belongs_to_the_load_or_comes_with_each_job():
    assert {*LOAD_OPTIONS, "chat_template_kwargs"} == set(LoadOptions.__slots__)


def test_the_size_is_that_of_all_files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"12345")
    files = {"model": [tmp_path / "a", tmp_path / "b"], "vae": [tmp_path / "c"]}
    assert mark_of(ModelFiles("m", files=files)).size_bytes == 15


def test_a_model_without_files_has_a_mark_too():
    assert mark_of(ModelFiles("m")).size_bytes == 0
    assert mark_of(ModelFiles("m")).identity != mark_of(ModelFiles("n")).identity


def test_a_file_that_is_gone_is_an_error(model, tmp_path):
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        mark_of(model)
