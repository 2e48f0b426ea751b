"""The fenced blocks of a page, with what a comment above them says.

``<!-- not run: WHY -->`` right above a block says why no test runs it; ``<!-- exits N -->`` that its commands end with
that status; ``<!-- after Ctrl-C -->`` that the reader has stopped what was running; ``<!-- beside: COMMAND -->`` that
this one is running; ``<!-- approved -->`` that the reader has admitted the worker on the dashboard. ``title="NAME"``
behind the language makes a block the file NAME.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)(?P<rest>[^\n`]*)\n(?P<text>.*?)^(?P=indent)``` *$",
    re.MULTILINE | re.DOTALL,
)
_NOTES = re.compile(r"(?: *<!--.*?--> *\n)+\Z", re.DOTALL)
_NOTE = re.compile(r"<!-- *(.*?) *-->", re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """One fenced block.

    Attributes:
        line: where its text begins in the page, from 1.
        title: the file that it is; empty where it is none.
        notes: the comments right above it.
    """

    language: str
    text: str
    line: int
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def excuse(self) -> str:
        """Why it is not run; empty where it is."""
        return next((note.removeprefix("not run:").strip() for note in self.notes if note.startswith("not run:")), "")

    @property
    def beside(self) -> list[str]:
        """Commands that the reader has running meanwhile."""
        return [note.removeprefix("beside:").strip() for note in self.notes if note.startswith("beside:")]

    @property
    def status(self) -> int:
        """The exit status that its commands are to have."""
        return next((int(note.split()[1]) for note in self.notes if note.startswith("exits ")), 0)


def fences(text: str) -> list[Fence]:
    """The blocks of a page in order, without their indent."""
    found = []
    for match in _FENCE.finditer(text):
        above = _NOTES.search(text[: match.start()])
        title = re.search(r'title="([^"]*)"', match["rest"])
        found.append(
            Fence(
                language=match["language"],
                text=re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
                line=text[: match.start("text")].count("\n") + 1,
                title=title[1] if title else "",
                notes=tuple(" ".join(note.split()) for note in _NOTE.findall(above[0])) if above else (),
            )
        )
    return found
