"""Whether bytes read as a pickle that imports something, without which no pickle runs code (Python's pickletools).

The operations are stepped over and none is run. All that is kept is how deep the stack is: an operation that wants more
than there is ends every unpickler, and so does one that is none. Whatever else might end one is taken to go on: a
pickle must not get through because a reader of ours is stricter than the one that will run it.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from dataclasses import dataclass
from typing import TypeAlias

MAX_STEPS = 100_000
"""Operations; a file that has as many without an import is no model, and is refused undecided."""

MAX_LINE = 16 * 1024 * 1024
"""Bytes in which a line of a text operation must end."""

Bytes: TypeAlias = bytes | mmap.mmap

_IMPORTABLE = re.compile(rb"[A-Za-z_][\w.]*")
"""A name of a module, or in one; a text that begins with an operation's letter goes on otherwise."""

_CALLS = frozenset({"REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "INST"})
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
"""Imports by a number of copyreg's, where no library has any: a file of numbers may well begin with their bytes."""

_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""Bytes of a length, and whether it has a sign."""


class _Ends(Exception):
    """Every unpickler ends here with an error."""


class _Undecided(Exception):
    """There are more bytes, or more steps, than may be looked at."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """What an operation has and does.

    Attributes:
        name: as pickletools calls it.
        argument: bytes of its argument, or how to tell them.
        lines: of its argument.
        below: values that it takes, below the mark where it takes one.
        takes_mark: whether it takes what is above the last mark, and the mark.
        above: values that must be above the mark.
        leaves: values that it leaves.
    """

    name: str
    argument: int
    lines: int
    below: int
    takes_mark: bool
    above: int
    leaves: int


def _operation(found: pickletools.OpcodeInfo) -> _Operation:
    argument = found.arg.n if found.arg is not None else 0
    lines = (argument == pickletools.UP_TO_NEWLINE) * (2 if found.name in ("GLOBAL", "INST") else 1)
    before = found.stack_before
    takes_mark = pickletools.markobject in before
    below = before.index(pickletools.markobject) if takes_mark else len(before)
    above = len(before) - below - 2 if takes_mark else 0
    return _Operation(found.name, argument, lines, below, takes_mark, above, len(found.stack_after))


_OPERATIONS = {ord(found.code): _operation(found) for found in pickletools.opcodes}


def may_import(data: Bytes, size: int, *, is_word_list: bool = False) -> bool:
    """Whether unpickling the bytes, or one pickle after the other in them, may import something.

    Args:
        data: the bytes, or as many of the first as are looked at.
        size: how many there are in all.
        is_word_list: whether lines of single words are to be expected, which read as imports of nothing that there is:
            then one counts where something is made with it.
    """
    try:
        return _Walk(data, size, is_word_list=is_word_list).imports()
    except _Ends:
        return False
    except _Undecided:
        return True


class _Walk:
    """One way through the bytes; `at` is the one that comes next."""

    def __init__(self, data: Bytes, size: int, *, is_word_list: bool) -> None:
        self._data = data
        self._size = size
        self._is_word_list = is_word_list
        self._at = 0
        # Values above the bottom, and above each mark.
        self._depths = [0]

    def imports(self) -> bool:
        is_likely = False
        for _ in range(MAX_STEPS):
            operation = _OPERATIONS.get(self._data[self._skip(1)])
            if operation is None:
                raise _Ends
            names = self._argument(operation)
            if operation.name in ("GLOBAL", "INST"):
                if not all(len(name) <= 256 and _IMPORTABLE.fullmatch(name) for name in names):
                    raise _Ends
                # Python's own unpickler imports for INST before it looks for the mark.
                if not self._is_word_list:
                    return True
                is_likely = True
            self._move(operation)
            if operation.name == "STACK_GLOBAL":
                return True
            if is_likely and (operation.name in _CALLS or operation.name == "STOP"):
                return True
            is_likely = is_likely or operation.name in _EXTENSIONS
            if operation.name == "STOP":
                self._depths = [0]
        raise _Undecided

    def _argument(self, operation: _Operation) -> list[bytes]:
        """Step over the argument; its lines, where it has some."""
        if operation.lines:
            return [self._line() for _ in range(operation.lines)]
        length = operation.argument
        if length in _LENGTHS:
            width, is_signed = _LENGTHS[length]
            start = self._skip(width)
            length = int.from_bytes(self._data[start : start + width], "little", signed=is_signed)
            if length < 0:
                raise _Ends
        self._skip(length)
        return []

    def _line(self) -> bytes:
        start = self._at
        end = self._data.find(b"\n", start, start + MAX_LINE)
        if end < 0:
            raise _Ends if len(self._data) == self._size <= start + MAX_LINE else _Undecided
        self._at = end + 1
        return self._data[start : min(end, start + 257)]

    def _skip(self, length: int) -> int:
        """Go on by `length` bytes; returns where they start."""
        start = self._at
        self._at += length
        if self._at > self._size:
            raise _Ends
        if self._at > len(self._data):
            raise _Undecided
        return start

    def _move(self, operation: _Operation) -> None:
        """Do to the stack what the operation does."""
        depths = self._depths
        if operation.name == "MARK":
            depths.append(0)
            return
        takes_mark = operation.takes_mark or (operation.name == "POP" and depths[-1] == 0)
        below = 0 if takes_mark and operation.name == "POP" else operation.below
        if takes_mark:
            if len(depths) == 1 or depths[-1] < operation.above:
                raise _Ends
            depths.pop()
        if depths[-1] < below:
            raise _Ends
        depths[-1] += operation.leaves - below
