from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose home is the test's own folder."""
    return {"HOME": str(tmp_path)}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def write(config_file: Path) -> Callable[[str | bytes], Path]:
    """Writes the config file and returns its path."""

    def write(text: str | bytes) -> Path:
        config_file.write_bytes(text if isinstance(text, bytes) else text.encode())
        config_file.chmod(0o600)
        return config_file

    return write


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    """What is logged: the bound fields with `level` and `message`."""
    found: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        record = message.record
        found.append({**record["extra"], "level": record["level"].name, "message": record["message"]})

    sink = logger.add(keep, level="DEBUG")
    logger.enable("studio_worker")
    yield found
    logger.disable("studio_worker")
    logger.remove(sink)
