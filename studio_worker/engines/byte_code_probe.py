"""Which cached byte code is not what its source says, told by the interpreter that would run it.

Danger: Python runs what lies in ``__pycache__`` in place of the source. It believes the head of such a file, which
whoever writes the file can choose, and so a package may do something else than its sources say.

It is a script that needs nothing of what is installed: handed to an interpreter as text, with the names of sources as a
JSON list on stdin, it prints one line of JSON. Nothing of the sources or the byte code is run. Lines and columns, which
only tracebacks show and which an interpreter may leave out, are not compared.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import SourcelessFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType

LEVELS = (0, 1, 2)
"""How much Python may be told to optimise (``-O``, ``-OO``); each has files of its own."""

COMPARED = (
    "co_code",
    "co_exceptiontable",
    "co_names",
    "co_varnames",
    "co_cellvars",
    "co_freevars",
    "co_flags",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_nlocals",
    "co_stacksize",
    "co_name",
    "co_qualname",
    "co_consts",
)


def foreign_byte_code(sources: Iterable[str]) -> str | None:
    """The first file of byte code that is another code than its source's; None: there is none.

    Args:
        sources: paths of modules.
    """
    for source in sources:
        for level, cached in _cached(source):
            if not _is_made_of(source, cached, level):
                return cached
    return None


def _cached(source: str) -> Iterator[tuple[int, str]]:
    """Where Python looks: beside the source, and in the folder that it may have been told to use instead."""
    for level in LEVELS:
        usual = cache_from_source(source, optimization=level or "")
        beside = os.path.join(os.path.dirname(source), "__pycache__", os.path.basename(usual))  # noqa: PTH118,PTH119,PTH120
        for cached in dict.fromkeys((beside, usual)):
            yield level, cached


def _is_made_of(source: str, cached: str, level: int) -> bool:
    try:
        code = SourcelessFileLoader("it", cached).get_code("it")
    except (OSError, ImportError, EOFError):
        # It is not there, of another Python or cut off: nothing of it is run.
        return True
    except (ValueError, TypeError, MemoryError):
        return False
    if code is None:
        return True
    try:
        made = compile(Path(source).read_bytes(), code.co_filename, "exec", dont_inherit=True, optimize=level)
        return _parts(code) == _parts(made)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _parts(value: object) -> object:
    """A value of a code object so that only the same code compares as equal: 1, 1.0 and True are three."""
    if isinstance(value, CodeType):
        return (CodeType, *(_parts(getattr(value, name)) for name in COMPARED))
    if isinstance(value, tuple):
        return (tuple, *map(_parts, value))
    if isinstance(value, frozenset):
        return (frozenset, frozenset(map(_parts, value)))
    return (type(value), repr(value))


if __name__ == "__main__":
    sys.pycache_prefix, asked = json.load(sys.stdin)
    print(json.dumps(foreign_byte_code(asked)))
