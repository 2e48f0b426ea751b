from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio_worker.errors import ConfigError
from studio_worker.local_api.discovery import Discovery, read_discovery

HERE = Discovery("http://127.0.0.1:4787", "ab" * 32)


def put(path: Path, raw: str) -> None:
    path.write_text(raw)
    path.chmod(0o600)


def test_what_is_written_is_read(discovery_file: Path) -> None:
    HERE.write(discovery_file)
    assert read_discovery(discovery_file) == HERE
    assert HERE.port == 4787


def test_the_folder_is_made(tmp_path: Path) -> None:
    HERE.write(tmp_path / "a" / "b" / "local-api.json")
    assert read_discovery(tmp_path / "a" / "b" / "local-api.json") == HERE


def test_without_a_file_nobody_has_published(discovery_file: Path) -> None:
    assert read_discovery(discovery_file) is None


def test_the_token_is_hidden_in_representations() -> None:
    assert HERE.token not in repr(HERE) + str(HERE)


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example:80",
        "http://127.0.0.1.evil.example:80",
        "https://127.0.0.1:80",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://u@127.0.0.1:80",
        "http://127.0.0.1:80/x",
        "",
        5,
        None,
    ],
)
def test_an_address_that_is_not_loopback_is_refused(url: object, discovery_file: Path) -> None:
    put(discovery_file, json.dumps({"url": url, "token": HERE.token}))
    with pytest.raises(ConfigError, match="is no discovery file"):
        read_discovery(discovery_file)


@pytest.mark.parametrize("token", ["", "x" * 64, "ab" * 31, "ab\r\n", 5, None])
def test_a_token_that_we_did_not_mint_is_refused_unseen(token: object, discovery_file: Path) -> None:
    put(discovery_file, json.dumps({"url": HERE.url, "token": token}))
    with pytest.raises(ConfigError, match="is no discovery file"):
        read_discovery(discovery_file)


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "\0"])
def test_a_damaged_file_is_refused(raw: str, discovery_file: Path) -> None:
    put(discovery_file, raw)
    with pytest.raises(ConfigError, match="remove it and start the worker again"):
        read_discovery(discovery_file)


def test_a_file_that_others_could_have_written_is_refused(discovery_file: Path) -> None:
    HERE.write(discovery_file)
    discovery_file.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_discovery(discovery_file)


def test_withdrawing_removes_only_its_own_file(discovery_file: Path) -> None:
    other = Discovery(HERE.url, "cd" * 32)
    other.write(discovery_file)
    HERE.withdraw(discovery_file)
    assert read_discovery(discovery_file) == other
    other.withdraw(discovery_file)
    assert not discovery_file.exists()


def test_withdrawing_what_is_gone_or_damaged_is_harmless(discovery_file: Path) -> None:
    HERE.withdraw(discovery_file)
    put(discovery_file, "{")
    HERE.withdraw(discovery_file)
    assert discovery_file.exists()
