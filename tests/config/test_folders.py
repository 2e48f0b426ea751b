from __future__ import annotations

import stat
from pathlib import Path

import pytest

from studio_worker.config import Config
from studio_worker.config.folders import prepare_folders
from studio_worker.errors import ConfigError


def test_missing_folders_are_made_and_left_empty(tmp_path: Path) -> None:
    prepare_folders(Config(models_root=tmp_path / "a" / "models", state_dir=tmp_path / "b" / "state"))
    assert list((tmp_path / "a" / "models").iterdir()) == list((tmp_path / "b" / "state").iterdir()) == []


def test_a_state_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_folders(Config(models_root=tmp_path, state_dir=tmp_path / "state"))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_models_root_that_is_a_file_is_refused_by_key_and_path(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(ConfigError, match=rf"models_root: the folder {tmp_path}/models cannot be used") as caught:
        prepare_folders(Config(models_root=tmp_path / "models", state_dir=tmp_path))
    assert caught.value.exit_code == 78


def test_a_folder_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"state_dir: .* lies under a file"):
        prepare_folders(Config(models_root=tmp_path, state_dir=tmp_path / "file" / "state"))


def test_a_folder_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it writable or set state_dir to another one"):
        prepare_folders(Config(models_root=tmp_path, state_dir=Path("/proc/1")))
