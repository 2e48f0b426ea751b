"""The journal's file: opened, refused or set aside, and read by others meanwhile."""

import asyncio
import os
import shutil
import sqlite3
import stat
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from studio_worker.errors import AlreadyRunning, ConfigError
from studio_worker.jobs import journal_file, journal_view
from studio_worker.jobs.journal_file import (
    MAX_ASIDE,
    VERSION,
    journal_path,
    open_journal,
    read_only,
    results_beside,
    set_aside,
)
from studio_worker.jobs.journal_view import latest_jobs

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
FIXTURES = Path(__file__).parent


def of_schema(number):
    return FIXTURES / f"journal-schema-{number}.sqlite3"


def schema(of):
    """A file's number, and what it holds."""
    with closing(sqlite3.connect(of)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return version, set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


@pytest.fixture
def path(tmp_path):
    return journal_path(tmp_path / "state")


def reopened(path):
    with closing(open_journal(path, now=NOW)) as connection:
        return connection.execute("SELECT count(*) FROM jobs").fetchone()[0]


def asides(path):
    found = {each.name for each in path.parent.iterdir() if "damaged" in each.name}
    return sorted(name for name in found if not name.endswith(("-wal", "-shm")))


def test_is_made_with_its_schemas_number(path):
    with closing(open_journal(path, now=NOW)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSION
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_overwrites_what_is_deleted_whatever_sqlite_was_built_for(path):
    with closing(open_journal(path, now=NOW)) as connection:
        assert connection.execute("PRAGMA secure_delete").fetchone()[0] == 1


@pytest.mark.parametrize("number", range(1, VERSION + 1))
def test_of_a_released_schema_is_opened_with_what_is_in_it(path, number):
    path.parent.mkdir()
    shutil.copy(of_schema(number), path)
    with closing(open_journal(path, now=NOW)) as connection:
        stages = [row["stage"] for row in connection.execute("SELECT stage FROM jobs ORDER BY job_id")]
    assert stages == ["delivered", "kept", "kept", "waiting"]
    assert asides(path) == []


def test_another_schema_has_another_number_and_a_fixture_of_its_own(path):
    assert reopened(path) == 0
    assert schema(path) == schema(of_schema(VERSION))


def test_of_an_older_schema_becomes_one_of_today(path):
    path.parent.mkdir()
    shutil.copy(of_schema(1), path)
    assert reopened(path) == 4
    assert schema(path) == schema(of_schema(VERSION))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"this is no database" * 100, id="not a database"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 8_000, id="a head and nonsense"),
        pytest.param(bytes(600), id="zeros"),
    ],
)
def test_that_is_none_is_set_aside_with_its_bytes_and_a_new_one_begun(path, content, caplines):
    path.parent.mkdir()
    path.write_bytes(content)
    assert reopened(path) == 0
    assert asides(path) == ["journal.sqlite3.damaged-20260504T030201Z"]
    assert (path.parent / asides(path)[0]).read_bytes() == content
    (line,) = [line for line in caplines if line["event"] == "journal.damaged"]
    assert (line["level"], line["aside"]) == ("ERROR", str(path.parent / asides(path)[0]))


def filled(path, rows=400):
    with closing(open_journal(path, now=NOW)) as connection:
        connection.execute("BEGIN")
        for number in range(rows):
            connection.execute(
                "INSERT INTO jobs VALUES ('o', 'w', ?, 'f', 'delivered', 'llm', 'm', 'e', 1, 0, ?, NULL, 1.0, '', "
                "'', 0, '', '', '', '', '', '')",
                (f"job-{number}", number),
            )
        connection.execute("COMMIT")


