"""Which regular expressions of strangers may reach a matcher that backtracks.

A pattern becomes its position automaton (Glushkov, 1961): one state for each character that it names. Where, inside a
repetition, a state can be followed by two that take the same character, one text can be read in two ways, and a
matcher may try all 2^n of them. Such a pattern is refused; none is ever run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

MAX_PATTERN = 1_000
MAX_NESTING = 32
MAX_EDGES = 50_000
MAX_COPIES = 32
"""Copies that stand for a counted repetition; ambiguity shows in far fewer."""

FEW = 8
"""A part repeated less often than this is not looked into: 2^7 ways are no danger."""

_ALL = (1 << 129) - 1
"""A set of characters as bits: the 128 ASCII ones, and one bit for the rest of Unicode."""
_OTHER = 1 << 128
_DIGIT = sum(1 << code for code in range(128) if chr(code).isdigit())
_WORD = sum(1 << code for code in range(128) if chr(code).isalnum() or chr(code) == "_")
_SPACE = sum(1 << ord(char) for char in " \t\n\r\f\v")
_CLASSES = {
    "d": _DIGIT,
    "w": _WORD | _OTHER,
    "s": _SPACE | _OTHER,
    "D": _ALL & ~_DIGIT,
    "W": _ALL & ~_WORD,
    "S": _ALL & ~_SPACE,
}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_COUNT = re.compile(r"\{(\d{1,6})(?:(,)(\d{1,6})?)?\}")
_GROUP = re.compile(r"\?(?:P?<[A-Za-z_]\w*>|<?[=!]|[a-z]*:)")
_CODE = re.compile(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[pP]\{[^}]*\}|c[A-Za-z]")


def check_pattern(pattern: str) -> None:
    """Raise ValueError for a pattern that is too long, broken, or can take for ever on some text."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"pattern has {len(pattern):,} characters, at most {MAX_PATTERN:,} are allowed")
    try:
        _Automaton().add(_Reader(pattern).read())
    except _Ambiguous:
        raise ValueError(
            f"pattern {ascii(pattern)[:60]} repeats a part that can be read in two ways, which can take for ever"
        ) from None


class _Ambiguous(Exception):
    """Two ways to read one text, inside a repetition."""


@dataclass(frozen=True, slots=True)
class _Set:
    takes: int


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...] = ()


@dataclass(frozen=True, slots=True)
class _Choice:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None


_Node: TypeAlias = _Set | _Sequence | _Choice | _Repeat


class _Reader:
    """Reads the syntax that ECMA 262 and Python share; what it does not know counts as any character."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._nesting = 0

    def read(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise ValueError("pattern closes a group that it never opened")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if not (char := self._peek()):
            raise ValueError("pattern ends too early")
        self._at += 1
        return char

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            part = self._atom()
            low, high = self._count()
            parts.append(part if (low, high) == (1, 1) else _Repeat(part, low, high))
        return _Sequence(tuple(parts))

    def _count(self) -> tuple[int, int | None]:
        if (char := self._peek()) and char in "*+?":
            self._at += 1
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif (found := _COUNT.match(self._text, self._at)) is not None:
            self._at = found.end()
            low = int(found[1])
            high = low if found[2] is None else int(found[3]) if found[3] else None
            if high is not None and high < low:
                raise ValueError("pattern counts from more to less")
        else:
            return 1, 1
        if (char := self._peek()) and char in "?+":
            self._at += 1
        return low, high

    def _atom(self) -> _Node:
        match self._take():
            case "(":
                return self._group()
            case "^" | "$":
                return _Sequence()
            case "*" | "+" | "?":
                raise ValueError("pattern repeats nothing")
            case "[":
                return _Set(self._members())
            case ".":
                return _Set(_ALL & ~_bit("\n"))
            case "\\" if self._peek() in ("b", "B"):
                self._at += 1
                return _Sequence()
            case "\\":
                return _Set(self._escape())
            case char:
                return _Set(_bit(char))

    def _group(self) -> _Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise ValueError(f"pattern nests more than {MAX_NESTING} groups")
        looks = False
        if self._peek() == "?":
            kind = _GROUP.match(self._text, self._at)
            if kind is None:
                raise ValueError("pattern has a group of an unknown kind")
            self._at = kind.end()
            looks = kind[0][-1] in "=!"
        inner = self._choice()
        if self._peek() != ")":
            raise ValueError("pattern never closes a group")
        self._at += 1
        self._nesting -= 1
        return _Repeat(inner, 0, 0) if looks else inner

    def _members(self) -> int:
        negated = self._peek() == "^"
        self._at += negated
        members = 0
        while (char := self._take()) != "]":
            low = self._escape() if char == "\\" else _bit(char)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._escape() if (char := self._take()) == "\\" else _bit(char)
                members |= ((high << 1) - 1) & ~(low - 1)
            members |= low
        return (_ALL & ~members) | _OTHER if negated else members

    def _escape(self) -> int:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if (code := _CODE.match(self._text, self._at - 1)) is not None:
            self._at = code.end()
            return _bit(chr(int(code[0][1:], 16))) if char in "xu" else _ALL
        return _ALL if char in "123456789k" else _bit(_CONTROLS.get(char, char))


def _bit(char: str) -> int:
    return 1 << min(ord(char), 128)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the automaton: may it be empty, and which states can begin and end it."""

    empty: bool = True
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()


class _Automaton:
    """The states of a pattern with the edges between them; an edge that two repetitions make counts twice."""

    def __init__(self) -> None:
        self._takes: list[int] = []
        self._follow: list[list[int]] = []
        self._edges = 0

    def add(self, node: _Node) -> _Part:
        """Lay out a node; raises `_Ambiguous`."""
        match node:
            case _Set(takes):
                self._takes.append(takes)
                self._follow.append([])
                state = len(self._takes) - 1
                return _Part(False, (state,), (state,))
            case _Sequence(parts):
                whole = _Part()
                for part in parts:
                    whole = self._join(whole, self.add(part))
                return whole
            case _Choice(parts):
                laid = [self.add(part) for part in parts]
                return _Part(
                    any(part.empty for part in laid),
                    tuple(state for part in laid for state in part.first),
                    tuple(state for part in laid for state in part.last),
                )
            case _Repeat(part, low, high):
                begun = len(self._takes)
                whole = self._repeat(part, low, high)
                if high is None or high >= FEW:
                    self._require_one_way(begun)
                return whole

    def _repeat(self, node: _Node, low: int, high: int | None) -> _Part:
        whole = _Part()
        if high is None:
            part = self.add(node)
            self._link(part.last, part.first)
            whole = _Part(part.empty or low == 0, part.first, part.last)
            low -= 1
        else:
            for _ in range(min(high - low, MAX_COPIES)):
                rest = self._join(self.add(node), whole)
                whole = _Part(True, rest.first, rest.last)
        for _ in range(min(low, MAX_COPIES)):
            whole = self._join(self.add(node), whole)
        return whole

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        return _Part(
            left.empty and right.empty,
            left.first + right.first if left.empty else left.first,
            left.last + right.last if right.empty else right.last,
        )

    def _link(self, states: tuple[int, ...], following: tuple[int, ...]) -> None:
        self._edges += len(states) * len(following) + 1
        if self._edges > MAX_EDGES:
            raise ValueError("pattern is too complex")
        for state in states:
            self._follow[state] += following

    def _require_one_way(self, begun: int) -> None:
        for following in self._follow[begun:]:
            seen = 0
            for state in following:
                if seen & self._takes[state]:
                    raise _Ambiguous
                seen |= self._takes[state]
