from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from studio_worker.errors import ModelUnavailable
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.quota import Quota, evict, owned, to_evict
from studio_worker.models.shelf import look


class Files:
    """Files of the worker's own, each used at a second of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger()

    def own(self, name: str, size: int, *, used: float) -> Path:
        path = self.folder / name
        path.write_bytes(b"x" * size)
        self.ledger.own(self.seen(name), sha256=hashlib.sha256(name.encode()).hexdigest(), url="", model="m", now=used)
        return path

    def seen(self, name: str) -> Seen:
        found = look(self.folder / name)
        assert isinstance(found, Seen)
        return found

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.own("old", 100, used=1)
    made.own("middle", 100, used=2)
    made.own("new", 100, used=3)
    return made


def chosen(files: Files, quota: int, incoming: int = 0, keep: tuple[Path, ...] = ()) -> list[str]:
    return [record.path.name for record in to_evict(files.ledger, quota, incoming=incoming, keep=keep)]


def test_the_worker_knows_its_own_files_the_least_recently_used_first(files: Files) -> None:
    assert [record.path.name for record in owned(files.ledger)] == ["old", "middle", "new"]


@pytest.mark.parametrize(
    ("incoming", "gone"), [(0, []), (50, []), (51, ["old"]), (151, ["old", "middle"]), (350, ["old", "middle", "new"])]
)
def test_as_few_go_as_make_the_room_the_least_recently_used_first(files: Files, incoming: int, gone: list[str]) -> None:
    assert chosen(files, 350, incoming) == gone


def test_a_use_moves_a_file_to_the_end_of_the_line(files: Files) -> None:
    files.ledger.begin_use([files.seen("old")], model="m", now=4)
    files.ledger.end_use([files.folder / "old"], now=5)
    assert chosen(files, 300, 1) == ["middle"]


def test_a_file_in_use_never_goes(files: Files) -> None:
    files.ledger.begin_use([files.seen("old")], model="m", now=1)
    assert chosen(files, 300, 1) == ["middle"]


def test_a_file_used_twice_is_in_use_until_both_are_done(files: Files) -> None:
    for _ in range(2):
        files.ledger.begin_use([files.seen("old")], model="m", now=1)
    files.ledger.end_use([files.folder / "old"], now=1)
    assert files.ledger.in_use() == {files.folder / "old"}


def test_what_must_stay_stays(files: Files) -> None:
    assert chosen(files, 300, 1, keep=(files.folder / "old",)) == ["middle"]


def test_what_does_not_fit_whatever_goes_is_refused_and_nothing_is_chosen(files: Files) -> None:
    with pytest.raises(ModelUnavailable, match=r"models_quota_gb: 301 bytes more do not fit into 300") as error:
        to_evict(files.ledger, 300, incoming=301)
    assert error.value.retryable


def test_a_file_of_the_operators_is_never_counted_nor_chosen(files: Files) -> None:
    (files.folder / "theirs").write_bytes(b"x" * 10_000)
    files.ledger.remember(files.seen("theirs"), "0" * 64)
    assert chosen(files, 300) == []


@pytest.mark.parametrize("change", ["other bytes", "a link"])
def test_a_file_that_somebody_has_replaced_is_the_workers_no_more(files: Files, change: str) -> None:
    path = files.folder / "old"
    path.unlink()
    if change == "a link":
        path.symlink_to(files.folder / "new")
    else:
        path.write_bytes(b"longer than before" * 10)
    assert [record.path.name for record in owned(files.ledger)] == ["middle", "new"]


def test_what_goes_is_forgotten_with_a_line_in_the_log(files: Files, caplines: list[dict[str, object]]) -> None:
    evict(files.ledger, owned(files.ledger)[0], "quota")
    assert files.names == ["middle", "new"]
    assert files.ledger.record(files.folder / "old") is None
    assert [(line["file"], line["size"], line["why"]) for line in caplines if line["event"] == "models.removed"] == [
        ("old", 100, "quota")
    ]


def test_without_a_quota_nothing_goes(files: Files) -> None:
    Quota(files.ledger, lambda: None).begin(files.folder / "next", 10**12)
    assert files.names == ["middle", "new", "old"]


def test_a_file_on_its_way_makes_room_by_what_the_claim_says_of_it(files: Files) -> None:
    Quota(files.ledger, lambda: 350).begin(files.folder / "next", 60)
    assert files.names == ["middle", "new"]


def test_a_file_on_its_way_makes_room_by_its_true_length_once_that_is_known(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 350)
    quota.begin(files.folder / "next", 0)
    assert files.names == ["middle", "new", "old"]
    quota.announce(files.folder / "next", 60)
    assert files.names == ["middle", "new"]


def test_a_true_length_that_does_not_fit_is_refused(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 350)
    quota.begin(files.folder / "next", 0)
    with pytest.raises(ModelUnavailable):
        quota.announce(files.folder / "next", 351)
    assert len(files.names) == 3


def test_all_that_is_on_its_way_counts_together(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 400)
    for name in ("one", "other"):
        quota.begin(files.folder / name, 100)
    assert files.names == ["middle", "new"]


def test_one_file_that_two_jobs_wait_for_counts_once_until_both_are_done(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 450)
    dest = files.folder / "next"
    quota.begin(dest, 150)
    quota.begin(dest, 150)
    assert len(files.names) == 3
    quota.end([dest])
    with pytest.raises(ModelUnavailable):
        quota.begin(files.folder / "other", 301)
    quota.end([dest])
    quota.begin(files.folder / "other", 301)


def test_a_file_that_was_refused_is_not_waited_for(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 300)
    with pytest.raises(ModelUnavailable):
        quota.begin(files.folder / "huge", 301)
    quota.begin(files.folder / "small", 1)
    assert files.names == ["middle", "new"]


def test_a_file_whose_length_nobody_told_makes_its_room_when_it_is_here(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 350)
    quota.begin(files.folder / "next", 0)
    files.own("next", 100, used=0)
    quota.arrived(files.folder / "next", files.folder / "next")
    assert files.names == ["middle", "new", "next"]


def test_a_file_that_has_arrived_is_not_counted_twice(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 400)
    quota.begin(files.folder / "next", 100)
    files.own("next", 100, used=4)
    quota.arrived(files.folder / "next", files.folder / "next")
    assert len(files.names) == 4


def test_a_quota_that_cannot_be_kept_by_a_file_that_is_here_is_a_warning(
    files: Files, caplines: list[dict[str, object]]
) -> None:
    bound = [340]
    quota = Quota(files.ledger, lambda: bound[0])
    quota.begin(files.folder / "next", 0)
    quota.begin(files.folder / "other", 40)
    files.own("next", 100, used=0)
    bound[0] = 50
    quota.arrived(files.folder / "next", files.folder / "next")
    assert "next" in files.names
    assert "models.over_quota" in {line["event"] for line in caplines}


def test_a_file_that_cannot_be_removed_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ModelUnavailable, match=r"cannot be removed: .*Permission denied.*old"):
        Quota(files.ledger, lambda: 350).begin(files.folder / "next", 60)


def test_where_one_that_was_chosen_is_in_use_by_now_the_next_goes_in_its_place(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = files.ledger.unless_used

    def begun_meanwhile(path: Path, remove: Callable[[], None]) -> bool:
        if path.name == "old":
            files.ledger.begin_use([files.seen("old")], model="m", now=9)
        return forget(path, remove)

    monkeypatch.setattr(files.ledger, "unless_used", begun_meanwhile)
    Quota(files.ledger, lambda: 350).begin(files.folder / "next", 60)
    assert files.names == ["new", "old"]


def test_where_one_cannot_be_removed_the_next_goes_in_its_place(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "old":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    Quota(files.ledger, lambda: 350).begin(files.folder / "next", 60)
    assert files.names == ["new", "old"]


def test_a_use_by_another_path_of_the_folder_keeps_a_file(
    files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alias = tmp_path_factory.mktemp("beside") / "alias"
    alias.symlink_to(files.folder)
    found = look(alias / "old")
    assert isinstance(found, Seen)
    files.ledger.begin_use([found], model="m", now=1)
    assert chosen(files, 300, 1) == ["middle"]
    assert chosen(files, 300, 1, keep=(alias / "middle",)) == ["new"]


def test_a_file_that_is_known_by_two_of_its_paths_counts_once_with_its_last_use(
    files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alias = tmp_path_factory.mktemp("beside") / "alias"
    alias.symlink_to(files.folder)
    found = look(alias / "old")
    assert isinstance(found, Seen)
    files.ledger.own(found, sha256="a" * 64, url="", model="m", now=9)
    assert [record.path for record in owned(files.ledger)] == [
        files.folder / "middle",
        files.folder / "new",
        alias / "old",
    ]


def test_the_files_of_a_pinned_model_stay_and_count(files: Files) -> None:
    files.ledger.begin_use([files.seen("old")], model="org/pinned", now=1)
    files.ledger.end_use([files.folder / "old"], now=1)
    quota = Quota(files.ledger, lambda: 350, pinned=lambda: ("org/pinned",))
    quota.begin(files.folder / "next", 60)
    assert files.names == ["new", "old"]
    with pytest.raises(ModelUnavailable):
        quota.begin(files.folder / "other", 200)
    assert "old" in files.names


def test_what_would_go_for_a_file_is_told_and_stays(files: Files) -> None:
    quota = Quota(files.ledger, lambda: 350)
    assert [record.path.name for record in quota.freed_by(60)] == ["old"]
    assert len(files.names) == 3
    with pytest.raises(ModelUnavailable):
        quota.freed_by(351)
    assert Quota(files.ledger, lambda: None).freed_by(10**12) == []


def test_each_file_that_makes_room_is_told_of(files: Files) -> None:
    told: list[Path] = []
    Quota(files.ledger, lambda: 350, removed=told.append).begin(files.folder / "next", 160)
    assert [path.name for path in told] == ["old", "middle"]


def test_a_file_is_coming_until_all_who_want_it_are_done(files: Files) -> None:
    quota = Quota(files.ledger, lambda: None)
    dest = files.folder / "next"
    assert not quota.is_coming(dest)
    quota.begin(dest, 1)
    assert quota.is_coming(dest)
    quota.end([dest])
    assert not quota.is_coming(dest)
