from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from studio_worker.errors import BadClaim, ModelUnavailable
from studio_worker.models import shelf as shelf_module
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.store import Store, sanitised
from studio_worker.wire.model_source import ModelFile, ModelSource, parse_model_source

OPTIONS = LoadOptions(threads=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(lambda: tmp_path)


def source(*files: dict[str, Any]) -> ModelSource:
    return parse_model_source({"engine": "onnx", "files": list(files)})


def file(filename: str, role: str = "model", **more: Any) -> dict[str, Any]:
    return {"role": role, "url": f"https://files.example/{filename}?sig=secret", "filename": filename, **more}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def refused(store: Store, made: ModelSource) -> str:
    with pytest.raises(ModelUnavailable) as error:
        await store.provision("some/model", made, OPTIONS)
    assert error.value.retryable
    return str(error.value)


async def test_a_file_is_used_where_it_lies(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"weights")
    made = source(file("a.onnx"))
    model = await store.provision("some/model", made, OPTIONS)
    assert model.files == {"model": [tmp_path / "a.onnx"]}
    assert (model.id, model.source, model.options, model.dir) == ("some/model", made, OPTIONS, tmp_path)


async def test_a_source_without_files_is_a_model_without_files(store: Store) -> None:
    model = await store.provision("m", source(), OPTIONS)
    assert model.files == {}
    assert model.dir is None


async def test_files_of_one_role_keep_the_order_of_the_claim(store: Store, tmp_path: Path) -> None:
    for name in ("b", "a", "vae", "c"):
        (tmp_path / name).write_bytes(b"x")
    model = await store.provision(
        "m", source(file("b", "lora"), file("vae", "vae"), file("a", "lora"), file("c", "lora")), OPTIONS
    )
    assert model.files == {"lora": [tmp_path / "b", tmp_path / "a", tmp_path / "c"], "vae": [tmp_path / "vae"]}


async def test_a_missing_file_is_named_with_its_folder_and_its_source_but_no_secret(
    store: Store, tmp_path: Path
) -> None:
    problem = await refused(store, source(file("gone.onnx")))
    assert "gone.onnx" in problem
    assert str(tmp_path) in problem
    assert "https://files.example/gone.onnx" in problem
    assert "secret" not in problem


async def test_a_models_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    store = Store(lambda: tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in await refused(store, source(file("a.onnx")))


async def test_the_models_folder_of_the_moment_counts(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
        (root / "a").write_bytes(b"x")
    store = Store(lambda: roots[0])
    await store.provision("m", source(file("a")), OPTIONS)
    roots.pop(0)
    model = await store.provision("m", source(file("a")), OPTIONS)
    assert model.dir == tmp_path / "two"


@pytest.mark.parametrize("folder", ["some_model", "llm", "stt", "stt/some_model"])
async def test_a_file_in_a_folder_of_the_older_worker_is_used_where_it_lies(
    store: Store, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "a.gguf").write_bytes(b"x")
    model = await store.provision("some/model", source(file("a.gguf")), OPTIONS)
    assert model.files["model"] == [tmp_path / folder / "a.gguf"]


async def test_a_wrong_file_does_not_hide_the_right_one_in_another_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"wrong")
    (tmp_path / "some_model").mkdir()
    (tmp_path / "some_model" / "a").write_bytes(b"right")
    model = await store.provision("some/model", source(file("a", sha256=sha256(b"right"))), OPTIONS)
    assert model.files["model"] == [tmp_path / "some_model" / "a"]


async def test_files_that_lie_apart_have_no_common_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "llm" / "b").write_bytes(b"x")
    assert (await store.provision("m", source(file("a"), file("b")), OPTIONS)).dir is None


async def test_a_sha256_in_any_case_is_checked(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    model = await store.provision("m", source(file("a", sha256=sha256(b"weights").upper())), OPTIONS)
    assert model.files


async def test_a_wrong_sha256_names_both_sums(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    problem = await refused(store, source(file("a", sha256="0" * 64)))
    assert sha256(b"weights") in problem
    assert "0" * 64 in problem


async def test_a_sum_is_remembered_until_the_file_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    real = shelf_module.hash_of
    monkeypatch.setattr(shelf_module, "hash_of", lambda path, *more: hashed.append(path) or real(path, *more))
    path = tmp_path / "a"
    path.write_bytes(b"first")
    made = source(file("a", sha256=sha256(b"first")))
    await asyncio.gather(*(store.provision("m", made, OPTIONS) for _ in range(5)))
    assert hashed == [path]
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    assert sha256(b"other") in await refused(store, made)
    assert hashed == [path, path]


@pytest.mark.parametrize(("size", "approx"), [(100, 201), (100, 49), (1, 3)])
async def test_a_size_far_from_the_claims_is_another_file(store: Store, tmp_path: Path, size: int, approx: int) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    problem = await refused(store, source(file("a", approxBytes=approx)))
    assert f"{size} bytes" in problem
    assert f"about {approx}" in problem


@pytest.mark.parametrize("approx", [50, 100, 200, 0, None])
async def test_a_size_near_the_claims_is_right(store: Store, tmp_path: Path, approx: int | None) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert (await store.provision("m", source(file("a", approxBytes=approx)), OPTIONS)).files


async def test_an_empty_file_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert "is empty" in await refused(store, source(file("a")))


async def test_a_folder_is_no_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert "is a folder" in await refused(store, source(file("a")))


async def test_a_pipe_is_no_file_and_is_never_opened(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    assert "no regular file" in await refused(store, source(file("a", sha256="0" * 64)))


async def test_an_operators_link_to_a_file_is_a_file(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_bytes(b"x")
    (tmp_path / "a.onnx").symlink_to(elsewhere / "weights")
    model = await store.provision("m", source(file("a.onnx")), OPTIONS)
    assert model.files["model"] == [tmp_path / "a.onnx"]
    assert model.dir == tmp_path


async def test_a_link_to_nothing_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    assert "link to a file that is not there" in await refused(store, source(file("a")))


async def test_a_link_in_a_circle_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    assert "cannot be read" in await refused(store, source(file("a")))


class Remover(Ledger):
    """A memory beside which somebody removes a file just before it is said to be in use."""

    def begin_use(self, found: Sequence[Seen], *, model: str, now: float) -> None:
        for seen in found:
            seen.path.unlink()
        super().begin_use(found, model=model, now=now)


async def test_a_file_that_was_removed_before_it_was_in_use_fails_the_job_for_now(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    ledger = Remover()
    store = Store(lambda: tmp_path, ledger=ledger)
    assert "was removed while this job asked for it" in await refused(store, source(file("a")))
    await store.aclose()
    assert ledger.in_use() == frozenset()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", "CON", "x.part", "a\nb"])
async def test_a_file_name_is_checked_again_before_a_path_is_made(store: Store, name: str) -> None:
    unchecked = ModelSource.model_construct(
        engine="onnx", files=(ModelFile.model_construct(role="model", url="https://x/", filename=name),)
    )
    with pytest.raises(BadClaim) as error:
        await store.provision("m", unchecked, OPTIONS)
    assert error.value.field == "modelSource.files.0.filename"


@pytest.mark.parametrize(
    ("model", "name"), [("a/b:c", "a_b_c"), ("", "_"), (".hidden", "_hidden"), ("..", "_."), ("ünï", "_n_")]
)
def test_a_model_id_becomes_a_folder_name(model: str, name: str) -> None:
    assert sanitised(model) == name


async def test_a_models_folder_whose_name_is_no_valid_utf_8_serves_and_its_hashes_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / os.fsdecode(b"mod\xe8les")
    root.mkdir()
    (root / "a").write_bytes(b"weights")
    ledger = Ledger(tmp_path / "models.sqlite")
    store = Store(lambda: root, ledger=ledger)
    made = source(file("a", sha256=sha256(b"weights")))
    model = await store.provision("m", made, OPTIONS)
    assert model.files == {"model": [root / "a"]}
    assert ledger.in_use() == {root / "a"}
    monkeypatch.setattr(shelf_module, "hash_of", lambda *_: pytest.fail("hashed twice"))
    store.release(await store.provision("m", made, OPTIONS))
    store.release(model)
    await store.aclose()
    assert not Ledger(tmp_path / "models.sqlite").in_use()


async def test_files_that_lie_apart_below_such_a_folder_are_linked_together(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"mod\xe8les")
    (root / "llm").mkdir(parents=True)
    (root / "a").write_bytes(b"x")
    (root / "llm" / "b").write_bytes(b"y")
    store = Store(lambda: root, links=tmp_path / "links")
    model = await store.provision("m", source(file("a"), file("b")), OPTIONS)
    assert model.dir is not None
    assert sorted((path.name, path.read_bytes()) for path in model.dir.iterdir()) == [("a", b"x"), ("b", b"y")]


async def test_a_model_id_that_is_no_valid_utf_8_is_remembered_in_letters(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    ledger = Ledger()
    model = await Store(lambda: tmp_path, ledger=ledger).provision("m\udce9", source(file("a")), OPTIONS)
    assert model.id == "m\udce9"
    record = ledger.record(tmp_path / "a")
    assert record is not None
    assert record.model == "m\\udce9"
    assert ledger.files_of(["m\udce9"]) == {tmp_path / "a"}


async def test_a_file_that_took_the_place_of_a_download_serves_a_claim_with_another_address(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"first")
    ledger = Ledger()
    found = shelf_module.look(path)
    assert isinstance(found, Seen)
    ledger.own(found, sha256=sha256(b"first"), url="https://old.example/model.onnx", model="m", now=1)
    path.write_bytes(b"another file of the operator's")
    store = Store(lambda: tmp_path, ledger=ledger)
    await store.provision("m", source(file("model.onnx", sha256=sha256(path.read_bytes()))), OPTIONS)
    model = await store.provision("m", source(file("model.onnx")), OPTIONS)
    assert model.files == {"model": [path]}
