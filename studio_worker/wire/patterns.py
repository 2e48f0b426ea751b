"""Which regular expressions of strangers may reach a matcher that backtracks.

A pattern stands for its position automaton (Glushkov, 1961): one state for each character that it names. Where, inside
a repetition, a state can be followed by two that take the same character, one text can be read in two ways, and a
matcher may try all 2^n of them. Such a pattern is refused; none is ever run.

The automaton is never made: of n states up to n^2 pairs can follow each other. Whether two that follow one state clash
shows in what the states of a part take together, so that a pattern of n characters costs about n steps.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_PATTERN = 1_000
MAX_NESTING = 32
MAX_STATES = 50_000
"""States of a pattern with its counted repetitions written out, as whoever compiles it may do."""

MAX_COPIES = 32
"""Copies that are counted of a counted repetition."""

_TELLING = 4
"""Copies of a part in which all shows that more of them could show."""

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
    _Reader(pattern).read()


class _Part(NamedTuple):
    """A piece of the automaton, by what its states take together.

    Attributes:
        states: how many there are, copies counted.
        empty: whether a text can pass it by.
        first: what the states take that can begin it.
        follow: what the states take that can follow one that ends it, as far as they are known.
        clash: whether two of the states that begin it take the same character.
        two_ways: whether two states do that can follow one of its states.
    """

    states: int = 0
    empty: bool = True
    first: int = 0
    follow: int = 0
    clash: bool = False
    two_ways: bool = False


_NOTHING = _Part()


class _Reader:
    """Reads the syntax that ECMA 262 and Python share; what it does not know counts as any character."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._nesting = 0

    def read(self) -> None:
        """Read all of it; raises ValueError."""
        self._choice()
        if self._at < len(self._text):
            raise ValueError("pattern closes a group that it never opened")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if not (char := self._peek()):
            raise ValueError("pattern ends too early")
        self._at += 1
        return char

    def _choice(self) -> _Part:
        whole = self._sequence()
        while self._peek() == "|":
            self._at += 1
            whole = _either(whole, self._sequence())
        return whole

    def _sequence(self) -> _Part:
        whole = _NOTHING
        while (char := self._peek()) and char not in "|)":
            part = self._atom()
            if (char := self._peek()) and char in "*+?{":
                part = self._repeated(part)
            whole = _joined(whole, part)
        return whole

    def _repeated(self, part: _Part) -> _Part:
        low, high = self._count()
        whole = _repeat(part, low, high)
        if whole.two_ways and (high is None or high >= FEW):
            raise ValueError(
                f"pattern {ascii(self._text)[:60]} repeats a part that can be read in two ways, which can take for ever"
            )
        return whole

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

    def _atom(self) -> _Part:
        match self._take():
            case "(":
                return self._group()
            case "^" | "$":
                return _NOTHING
            case "*" | "+" | "?":
                raise ValueError("pattern repeats nothing")
            case "[":
                return _state(self._members())
            case ".":
                return _state(_ALL & ~_bit("\n"))
            case "\\" if self._peek() in ("b", "B"):
                self._at += 1
                return _NOTHING
            case "\\":
                return _state(self._escape())
            case char:
                return _state(_bit(char))

    def _group(self) -> _Part:
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
        return _NOTHING if looks else inner

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


def _state(takes: int) -> _Part:
    return _Part(1, False, takes)


def _either(one: _Part, other: _Part) -> _Part:
    return _Part(
        one.states + other.states,
        one.empty or other.empty,
        one.first | other.first,
        one.follow | other.follow,
        one.clash or other.clash or one.first & other.first != 0,
        one.two_ways or other.two_ways,
    )


def _joined(left: _Part, right: _Part) -> _Part:
    """One after the other."""
    if not left.states:
        return right
    if not right.states:
        return left
    if left.states + right.states > MAX_STATES:
        raise ValueError("pattern is too complex")
    return _Part(
        left.states + right.states,
        left.empty and right.empty,
        left.first | right.first if left.empty else left.first,
        left.follow | right.first | right.follow if right.empty else right.follow,
        left.clash or (left.empty and (right.clash or left.first & right.first != 0)),
        left.two_ways or right.two_ways or right.clash or left.follow & right.first != 0,
    )


def _optional(part: _Part) -> _Part:
    return _Part(part.states, True, part.first, part.follow, part.clash, part.two_ways)


def _repeat(part: _Part, low: int, high: int | None) -> _Part:
    """At least `low` times `part`, at most `high` times; None: any number of times."""
    if high is None:
        states, empty, first, follow, clash, two_ways = part
        two_ways = two_ways or clash or follow & first != 0
        whole = _Part(states, empty or low == 0, first, follow | first, clash, two_ways)
        low, copies = low - 1, max(low, 1)
    else:
        whole, copies = _NOTHING, high
        for _ in range(min(high - low, _TELLING)):
            whole = _optional(_joined(part, whole))
    for _ in range(min(low, _TELLING)):
        whole = _joined(part, whole)
    states = part.states * min(copies, MAX_COPIES)
    if states > MAX_STATES:
        raise ValueError("pattern is too complex")
    return _Part(states, *whole[1:])
