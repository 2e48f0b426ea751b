from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from studio_worker.models.path_keys import path_of, place_of, row_key, row_text


@pytest.mark.parametrize("name", ["a.gguf", "模型.gguf", os.fsdecode(b"mod\xe8le.gguf"), "\ud800.gguf"])
def test_a_row_keeps_every_path_and_gives_it_back(name: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE rows (path TEXT PRIMARY KEY)")
    database.execute("INSERT INTO rows VALUES (?)", (row_key(Path(name)),))
    [(kept,)] = database.execute("SELECT path FROM rows WHERE path = ?", (row_key(name),)).fetchall()
    database.close()
    assert path_of(kept) == Path(name)


def test_a_path_of_valid_text_is_kept_as_text() -> None:
    assert row_key(Path("/models/模型.gguf")) == "/models/模型.gguf"


def test_text_that_is_no_valid_utf_8_is_kept_in_letters() -> None:
    assert row_text("m\udce9") == "m\\udce9"
    assert row_text("模型") == "模型"


def test_two_paths_of_one_file_are_one_place(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").write_bytes(b"x")
    (tmp_path / "alias").symlink_to(tmp_path / "models")
    assert place_of(tmp_path / "alias" / "a") == place_of(tmp_path / "models" / "a")


def test_two_files_are_two_places_and_so_are_two_names_of_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert place_of(tmp_path / "a") != place_of(tmp_path / "b")
    (tmp_path / "c").hardlink_to(tmp_path / "a")
    assert place_of(tmp_path / "a") != place_of(tmp_path / "c")


def test_a_file_that_is_not_there_has_a_place(tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path)
    assert place_of(tmp_path / "alias" / "gone") == place_of(tmp_path / "gone")