def test_that_was_cut_off_is_set_aside(path):
    filled(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reopened(path) == 0
    assert len(asides(path)) == 1


def test_whose_pages_are_spoilt_is_set_aside(path):
    filled(path)
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = bytes(byte ^ 0xFF for byte in data[4096:])
    path.write_bytes(data)
    assert reopened(path) == 0
    assert len(asides(path)) == 1


@pytest.fixture
def half_made(path, tmp_path):
    """What a power loss in its making leaves: the old pages in a file of their own, which a reader cannot put back."""
    half = tmp_path / "half" / path.name
    half.parent.mkdir()
    with closing(sqlite3.connect(half, isolation_level=None)) as making:
        making.execute("PRAGMA cache_size = 1")
        making.execute("BEGIN")
        making.execute("CREATE TABLE things (text)")
        making.executemany("INSERT INTO things VALUES (?)", [("x" * 2_000,)] * 500)
        path.parent.mkdir(exist_ok=True)
        for file in half.parent.iterdir():
            shutil.copy(file, path.parent / file.name)
    assert path.with_name(path.name + "-journal").exists()
    return path


def test_whose_making_was_cut_off_is_made_again(half_made):
    assert reopened(half_made) == 0
    assert asides(half_made) == []


def test_whose_making_was_cut_off_has_no_jobs_for_a_reader_who_leaves_it_as_it_is(half_made):
    before = {file.name: file.read_bytes() for file in half_made.parent.iterdir()}
    assert latest_jobs(half_made.parent, 10) == []
    assert {file.name: file.read_bytes() for file in half_made.parent.iterdir()} == before


def test_that_holds_something_else_is_set_aside(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    assert reopened(path) == 0
    assert len(asides(path)) == 1


def test_a_second_damaged_one_of_the_same_second_does_not_replace_the_first(path):
    path.parent.mkdir()
    names = set()
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        names.add(set_aside(path, NOW, "a test"))
    assert {name.read_bytes() for name in names} == {b"one", b"two", b"three"}


def test_of_many_damaged_ones_the_latest_are_left_with_what_belongs_to_them(path):
    path.parent.mkdir()
    for number in range(MAX_ASIDE + 2):
        path.write_bytes(b"%d" % number)
        path.with_name(path.name + "-wal").write_bytes(b"w")
        aside = set_aside(path, NOW, "a test")
        results_beside(aside).mkdir()
        os.utime(aside, (number, number))
    left = {each.read_bytes() for each in path.parent.iterdir() if each.is_file()} - {b"w"}
    assert left == {b"2", b"3", b"4"}
    assert len(list(path.parent.iterdir())) == 3 * MAX_ASIDE


def test_of_many_that_were_gone_the_latest_results_are_left(path):
    path.parent.mkdir()
    for number in range(MAX_ASIDE + 2):
        aside = set_aside(path, NOW, "it is gone")
        results_beside(aside).mkdir()
        os.utime(results_beside(aside), (number, number))
    assert len(list(path.parent.iterdir())) == MAX_ASIDE


def test_of_a_newer_release_is_refused_by_name_and_left_untouched(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (other)")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"version {VERSION + 1}") as caught:
        open_journal(path, now=NOW)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 78
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_that_is_locked_is_an_error_in_a_bounded_time(path):
    reopened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AlreadyRunning, match="locked by another process") as caught:
            open_journal(path, now=NOW, busy_secs=0.05)
    assert caught.value.exit_code == 75
    assert asides(path) == []


def test_that_is_a_folder_is_refused_with_its_path(path):
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="journal"):
        open_journal(path, now=NOW)


def test_a_journal_that_others_may_read_is_closed_to_them_with_what_belongs_to_it_and_keeps_its_rows(path):
    with closing(open_journal(path, now=NOW)) as connection:
        connection.execute("CREATE TABLE more (text)")
        for name in ("", "-wal", "-shm"):
            shutil.copy(path.with_name(path.name + name), path.parent.parent)
    path = path.parent.parent / path.name
    files = [path.with_name(path.name + name) for name in ("", "-wal", "-shm")]
    for file in files:
        file.chmod(0o644)
    with closing(open_journal(path, now=NOW)) as connection:
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
        assert connection.execute("SELECT count(*) FROM more").fetchone()[0] == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_a_journal_that_is_a_link_is_refused_with_its_path_and_what_it_names_is_left_alone(path, tmp_path, is_there):
    target = journal_path(tmp_path / "elsewhere")
    if is_there:
        reopened(target)
        target.chmod(0o644)
    path.parent.mkdir()
    path.symlink_to(target)
    with pytest.raises(ConfigError, match=f"{path} is a symbolic link") as caught:
        open_journal(path, now=NOW)
    assert caught.value.exit_code == 78
    assert not is_there or stat.S_IMODE(target.stat().st_mode) == 0o644
    assert target.exists() is is_there


def test_in_a_state_folder_that_is_a_link_is_opened(path, tmp_path):
    (tmp_path / "disk").mkdir()
    path.parent.symlink_to(tmp_path / "disk")
    assert reopened(path) == 0


@pytest.mark.parametrize("name", ["", "-wal", "-shm"])
def test_that_is_a_pipe_is_refused_without_waiting(path, name):
    path.parent.mkdir()
    os.mkfifo(path.with_name(path.name + name))
    with pytest.raises(ConfigError, match=f"{path}{name} is no regular file: move it away"):
        open_journal(path, now=NOW)


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_a_journal_of_another_user_is_refused_with_the_chown_line_and_not_set_aside(path, content, monkeypatch):
    path.parent.mkdir()
    path.write_bytes(content)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match=f"{path} belongs to the user .* `chown 12345 '{path}'`") as caught:
        open_journal(path, now=NOW)
    assert caught.value.exit_code == 78
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_on_a_network_file_system_is_warned_of(path, caplines, monkeypatch):
    class Mount:
        mountpoint, fstype = "/", "nfs4"

    monkeypatch.setattr(journal_file.psutil, "disk_partitions", lambda all: [Mount])
    reopened(path)
    assert [line["filesystem"] for line in caplines if line["event"] == "journal.network"] == ["nfs4"]


