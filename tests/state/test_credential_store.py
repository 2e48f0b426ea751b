from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from spoiled import damaged, spoiled

from studio_worker.errors import ConfigError
from studio_worker.state import Credentials, CredentialStore

ORIGIN = "https://studio.example"
OTHER = "http://127.0.0.1:8787"


def held(store: CredentialStore) -> dict[str, object]:
    found = json.loads(store.path.read_text())
    assert isinstance(found, dict)
    return found


def refusal(store: CredentialStore) -> str:
    before = store.path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        store.load()
    assert store.path.read_bytes() == before
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_without_a_file_there_are_no_credentials_and_none_is_made(store: CredentialStore) -> None:
    assert store.load() == Credentials(ORIGIN)
    assert not store.path.exists()


def test_what_was_saved_is_loaded(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    assert store.load() == approved


def test_file_and_folder_are_their_owners_alone(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_cleared_secret_is_gone_from_the_file(store: CredentialStore, approved: Credentials) -> None:
    store.save(replace(approved, registration_secret="raw-secret", registration_request_id="rr-1"))
    store.save(approved)
    assert "raw-secret" not in store.path.read_text()
    assert [entry.name for entry in store.path.parent.iterdir()] == ["credentials.json"]


def test_another_studio_gets_nothing_of_this_one(
    store: CredentialStore, approved: Credentials, state_dir: Path
) -> None:
    store.save(approved)
    assert CredentialStore(state_dir, OTHER).load() == Credentials(OTHER)


def test_going_to_another_studio_and_back_keeps_both(
    store: CredentialStore, approved: Credentials, state_dir: Path
) -> None:
    store.save(approved)
    other = CredentialStore(state_dir, OTHER)
    other.save(Credentials(OTHER, install_id="i-2"))
    assert held(other)["origin"] == OTHER
    assert (store.load(), other.load().install_id) == (approved, "i-2")
    store.save(approved)
    assert (store.load(), other.load().install_id) == (approved, "i-2")


def test_credentials_of_another_studio_are_not_saved_as_ours(store: CredentialStore) -> None:
    with pytest.raises(ConfigError, match="cannot be kept"):
        store.save(Credentials(OTHER))


def test_a_file_open_to_others_is_refused_with_the_chmod_line(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    store.path.chmod(0o644)
    assert f"chmod 600 '{store.path}'" in refusal(store)


def test_a_link_is_refused(store: CredentialStore, approved: Credentials, tmp_path: Path) -> None:
    store.save(approved)
    store.path.rename(tmp_path / "elsewhere.json")
    store.path.symlink_to(tmp_path / "elsewhere.json")
    assert "symbolic link" in refusal(store)


def test_a_token_with_a_line_break_is_refused(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    store.path.write_text(json.dumps(held(store) | {"auth_token": "t\r\nX-Evil: 1"}))
    assert "auth_token must be printable ASCII" in refusal(store)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "[]",
        "null",
        '{"origin": "x"}',
        '{"version": "1"}',
        '{"version": true}',
        "\x00",
        '{"version": 1, "version": 2}',
    ],
)
def test_a_damaged_file_is_refused_by_name_with_a_remedy(
    raw: str, store: CredentialStore, approved: Credentials
) -> None:
    store.save(approved)
    store.path.write_text(raw)
    assert "restore it from a copy, or remove it" in refusal(store)


def test_a_file_of_a_newer_release_is_refused_and_left_untouched(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    store.path.write_text(json.dumps({"version": 2, "vault": {}}))
    assert "newer studio-worker (format 2, this one reads 1)" in refusal(store)
    for change in (lambda: store.save(approved), store.reset):
        with pytest.raises(ConfigError, match="left untouched"):
            change()
    assert held(store) == {"version": 2, "vault": {}}


def test_a_folder_that_cannot_be_written_is_named(approved: Credentials) -> None:
    with pytest.raises(ConfigError, match="make the folder writable or set state_dir"):
        CredentialStore(Path("/proc/nowhere"), ORIGIN).save(approved)


def test_a_reset_forgets_this_studio_and_keeps_the_other(
    store: CredentialStore, approved: Credentials, state_dir: Path
) -> None:
    other = CredentialStore(state_dir, OTHER)
    other.save(Credentials(OTHER, install_id="i-2"))
    store.save(approved)
    store.reset()
    assert store.load() == Credentials(ORIGIN)
    assert "hunter2" not in store.path.read_text()
    assert other.load().install_id == "i-2"


def test_a_reset_mends_a_token_that_cannot_be_used(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    store.path.write_text(json.dumps(held(store) | {"auth_token": "a b"}))
    store.reset()
    assert store.load() == Credentials(ORIGIN)


def test_a_leftover_of_a_killed_writer_goes_with_the_next_save(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    (store.path.parent / ".credentials.json.0123456789ab.new").write_text("secret")
    store.save(approved)
    assert [entry.name for entry in store.path.parent.iterdir()] == ["credentials.json"]


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from studio_worker.state import Credentials, CredentialStore

    step, calls = int(sys.argv[2]), 0

    def counted(name):
        real = getattr(os, name)
        def call(*args, **kwargs):
            global calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        setattr(os, name, call)

    for name in ("open", "fsync", "fdatasync", "replace", "rename", "fdopen", "fchmod"):
        counted(name)
    CredentialStore(Path(sys.argv[1]), "https://studio.example").save(
        Credentials("https://studio.example", worker_id="w-2", auth_token="new")
    )
    """
)


@pytest.mark.parametrize("step", range(1, 10))
def test_a_kill_at_any_step_of_the_write_leaves_the_old_file_or_the_new_one(
    step: int, store: CredentialStore, approved: Credentials, state_dir: Path
) -> None:
    store.save(approved)
    child = subprocess.run([sys.executable, "-c", KILLED, str(state_dir), str(step)], check=False, timeout=60)
    assert child.returncode == -9
    assert store.load().auth_token in ("hunter2", "new")


OLDER = """# my machine
api_base_url = "https://studio.example/"  # ours
worker_id = "w-old"
auth_token = "token-old"
install_id = "i-old"
vram_threshold_gb = 8.0  # leave room
# the end
"""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(OLDER)
    return path


def test_the_older_workers_set_is_taken_over(state_dir: Path, older: Path) -> None:
    found = CredentialStore(state_dir, ORIGIN, legacy_config=older).load()
    assert (found.worker_id, found.auth_token, found.install_id) == ("w-old", "token-old", "i-old")
    assert CredentialStore(state_dir, ORIGIN).load() == found
    assert older.read_text() == OLDER


def test_it_is_taken_over_once(state_dir: Path, older: Path, approved: Credentials) -> None:
    store = CredentialStore(state_dir, ORIGIN, legacy_config=older)
    store.load()
    store.save(approved)
    assert store.load() == approved


def test_it_belongs_to_the_studio_that_its_file_names(state_dir: Path, older: Path) -> None:
    assert CredentialStore(state_dir, OTHER, legacy_config=older).load() == Credentials(OTHER)
    assert CredentialStore(state_dir, ORIGIN, legacy_config=older).load().worker_id == "w-old"


def test_looking_takes_nothing_over(state_dir: Path, older: Path) -> None:
    store = CredentialStore(state_dir, ORIGIN, legacy_config=older)
    assert store.peek().worker_id == "w-old"
    assert not store.path.exists()


def test_empty_values_of_the_older_worker_are_no_set(state_dir: Path, older: Path) -> None:
    older.write_text('worker_id = ""\nauth_token = ""\n')
    store = CredentialStore(state_dir, "https://studio.minis.gg", legacy_config=older)
    assert store.load() == Credentials("https://studio.minis.gg")
    assert not store.path.exists()


def test_a_file_without_an_address_means_the_default_studio(state_dir: Path, older: Path) -> None:
    older.write_text('worker_id = "w"\nauth_token = "t"\n')
    store = CredentialStore(state_dir, "https://studio.minis.gg", legacy_config=older)
    assert store.load().is_approved


@pytest.mark.parametrize("address", ['"ftp://x"', "5"])
def test_a_set_for_an_address_that_is_none_is_left_alone(address: str, state_dir: Path, older: Path) -> None:
    older.write_text(f'api_base_url = {address}\nworker_id = "w"\nauth_token = "t"\n')
    assert CredentialStore(state_dir, ORIGIN, legacy_config=older).load() == Credentials(ORIGIN)


def test_a_set_that_cannot_be_used_is_refused_by_the_config_files_name(state_dir: Path, older: Path) -> None:
    older.write_text(OLDER.replace("token-old", "token old"))
    with pytest.raises(ConfigError, match=f"{older}: auth_token must be"):
        CredentialStore(state_dir, ORIGIN, legacy_config=older).load()


def test_a_reset_removes_the_set_from_both_files_and_keeps_the_comments(state_dir: Path, older: Path) -> None:
    store = CredentialStore(state_dir, ORIGIN, legacy_config=older)
    store.load()
    store.reset()
    assert store.load() == Credentials(ORIGIN)
    assert older.read_text() == (
        '# my machine\napi_base_url = "https://studio.example/"  # ours\n'
        "vram_threshold_gb = 8.0  # leave room\n# the end\n"
    )


def test_a_reset_also_removes_a_set_that_cannot_be_used(state_dir: Path, older: Path) -> None:
    older.write_text(OLDER.replace("token-old", "token old"))
    store = CredentialStore(state_dir, ORIGIN, legacy_config=older)
    store.reset()
    assert store.load() == Credentials(ORIGIN)
    assert "token" not in older.read_text()


def test_a_reset_that_cannot_write_the_config_file_changes_neither(state_dir: Path, older: Path) -> None:
    store = CredentialStore(state_dir, ORIGIN, legacy_config=older)
    found = store.load()
    older.chmod(0o444)
    with pytest.raises(ConfigError, match="is read-only"):
        store.reset()
    assert store.load() == found


def test_after_a_reset_a_config_file_without_a_set_is_not_rewritten(state_dir: Path, older: Path) -> None:
    older.write_text("vram_threshold_gb = 8.0\n")
    before = older.stat()
    CredentialStore(state_dir, ORIGIN, legacy_config=older).reset()
    assert (older.stat().st_ino, older.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(store: CredentialStore, approved: Credentials) -> None:
    store.save(approved)
    os.chown(store.path, 12345, -1)
    assert "belongs to the user with id 12345" in refusal(store)


SOUND = {
    "version": 1,
    "origin": ORIGIN,
    "install_id": "i-1",
    "worker_id": "w-1",
    "auth_token": "hunter2",
    "other_studios": {
        OTHER: {"install_id": "i-1", "registration_request_id": "rr-1", "registration_secret": "hunter3"}
    },
}


@settings(deadline=None, print_blob=True)
@given(raw=spoiled(SOUND).map(lambda file: json.dumps(file).encode()) | damaged(json.dumps(SOUND).encode()))
def test_a_spoiled_file_is_read_or_refused_and_shows_no_secret(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "spoiled"
    folder.mkdir(exist_ok=True, mode=0o700)
    for origin in (ORIGIN, OTHER):
        store = CredentialStore(folder, origin)
        store.path.write_bytes(raw)
        store.path.chmod(0o600)
        refusal = ""
        try:
            found = store.load()
        except ConfigError as error:
            refusal = str(error)
        else:
            assert found.origin == origin
            assert all(value.isascii() and value.isprintable() for value in found.to_json().values())
        assert "hunter" not in refusal
        assert store.path.read_bytes() == raw
