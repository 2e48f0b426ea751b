from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from studio_worker.errors import ModelUnavailable
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import look


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"weights")
    return path


def seen(path: Path) -> Seen:
    found = look(path)
    assert isinstance(found, Seen)
    return found


def own(ledger: Ledger, path: Path, sha256: str = "a" * 64) -> None:
    ledger.own(seen(path), sha256=sha256, url="https://files.example/a.gguf", model="m", now=5.0)


def test_the_memory_lies_in_the_state_folder_once_something_is_remembered(ledger: Ledger, state: Path, file: Path):
    assert not state.exists()
    ledger.remember(seen(file), "a" * 64)
    assert (state / "models.sqlite").is_file()


def test_a_file_that_nobody_uses_is_removed_and_forgotten(ledger: Ledger, file: Path):
    own(ledger, file)
    assert ledger.unless_used(file, file.unlink)
    assert not file.exists()
    assert ledger.record(file) is None


def test_a_file_that_a_job_uses_is_not_removed(ledger: Ledger, file: Path):
    ledger.begin_use([seen(file)], model="m", now=1.0)
    assert not ledger.unless_used(file, file.unlink)
    assert file.exists()
    assert ledger.record(file) is not None


def test_a_file_that_another_process_uses_is_not_removed_until_that_dies(
    ledger: Ledger, state: Path, file: Path, another_process
):
    other = another_process("use", state, file)
    assert not ledger.unless_used(file, file.unlink)
    other.kill()
    assert ledger.unless_used(file, file.unlink)


def test_a_use_by_another_path_of_the_same_file_counts(
    ledger: Ledger, state: Path, tmp_path: Path, file: Path, another_process
):
    (tmp_path / "alias").symlink_to(tmp_path)
    another_process("use", state, tmp_path / "alias" / "a.gguf")
    assert not ledger.unless_used(file, file.unlink)
    assert file.exists()


def test_a_file_that_cannot_be_removed_is_remembered_as_before(ledger: Ledger, file: Path):
    own(ledger, file)

    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        ledger.unless_used(file, refuse)
    record = ledger.record(file)
    assert record is not None
    assert record.is_owned


def test_nobody_begins_to_use_a_file_while_it_is_removed(ledger: Ledger, state: Path, file: Path):
    refused: list[str] = []

    def look_from_beside() -> None:
        beside = sqlite3.connect(state / "models.sqlite", timeout=0)
        try:
            beside.execute("INSERT INTO uses VALUES (?, 1, 1.0)", (str(file),))
        except sqlite3.OperationalError as error:
            refused.append(str(error))
        finally:
            beside.close()

    assert ledger.unless_used(file, look_from_beside)
    assert refused == ["database is locked"]


def test_a_memory_that_cannot_be_asked_removes_nothing(tmp_path: Path, file: Path):
    (tmp_path / "blocked").write_text("a file where the state folder should be")
    with pytest.raises(ModelUnavailable, match="cannot be asked who uses it"):
        Ledger.of(tmp_path / "blocked").unless_used(file, file.unlink)
    assert file.exists()


def test_a_hash_in_doubt_is_kept_but_speaks_of_no_file(ledger: Ledger, file: Path):
    own(ledger, file)
    ledger.doubt(file)
    record = ledger.record(file)
    assert record is not None
    assert record.sha256 == "a" * 64
    assert not record.is_of(seen(file))


def test_what_a_file_in_doubt_should_be_is_kept_whatever_a_job_finds_it_to_be(ledger: Ledger, file: Path):
    own(ledger, file)
    ledger.doubt(file)
    ledger.remember(seen(file), "b" * 64)
    ledger.doubt(file)
    assert ledger.expected() == {file: "a" * 64}


def test_a_file_that_is_trusted_downloaded_anew_or_removed_is_in_doubt_no_more(ledger: Ledger, file: Path):
    for settle in (
        lambda: ledger.trust(seen(file), "b" * 64),
        lambda: own(ledger, file),
        lambda: ledger.unless_used(file, lambda: None),
    ):
        own(ledger, file)
        ledger.doubt(file)
        settle()
        assert ledger.expected() == {}


def test_a_file_without_a_hash_is_expected_to_be_nothing(ledger: Ledger, file: Path):
    ledger.begin_use([seen(file)], model="m", now=1.0)
    ledger.doubt(file)
    assert ledger.expected() == {}


def test_a_file_with_the_same_hash_stays_the_workers_own(ledger: Ledger, file: Path):
    own(ledger, file)
    ledger.doubt(file)
    ledger.remember(seen(file), "a" * 64)
    record = ledger.record(file)
    assert record is not None
    assert record.is_owned
    assert record.is_of(seen(file))


def test_a_file_with_another_hash_is_the_workers_no_more(ledger: Ledger, file: Path):
    own(ledger, file)
    file.write_bytes(b"another one")
    ledger.remember(seen(file), "b" * 64)
    record = ledger.record(file)
    assert record is not None
    assert not record.is_owned


def test_a_file_that_was_used_before_it_was_hashed_is_not_the_workers(ledger: Ledger, file: Path):
    ledger.begin_use([seen(file)], model="m", now=1.0)
    ledger.remember(seen(file), "b" * 64)
    record = ledger.record(file)
    assert record is not None
    assert (record.is_owned, record.sha256) == (False, "b" * 64)


def test_where_a_replaced_file_came_from_is_not_known(ledger: Ledger, file: Path):
    own(ledger, file)
    file.write_bytes(b"another one")
    ledger.remember(seen(file), "b" * 64)
    record = ledger.record(file)
    assert record is not None
    assert record.url == ""


def test_where_a_file_came_from_is_kept_while_it_is_the_same(ledger: Ledger, file: Path):
    own(ledger, file)
    os.utime(file, ns=(1, 1))
    ledger.remember(seen(file), "a" * 64)
    record = ledger.record(file)
    assert record is not None
    assert record.url == "https://files.example/a.gguf"


@pytest.mark.parametrize(
    "trouble",
    [
        "DROP TABLE expected",
        "CREATE TRIGGER no BEFORE DELETE ON files BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    ],
)
def test_a_file_that_was_removed_is_gone_though_its_row_could_not_be_forgotten(
    ledger: Ledger, state: Path, file: Path, trouble: str
):
    own(ledger, file)
    with sqlite3.connect(state / "models.sqlite") as beside:
        beside.execute(trouble)
    beside.close()
    assert ledger.unless_used(file, file.unlink)
    assert not file.exists()


def test_the_files_of_a_model_are_those_that_it_has_used_whoever_has_used_them_since(ledger: Ledger, file: Path):
    shared = file.with_name("vae.safetensors")
    shared.write_bytes(b"weights")
    ledger.begin_use([seen(file), seen(shared)], model="org/one", now=1.0)
    ledger.begin_use([seen(shared)], model="org/two", now=2.0)
    assert ledger.files_of(["org/one"]) == {file, shared}
    assert ledger.files_of(["org/two"]) == {shared}
    assert ledger.files_of([]) == frozenset()


def test_a_file_that_is_downloaded_anew_is_its_new_models_alone(ledger: Ledger, file: Path):
    ledger.begin_use([seen(file)], model="org/one", now=1.0)
    own(ledger, file)
    assert ledger.files_of(["org/one"]) == frozenset()
    assert ledger.files_of(["m"]) == {file}


def test_a_removed_file_is_no_models_any_more(ledger: Ledger, file: Path):
    own(ledger, file)
    ledger.unless_used(file, file.unlink)
    assert ledger.files_of(["m"]) == frozenset()
