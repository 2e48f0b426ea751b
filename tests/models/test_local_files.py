"""Model files of a caller of this process, used where they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio_worker.errors import BadInput
from studio_worker.models.files import LoadOptions
from studio_worker.models.holds import is_held
from studio_worker.models.ledger import Ledger
from studio_worker.models.store import Store
from studio_worker.wire.model_source import parse_model_source

OPTIONS = LoadOptions(threads=2)
SOURCE = parse_model_source({"engine": "whisper"})


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def store(tmp_path: Path, ledger: Ledger) -> Store:
    return Store(lambda: tmp_path / "models", ledger=ledger, links=tmp_path / "links")


def put(path: Path, text: str = "weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def test_files_are_handed_on_where_they_lie_by_role_and_in_order(store, tmp_path):
    model, second, vocabulary = (put(tmp_path / "mine" / name) for name in ("b", "a", "vocabulary.txt"))
    found = await store.provision_local("m", SOURCE, OPTIONS, {"model": [model, second], "vocabulary": [vocabulary]})
    assert found.files == {"model": [model, second], "vocabulary": [vocabulary]}
    assert (found.id, found.source, found.options, found.dir) == ("m", SOURCE, OPTIONS, tmp_path / "mine")
    assert not (tmp_path / "models").exists()


async def test_files_that_lie_apart_get_a_folder_of_links_under_their_own_names(store, tmp_path):
    files = {
        "model": [put(tmp_path / "one" / "model.bin", "1")],
        "config": [put(tmp_path / "two" / "config.json", "2")],
    }
    found = await store.provision_local("m", SOURCE, OPTIONS, files)
    assert {path.name: path.read_text() for path in found.dir.iterdir()} == {"model.bin": "1", "config.json": "2"}
    assert found.files == files


async def test_two_files_of_one_name_in_different_folders_are_refused(store, tmp_path):
    files = {"model": [put(tmp_path / "one" / "m"), put(tmp_path / "two" / "m")]}
    with pytest.raises(BadInput, match="the same name in different folders"):
        await store.provision_local("m", SOURCE, OPTIONS, files)


async def test_one_file_may_have_two_roles(store, tmp_path):
    file = put(tmp_path / "all.gguf")
    found = await store.provision_local("m", SOURCE, OPTIONS, {"model": [file], "vae": [file]})
    assert found.dir == tmp_path


async def test_a_relative_path_is_made_absolute_since_engines_run_elsewhere(store, tmp_path, monkeypatch):
    put(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    found = await store.provision_local("m", None, OPTIONS, {"model": [Path("m.onnx")]})
    assert found.files == {"model": [tmp_path / "m.onnx"]}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "is not there"),
        (Path.mkdir, "is a folder"),
        (Path.touch, "is empty"),
        (os.mkfifo, "is no regular file"),
    ],
    ids=["absent", "folder", "empty", "pipe"],
)
async def test_what_is_no_usable_file_is_refused_with_its_path(store, ledger, tmp_path, make, why):
    good, bad = put(tmp_path / "good"), tmp_path / "bad"
    make(bad)
    with pytest.raises(BadInput, match=rf"{bad} {why}"):
        await store.provision_local("m", SOURCE, OPTIONS, {"model": [good, bad]})
    await store.aclose()
    assert ledger.in_use() == frozenset()


async def test_files_count_as_in_use_until_they_are_released(store, ledger, tmp_path):
    file = put(tmp_path / "m")
    found = await store.provision_local("m", SOURCE, OPTIONS, {"model": [file]})
    assert ledger.in_use() == {file}
    assert is_held(file)
    store.release(found)
    await store.aclose()
    assert ledger.in_use() == frozenset()
    assert not is_held(file)
