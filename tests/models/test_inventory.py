from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.inventory import Item, State, pick, take_stock, unclaimed
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import look


def put(path: Path, data: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def seen(path: Path) -> Seen:
    found = look(path)
    assert isinstance(found, Seen)
    return found


def part(dest: Path, data: bytes, total: int | None = None) -> Path:
    made = ResumableFile(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    made.restart(Note("https://files.example/x", total=total))
    made.path.write_bytes(data)
    return made.path


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


@pytest.mark.parametrize(
    "name",
    ["a.gguf", "org_m-0123abcd/a.onnx", "some_model/vae.safetensors", "llm/b.gguf", "stt/ggml.bin", "stt/tiny/c.bin"],
)
def test_a_file_is_found_in_each_folder_that_jobs_look_into(root: Path, ledger: Ledger, name: str):
    put(root / name)
    [item] = take_stock(root, ledger)
    assert (item.name, item.path, item.state, item.size) == (name, root / name, State.WHOLE, 7)


@pytest.mark.parametrize(
    "name", [".hidden", ".downloads/a.json", "llm/.cache", "bin/sd", "onnxruntime/lib.so", "a/b/c.gguf", "llm/x/y.gguf"]
)
def test_what_no_job_looks_at_is_not_listed(root: Path, ledger: Ledger, name: str):
    put(root / name)
    assert take_stock(root, ledger) == []


def test_a_folder_that_is_not_there_is_empty_and_one_that_is_a_file_is_an_error(root: Path, ledger: Ledger):
    assert take_stock(root / "nowhere", ledger) == []
    with pytest.raises(NotADirectoryError):
        take_stock(put(root / "a.gguf"), ledger)


def test_files_come_by_name(root: Path, ledger: Ledger):
    for name in ("b.gguf", "llm/c.gguf", "a.gguf"):
        put(root / name)
    assert names(take_stock(root, ledger)) == ["a.gguf", "b.gguf", "llm/c.gguf"]


def test_what_is_remembered_of_a_file_is_told_with_it(root: Path, ledger: Ledger):
    path = put(root / "a.gguf")
    ledger.own(seen(path), sha256="a" * 64, url="https://x/a", model="org/m", now=5.0)
    [item] = take_stock(root, ledger)
    assert item.record is not None
    assert (item.record.model, item.record.last_used, item.known, item.is_owned) == ("org/m", 5.0, "a" * 64, True)


def test_what_is_remembered_of_an_earlier_file_is_not_told_of_the_one_that_lies_there_now(root: Path, ledger: Ledger):
    path = put(root / "a.gguf")
    ledger.own(seen(path), sha256="a" * 64, url="https://x/a", model="org/m", now=5.0)
    put(path, b"somebody wrote another one")
    [item] = take_stock(root, ledger)
    assert (item.record, item.is_owned, item.known) == (None, False, "a" * 64)


def test_a_file_of_the_operators_is_not_the_workers(root: Path, ledger: Ledger):
    path = put(root / "a.gguf")
    ledger.remember(seen(path), "a" * 64)
    [item] = take_stock(root, ledger)
    assert not item.is_owned


def test_a_file_that_a_job_of_another_process_uses_is_in_use(root: Path, state: Path, ledger: Ledger, another_process):
    used, idle = put(root / "a.gguf"), put(root / "b.gguf")
    other = another_process("use", state, used)
    assert [item.is_used for item in take_stock(root, ledger)] == [True, False]
    other.kill()
    assert not any(item.is_used for item in take_stock(root, ledger))
    assert idle.exists()


def test_a_use_by_another_path_of_the_same_file_is_a_use(
    root: Path, state: Path, tmp_path: Path, ledger: Ledger, another_process
):
    put(root / "a.gguf")
    (tmp_path / "alias").symlink_to(root)
    another_process("use", state, tmp_path / "alias" / "a.gguf")
    assert [item.is_used for item in take_stock(root, ledger)] == [True]


def test_a_part_is_shown_with_what_is_here_and_what_is_to_come(root: Path, ledger: Ledger):
    part(root / "a.gguf", b"12345", total=20)
    [item] = take_stock(root, ledger)
    assert (item.name, item.state, item.size, item.total) == ("a.gguf.part", State.PARTIAL, 5, 20)
    assert not item.is_complete


def test_a_part_of_which_nothing_is_noted_has_no_total(root: Path, ledger: Ledger):
    put(root / "llm" / "a.gguf.part", b"123")
    [item] = take_stock(root, ledger)
    assert (item.name, item.state, item.size, item.total) == ("llm/a.gguf.part", State.PARTIAL, 3, None)


def test_a_part_that_another_process_downloads_is_told_apart(root: Path, state: Path, ledger: Ledger, another_process):
    part(root / "a.gguf", b"12345")
    other = another_process("download", state, root / "a.gguf")
    [item] = take_stock(root, ledger)
    assert item.state is State.DOWNLOADING
    other.kill()
    [item] = take_stock(root, ledger)
    assert item.state is State.PARTIAL


def test_a_part_is_free_only_while_nobody_else_holds_it(root: Path, state: Path, another_process):
    path = part(root / "a.gguf", b"1")
    with unclaimed(path) as is_free:
        assert is_free
    other = another_process("download", state, root / "a.gguf")
    with unclaimed(path) as is_free:
        assert not is_free
    other.kill()


def test_a_link_to_nothing_and_a_pipe_are_broken_and_say_why(root: Path, ledger: Ledger):
    (root / "gone.gguf").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe.gguf")
    gone, pipe = take_stock(root, ledger)
    assert (gone.state, pipe.state) == (State.BROKEN, State.BROKEN)
    assert "link to a file that is not there" in gone.problem
    assert "no regular file" in pipe.problem


def test_a_link_to_a_file_is_a_file_that_is_never_the_workers(root: Path, tmp_path: Path, ledger: Ledger):
    (root / "a.gguf").symlink_to(put(tmp_path / "elsewhere.gguf"))
    ledger.own(seen(root / "a.gguf"), sha256="a" * 64, url="https://x/a", model="m", now=5.0)
    [item] = take_stock(root, ledger)
    assert (item.state, item.size, item.is_owned) == (State.WHOLE, 7, False)


def test_downloads_below_an_earlier_models_folder_are_told_by_their_whole_path(
    root: Path, tmp_path: Path, ledger: Ledger
):
    earlier, mine = put(tmp_path / "earlier" / "a.gguf"), put(tmp_path / "earlier" / "mine.gguf")
    ledger.own(seen(earlier), sha256="a" * 64, url="https://x/a", model="m", now=5.0)
    ledger.remember(seen(mine), "b" * 64)
    put(root / "z.gguf")
    items = take_stock(root, ledger)
    assert names(items) == ["z.gguf", str(earlier)]
    assert items[1].is_owned


@pytest.fixture
def shelf(root: Path, ledger: Ledger) -> list[Item]:
    for name in ("a.gguf", "llm/b.gguf", "m-1/x.onnx", "m-2/x.onnx"):
        path = put(root / name)
        if name.endswith("gguf"):
            ledger.own(seen(path), sha256="a" * 64, url="https://x/a", model="org/two-files", now=5.0)
    part(root / "c.gguf", b"1")
    return take_stock(root, ledger)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.gguf", ["a.gguf"]),
        ("llm/b.gguf", ["llm/b.gguf"]),
        ("b.gguf", ["llm/b.gguf"]),
        ("m-2/x.onnx", ["m-2/x.onnx"]),
        ("x.onnx", ["m-1/x.onnx", "m-2/x.onnx"]),
        ("org/two-files", ["a.gguf", "llm/b.gguf"]),
        ("c.gguf.part", ["c.gguf.part"]),
        ("c.gguf", ["c.gguf.part"]),
        ("d.gguf", []),
        ("", []),
        ("gguf", []),
    ],
)
def test_a_name_stands_for_the_files_that_it_names(shelf: list[Item], name: str, found: list[str]):
    assert names(pick(shelf, name)) == found


