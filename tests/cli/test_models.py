"""`models list` and `models add`: what lies on the shelf, and what is put there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import look

Call = Callable[..., Any]


@pytest.fixture
def root(home: Path) -> Path:
    folder = home / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def state(home: Path) -> Path:
    return home / ".local" / "state" / "minis-studio-worker"


def own(state: Path, path: Path, *, model: str = "org/m", now: float = 5.0) -> Path:
    """A download of the worker's."""
    found = look(path)
    assert isinstance(found, Seen)
    ledger = Ledger.of(state)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ledger.own(found, sha256=sha256, url="https://files.example/a", model=model, now=now)
    ledger.close()
    return path


def put(path: Path, data: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(cli: Call) -> Any:
    outcome = cli("models", "list", "--json")
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)


def test_files_of_a_pinned_model_are_shown_as_pinned(
    cli: Call, root: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(state, put(root / "a.gguf"), model="org/pinned")
    own(state, put(root / "b.gguf"))
    monkeypatch.setenv("STUDIO_WORKER_PINNED_MODELS", '["org/pinned"]')
    assert [(file["name"], file["isPinned"]) for file in listed(cli)["files"]] == [("a.gguf", True), ("b.gguf", False)]
    first, second = [line for line in cli("models").out.splitlines() if ".gguf" in line]
    assert first.rstrip().endswith("downloaded, pinned")
    assert second.rstrip().endswith("downloaded")


def test_an_empty_shelf_is_told_in_one_line(cli: Call, home: Path) -> None:
    outcome = cli("models")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{home / 'models'}: 0 files, 0 B; downloaded 0 B (no models_quota_gb), ")
    assert outcome.out.rstrip().endswith(" free")


def test_of_a_drive_that_is_not_there_nobody_says_how_much_is_free(
    cli: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "models"
    exists = Path.exists
    lost = (folder, *folder.parents)
    monkeypatch.setattr(Path, "exists", lambda path, **more: path not in lost and exists(path, **more))
    assert listed(cli)["freeBytes"] is None


def test_a_list_asks_for_nothing_to_be_made(cli: Call, home: Path, state: Path) -> None:
    cli("models")
    assert not (home / "models").exists()


def test_the_table_shows_size_use_hash_model_and_whose_it_is(cli: Call, root: Path, state: Path) -> None:
    own(state, put(root / "a.gguf", b"x" * 1_500))
    put(root / "llm" / "mine.gguf")
    sha256 = hashlib.sha256(b"x" * 1_500).hexdigest()
    head, first, second, _ = cli("models").out.splitlines()
    assert head.split() == ["NAME", "SIZE", "USED", "SHA256", "MODEL", "STATE"]
    assert first.startswith("a.gguf ")
    assert "1.5 kB" in first
    assert "years ago" in first
    assert first.split()[-3:] == [sha256[:12], "org/m", "downloaded"]
    assert second.split() == ["llm/mine.gguf", "7", "B", "yours"]


def test_the_json_has_all_of_it(cli: Call, root: Path, state: Path) -> None:
    path = own(state, put(root / "a.gguf"))
    found = listed(cli)
    assert found["files"] == [
        {
            "name": "a.gguf",
            "path": str(path),
            "state": "whole",
            "sizeBytes": 7,
            "totalBytes": 7,
            "lastUsed": "1970-01-01T00:00:05.000Z",
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "isDownloaded": True,
            "isUsed": False,
            "isPinned": False,
            "model": "org/m",
            "url": "https://files.example/a",
            "problem": None,
        }
    ]
    assert (found["modelsRoot"], found["totalBytes"], found["downloadedBytes"]) == (str(root), 7, 7)
    assert found["quotaBytes"] is None
    assert found["freeBytes"] > 0


def test_the_quota_is_told_beside_what_it_counts(
    cli: Call, root: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(state, put(root / "a.gguf", b"x" * 3_000))
    put(root / "mine.gguf", b"x" * 1_000)
    monkeypatch.setenv("STUDIO_WORKER_MODELS_QUOTA_GB", "1.5")
    assert "2 files, 4 kB; downloaded 3 kB of 1.5 GB (models_quota_gb)" in cli("models").out
    assert listed(cli)["quotaBytes"] == 1_500_000_000


def test_a_download_that_is_not_complete_is_shown_as_such(cli: Call, root: Path) -> None:
    part = ResumableFile(root / "a.gguf")
    part.restart(Note("https://files.example/a", total=2_000))
    part.path.write_bytes(b"x" * 900)
    assert "a.gguf.part" in cli("models").out
    assert "partial, 45 % of 2 kB" in cli("models").out
    [found] = listed(cli)["files"]
    assert (found["state"], found["sizeBytes"], found["totalBytes"]) == ("partial", 900, 2_000)


def test_a_download_on_its_way_is_told_apart(cli: Call, root: Path, state: Path, another_process: Call) -> None:
    put(root / "a.gguf.part")
    (root / ".downloads").mkdir()
    another_process("download", state, root / "a.gguf")
    assert listed(cli)["files"][0]["state"] == "downloading"


def test_a_file_that_a_job_uses_is_used_now(cli: Call, root: Path, state: Path, another_process: Call) -> None:
    another_process("use", state, put(root / "a.gguf"))
    assert "now" in cli("models").out.splitlines()[1].split()
    assert listed(cli)["files"][0]["isUsed"] is True


def test_a_broken_link_says_what_is_wrong(cli: Call, root: Path) -> None:
    (root / "a.gguf").symlink_to(root / "nowhere")
    assert "broken: " in cli("models").out
    assert "link to a file that is not there" in listed(cli)["files"][0]["problem"]


def test_a_name_cannot_drive_the_terminal(cli: Call, root: Path) -> None:
    put(root / "a\x1b[2J.gguf")
    assert "a\\x1b[2J.gguf" in cli("models").out
    assert "\x1b" not in cli("models").out


def test_a_models_folder_that_is_a_file_exits_78_and_names_the_setting(cli: Call, home: Path) -> None:
    put(home / "models")
    outcome = cli("models")
    assert (outcome.status, outcome.out) == (78, "")
    assert "models_root: " in outcome.err


def test_the_list_imports_no_http_and_no_engine(program: Call) -> None:
    outcome = program("models", "list", python=("-X", "importtime"))
    modules = {line.rpartition("|")[2].strip() for line in outcome.err.splitlines()}
    assert not modules & {"aiohttp", "numpy", "PIL", "rich", "studio_worker.worker"}


@pytest.fixture
def mine(home: Path) -> Path:
    return put(home / "Downloads" / "mine.bin", b"weights of my own")


def test_a_file_is_added_under_its_name_and_its_hash_is_known(cli: Call, root: Path, mine: Path) -> None:
    outcome = cli("models", "add", str(mine))
    assert outcome.status == 0
    assert "mine.bin: linked" in outcome.err
    assert outcome.out.splitlines()[1].split() == ["mine.bin", "17", "B", "linked", str(root / "mine.bin")]
    [found] = listed(cli)["files"]
    assert found["sha256"] == hashlib.sha256(b"weights of my own").hexdigest()
    assert found["isDownloaded"] is False


def test_adding_makes_the_models_folder(cli: Call, home: Path, mine: Path) -> None:
    assert cli("models", "add", str(mine)).status == 0
    assert (home / "models" / "mine.bin").read_bytes() == b"weights of my own"


def test_a_file_is_added_under_another_name(cli: Call, root: Path, mine: Path) -> None:
    assert cli("models", "add", str(mine), "--as", "tiny.bin").status == 0
    assert [path.name for path in root.glob("*.bin")] == ["tiny.bin"]


def test_a_copy_shares_no_bytes_and_a_move_leaves_none(cli: Call, root: Path, mine: Path) -> None:
    assert cli("models", "add", str(mine), "--copy").status == 0
    assert not (root / "mine.bin").samefile(mine)
    assert cli("models", "add", str(mine), "--move", "--as", "b.bin").status == 0
    assert not mine.exists()


def test_what_was_added_as_json_has_its_hash(cli: Call, root: Path, mine: Path) -> None:
    sha256 = hashlib.sha256(b"weights of my own").hexdigest()
    outcome = cli("models", "add", str(mine), "--json", "--sha256", sha256)
    assert json.loads(outcome.out) == {
        "files": [
            {
                "filename": "mine.bin",
                "state": "linked",
                "path": str(root / "mine.bin"),
                "sizeBytes": 17,
                "sha256": sha256,
            }
        ]
    }


def test_one_bad_file_does_not_keep_the_others_out(cli: Call, root: Path, home: Path, mine: Path) -> None:
    bad = put(home / "bad.gguf", b"GGML" + bytes(100))
    outcome = cli("models", "add", str(bad), str(home / "nowhere.bin"), str(mine), "--json")
    assert outcome.status == 1
    assert [each["filename"] for each in json.loads(outcome.out)["files"]] == ["mine.bin"]
    assert "bad.gguf: not added: " in outcome.err
    assert "nowhere.bin: not added: " in outcome.err
    assert not (root / "bad.gguf").exists()


def test_a_file_of_that_name_is_never_overwritten(cli: Call, root: Path, mine: Path) -> None:
    put(root / "mine.bin", b"another")
    outcome = cli("models", "add", str(mine), "--move")
    assert outcome.status == 1
    assert "another file lies at" in outcome.err
    assert (root / "mine.bin").read_bytes() == b"another"
    assert mine.exists()


def test_a_wrong_hash_is_refused_with_both(cli: Call, root: Path, mine: Path) -> None:
    outcome = cli("models", "add", str(mine), "--sha256", "0" * 64)
    assert outcome.status == 1
    assert hashlib.sha256(b"weights of my own").hexdigest() in outcome.err
    assert "0" * 64 in outcome.err
    assert not (root / "mine.bin").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--as", "../x"], "holds a separator"),
        (["--as", ".hidden"], "starts with a dash, dot"),
        (["other.bin", "--as", "x"], "take a single PATH"),
        (["other.bin", "--sha256", "0" * 64], "take a single PATH"),
    ],
)
def test_a_wrong_use_of_add_exits_2(cli: Call, home: Path, mine: Path, args: list[str], words: str) -> None:
    outcome = cli("models", "add", str(mine), *args)
    assert (outcome.status, outcome.out) == (2, "")
    assert words in outcome.err
    assert not (home / "models").exists()


def test_a_file_whose_own_name_no_job_can_give_is_to_be_given_another(cli: Call, home: Path) -> None:
    outcome = cli("models", "add", str(put(home / "a.part")))
    assert outcome.status == 2
    assert "give it another one by --as" in outcome.err
