from __future__ import annotations

import stat
from pathlib import Path

import pytest

from studio_worker.models.link_folders import drop_stale, link_folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name in ("a.bin", "b.bin"):
        path = tmp_path / f"place-of-{name}" / "weights"
        path.parent.mkdir()
        path.write_text(name)
        found[name] = path
    return found


def test_files_that_lie_apart_are_in_one_folder_under_the_claims_names(tmp_path: Path, files: dict[str, Path]) -> None:
    folder = link_folder(tmp_path / "links", "org/model", files)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.bin": "a.bin", "b.bin": "b.bin"}
    assert folder.name.startswith("org_model-")


def test_nothing_is_copied(tmp_path: Path, files: dict[str, Path]) -> None:
    folder = link_folder(tmp_path / "links", "m", files)
    assert (folder / "a.bin").samefile(files["a.bin"])


def test_the_folder_is_closed_to_others(tmp_path: Path, files: dict[str, Path]) -> None:
    folder = link_folder(tmp_path / "links", "m", files)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_same_files_have_the_same_folder(tmp_path: Path, files: dict[str, Path]) -> None:
    first = link_folder(tmp_path / "links", "m", files)
    assert link_folder(tmp_path / "links", "m", dict(reversed(files.items()))) == first


def test_other_places_have_another_folder(tmp_path: Path, files: dict[str, Path]) -> None:
    first = link_folder(tmp_path / "links", "m", files)
    assert link_folder(tmp_path / "links", "m", {**files, "a.bin": files["b.bin"]}) != first


def test_a_link_that_is_right_stays_as_it_is_for_an_engine_may_have_it_open(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    folder = link_folder(tmp_path / "links", "m", files)
    before = {path.name: path.lstat().st_ino for path in folder.iterdir()}
    link_folder(tmp_path / "links", "m", files)
    assert {path.name: path.lstat().st_ino for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["gone", "elsewhere", "a file"])
def test_a_link_that_is_wrong_is_made_right(tmp_path: Path, files: dict[str, Path], damage: str) -> None:
    link = link_folder(tmp_path / "links", "m", files) / "a.bin"
    link.unlink()
    if damage == "elsewhere":
        link.symlink_to(files["b.bin"])
    elif damage == "a file":
        link.write_text("another")
    link_folder(tmp_path / "links", "m", files)
    assert link.read_text() == "a.bin"
    assert sorted(path.name for path in link.parent.iterdir()) == ["a.bin", "b.bin"]


def refuse_symbolic_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows does for most users."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)


def test_a_system_that_makes_no_symbolic_links_makes_hard_ones(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_symbolic_links(monkeypatch)
    folder = link_folder(tmp_path / "links", "m", files)
    assert (folder / "a.bin").samefile(files["a.bin"])
    assert not (folder / "a.bin").is_symlink()


def test_a_model_id_leads_out_of_no_folder(tmp_path: Path, files: dict[str, Path]) -> None:
    for model in ("../../etc", "..", "a/../../b", "x" * 500, ""):
        assert link_folder(tmp_path / "links", model, files).parent == tmp_path / "links"


@pytest.mark.parametrize("is_symbolic", [True, False])
def test_when_a_file_has_gone_its_folders_of_links_go_and_the_others_stay(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, is_symbolic: bool
) -> None:
    if not is_symbolic:
        refuse_symbolic_links(monkeypatch)
    stale = link_folder(tmp_path / "links", "m", files)
    kept = link_folder(tmp_path / "links", "n", {"b.bin": files["b.bin"]})
    files["a.bin"].unlink()
    drop_stale(tmp_path / "links")
    assert not stale.exists()
    assert (kept / "b.bin").read_text() == files["b.bin"].read_text() == "b.bin"


def test_what_is_no_link_of_ours_keeps_its_folder(tmp_path: Path, files: dict[str, Path]) -> None:
    folder = link_folder(tmp_path / "links", "m", files)
    (folder / "inner").mkdir()
    (folder / "inner" / "theirs").write_text("mine")
    files["a.bin"].unlink()
    drop_stale(tmp_path / "links")
    assert (folder / "inner" / "theirs").read_text() == "mine"


def test_no_link_to_a_folder_is_followed(tmp_path: Path, files: dict[str, Path]) -> None:
    elsewhere = link_folder(tmp_path / "elsewhere", "m", files)
    files["a.bin"].unlink()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "m").symlink_to(elsewhere)
    drop_stale(tmp_path / "links")
    assert (elsewhere / "a.bin").is_symlink()


def test_where_no_links_were_ever_made_there_is_nothing_to_drop(tmp_path: Path) -> None:
    drop_stale(tmp_path / "links")
    assert list(tmp_path.iterdir()) == []
