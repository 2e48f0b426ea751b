"""`models verify`, `models remove`, `models prune`."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.link_folders import link_folder, link_root
from studio_worker.models.shelf import look

Call = Callable[..., Any]
DAY = 86_400.0


class Shelf:
    """The models folder of a user, with files of the worker's and of the user's own."""

    def __init__(self, home: Path) -> None:
        self.root = home / "models"
        self.root.mkdir()
        self.state = home / ".local" / "state" / "minis-studio-worker"

    def mine(self, name: str, data: bytes = b"weights") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def owned(self, name: str, data: bytes = b"weights", *, model: str = "org/m", days: float = 1) -> Path:
        """A download that was used last so many days ago."""
        path = self.mine(name, data)
        found = look(path)
        assert isinstance(found, Seen)
        sha256 = hashlib.sha256(data).hexdigest()
        ledger = Ledger.of(self.state)
        ledger.own(found, sha256=sha256, url="https://x/a", model=model, now=time.time() - days * DAY)
        ledger.close()
        return path

    def part(self, name: str) -> Path:
        made = ResumableFile(self.root / name)
        made.restart(Note("https://x/a", total=100))
        made.path.write_bytes(b"x" * 30)
        return made.path

    @property
    def names(self) -> list[str]:
        found = (path for path in self.root.rglob("*") if path.is_file() or path.is_symlink())
        return sorted(path.name for path in found if ".downloads" not in path.parts)


@pytest.fixture
def shelf(home: Path) -> Shelf:
    return Shelf(home)


def rot(path: Path) -> None:
    """Another byte on the disk, and nothing else."""
    before = path.stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class TestVerify:
    def test_sound_files_exit_0_with_their_hashes(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin")
        shelf.mine("llm/b.bin", b"mine")
        outcome = cli("models", "verify")
        assert outcome.status == 0
        _, first, second = outcome.out.splitlines()
        assert first.split() == ["a.bin", "good", hashlib.sha256(b"weights").hexdigest()]
        assert second.split() == ["llm/b.bin", "new", hashlib.sha256(b"mine").hexdigest()]
        assert outcome.err.splitlines() == ["a.bin: good", "llm/b.bin: new"]

    def test_a_hash_is_known_from_the_first_time_on(self, cli: Call, shelf: Shelf) -> None:
        shelf.mine("a.bin")
        cli("models", "verify")
        [found] = json.loads(cli("models", "verify", "--json").out)
        assert (found["verdict"], found["sha256"]) == ("good", found["expectedSha256"])

    def test_a_bad_file_exits_1_and_says_what_to_do(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("good.bin")
        rot(shelf.owned("bad.bin"))
        outcome = cli("models", "verify")
        assert outcome.status == 1
        [said] = [line for line in outcome.err.splitlines() if line.startswith("studio-worker: ")]
        assert said.startswith("studio-worker: bad.bin has the SHA-256 ")
        assert "`studio-worker models remove bad.bin`" in said
        assert "models pull" in said
        assert "`studio-worker models verify --accept bad.bin`" in said

    def test_a_bad_file_of_the_operators_own_is_theirs_to_put_right(self, cli: Call, shelf: Shelf) -> None:
        shelf.mine("bad.gguf")
        outcome = cli("models", "verify")
        assert outcome.status == 1
        assert "put a sound one there" in outcome.err
        assert "--accept" not in outcome.err

    def test_the_json_has_both_hashes_the_problem_and_the_remedy(self, cli: Call, shelf: Shelf) -> None:
        rot(shelf.owned("bad.bin"))
        outcome = cli("models", "verify", "--json")
        [found] = json.loads(outcome.out)
        assert outcome.status == 1
        assert found["verdict"] == "bad"
        assert found["expectedSha256"] == hashlib.sha256(b"weights").hexdigest() != found["sha256"]
        assert "before" in found["problem"]
        assert "models remove" in found["remedy"]

    def test_only_the_named_files_are_looked_at(self, cli: Call, shelf: Shelf) -> None:
        shelf.mine("a.bin")
        rot(shelf.owned("bad.bin"))
        outcome = cli("models", "verify", "a.bin", "--json")
        assert (outcome.status, [each["name"] for each in json.loads(outcome.out)]) == (0, ["a.bin"])

    def test_a_file_that_somebody_replaced_on_purpose_can_be_accepted(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin").write_bytes(b"another")
        assert cli("models", "verify", "a.bin").status == 1
        assert cli("models", "verify", "--accept", "a.bin").status == 0
        assert cli("models", "verify", "a.bin").status == 0

    def test_nothing_is_accepted_unseen(self, cli: Call, shelf: Shelf) -> None:
        outcome = cli("models", "verify", "--accept")
        assert (outcome.status, "--accept needs a NAME" in outcome.err) == (2, True)

    def test_a_part_cannot_be_verified(self, cli: Call, shelf: Shelf) -> None:
        shelf.part("a.bin")
        assert cli("models", "verify").status == 0
        outcome = cli("models", "verify", "a.bin.part")
        assert outcome.status == 2
        assert "`studio-worker models pull` goes on with it" in outcome.err

    def test_an_empty_shelf_is_sound(self, cli: Call, shelf: Shelf) -> None:
        outcome = cli("models", "verify", "--json")
        assert (outcome.status, json.loads(outcome.out)) == (0, [])


@pytest.mark.parametrize("command", [["verify"], ["remove", "--yes"]])
class TestANameThatNothingHas:
    def test_exits_2_with_the_nearest_names(self, cli: Call, shelf: Shelf, command: list[str]) -> None:
        for name in ("qwen-4b.gguf", "llm/qwen-7b.gguf", "other.bin"):
            shelf.mine(name)
        outcome = cli("models", *command, "qwen4b.gguf")
        assert (outcome.status, outcome.out) == (2, "")
        assert "there is no 'qwen4b.gguf'" in outcome.err
        assert "did you mean qwen-4b.gguf" in outcome.err
        assert "other.bin" not in outcome.err
        assert len(shelf.names) == 3

    def test_that_is_near_to_none_is_sent_to_the_list(self, cli: Call, shelf: Shelf, command: list[str]) -> None:
        shelf.mine("a.bin")
        outcome = cli("models", *command, "zzzzzzz\x1b")
        assert outcome.status == 2
        assert "`studio-worker models list` shows what there is" in outcome.err
        assert "\x1b" not in outcome.err


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A terminal as stdin; what is typed is waiting there."""
    near, far = pty.openpty()
    with os.fdopen(far, "r") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield lambda text: os.write(near, text.encode()) and None
    os.close(near)


