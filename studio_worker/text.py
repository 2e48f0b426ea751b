"""Text from outside, made safe to show: nothing in it can forge a line, drive a terminal or turn the reading round."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks by category that show as nothing."""


def escape(text: str, *, limit: int = 4_000) -> str:
    r"""`text` on one line: control, bidirectional, zero-width and unassigned characters as ``\x1b`` or ``\u202e``.

    Args:
        text: anything.
        limit: characters kept; what is cut is counted at the end.
    """
    cut = len(text) - limit
    if cut > 0:
        text = text[:limit]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_shown(char) for char in text)
    return f"{text}… ({cut:,} more)" if cut > 0 else text


def _shown(char: str) -> str:
    if char == " " or (char.isprintable() and unicodedata.category(char) not in _HIDDEN and char not in _BLANK):
        return char
    code = ord(char)
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
