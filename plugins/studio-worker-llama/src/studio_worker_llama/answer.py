"""An answer on its way: cut at stop texts, split into thinking and content, nothing handed on that may be cut later."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from studio_worker import TextDelta

_OPEN, _CLOSE = "<think>", "</think>"


class StopCutter:
    """Passes a text on, piece by piece, up to the first stop text; what could become one is withheld.

    Args:
        stops: the texts to end at; empty ones are ignored.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in dict.fromkeys(stops) if stop)
        self._longest = max(map(len, self._stops), default=1)
        self._held = ""
        self.is_stopped = False

    def feed(self, text: str) -> str:
        """What may be handed on now that `text` has come."""
        if self.is_stopped:
            return ""
        self._held += text
        hits = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if hits:
            self.is_stopped = True
            passed, self._held = self._held[: min(hits)], ""
            return passed
        keep = self._possible_stop()
        passed, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return passed

    def finish(self) -> str:
        """What was withheld and is no stop text after all."""
        held, self._held = self._held, ""
        return held

    def _possible_stop(self) -> int:
        """Characters at the end that begin a stop text."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0


class ThoughtSplitter:
    """Tells a model's thinking from its answer, and takes the white space off both ends of each.

    Args:
        is_thinking: whether the prompt has opened the thinking already.
        is_plain: never look for thinking: the answer is JSON.
    """

    def __init__(self, *, is_thinking: bool = False, is_plain: bool = False) -> None:
        self._is_thinking = is_thinking
        self._is_open = is_thinking or is_plain
        self._held = ""
        self._has_text = {True: False, False: False}

    def feed(self, text: str) -> TextDelta:
        """What may be handed on now."""
        self._held += text
        if not self._is_open:
            start = self._held.lstrip()
            if _OPEN.startswith(start[: len(_OPEN)]) and len(start) < len(_OPEN):
                return TextDelta()
            self._is_open = True
            if start.startswith(_OPEN):
                self._is_thinking, self._held = True, start[len(_OPEN) :]
        reasoning = self._reasoning() if self._is_thinking else ""
        return TextDelta(text="" if self._is_thinking else self._passed(is_thought=False), reasoning=reasoning)

    def finish(self) -> TextDelta:
        """The rest; white space at the end is dropped."""
        rest, self._held = self._held.rstrip(), ""
        if not self._has_text[self._is_thinking]:
            rest = rest.lstrip()
        return TextDelta(reasoning=rest) if self._is_thinking else TextDelta(text=rest)

    def _reasoning(self) -> str:
        thought, tag, rest = self._held.partition(_CLOSE)
        if tag:
            self._held = thought.rstrip()
            said = self._passed(is_thought=True)
            self._is_thinking, self._held = False, rest
            return said
        cut = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
        self._held, tail = thought[: len(thought) - cut], thought[len(thought) - cut :]
        said = self._passed(is_thought=True)
        self._held += tail
        return said

    def _passed(self, *, is_thought: bool) -> str:
        """Takes from what is held all but white space at its end, and none before the first word."""
        text = self._held if self._has_text[is_thought] else self._held.lstrip()
        end = len(text.rstrip())
        self._held = text[end:]
        self._has_text[is_thought] = self._has_text[is_thought] or end > 0
        return text[:end]


class Answer:
    """All that becomes of a model's tokens: bytes to text, stop texts, thinking.

    Args:
        stops: texts to end at.
        is_thinking: whether the answer begins inside the model's thinking.
        is_json: the answer is JSON and holds no thinking.
    """

    def __init__(self, stops: Sequence[str] = (), *, is_thinking: bool = False, is_json: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cutter = StopCutter(stops)
        self._splitter = ThoughtSplitter(is_thinking=is_thinking, is_plain=is_json)
        self._content: list[str] = []
        self._reasoning: list[str] = []

    @property
    def is_stopped(self) -> bool:
        """Whether a stop text has come."""
        return self._cutter.is_stopped

    @property
    def content(self) -> str:
        """The answer so far."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        return "".join(self._reasoning)

    def feed(self, piece: bytes) -> TextDelta:
        """What may be handed on now that a token's bytes have come."""
        return self._noted(self._splitter.feed(self._cutter.feed(self._decoder.decode(piece))))

    def finish(self) -> TextDelta:
        """The rest, once no more tokens come."""
        last = self._cutter.feed(self._decoder.decode(b"", final=True))
        first = self._splitter.feed(last + self._cutter.finish())
        rest = self._splitter.finish()
        return self._noted(TextDelta(text=first.text + rest.text, reasoning=first.reasoning + rest.reasoning))

    def _noted(self, delta: TextDelta) -> TextDelta:
        self._content.append(delta.text)
        self._reasoning.append(delta.reasoning)
        return delta
