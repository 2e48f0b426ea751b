"""Secrets in text: the forms in which one may turn up, and the text without it.

What a program is answered it often repeats in its own errors: a server gives back the header that it did not like, a
library names the URL with the key in it. So text that leaves the process is looked through for what must not.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_SECRET = 6
"""Characters; shorter texts are no secrets, and masking them would spoil every line."""

E = TypeVar("E", bound=Exception)


class Masks:
    """Hides secrets, in every form that `forms` knows.

    Args:
        secrets: the secrets; what is None or shorter than `MIN_SECRET` is left out.
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        found = {form for secret in secrets if secret and len(secret) >= MIN_SECRET for form in forms(secret)}
        # The longest first: what is escaped holds, in part, what is not.
        ordered = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def hide(self, text: str) -> str:
        """`text` with stars in the place of each secret."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def hide_in(self, error: E) -> E:
        """The same error, its sentence without secrets."""
        error.args = tuple(self.hide(part) if isinstance(part, str) else part for part in error.args)
        return error


class RememberedMasks:
    """The masks of secrets that may change, made anew only where they have.

    Args:
        secrets: asked anew each time, from any thread.
    """

    def __init__(self, secrets: Callable[[], Iterable[str | None]]) -> None:
        self.secrets = secrets
        self._known: tuple[str | None, ...] = ()
        self._masks = Masks(())

    def now(self) -> Masks:
        """The masks of this moment."""
        known = tuple(self.secrets())
        if known != self._known:
            self._masks, self._known = Masks(known), known
        return self._masks


NO_MASKS = Masks(())
"""For where there is no secret."""


def forms(secret: str) -> Iterator[str]:
    """The secret as it is, in a URL, in JSON (also in JSON in JSON), as Python writes it, in hex and in base64.

    Of base64 there are three, by what stands before the secret in the same text, and each without the letters at its
    ends that tell of the secret's neighbours too.
    """
    yield secret
    for percent in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield percent
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), percent)
    for ensure_ascii in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield escaped
        yield json.dumps(escaped, ensure_ascii=ensure_ascii)[1:-1]
    yield repr(secret)[1:-1]
    # A text with both quotes in it is written with one of them escaped; by itself the secret may hold just one.
    yield repr(secret + "'\"")[1:-1].removesuffix("\\'\"")
    data = secret.encode("utf-8", "surrogatepass")
    yield data.hex()
    for before in range(3):
        coded = b64encode(b"\0" * before + data).decode()
        middle = coded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield middle
        yield middle.replace("+", "-").replace("/", "_")
