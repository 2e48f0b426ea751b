from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.inventory import Item, take_stock
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.removal import DAY_SECS, choose, last_used, remove
from studio_worker.models.shelf import look

NOW = 1_000 * DAY_SECS


class Shelf:
    """A models folder with files of the worker's and of the operator's."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "models"
        self.root.mkdir()
        self.state = folder / "state"
        self.ledger = Ledger.of(self.state)
        self.pinned: tuple[str, ...] = ()

    def owned(self, name: str, size: int, *, days: float) -> Path:
        """A download that was used last so many days ago."""
        path = self.mine(name, size)
        found = look(path)
        assert isinstance(found, Seen)
        self.ledger.own(found, sha256="a" * 64, url="https://x/a", model="m", now=NOW - days * DAY_SECS)
        return path

    def mine(self, name: str, size: int) -> Path:
        path = self.root / name
        path.write_bytes(b"x" * size)
        return path

    def part(self, name: str) -> Path:
        made = ResumableFile(self.root / name)
        made.restart(Note("https://x/a", total=100))
        made.path.write_bytes(b"x")
        return made.path

    @property
    def items(self) -> list[Item]:
        return take_stock(self.root, self.ledger, pinned=self.pinned)

    def item(self, name: str) -> Item:
        return next(item for item in self.items if item.name == name)

    def chosen(self, **rules: object) -> list[tuple[str, str]]:
        victims = choose(self.items, self.ledger, now=NOW, **rules)  # type: ignore[arg-type]  # the test's own
        return [(victim.item.name, victim.why) for victim in victims]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.ledger.close()


def test_without_a_rule_nothing_is_chosen(shelf: Shelf):
    shelf.owned("a", 10, days=999)
    shelf.part("b")
    assert shelf.chosen() == []


def test_the_least_recently_used_go_first_until_the_rest_fits(shelf: Shelf):
    for name, days in (("new", 1), ("oldest", 9), ("old", 5)):
        shelf.owned(name, 10, days=days)
    assert shelf.chosen(quota_bytes=30) == []
    assert shelf.chosen(quota_bytes=29) == [("oldest", "quota")]
    assert shelf.chosen(quota_bytes=10) == [("oldest", "quota"), ("old", "quota")]
    assert [name for name, _ in shelf.chosen(quota_bytes=0)] == ["oldest", "old", "new"]


def test_files_of_the_operators_never_go_and_count_for_no_quota(shelf: Shelf):
    shelf.mine("mine", 1_000)
    shelf.owned("a", 10, days=500)
    assert shelf.chosen(quota_bytes=10) == []
    assert shelf.chosen(quota_bytes=0, unused_days=0) == [("a", "unused")]


def test_what_nobody_has_used_for_so_long_goes_the_oldest_first(shelf: Shelf):
    for name, days in (("a", 30), ("b", 29.9), ("c", 31)):
        shelf.owned(name, 10, days=days)
    assert shelf.chosen(unused_days=30) == [("c", "unused"), ("a", "unused")]


def test_the_rules_together_count_each_file_once(shelf: Shelf):
    shelf.owned("old", 10, days=90)
    shelf.owned("mid", 10, days=20)
    shelf.owned("new", 10, days=1)
    assert shelf.chosen(unused_days=30, quota_bytes=20) == [("old", "unused")]
    assert shelf.chosen(unused_days=30, quota_bytes=19) == [("old", "unused"), ("mid", "quota")]


def test_a_file_that_another_process_uses_is_never_chosen(shelf: Shelf, another_process):
    shelf.owned("free", 10, days=1)
    another_process("use", shelf.state, shelf.owned("used", 10, days=900))
    assert shelf.chosen(unused_days=0, quota_bytes=0) == [("free", "unused")]


def test_parts_go_by_their_rule_alone_and_not_those_on_their_way(shelf: Shelf, another_process):
    shelf.part("left")
    shelf.part("coming")
    another_process("download", shelf.state, shelf.root / "coming")
    assert shelf.chosen(unused_days=0, quota_bytes=0) == []
    assert shelf.chosen(partial=True) == [("left.part", "partial")]


def test_a_part_of_another_program_stays(shelf: Shelf):
    (shelf.root / "browser.gguf.part").write_bytes(b"half")
    shelf.part("ours.gguf")
    assert shelf.chosen(partial=True) == [("ours.gguf.part", "partial")]


def test_a_file_that_nobody_used_counts_from_when_it_was_written(shelf: Shelf):
    shelf.mine("mine", 1)
    item = shelf.item("mine")
    assert last_used(item) == item.mtime_ns / 1e9


def test_a_removed_file_is_gone_and_forgotten(shelf: Shelf):
    path = shelf.owned("a", 10, days=1)
    assert remove(shelf.item("a"), shelf.ledger, "asked")
    assert not path.exists()
    assert shelf.ledger.record(path) is None


def test_a_removal_is_told_to_the_log(shelf: Shelf, caplines):
    shelf.owned("a", 10, days=1)
    remove(shelf.item("a"), shelf.ledger, "asked")
    [line] = [line for line in caplines if line["event"] == "models.removed"]
    assert (line["file"], line["size"], line["why"]) == ("a", 10, "asked")


def test_a_file_that_a_job_began_to_use_after_it_was_chosen_stays(shelf: Shelf, another_process):
    path = shelf.owned("a", 10, days=1)
    chosen = shelf.item("a")
    another_process("use", shelf.state, path)
    assert not remove(chosen, shelf.ledger, "asked")
    assert path.exists()


def test_a_removed_part_takes_its_note_with_it(shelf: Shelf):
    path = shelf.part("a")
    assert remove(shelf.item("a.part"), shelf.ledger, "partial")
    assert not path.exists()
    assert ResumableFile(shelf.root / "a").note() is None


def test_a_part_that_somebody_began_to_go_on_with_stays(shelf: Shelf, another_process):
    path = shelf.part("a")
    chosen = shelf.item("a.part")
    another_process("download", shelf.state, shelf.root / "a")
    assert not remove(chosen, shelf.ledger, "partial")
    assert path.exists()


def test_of_a_link_only_the_link_goes(shelf: Shelf, tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(b"x")
    (shelf.root / "a").symlink_to(tmp_path / "elsewhere")
    assert remove(shelf.item("a"), shelf.ledger, "asked")
    assert not (shelf.root / "a").is_symlink()
    assert (tmp_path / "elsewhere").exists()


def test_a_broken_link_can_be_removed(shelf: Shelf):
    (shelf.root / "a").symlink_to("nowhere")
    assert remove(shelf.item("a"), shelf.ledger, "asked")
    assert shelf.items == []


def test_what_a_pinned_model_has_used_is_never_chosen_nor_a_part_of_it(shelf: Shelf):
    shelf.owned("pinned", 10, days=900)
    shelf.ledger.begin_use([shelf.item("pinned").seen], model="org/pinned", now=NOW - 800 * DAY_SECS)
    shelf.ledger.end_use([shelf.root / "pinned"], now=NOW - 800 * DAY_SECS)
    shelf.part("pinned")
    shelf.owned("free", 10, days=1)
    shelf.pinned = ("org/pinned",)
    assert shelf.chosen(unused_days=0, partial=True) == [("free", "unused")]
    assert shelf.chosen(quota_bytes=0) == [("free", "quota")]
