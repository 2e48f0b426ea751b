"""The file that both sides use: one JSON object a line, for each job that ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "TALLY_FILE"


def place() -> Path:
    """The file: what ``TALLY_FILE`` names, else one in the user's home."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".studio-worker-tally.jsonl")


def write(entry: dict[str, Any]) -> None:
    """Add a line; lines of several workers do not mix, since each is one write."""
    with place().open("ab", buffering=0) as file:
        file.write(json.dumps(entry).encode() + b"\n")


def read() -> Iterator[dict[str, Any]]:
    """The entries, oldest first; a line that is cut off is left out."""
    if not place().exists():
        return
    with place().open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue
