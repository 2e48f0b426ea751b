"""One result that is owed to a studio, and how far its delivery is."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from enum import StrEnum, auto

from studio_worker.jobs.links import Link
from studio_worker.jobs.results import Kept

_EMPTY_BYTES = sys.getsizeof("")


class State(StrEnum):
    """How far a delivery is."""

    WRITING = auto()
    """JSON: the frame is on its way to the socket."""
    SENT = auto()
    """JSON: written, not acknowledged."""
    UPLOADING = auto()
    """Binary: a task is at it, or waits for its next try."""
    SHELVED = auto()
    """Kept until the studio offers the job again."""


@dataclass(slots=True, eq=False)
class Owed:
    """A kept result on its way.

    Attributes:
        kept: the result, with the attempt of the latest claim.
        link: the latest claim's link.
        state: None before it was sent for the first time, and after its end.
        accepts: how often the job was accepted: an upload that began before the latest accept says nothing about it.
        accepted_again: set by an accept that came since the latest upload began.
        task: the upload.
        writing: the latest frame's way to the socket.
        is_restored: whether an earlier process has kept it: such results may be many, and take turns.
        prompt_bytes: what its prompt takes of memory. Measured once: a text grows when somebody asks for its UTF-8.
    """

    kept: Kept
    link: Link
    state: State | None = None
    accepts: int = 1
    accepted_again: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    writing: asyncio.Future[None] | None = None
    is_restored: bool = False
    prompt_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_bytes = sys.getsizeof(self.kept.entry.prompt) - _EMPTY_BYTES
