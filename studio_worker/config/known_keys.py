"""Which keys a config file may hold, and which one a misspelt key was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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


def nearest(key: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known key that `key` was probably meant to be, if one is near enough."""
    near = difflib.get_close_matches(key[:100].lower().replace("-", "_"), list(known), n=1, cutoff=cutoff)
    return near[0] if near else None
