"""Queries live in files that can be read and explained on their own: ``-- name: claim_next`` heads each one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements(name: str) -> Mapping[str, str]:
    """The queries of ``queries/<name>.sql`` by their names."""
    text = files(__package__).joinpath("queries", f"{name}.sql").read_text("utf-8")
    pieces = _HEAD.split(text)[1:]
    return {head: body.strip() for head, body in zip(pieces[::2], pieces[1::2], strict=True)}
