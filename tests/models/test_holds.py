"""Files in use are seen to be so by processes that share no ledger with their users."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio_worker.errors import ModelUnavailable
from studio_worker.models import holds as module
from studio_worker.models.holds import Holds, is_held, unheld
from studio_worker.models.inventory import take_stock
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.quota import Quota, to_evict
from studio_worker.models.removal import choose, remove
from studio_worker.models.shelf import look

PATIENCE_SECS = 30.0


@pytest.fixture
def other_state(tmp_path: Path) -> Path:
    """The state folder of another worker with the same models folder."""
    return tmp_path / "other-state"


@pytest.fixture
def file(root: Path) -> Path:
    return put(root / "a.gguf")


@pytest.fixture
def holds() -> Iterator[Holds]:
    made = Holds()
    yield made
    made.end_all()


def put(path: Path) -> Path:
    path.write_bytes(b"weights")
    return path


def own(ledger: Ledger, path: Path, *, used: float) -> Path:
    put(path)
    ledger.own(seen(path), sha256="a" * 64, url="https://x/a", model="m", now=used)
    return path


def seen(path: Path) -> Seen:
    found = look(path)
    assert isinstance(found, Seen)
    return found


def descriptors(path: Path) -> int:
    """How many descriptors of the file this process has."""
    state = path.stat()
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.fstat(int(fd)), state)
        except OSError:
            continue
    return found


def test_a_file_that_another_worker_uses_is_not_removed_until_that_worker_is_killed(
    ledger: Ledger, root: Path, file: Path, other_state: Path, another_process
):
    other = another_process("use", other_state, file)
    [item] = take_stock(root, ledger)
    assert not remove(item, ledger, "asked")
    assert file.exists()
    other.kill()
    assert remove(item, ledger, "asked")
    assert not file.exists()


def test_a_file_that_another_worker_uses_is_shown_to_be_in_use(
    ledger: Ledger, root: Path, file: Path, other_state: Path, another_process
):
    put(root / "b.gguf")
    other = another_process("use", other_state, file)
    assert [item.is_used for item in take_stock(root, ledger)] == [True, False]
    other.kill()
    assert [item.is_used for item in take_stock(root, ledger)] == [False, False]


def test_a_file_that_another_worker_uses_is_never_chosen(
    ledger: Ledger, root: Path, other_state: Path, another_process
):
    another_process("use", other_state, own(ledger, root / "used", used=1))
    own(ledger, root / "free", used=2)
    for rule in ({"quota_bytes": 7}, {"quota_bytes": 0}, {"unused_days": 0}):
        victims = choose(take_stock(root, ledger), ledger, now=10.0, **rule)
        assert [victim.item.name for victim in victims] == ["free"]


def test_a_quota_takes_the_next_in_the_place_of_one_that_another_worker_uses(
    ledger: Ledger, root: Path, other_state: Path, another_process
):
    another_process("use", other_state, own(ledger, root / "used", used=1))
    own(ledger, root / "free", used=2)
    Quota(ledger, lambda: 14).begin(root / "next", 7)
    assert sorted(path.name for path in root.iterdir()) == ["used"]


def test_a_quota_for_which_only_files_in_use_could_go_refuses_before_anything_comes(
    ledger: Ledger, root: Path, other_state: Path, another_process
):
    another_process("use", other_state, own(ledger, root / "used", used=1))
    with pytest.raises(ModelUnavailable, match="models_quota_gb"):
        to_evict(ledger, 7, incoming=1)


def test_a_use_by_a_link_holds_the_file_itself(
    ledger: Ledger, tmp_path: Path, file: Path, other_state: Path, another_process
):
    (tmp_path / "link.gguf").symlink_to(file)
    another_process("use", other_state, tmp_path / "link.gguf")
    assert not ledger.unless_used(file, file.unlink)


def test_a_killed_worker_whose_child_lives_on_holds_nothing(file: Path):
    script = (
        "import subprocess, sys; from pathlib import Path; from studio_worker.models.holds import Holds\n"
        "holds = Holds(); holds.begin([Path(sys.argv[1])]); subprocess.Popen(['cat'])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "ready\n"
        assert is_held(file)
        user.kill()
        user.wait(PATIENCE_SECS)
        assert not is_held(file)
        assert user.stdin is not None
        user.stdin.close()
        assert user.stdout.read() == ""


def test_a_file_used_twice_is_held_once_until_both_are_done(holds: Holds, file: Path):
    holds.begin([file, file])
    assert descriptors(file) == 1
    holds.end([file])
    assert is_held(file)
    holds.end([file])
    assert not is_held(file)
    assert descriptors(file) == 0


def test_the_end_of_a_use_that_never_began_is_nothing(holds: Holds, file: Path):
    holds.end([file])
    holds.begin([file])
    assert is_held(file)


def test_a_closed_ledger_holds_nothing(state: Path, file: Path, leaves_nothing):
    with leaves_nothing():
        ledger = Ledger.of(state)
        ledger.begin_use([seen(file)], model="m", now=1.0)
        assert is_held(file)
        ledger.close()


def test_of_two_ledgers_in_one_process_neither_removes_what_the_other_uses(ledger: Ledger, file: Path):
    beside = Ledger()
    beside.begin_use([seen(file)], model="m", now=1.0)
    assert not ledger.unless_used(file, file.unlink)
    beside.end_use([file], now=2.0)
    assert ledger.unless_used(file, file.unlink)
    beside.close()


def test_looking_whether_a_file_is_held_leaves_nothing_behind(file: Path):
    assert not is_held(file)
    assert descriptors(file) == 0


def test_a_file_that_took_the_place_of_a_held_one_is_held_from_its_first_use(holds: Holds, file: Path):
    holds.begin([file])
    file.unlink()
    put(file)
    assert not is_held(file)
    holds.begin([file])
    assert is_held(file)
    holds.end([file])
    assert is_held(file)


@pytest.mark.parametrize("is_put_back", [True, False])
def test_a_file_that_is_removed_just_before_it_is_locked_is_not_taken_for_held(
    holds: Holds, file: Path, monkeypatch: pytest.MonkeyPatch, is_put_back: bool
):
    real, todo = fcntl.flock, [file.unlink, *([lambda: put(file)] if is_put_back else [])]

    def flock(fd: int, how: int) -> None:
        while todo:
            todo.pop(0)()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    holds.begin([file])
    assert is_held(file) == file.exists() == is_put_back


def test_a_remover_locks_the_file_that_has_the_name_when_it_goes(
    holds: Holds, file: Path, monkeypatch: pytest.MonkeyPatch
):
    real, moves = fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not moves:
            moves.append("another worker removes it, downloads it anew, and uses it")
            file.unlink()
            holds.begin([put(file)])
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with unheld(file) as is_free:
        assert not is_free


def let_go_of(path: Path, how: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Another one has the file locked until whoever wants it makes a pause."""
    fd, pauses = os.open(path, os.O_RDONLY), []
    fcntl.flock(fd, how)

    def sleep(secs: float) -> None:
        pauses.append(secs)
        if len(pauses) == 1:
            os.close(fd)

    monkeypatch.setattr(module.time, "sleep", sleep)
    return pauses


