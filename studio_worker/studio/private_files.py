"""Small files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace a file by `text`, mode 0600, whole or not at all. Blocking."""
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temp.unlink(missing_ok=True)
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)


def read_private(path: Path) -> str | None:
    """The text of a file, or None where there is none. Blocking."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
