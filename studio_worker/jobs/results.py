"""What a finished job leaves behind: the entry of its claim, the checked artifact, the two of them kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from studio_worker.lookout import Lookout
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind

_NAME = re.compile(r"[0-9a-f]{32}")


def new_result_name() -> str:
    """A name for the file of one more result: random, nothing of the claim becomes part of it."""
    return token_hex(16)


def is_result_name(name: str) -> bool:
    """Whether the file of a result can be called so."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted claim, as the journal and the delivery know it.

    Attributes:
        job_id: keeps the id rule; safe in a URL and a file name.
        fingerprint: of model, task and source: two offers that agree in it ask for the same work.
        kind: what the job makes.
        model: the model id.
        engine: the engine that runs it, by name.
        prompt: the whole prompt, which goes with the result.
        attempt: the claim's attempt, to be echoed.
        origin: who asked.
        accepted_at: monotonic seconds.
    """

    job_id: str
    fingerprint: Fingerprint
    kind: TaskKind
    model: str
    engine: str
    prompt: str
    accepted_at: float
    attempt: int | None = None
    origin: Literal["studio", "local"] = "studio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A result that has passed its check: bytes, a file, or JSON.

    Attributes:
        kind: what it is.
        ext: what the bytes say they are; empty for JSON.
        data: the bytes, or the file that holds them; None for JSON.
        json: the JSON value of an llm or audio_stt result; None otherwise.
        json_text: the same as the text that travels, written once.
        size: bytes of the file, or of the JSON text.
        meta: what goes into `generationMeta`.
    """

    kind: TaskKind
    size: int
    ext: str = ""
    data: bytes | Path | None = None
    json: dict[str, Any] | None = None
    json_text: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Memory:
    """The bytes of a kept result, for as long as they are at hand; then None, and a file of this checksum has them."""

    data: bytes | None
    checksum: str = ""

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data) if self.data is not None else 0

    def let_go(self, checksum: str) -> None:
        """Leave the bytes to their file, whose checksum is this one."""
        self.data, self.checksum = None, checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A result that is kept until somebody has it: from here on the engine never runs again for its claim.

    Attributes:
        entry: the claim that it answers.
        artifact: the result; a binary one's data is its file in the spool.
        kept_at: monotonic seconds.
        memory: its bytes, for as long as they are at hand.
        checksum: of its file; empty while that is not known.
        safe: done when the result outlives a power loss too, with an OSError where it never will; None where it does.
            While the journal is in trouble it is done although nothing is written: a result that may be lost here is
            best off at its studio.
        reads: takes the looks at its file, of all tries: a disk that hangs costs one thread, however many there are.
    """

    entry: Entry
    artifact: Artifact
    kept_at: float
    memory: Memory | None = None
    checksum: str = ""
    safe: asyncio.Future[None] | None = None
    reads: Lookout = field(default_factory=lambda: Lookout("kept result"), compare=False, repr=False)

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.entry.job_id

    @property
    def file(self) -> Path:
        """The spooled file of a binary result."""
        if not isinstance(self.artifact.data, Path):
            raise TypeError(f"the result of job {self.job_id} does not lie in a file")
        return self.artifact.data

    @property
    def file_checksum(self) -> str:
        """The checksum of the spooled file; empty while nobody knows it."""
        return self.checksum or (self.memory.checksum if self.memory is not None else "")

    @property
    def at_hand(self) -> bytes | None:
        """The bytes of a binary result, where they need not be read."""
        return self.memory.data if self.memory is not None else None