class TestRemove:
    def test_files_go_and_the_bytes_are_counted(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin", b"x" * 1_500)
        shelf.mine("llm/b.bin", b"x" * 500)
        shelf.mine("c.bin")
        outcome = cli("models", "remove", "a.bin", "b.bin", "--yes")
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.splitlines() == ["removed a.bin, 1.5 kB", "removed llm/b.bin, 500 B", "2 kB are free again"]
        assert shelf.names == ["c.bin"]

    def test_the_id_of_a_model_stands_for_its_files(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin", model="org/one")
        shelf.owned("b.bin", model="org/one")
        shelf.owned("c.bin", model="org/two")
        assert cli("models", "remove", "org/one", "--yes").status == 0
        assert shelf.names == ["c.bin"]

    def test_json_says_what_went(self, cli: Call, shelf: Shelf) -> None:
        path = shelf.mine("a.bin")
        assert json.loads(cli("models", "remove", "a.bin", "--yes", "--json").out) == {
            "removed": [{"name": "a.bin", "path": str(path), "sizeBytes": 7, "why": "asked"}],
            "kept": [],
            "freedBytes": 7,
        }

    def test_a_part_goes_with_its_note(self, cli: Call, shelf: Shelf) -> None:
        shelf.part("a.bin")
        assert cli("models", "remove", "a.bin", "--yes").status == 0
        assert not [path for path in shelf.root.rglob("*") if path.suffix in (".part", ".json")]

    def test_a_file_that_a_job_uses_stays_and_so_do_the_others(
        self, cli: Call, shelf: Shelf, another_process: Call
    ) -> None:
        shelf.mine("free.bin")
        other = another_process("use", shelf.state, shelf.owned("used.bin"))
        outcome = cli("models", "remove", "free.bin", "used.bin", "--yes")
        assert (outcome.status, outcome.out) == (1, "")
        assert "used.bin: in use now, so nothing is removed" in outcome.err
        assert shelf.names == ["free.bin", "used.bin"]
        other.kill()
        assert cli("models", "remove", "used.bin", "--yes").status == 0

    def test_a_file_that_a_worker_with_another_state_folder_uses_stays_until_that_is_killed(
        self, cli: Call, shelf: Shelf, another_process: Call
    ) -> None:
        shelf.mine("free.bin")
        other = another_process("use", shelf.root.parent / "other-state", shelf.mine("used.bin"))
        outcome = cli("models", "remove", "free.bin", "used.bin", "--yes")
        assert (outcome.status, outcome.out) == (1, "")
        assert "used.bin: in use now, so nothing is removed" in outcome.err
        assert shelf.names == ["free.bin", "used.bin"]
        other.kill()
        assert cli("models", "remove", "used.bin", "--yes").status == 0

    def test_a_part_on_its_way_stays(self, cli: Call, shelf: Shelf, another_process: Call) -> None:
        shelf.part("a.bin")
        another_process("download", shelf.state, shelf.root / "a.bin")
        outcome = cli("models", "remove", "a.bin.part", "--yes")
        assert (outcome.status, shelf.names) == (1, ["a.bin.part"])

    def test_where_nobody_can_be_asked_nothing_is_removed(self, program: Call, shelf: Shelf) -> None:
        shelf.mine("a.bin")
        outcome = program("models", "remove", "a.bin", stdin="y\n")
        assert (outcome.status, outcome.out) == (2, "")
        assert "say --yes" in outcome.err
        assert shelf.names == ["a.bin"]

    def test_at_a_terminal_a_yes_removes(self, cli: Call, shelf: Shelf, keyboard: Callable[[str], None]) -> None:
        shelf.mine("a.bin")
        keyboard("y\n")
        outcome = cli("models", "remove", "a.bin")
        assert outcome.status == 0
        assert "Remove a.bin (7 B)?" in outcome.err + outcome.out
        assert shelf.names == []

    def test_at_a_terminal_anything_else_keeps_it(
        self, cli: Call, shelf: Shelf, keyboard: Callable[[str], None]
    ) -> None:
        shelf.mine("a.bin")
        keyboard("\n")
        outcome = cli("models", "remove", "a.bin")
        assert (outcome.status, "nothing is removed" in outcome.err) == (1, True)
        assert shelf.names == ["a.bin"]

    def test_a_file_that_the_disk_keeps_is_named_and_the_others_go(
        self, cli: Call, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.mine("a.bin")
        shelf.mine("b.bin")
        real = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.name == "a.bin":
                raise PermissionError(13, "Permission denied")
            real(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink)
        outcome = cli("models", "remove", "a.bin", "b.bin", "--yes", "--json")
        assert outcome.status == 1
        assert "a.bin stays: Permission denied" in outcome.err
        assert [each["name"] for each in json.loads(outcome.out)["kept"]] == ["a.bin"]
        assert shelf.names == ["a.bin"]


class TestPrune:
    def test_without_a_quota_it_wants_to_know_what_to_remove(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin", days=999)
        outcome = cli("models", "prune")
        assert (outcome.status, shelf.names) == (2, ["a.bin"])
        assert "say --quota-gb, --older-than or --partial" in outcome.err

    def test_the_quota_of_the_settings_is_kept_the_least_recently_used_going_first(
        self, cli: Call, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, days in (("new.bin", 1), ("oldest.bin", 30), ("old.bin", 9)):
            shelf.owned(name, b"x" * 400_000, days=days)
        shelf.mine("mine.bin", b"x" * 900_000)
        monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "0.0005")
        outcome = cli("models", "prune")
        assert outcome.status == 0
        assert outcome.out.splitlines() == [
            "removed oldest.bin, 400 kB (over the quota)",
            "removed old.bin, 400 kB (over the quota)",
            "800 kB are free again",
        ]
        assert shelf.names == ["mine.bin", "new.bin"]

    def test_files_of_a_pinned_model_are_never_listed_and_stay(
        self, cli: Call, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.owned("pinned.bin", model="org/pinned", days=900)
        shelf.owned("a.bin", days=800)
        monkeypatch.setenv("STUDIO_WORKER_PINNED_MODELS", "org/pinned,org/other")
        for rule in (("--quota-gb", "0"), ("--older-than", "0")):
            assert "pinned" not in cli("models", "prune", *rule, "--dry-run").out
        assert cli("models", "prune", "--quota-gb", "0").status == 0
        assert shelf.names == ["pinned.bin"]

    def test_a_file_that_a_worker_with_another_state_folder_uses_stays(
        self, cli: Call, shelf: Shelf, another_process: Call
    ) -> None:
        shelf.owned("free.bin")
        other = another_process("use", shelf.root.parent / "other-state", shelf.owned("used.bin", days=900))
        outcome = cli("models", "prune", "--quota-gb", "0")
        assert (outcome.status, shelf.names) == (0, ["used.bin"])
        assert "jobs use it now" in outcome.err
        other.kill()
        assert cli("models", "prune", "--quota-gb", "0").status == 0
        assert shelf.names == []

    def test_a_name_that_is_no_valid_utf_8_is_hashed_and_removed_like_any_other(self, cli: Call, shelf: Shelf) -> None:
        odd = os.fsdecode(b"mod\xe8le.bin")
        shelf.owned(odd)
        shelf.part(os.fsdecode(b"p\xe8.bin"))
        assert "mod\\udce8le.bin" in cli("models").out
        [verified] = json.loads(cli("models", "verify", "--json").out)
        assert verified["verdict"] == "good"
        assert cli("models", "prune", "--quota-gb", "0", "--partial").status == 0
        assert shelf.names == []

    def test_a_quota_that_is_given_counts_and_that_of_the_settings_does_not(
        self, cli: Call, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.owned("a.bin", b"x" * 400_000)
        monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "0")
        assert cli("models", "prune", "--quota-gb", "1").out == "nothing to remove\n"
        assert cli("models", "prune", "--older-than", "9").out == "nothing to remove\n"
        assert shelf.names == ["a.bin"]

    def test_what_nobody_has_used_for_so_long_goes(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("old.bin", days=31)
        shelf.owned("new.bin", days=29)
        assert "removed old.bin, 7 B (not used for long)" in cli("models", "prune", "--older-than", "30").out
        assert shelf.names == ["new.bin"]

    def test_parts_go_where_that_is_asked_for_alone(self, cli: Call, shelf: Shelf) -> None:
        shelf.part("a.bin")
        shelf.owned("b.bin", days=999)
        assert "removed a.bin.part, 30 B (not complete)" in cli("models", "prune", "--partial").out
        assert shelf.names == ["b.bin"]

    def test_a_dry_run_only_says_what_would_go(self, cli: Call, shelf: Shelf) -> None:
        shelf.owned("a.bin", days=31)
        shelf.part("b.bin")
        outcome = cli("models", "prune", "--older-than", "30", "--partial", "--dry-run")
        assert outcome.out.splitlines() == [
            "would remove b.bin.part, 30 B (not complete)",
            "would remove a.bin, 7 B (not used for long)",
            "37 B would be free again",
        ]
        assert shelf.names == ["a.bin", "b.bin.part"]

    def test_the_json_says_what_went_why_and_what_is_left(self, cli: Call, shelf: Shelf) -> None:
        path = shelf.owned("a.bin", days=31)
        shelf.owned("b.bin", b"12345")
        outcome = cli("models", "prune", "--older-than", "30", "--json")
        assert json.loads(outcome.out) == {
            "removed": [{"name": "a.bin", "path": str(path), "sizeBytes": 7, "why": "unused"}],
            "kept": [],
            "freedBytes": 7,
            "dryRun": False,
            "downloadedBytes": 5,
            "quotaBytes": None,
        }

    def test_a_file_that_a_job_uses_stays_and_the_excess_is_told(
        self, cli: Call, shelf: Shelf, another_process: Call
    ) -> None:
        another_process("use", shelf.state, shelf.owned("used.bin", days=99))
        shelf.owned("free.bin")
        outcome = cli("models", "prune", "--quota-gb", "0")
        assert outcome.status == 0
        assert "what is left is more than the quota: jobs use it now" in outcome.err
        assert shelf.names == ["used.bin"]

    @pytest.mark.parametrize("args", [["--quota-gb", "-1"], ["--quota-gb", "x"], ["--older-than", "1.5"]])
    def test_a_number_that_is_none_exits_2(self, cli: Call, shelf: Shelf, args: list[str]) -> None:
        outcome = cli("models", "prune", *args)
        assert outcome.status == 2
        assert "must be a" in outcome.err


def test_a_removed_file_takes_the_links_to_it_along(cli: Call, shelf: Shelf) -> None:
    files = {"a.gguf": shelf.owned("a.gguf"), "b.gguf": shelf.owned("llm/b.gguf")}
    folder = link_folder(link_root(shelf.state), "org/m", files)
    assert cli("models", "remove", "a.gguf", "--yes").status == 0
    assert not folder.exists()
    assert files["b.gguf"].exists()
