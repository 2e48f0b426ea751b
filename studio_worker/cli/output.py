"""What commands print: data on stdout, messages on stderr, and nothing from outside that could drive a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

from studio_worker.errors import StudioWorkerError
from studio_worker.text import escape
from studio_worker.wire.strict_json import dumps_lossy

CELL_CHARS = 200
"""The longest text in a table's cell; `--json` has it whole."""

_LINES = re.compile(r"([\n\t])")


def note(text: str) -> None:
    """A message for people, on stderr; a closed one is no error."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(escape(text) + "\n")
        sys.stderr.flush()


def say(text: str) -> None:
    """One line of data on stdout."""
    _write(escape(text) + "\n")


def text(piece: str) -> None:
    """A piece of a result's text on stdout, as it is; on a terminal nothing but its line ends and tabs act."""
    if sys.stdout is None:
        return
    if is_terminal(sys.stdout):
        piece = "".join(part if part in ("\n", "\t") else escape(part, limit=len(part)) for part in _LINES.split(piece))
    _write(piece)


def _write(data: str) -> None:
    """Put data on stdout, if there is one. Raises StudioWorkerError, and BrokenPipeError where its reader has left."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StudioWorkerError(f"stdout cannot be written: {error.strerror or error}") from None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at what goes to `stream`."""
    return stream is not None and stream.isatty()


def has_live_stderr() -> bool:
    """Whether bars can move on stderr: somebody looks at it, and its terminal can go back in a line."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def json_text(value: Any, *, indent: int | None = 2) -> None:
    """`value` as JSON on stdout, valid whatever it holds."""
    _write(dumps_lossy(value, indent=indent) + "\n")


def rows(
    found: Sequence[Mapping[str, Any]], *, as_json: bool, columns: Sequence[str] | None = None, empty: str = ""
) -> None:
    """A list: JSON where it was asked for, a table where a person looks on, aligned text otherwise.

    Args:
        found: one mapping a row.
        as_json: print all of it as a JSON list.
        columns: the keys to show, in order; those of the first row by default.
        empty: the message, on stderr, for a list without rows.
    """
    if as_json:
        json_text(list(found))
        return
    if not found:
        note(empty or "nothing to show")
        return
    names = list(columns or found[0])
    cells = [[_cell(row.get(name)) for name in names] for row in found]
    if _is_looked_at():
        _rich_table(names, cells)
        return
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(names)]
    for line in ([name.upper() for name in names], *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def record(found: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing: JSON where it was asked for, ``key: value`` lines otherwise."""
    if as_json:
        json_text(dict(found))
        return
    for key, value in found.items():
        say(f"{key}: {_cell(value, limit=2_000)}")


def _is_looked_at() -> bool:
    return is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"


def _cell(value: Any, *, limit: int = CELL_CHARS) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return escape(", ".join(value), limit=limit)
    if isinstance(value, (dict, list, tuple)):
        return escape(dumps_lossy(value), limit=limit)
    return escape(str(value), limit=limit)


def _rich_table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(markup=False, highlight=False, emoji=False).print(table)