def test_is_read_while_somebody_writes(path):
    with closing(open_journal(path, now=NOW)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with closing(read_only(path)) as reader:
            assert reader.execute("SELECT count(*) FROM jobs").fetchone()[0] == 0
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM jobs")
        writer.execute("ROLLBACK")


def test_that_is_not_there_is_not_made_by_a_reader(path):
    with pytest.raises(FileNotFoundError):
        read_only(path)
    assert not path.exists()


def test_of_many_rows_shows_the_latest_as_quickly_as_one_of_few(tmp_path):
    """A look at the latest rows reads as many pages, however many rows there are."""

    def steps(rows):
        path = journal_path(tmp_path / str(rows))
        filled(path, rows)
        with closing(read_only(path)) as connection:
            count = 0

            def step():
                nonlocal count
                count += 1

            connection.set_progress_handler(step, 10)
            assert len(connection.execute(journal_view._SHOWN, (50,)).fetchall()) == 50
            return count

    assert steps(100_000) <= steps(100) + 5


@pytest.mark.parametrize("mask", [0x80, 0xFF, 0x01])
def test_whatever_byte_of_its_first_page_is_changed_it_opens_or_is_set_aside(tmp_path, mask):
    whole = journal_path(tmp_path / "whole")
    filled(whole)
    data = whole.read_bytes()
    for at in range(0, 4096, 37):
        path = journal_path(tmp_path / f"{at}-{mask}")
        path.parent.mkdir()
        path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        with suppress(ConfigError):
            read_only(path).close()
        with suppress(ConfigError):
            # A changed version is that of a newer release.
            open_journal(path, now=NOW).close()


def test_of_which_sqlite_tells_in_bytes_that_are_no_text_is_set_aside(path):
    filled(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"CREATE TABLE jobs") + 8] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="the worker sets a damaged one aside when it starts"):
        latest_jobs(path.parent, 5)
    assert reopened(path) == 0
    assert len(asides(path)) == 1


def test_beside_which_nothing_can_be_written_is_told_to_a_reader_with_what_it_needs(path):
    filled(path)
    # Root may write into any folder: something is in the way of the file that SQLite needs.
    path.with_name(f"{path.name}-wal").mkdir()
    with pytest.raises(ConfigError, match="it has to be a file that can be read, in a folder that can be written"):
        latest_jobs(path.parent, 5)


def test_that_was_emptied_beside_kept_results_is_set_aside(path):
    filled(path)
    path.write_bytes(b"")
    spool = path.parent / "spool"
    spool.mkdir()
    (spool / ("0a" * 16)).write_bytes(b"abc")
    assert reopened(path) == 0
    (aside,) = asides(path)
    assert (path.parent / aside).read_bytes() == b""


@pytest.mark.parametrize("beside", ["", "mail"])
def test_that_was_just_begun_is_no_damage(path, beside):
    (path.parent / "spool" / beside).mkdir(parents=True)
    path.touch()
    assert reopened(path) == 0
    assert asides(path) == []


def test_that_is_damaged_is_told_to_a_reader_and_left(path):
    path.parent.mkdir()
    path.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_only(path)
    assert path.read_bytes() == b"nonsense" * 1_000


async def test_opens_on_any_thread_and_serves_another(path):
    connection = await asyncio.to_thread(open_journal, path, now=NOW)
    connection.close()
