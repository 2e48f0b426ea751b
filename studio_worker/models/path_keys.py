"""A path as the key of a row, and as what tells one file from another whatever it is called."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path


def row_key(path: Path | str) -> str | bytes:
    """What a row keeps of a path: its text, or bytes where it is no valid UTF-8, which SQLite takes for no text."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")
    return text


def path_of(key: object) -> Path:
    """The path that `row_key` made a key of."""
    return Path(key.decode(errors="surrogatepass") if isinstance(key, bytes) else str(key))


def row_text(text: str) -> str:
    r"""Text that a row can keep: what is no valid UTF-8 in it becomes ``\udc80`` in letters."""
    return text.encode(errors="backslashreplace").decode()


def place_of(path: Path) -> Hashable:
    """Where a path leads to: equal for two paths of one file, by a linked folder or in another case of its letters.

    Two hard links are two places: one can go without the other. Blocks.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path)
    # A file system that does not number its files says 0.
    return (found.st_dev, found.st_ino) if found.st_ino and found.st_nlink == 1 else os.path.realpath(path)
