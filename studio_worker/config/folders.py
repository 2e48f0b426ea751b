"""The folders that settings name, tried before a worker starts: what cannot be used is said then, not in mid job."""

from __future__ import annotations

import tempfile
from pathlib import Path

from studio_worker.config.model import Config
from studio_worker.errors import ConfigError
from studio_worker.private_file import make_private_folder, reason
from studio_worker.text import escape


def prepare_folders(config: Config) -> None:
    """Make the models folder and the state folder where they are missing, and write a file into each; blocks.

    Raises:
        ConfigError: one of them is no folder or cannot be written; names the setting, the path and the remedy.
    """
    _prepare("models_root", config.models_path, is_private=False)
    _prepare("state_dir", config.state_path, is_private=True)


def _prepare(key: str, path: Path, *, is_private: bool) -> None:
    try:
        if is_private:
            make_private_folder(path)
        else:
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return
    except (FileExistsError, NotADirectoryError):
        problem = "it is not a folder, or lies under a file"
    except (OSError, ValueError) as error:
        problem = reason(error)
    raise ConfigError(
        f"{key}: the folder {escape(str(path))} cannot be used: {problem}; make it writable or set {key} to another one"
    )
