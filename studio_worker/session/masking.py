"""Secrets, kept out of whatever text leaves for the studio."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"
MIN_SECRET = 6
"""Shorter texts are no secrets: masking them would spoil every line."""


def forms(secrets: Iterable[str | None]) -> tuple[str, ...]:
    """Each secret in the forms in which it could turn up: as it is, in a URL, as base64; the longest first."""
    found: set[str] = set()
    for secret in secrets:
        if secret and len(secret) >= MIN_SECRET:
            found |= {secret, quote(secret, safe=""), b64encode(secret.encode()).decode().rstrip("=")}
    # One secret may hold another: the rest of the longer one would stay.
    return tuple(sorted(found, key=len, reverse=True))


def without(text: str, secret_forms: Iterable[str]) -> str:
    """`text` with stars in place of these."""
    for form in secret_forms:
        text = text.replace(form, MASK)
    return text
