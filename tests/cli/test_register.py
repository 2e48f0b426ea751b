from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.state import Credentials, CredentialStore, StateLock

Call = Callable[..., Any]
ORIGIN = "https://studio.example"


@pytest.fixture
def state_dir(home: Path) -> Path:
    return home / ".local" / "state" / "minis-studio-worker"


@pytest.fixture
def approved(config_file: Path, state_dir: Path) -> Path:
    """A machine that is approved by the studio of its config file."""
    config_file.write_text(f'# mine\napi_base_url = "{ORIGIN}/"\n')
    CredentialStore(state_dir, ORIGIN).save(Credentials(ORIGIN, install_id="i", worker_id="w-1", auth_token="hunter2"))
    return config_file


def test_a_fresh_machine_is_told_what_comes_next(cli: Call) -> None:
    outcome = cli("register", "--json")
    assert json.loads(outcome.out)["registration"] == "pristine"
    assert "waits for its operator's approval" in outcome.err


def test_an_approved_machine_shows_its_worker_id_and_no_token(cli: Call, approved: Path) -> None:
    outcome = cli("register")
    assert "registration: approved\nworkerId: w-1\n" in outcome.out
    assert "hunter2" not in outcome.out + outcome.err


def test_looking_changes_no_file(cli: Call, config_file: Path, state_dir: Path) -> None:
    config_file.write_text('api_base_url = "https://studio.example/"\nworker_id = "w"\nauth_token = "t"\n')
    assert json.loads(cli("register", "--json").out)["workerId"] == "w"
    assert not state_dir.exists()


def test_a_reset_forgets_the_credentials(cli: Call, approved: Path, state_dir: Path) -> None:
    assert json.loads(cli("register", "--reset", "--json").out)["registration"] == "pristine"
    assert "hunter2" not in (state_dir / "credentials.json").read_text()


def test_a_reset_clears_the_older_workers_keys_and_keeps_the_comments(cli: Call, config_file: Path) -> None:
    config_file.write_text('# mine\napi_base_url = "https://studio.example/"\nworker_id = "w" # id\nauth_token = "t"\n')
    cli("register", "--reset")
    assert config_file.read_text() == '# mine\napi_base_url = "https://studio.example/"\n'


def test_a_reset_under_a_running_worker_is_refused(cli: Call, approved: Path, state_dir: Path) -> None:
    with StateLock(state_dir):
        outcome = cli("register", "--reset")
    assert outcome.status == 75
    assert CredentialStore(state_dir, ORIGIN).load().is_approved


def test_another_address_is_written_with_the_comments_kept(cli: Call, approved: Path) -> None:
    found = json.loads(cli("register", "--api-base-url", "http://127.0.0.1:8787/", "--json").out)
    assert (found["studio"], found["registration"]) == ("http://127.0.0.1:8787", "pristine")
    assert approved.read_text() == '# mine\napi_base_url = "http://127.0.0.1:8787/"\n'


def test_the_older_studios_approval_survives_a_change_of_address(cli: Call, approved: Path) -> None:
    cli("register", "--api-base-url", "http://127.0.0.1:8787/")
    found = json.loads(cli("register", "--api-base-url", f"{ORIGIN}/", "--json").out)
    assert found["registration"] == "approved"


def test_a_reset_with_another_address_forgets_both(cli: Call, approved: Path, state_dir: Path) -> None:
    cli("register", "--reset", "--api-base-url", "http://127.0.0.1:8787/")
    assert not CredentialStore(state_dir, ORIGIN).load().is_approved


@pytest.mark.parametrize("address", ["ftp://x", "https://u:hunter2@h/", "http://", "x"])
def test_a_bad_address_is_a_usage_error_and_nothing_is_written(address: str, cli: Call, approved: Path) -> None:
    before = approved.read_text()
    outcome = cli("register", "--api-base-url", address)
    assert outcome.status == 2
    assert "hunter2" not in outcome.err
    assert approved.read_text() == before


def test_the_variable_that_wins_is_named(cli: Call, approved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_WORKER_API_BASE_URL", "http://127.0.0.1:1/")
    assert "STUDIO_WORKER_API_BASE_URL is set and wins" in cli("register", "--api-base-url", "http://127.0.0.1:2/").err


def test_credentials_open_to_others_exit_78_with_the_chmod_line(cli: Call, approved: Path, state_dir: Path) -> None:
    (state_dir / "credentials.json").chmod(0o644)
    outcome = cli("register")
    assert outcome.status == 78
    assert "chmod 600" in outcome.err
