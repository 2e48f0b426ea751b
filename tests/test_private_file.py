from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from studio_worker import private_file
from studio_worker.errors import ConfigError
from studio_worker.private_file import (
    make_own_folder,
    make_private_folder,
    read_private,
    sweep,
    take_as_own,
    write_atomically,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret.json"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_private(path, limit_bytes=100)
    return str(caught.value)


def test_what_was_written_is_read(path: Path) -> None:
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert read_private(path, limit_bytes=100) == b"two"


def test_a_written_file_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomically(path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_missing_file_is_told_apart(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_private(path, limit_bytes=100)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_open_is_refused_with_the_chmod_line(mode: int, path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(mode)
    assert refusal(path) == (f"{path} holds secrets and is open to other users (mode {mode:04o}): `chmod 600 '{path}'`")


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    write_atomically(tmp_path / "real", b"x")
    path.symlink_to(tmp_path / "real")
    assert "is a symbolic link" in refusal(path)


def test_a_dangling_link_is_refused_and_not_taken_for_a_missing_file(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "nowhere")
    assert "is a symbolic link" in refusal(path)


def test_a_named_pipe_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path, 0o600)
    assert "is no regular file" in refusal(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is no regular file" in refusal(tmp_path)


def test_a_file_over_the_limit_is_refused_by_its_size(path: Path) -> None:
    write_atomically(path, b"x" * 101)
    assert "101 bytes, more than the 100" in refusal(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused_with_the_chown_line(path: Path) -> None:
    write_atomically(path, b"x")
    os.chown(path, 12345, -1)
    assert "belongs to the user with id 12345" in refusal(path)
    assert f"chown {os.geteuid()}" in refusal(path)


def test_a_failed_write_leaves_the_old_file_and_no_leftover(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("")
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.json"]


def test_sweeping_removes_only_this_files_leftovers(path: Path, tmp_path: Path) -> None:
    for name in (".secret.json.abc.new", ".other.json.abc.new", "secret.json"):
        (tmp_path / name).write_text("")
    sweep(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".other.json.abc.new", "secret.json"]


def test_a_private_folder_and_those_made_above_it_are_closed_to_others(tmp_path):
    before = os.umask(0o022)
    try:
        make_private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    for folder in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_private_folder_that_is_there_already_stays_as_it_is(tmp_path):
    (tmp_path / "a").mkdir(mode=0o755)
    make_private_folder(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_private_folder_cannot_be_made_where_a_file_is(tmp_path):
    (tmp_path / "a").write_text("")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OSError, match="a"):
            make_private_folder(path)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder's names are not synced on Windows")
def test_the_name_of_each_folder_that_is_made_outlives_a_power_loss(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(private_file, "sync_folder", synced.append)
    private_file.make_private_folder(tmp_path / "a" / "b")
    private_file.make_private_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o601])
def test_an_own_file_that_is_open_to_others_is_closed_and_told_of(mode, path, caplines):
    path.write_bytes(b"x")
    path.chmod(mode)
    take_as_own(path)
    take_as_own(path)
    assert (mode_of(path), path.read_bytes()) == (0o600, b"x")
    (line,) = [line for line in caplines if line["event"] == "private.closed"]
    assert (line["level"], line["path"], line["mode"]) == ("WARNING", str(path), f"{mode:04o}")


def test_a_file_that_is_closed_is_not_opened(path, monkeypatch):
    """Closing a descriptor would end the locks of this process on a database."""
    write_atomically(path, b"x")
    monkeypatch.setattr(private_file.os, "open", None)
    take_as_own(path)


def test_a_file_that_is_not_there_is_not_made(path):
    take_as_own(path)
    assert not path.exists()


@pytest.mark.parametrize("target", ["real", "nowhere"])
def test_a_link_is_not_taken_as_ones_own_and_what_it_names_stays_open(target, path, tmp_path):
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "real").chmod(0o644)
    path.symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match=f"{path} is a symbolic link, .* put the file itself there"):
        take_as_own(path)
    assert mode_of(tmp_path / "real") == 0o644


def test_what_is_no_regular_file_is_not_taken_as_ones_own(path):
    os.mkfifo(path, 0o644)
    with pytest.raises(ConfigError, match=f"{path} is no regular file: move it away"):
        take_as_own(path)


def test_another_users_file_or_folder_is_not_taken_as_ones_own_and_keeps_its_mode(path, tmp_path, monkeypatch):
    path.write_bytes(b"x")
    path.chmod(0o644)
    (tmp_path / "a").mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for take, what, mode in ((take_as_own, path, 0o644), (make_own_folder, tmp_path / "a", 0o755)):
        with pytest.raises(ConfigError, match=f"{what} belongs to the user with id .* `chown 12345 '{what}'`"):
            take(what)
        assert mode_of(what) == mode


def test_an_own_folder_that_is_open_to_others_is_closed_but_not_those_above_it(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in ("a", "a/b"):
        (tmp_path / folder).chmod(0o755)
    make_own_folder(tmp_path / "a" / "b")
    assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == (0o755, 0o700)


def test_a_link_to_an_own_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk").chmod(0o755)
    (tmp_path / "a").symlink_to(tmp_path / "disk")
    make_own_folder(tmp_path / "a")
    assert mode_of(tmp_path / "disk") == 0o700
