"""The tokens that end an answer in JSON soonest, from wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio_worker import EngineError

if TYPE_CHECKING:
    from studio_worker_llama.native import NativeModel

_LETTER = ord("a")
_IN_TEXT = b'"a'
"""A quote ends a text; one that must be longer gets letters."""

_ELSEWHERE = b'}],":0123456789tfn-[{'
"""Brackets end things, before anything new begins; what must begin is short: an empty text, a digit, a word."""

_CONTINUED = b"\x80\x90\xa0"
"""Second, third and fourth bytes of characters: with one of these each character that has begun can be finished."""


@dataclass(frozen=True, slots=True)
class Closers:
    """Tokens of one byte each, and the one that ends an answer.

    Attributes:
        end: ends an answer.
        tokens: all of them.
        in_text: in the order to try inside a text.
        elsewhere: in the order to try anywhere else.
        letter: allowed inside a text, and where a text's inside is given letter by letter; -1 for none.
    """

    end: int
    tokens: list[int]
    in_text: tuple[int, ...]
    elsewhere: tuple[int, ...]
    letter: int

    def in_order(self, allowed: set[int]) -> Iterator[int]:
        """Those that a grammar allows now, the one that ends things soonest first."""
        is_in_text = self.letter < 0 or self.letter in allowed
        return (token for token in (self.in_text if is_in_text else self.elsewhere) if token in allowed)


def closers_of(model: NativeModel) -> Closers:
    """The closers among a model's tokens, looked for once.

    Raises:
        EngineError: no token ends an answer.
    """
    if model.closers is None:
        model.closers = _find(model)
    found: Closers = model.closers
    return found


def _find(model: NativeModel) -> Closers:
    bytes_wanted = {*range(32, 127), *_CONTINUED}
    found: dict[int, int] = {}
    end = model.eos if model.eos >= 0 and model.is_end(model.eos) else -1
    for token in range(model.vocab_size):
        if end < 0 and model.is_end(token):
            end = token
        piece = model.piece(token)
        if len(piece) == 1 and piece[0] in bytes_wanted:
            found.setdefault(piece[0], token)
            if len(found) == len(bytes_wanted) and end >= 0:
                break
    if end < 0:
        raise EngineError("the model has no token that ends an answer, so it cannot keep to a schema", retryable=False)

    def order(first: bytes) -> tuple[int, ...]:
        rest = sorted(found.keys() - set(first))
        return (end, *(found[code] for code in (*first, *rest) if code in found))

    return Closers(end, [end, *found.values()], order(_IN_TEXT), order(_ELSEWHERE), found.get(_LETTER, -1))
