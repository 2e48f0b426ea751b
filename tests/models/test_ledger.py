from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from studio_worker.models.ledger import Ledger, Seen

SEEN = Seen(Path("/models/a.bin"), 100, 7)
OTHER = Seen(Path("/models/b.bin"), 200, 8)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models.sqlite"


def test_nothing_is_known_of_a_file_that_nobody_spoke_of() -> None:
    assert Ledger().record(SEEN.path) is None


def test_a_memory_that_only_reads_nothing_makes_no_file(place: Path) -> None:
    Ledger(place).close()
    assert not place.exists()


def test_what_is_owned_is_known_after_a_restart(place: Path) -> None:
    first = Ledger(place)
    first.own(SEEN, sha256="a" * 64, url="https://hub.example/a", model="m", now=5.0)
    first.close()
    record = Ledger(place).record(SEEN.path)
    assert record is not None
    assert (record.size, record.mtime_ns, record.sha256, record.is_owned) == (100, 7, "a" * 64, True)
    assert (record.url, record.model, record.last_used) == ("https://hub.example/a", "m", 5.0)


def test_a_hash_is_kept_with_the_file_it_is_of() -> None:
    ledger = Ledger()
    ledger.remember(SEEN, "a" * 64)
    record = ledger.record(SEEN.path)
    assert record is not None
    assert record.is_of(SEEN)
    assert not record.is_of(Seen(SEEN.path, 100, 8))
    assert not record.is_of(Seen(SEEN.path, 101, 7))


@pytest.mark.parametrize(("seen", "is_owned"), [(SEEN, True), (Seen(SEEN.path, 100, 9), False)])
def test_a_file_that_is_hashed_again_stays_owned_only_where_it_is_the_same(seen: Seen, is_owned: bool) -> None:
    ledger = Ledger()
    ledger.own(SEEN, sha256="a" * 64, url="", model="m", now=1)
    ledger.remember(seen, "b" * 64)
    record = ledger.record(SEEN.path)
    assert record is not None
    assert record.is_owned is is_owned


def test_the_use_of_a_file_that_nobody_spoke_of_makes_it_known_and_not_owned() -> None:
    ledger = Ledger()
    ledger.begin_use([SEEN], model="m", now=3)
    record = ledger.record(SEEN.path)
    assert record is not None
    assert (record.is_owned, record.sha256, record.last_used, record.model) == (False, None, 3, "m")


def test_the_end_of_a_use_is_the_last_use() -> None:
    ledger = Ledger()
    ledger.begin_use([SEEN, OTHER], model="m", now=3)
    ledger.end_use([SEEN.path], now=9)
    assert ledger.in_use() == {OTHER.path}
    record = ledger.record(SEEN.path)
    assert record is not None
    assert record.last_used == 9


def test_two_processes_share_the_memory_and_see_what_the_other_uses(place: Path) -> None:
    one, other = Ledger(place), Ledger(place)
    one.begin_use([SEEN], model="m", now=1)
    assert other.in_use() == {SEEN.path}
    one.close()
    assert other.in_use() == frozenset()


USER = """
import sys, time
from pathlib import Path
from studio_worker.models.ledger import Ledger, Seen
Ledger(Path(sys.argv[1])).begin_use([Seen(Path("/models/a.bin"), 100, 7)], model="m", now=1)
print("used", flush=True)
time.sleep(60)
"""


def test_a_process_that_was_killed_uses_nothing_any_more(place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", USER, place], stdout=subprocess.PIPE, env=environment) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"used\n"
        ledger = Ledger(place)
        assert ledger.in_use() == {SEEN.path}
        user.send_signal(signal.SIGKILL)
    assert ledger.in_use() == frozenset()


def test_a_process_with_the_number_of_a_dead_one_uses_nothing(place: Path) -> None:
    ledger = Ledger(place)
    ledger.begin_use([SEEN], model="m", now=1)
    with sqlite3.connect(place) as database:
        database.execute("UPDATE uses SET started = ?", (psutil.Process().create_time() - 1_000,))
    assert ledger.in_use() == frozenset()


def test_many_threads_may_ask_at_once(place: Path) -> None:
    ledger = Ledger(place)

    def use(number: int) -> None:
        for _ in range(20):
            ledger.begin_use([Seen(Path(f"/models/{number}"), 1, 1)], model="m", now=1)
            ledger.end_use([Path(f"/models/{number}")], now=2)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.in_use() == frozenset()
    assert len(ledger.records()) == 5


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(2_000)])
def test_a_damaged_memory_is_set_aside_and_begun_anew(
    place: Path, damage: bytes, caplines: list[dict[str, object]]
) -> None:
    place.parent.mkdir()
    place.write_bytes(damage)
    ledger = Ledger(place)
    ledger.remember(SEEN, "a" * 64)
    assert ledger.record(SEEN.path) is not None
    assert place.with_name("models.sqlite.damaged").read_bytes() == damage
    assert [line["event"] for line in caplines] == ["models.ledger"]


def test_a_memory_damaged_in_the_middle_is_set_aside_with_its_log(place: Path) -> None:
    ledger = Ledger(place)
    ledger.remember(SEEN, "a" * 64)
    ledger.close()
    data = bytearray(place.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    place.write_bytes(data)
    place.with_name("models.sqlite-wal").write_bytes(b"stale")
    again = Ledger(place)
    again.remember(OTHER, "b" * 64)
    assert [record.path for record in again.records()] == [OTHER.path]
    again.close()
    with sqlite3.connect(place) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_memory_that_another_one_holds_costs_no_job(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker.models.ledger._BUSY_SECS", 0.01)
    ledger = Ledger(place)
    ledger.remember(SEEN, "a" * 64)
    holder = sqlite3.connect(place, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    ledger.remember(OTHER, "b" * 64)
    holder.close()
    assert ledger.record(OTHER.path) is None
    assert ledger.record(SEEN.path) is not None


def test_a_place_that_cannot_be_written_costs_no_job(tmp_path: Path, caplines: list[dict[str, object]]) -> None:
    (tmp_path / "state").write_text("in the way")
    ledger = Ledger(tmp_path / "state" / "models.sqlite")
    ledger.remember(SEEN, "a" * 64)
    assert ledger.record(SEEN.path) is None
    assert ledger.in_use() == frozenset()
    assert {line["event"] for line in caplines} == {"models.ledger"}
