"""Who the worker is to one studio."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from studio_worker.errors import ConfigError

_MAX_CHARS = 4_096
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What this machine and one studio agreed on. Empty text counts as absent.

    Attributes:
        origin: the studio's origin (``https://studio.example``): they are used with that studio only.
        install_id: UUID of this installation, made at the first launch.
        worker_id: the id that the studio gave on approval.
        auth_token: the bearer token of session and uploads; a secret.
        registration_request_id: the request that waits for a decision.
        registration_secret: the raw secret whose hash the request carries; a secret, deleted on approval.
        registration_requested_at: when the request was made, RFC 3339.
    """

    origin: str
    install_id: str | None = None
    worker_id: str | None = None
    auth_token: str | None = None
    registration_request_id: str | None = None
    registration_secret: str | None = None
    registration_requested_at: str | None = None

    def __repr__(self) -> str:
        """The state, the secrets left out."""
        return f"Credentials(origin={self.origin!r}, state={self.state!r}, worker_id={self.worker_id!r})"

    @property
    def is_approved(self) -> bool:
        """Whether a session can be opened."""
        return bool(self.worker_id and self.auth_token)

    @property
    def state(self) -> Literal["approved", "pending", "pristine"]:
        """How far the registration is."""
        if self.is_approved:
            return "approved"
        return "pending" if self.registration_request_id and self.registration_secret else "pristine"

    def to_json(self) -> dict[str, str]:
        """The fields that are present, without the origin."""
        return {name: value for name in NAMES if (value := getattr(self, name))}


NAMES = tuple(item.name for item in fields(Credentials) if item.name != "origin")
"""The fields that a file holds of one studio."""


def parse_credentials(origin: str, raw: Mapping[str, Any], *, where: str) -> Credentials:
    """The credentials for `origin` out of a file's table.

    Args:
        origin: the studio's origin.
        raw: the table; other keys are ignored.
        where: the file, for messages.

    Raises:
        ConfigError: a value is no text, too long, or holds what no header can carry (a line break would let it
            forge one). The value is never shown.
    """
    found: dict[str, str] = {}
    for name in NAMES:
        value = raw.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > _MAX_CHARS or not _HEADER_SAFE.fullmatch(value):
            raise ConfigError(
                f"{where}: {name} must be printable ASCII without white space or line breaks, at most "
                f"{_MAX_CHARS:,} characters; mend it, or start over by `studio-worker register --reset`"
            )
        found[name] = value
    return Credentials(origin, **found)
