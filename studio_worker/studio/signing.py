"""Signed, expiring texts: links to results inside claims, and the dashboard's session cookie."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from studio_worker.private_file import read_private, write_atomically

KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """The studio's signing key, made at the first start (0600). Blocking.

    Raises:
        ConfigError: the file is open to others.
        OSError: the folder cannot be written.
    """
    try:
        key = bytes.fromhex(read_private(path, limit_bytes=1_024).decode("ascii", "replace").strip())
    except (FileNotFoundError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        write_atomically(path, key.hex().encode())
    return key


class Signer:
    """Signs a text together with its purpose and its end.

    Args:
        key: 32 secret bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, purpose: str, text: str, until: int) -> str:
        """The signature, as hex; the same for the same three."""
        message = f"{purpose}\n{until}\n{text}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def holds(self, purpose: str, text: str, until: str, signature: str, now: float) -> bool:
        """Whether a signature is ours and its end (Unix seconds, as text) lies ahead. Compared in constant time."""
        if not (until.isascii() and until.isdigit() and len(until) <= 12 and signature.isascii()):
            return False
        right = hmac.compare_digest(self.sign(purpose, text, int(until)), signature)
        return right and now < int(until)


def token_hash(token: str) -> str:
    """SHA-256 of a token or a secret, as hex: all that is kept of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same(left: str, right: str) -> bool:
    """Whether two texts are equal, compared in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))
