"""How sizes, speeds and ages are written for people; sizes in powers of ten, as `models_quota_gb` counts them."""

from __future__ import annotations

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_AGES = ((86_400 * 365, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"))


def size_text(size: float) -> str:
    """Bytes in three digits: ``4.07 GB``."""
    for unit, name in _UNITS:
        if size >= unit * 0.9995:
            count = size / unit
            return f"{count:.0f} {name}" if count >= 99.95 else f"{count:.3g} {name}"
    return f"{size:.0f} B"


def speed_text(bytes_per_sec: float) -> str:
    """Bytes a second: ``98.1 MB/s``."""
    return f"{size_text(bytes_per_sec)}/s"


def age_text(secs: float) -> str:
    """How long ago something was: ``3 days ago``."""
    for unit, name in _AGES:
        if (count := int(secs // unit)) >= 1:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
