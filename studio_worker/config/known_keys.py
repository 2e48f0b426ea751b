"""Which keys a config file may hold, and which one a misspelt key was meant to be."""

from __future__ import annotations

import difflib
<<<<<<< HEAD
from collections.abc import Iterable
=======
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
>>>>>>> canary

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


<<<<<<< HEAD
=======
_SECRET = re.compile(r"token(?!i[sz])|secret|passw|api_?key|credential", re.IGNORECASE)


@lru_cache(maxsize=1_024)
def is_secret(key: str) -> bool:
    """Whether a key's name says that its text is nobody else's business."""
    return _SECRET.search(key) is not None


def secrets_in(value: Any, *, is_one: bool = False) -> Iterator[str]:
    """The texts under such keys, at any depth, and the passwords of URLs.

    Args:
        value: a table of settings, or a part of one.
        is_one: whether the value lies under such a key.
    """
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from secrets_in(inner, is_one=is_one or is_secret(str(key)))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from secrets_in(inner, is_one=is_one)
    elif isinstance(value, str) and is_one:
        yield value
    elif isinstance(value, str) and (password := _password(value)):
        yield password


def _password(text: str) -> str | None:
    try:
        return urlsplit(text).password if "@" in text else None
    except ValueError:
        return None


>>>>>>> canary
def nearest(key: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known key that `key` was probably meant to be, if one is near enough."""
    near = difflib.get_close_matches(key[:100].lower().replace("-", "_"), list(known), n=1, cutoff=cutoff)
    return near[0] if near else None