def test_a_path_stands_for_its_file(shelf: list[Item], root: Path):
    assert names(pick(shelf, str(root / "llm" / "b.gguf"))) == ["llm/b.gguf"]


def test_a_file_of_a_pinned_model_is_told_as_pinned(root: Path, ledger: Ledger):
    for name in ("a.gguf", "b.gguf"):
        ledger.begin_use([seen(put(root / name))], model=f"org/{name[0]}", now=1.0)
    found = take_stock(root, ledger, pinned=("org/a", "org/nowhere"))
    assert [(item.name, item.is_pinned) for item in found] == [("a.gguf", True), ("b.gguf", False)]


def test_a_use_by_another_path_of_the_folder_is_told(root: Path, ledger: Ledger, tmp_path: Path):
    put(root / "a.gguf")
    (tmp_path / "alias").symlink_to(root)
    ledger.begin_use([seen(tmp_path / "alias" / "a.gguf")], model="m", now=1.0)
    [item] = take_stock(root, ledger)
    assert item.is_used


def test_names_that_are_no_valid_utf_8_are_listed_with_their_hash_and_their_parts(root: Path, ledger: Ledger):
    odd = root / os.fsdecode(b"mod\xe8le.gguf")
    ledger.own(seen(put(odd)), sha256="a" * 64, url="", model="m", now=1.0)
    part(root / os.fsdecode(b"p\xe8.gguf"), b"12", total=3)
    found = take_stock(root, ledger)
    assert {(item.path.name, item.state, item.is_owned) for item in found} == {
        (odd.name, State.WHOLE, True),
        (os.fsdecode(b"p\xe8.gguf.part"), State.PARTIAL, False),
    }