def test_a_user_waits_for_one_who_looks(holds: Holds, file: Path, monkeypatch: pytest.MonkeyPatch):
    pauses = let_go_of(file, fcntl.LOCK_EX, monkeypatch)
    holds.begin([file])
    assert is_held(file)
    assert len(pauses) == 1


def test_one_who_looks_is_not_taken_for_a_user(file: Path, monkeypatch: pytest.MonkeyPatch):
    pauses = let_go_of(file, fcntl.LOCK_EX, monkeypatch)
    assert not is_held(file)
    assert len(pauses) == 1


def test_a_program_that_keeps_a_file_for_itself_stops_no_job_and_its_file_stays(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_TRIES", 2)
    with file.open("rb") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        assert not ledger.unless_used(file, file.unlink)
        ledger.begin_use([seen(file)], model="m", now=1.0)
        assert descriptors(file) == 1
    assert ledger.in_use() == {file}


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS])
def test_on_a_file_system_without_locks_the_ledger_alone_says_who_uses_a_file(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def flock(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    ledger.begin_use([seen(file)], model="m", now=1.0)
    assert not ledger.unless_used(file, file.unlink)
    ledger.end_use([file], now=2.0)
    assert descriptors(file) == 0
    assert ledger.unless_used(file, file.unlink)


def test_of_a_file_that_cannot_be_opened_the_ledger_alone_says_who_uses_it(
    ledger: Ledger, file: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.open

    def refuse(path: object, flags: int, *more: int, **named: int) -> int:
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more, **named)  # type: ignore[arg-type]  # whatever it was called with

    monkeypatch.setattr(os, "open", refuse)
    ledger.begin_use([seen(file)], model="m", now=1.0)
    assert not ledger.unless_used(file, file.unlink)
    ledger.end_use([file], now=2.0)
    assert ledger.unless_used(file, file.unlink)


def test_a_pipe_without_a_writer_can_be_removed(ledger: Ledger, root: Path):
    os.mkfifo(root / "pipe.gguf")
    [item] = take_stock(root, ledger)
    assert remove(item, ledger, "asked")
    assert not (root / "pipe.gguf").exists()
