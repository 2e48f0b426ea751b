"""What a check says of bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from studio_worker.models.formats.bad_file import BadModelFile


def judged(check: Callable[[Path, str], None], path: Path, name: str, data: bytes) -> tuple[str, str]:
    """The rule and the sentence with which `data` is refused at `path`; both empty: it passes."""
    path.write_bytes(data)
    try:
        check(path, name)
    except BadModelFile as error:
        found = error
    else:
        return "", ""
    assert not found.retryable
    assert name in str(found)
    return found.rule, str(found)
