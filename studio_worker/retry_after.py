"""The ``Retry-After`` header: how long a server asks to be left alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(header: str | None, now: datetime, *, cap_secs: float) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110 section 10.2.3), or None where it says nothing usable.

    Args:
        header: whole seconds or an HTTP date; anything else, the past and zero count as nothing.
        now: the wall clock, against which a date is read.
        cap_secs: the longest wait that a server may ask for; what is beyond it counts as this much.
    """
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,20}", text):
        wait = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        wait = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return min(wait, cap_secs) if wait > 0 else None
