"""Names that a stranger chose, as a sentence can hold them."""

from __future__ import annotations

MAX_SHOWN = 60
"""Characters of a name that are repeated; who chose it knows the rest."""


def shown(name: str) -> str:
    """The name itself where it is short and every letter of it shows, else its beginning, quoted and in ASCII."""
    return name if name.isprintable() and len(name) <= MAX_SHOWN else ascii(name[:MAX_SHOWN])
