"""What a download is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

OnBytes: TypeAlias = Callable[[int, int | None], None]
"""Takes the bytes of a file that are here, and those of the whole of it, None where that is not known."""


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file to download.

    Attributes:
        url: as the studio, or the operator, named it.
        dest: where it goes.
        what: the subject of every sentence about it.
        sha256: its hash in lower case, None where nobody said.
        smallest: the least bytes that it may have.
        largest: the most.
        expected: about how many bytes it has, 0 where nobody said.
        announce: told how long the whole file is, where the server says so, before its bytes come; blocks; raises.
        grown: told now and then how long the file has become, where no server says how long it is; blocks; raises.
        look: judges its first bytes as soon as they are here; raises.
        inspect: judges the whole file before it gets its name; blocks; raises.
    """

    url: str
    dest: Path
    what: str
    sha256: str | None = None
    smallest: int = 1
    largest: int = 2**40
    expected: int = 0
    announce: Callable[[int], None] = field(default=lambda total: None)
    grown: Callable[[int], object] = field(default=lambda size: None)
    look: Callable[[bytes], None] = field(default=lambda head: None)
    inspect: Callable[[Path], None] = field(default=lambda path: None)
