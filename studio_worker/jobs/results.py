"""What a finished job leaves behind: the entry of its claim, the checked artifact, the two of them kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted claim, as the journal and the delivery know it.

    Attributes:
        job_id: keeps the id rule; safe in a URL and a file name.
        fingerprint: SHA-256 of model, task and source: two offers that agree in it ask for the same work.
        kind: what the job makes.
        model: the model id.
        engine: the engine that runs it, by name.
        prompt: the whole prompt, which goes with the result.
        attempt: the claim's attempt, to be echoed.
        origin: who asked.
        accepted_at: monotonic seconds.
    """

    job_id: str
    fingerprint: str
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
        size: bytes of the file, or of the JSON text.
        meta: what goes into `generationMeta`.
    """

    kind: TaskKind
    size: int
    ext: str = ""
    data: bytes | Path | None = None
    json: dict[str, Any] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A result that is kept until somebody has it: from here on the engine never runs again for its claim.

    Attributes:
        entry: the claim that it answers.
        artifact: the result; of a binary one the file in the spool, or its bytes beside that where they are few.
        kept_at: monotonic seconds.
        spooled: the file of a binary result.
    """

    entry: Entry
    artifact: Artifact
    kept_at: float
    spooled: Path | None = None

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.entry.job_id

    @property
    def file(self) -> Path:
        """The spooled file of a binary result."""
        if self.spooled is None:
            raise TypeError(f"the result of job {self.job_id} does not lie in a file")
        return self.spooled

    @property
    def at_hand(self) -> bytes | None:
        """The bytes of a binary result, where they need not be read again."""
        return self.artifact.data if isinstance(self.artifact.data, bytes) else None

    def laid_by(self) -> Kept:
        """The same result, to wait for long: what lies in a file is not held in memory as well."""
        if self.spooled is None or self.at_hand is None:
            return self
        return replace(self, artifact=replace(self.artifact, data=self.spooled))
