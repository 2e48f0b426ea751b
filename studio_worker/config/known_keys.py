"""Which keys a config file may hold, and which one a misspelt key was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

LEGACY = frozenset(
    {
        "worker_id",
        "auth_token",
        "install_id",
        "registration_request_id",
        "registration_secret",
        "registration_requested_at",
        "local_api_token",
        "engine",
        "engines",
        "auto_enabled",
        "label",
        "bootstrap_token",
        "gradio_endpoint_url",
        "start_minimised",
        "only_when_idle",
    }
)
"""Keys of the older worker that lie in installed files: known, not read here, and no reason for a warning."""


_SECRET = re.compile(r"token|secret|passw|api_?key|credential", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether a key's name says that its text is nobody else's business."""
    return _SECRET.search(key) is not None


def holds_secrets(table: Mapping[str, Any]) -> bool:
    """Whether a config file's table has a text, at any depth, under such a key."""
    return any(
        holds_secrets(value) if isinstance(value, dict) else isinstance(value, str) and is_secret(key)
        for key, value in table.items()
    )


def nearest(key: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known key that `key` was probably meant to be, if one is near enough."""
    near = difflib.get_close_matches(key[:100].lower().replace("-", "_"), list(known), n=1, cutoff=cutoff)
    return near[0] if near else None
