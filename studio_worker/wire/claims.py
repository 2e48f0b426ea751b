"""A claim: one job offered to one worker (protocol section 4)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import Field, ValidationError

from studio_worker.errors import BadClaim
from studio_worker.wire.base import WireModel, bad_claim, bounded_text, matching, number, whole
from studio_worker.wire.model_source import ModelSource, parse_model_source
from studio_worker.wire.tasks import Task, parse_task, task_to_wire

_JOB_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}")
_JOB_ID_RULE = "1 to 128 letters, digits, . _ : - and not start with a dot or colon"

_SORTED = json.JSONEncoder(sort_keys=True)

Label: TypeAlias = Annotated[str, bounded_text(4_096, may_be_blank=True)]


def is_job_id(text: str) -> bool:
    """Whether an id may become part of a URL or a path: ``[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}``."""
    return _JOB_ID.fullmatch(text) is not None


class Envelope(WireModel):
    """A claim but for its task and its model source, each of which is read by its own rules."""

    job_id: Annotated[str, matching(_JOB_ID.pattern, _JOB_ID_RULE)]
    game_id: Label = ""
    asset_name: Label = ""
    model: Annotated[str, bounded_text(512)]
    vram_gb_estimate: Annotated[float, number(0, 100_000)] = Field(0.0)
    attempt: Annotated[int, whole(0, 1_000_000)] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that keeps the contract; its task still has the wire's defaults (see `wire.defaults`)."""

    job_id: str
    model: str
    task: Task
    source: ModelSource
    vram_gb_estimate: float = 0.0
    game_id: str = ""
    asset_name: str = ""
    attempt: int | None = None


def parse_claim(raw: dict[str, Any]) -> Claim:
    """The claim of an offer.

    Args:
        raw: the ``claim`` object as it was read; `wire.frames` has made sure that ``jobId`` is text.

    Raises:
        BadClaim: names the first field that breaks the contract.
    """
    try:
        envelope = Envelope.from_wire(raw)
    except ValidationError as error:
        raise bad_claim(error) from None
    if raw.get("task") is None:
        raise BadClaim("task", "is required")
    if raw.get("modelSource") is None:
        raise BadClaim("modelSource", "is required: a job is routed by the engine that it names")
    return Claim(
        job_id=envelope.job_id,
        model=envelope.model,
        task=parse_task(raw["task"]),
        source=parse_model_source(raw["modelSource"]),
        vram_gb_estimate=envelope.vram_gb_estimate,
        game_id=envelope.game_id,
        asset_name=envelope.asset_name,
        attempt=envelope.attempt,
    )


def claim_to_wire(claim: Claim) -> dict[str, Any]:
    """The claim as a studio sends it."""
    out: dict[str, Any] = {
        "jobId": claim.job_id,
        "gameId": claim.game_id,
        "assetName": claim.asset_name,
        "model": claim.model,
        "vramGbEstimate": claim.vram_gb_estimate,
        "task": task_to_wire(claim.task),
        "modelSource": claim.source.to_wire(),
    }
    if claim.attempt is not None:
        out["attempt"] = claim.attempt
    return out


def fingerprint(raw: dict[str, Any]) -> str:
    """SHA-256, as hex, of a raw claim's model, task and source: equal for two offers that ask for the same work.

    Raises:
        RecursionError: the claim is nested too deeply.
    """
    asked = [raw.get("model"), raw.get("task"), raw.get("modelSource")]
    return hashlib.sha256(_SORTED.encode(asked).encode()).hexdigest()


class Fingerprint:
    """The fingerprint of a claim, worked out when it is first asked for: most jobs end before anybody compares them.

    Args:
        raw: the claim as it was read; let go of once the text is known.
    """

    __slots__ = ("_raw", "_text")

    def __init__(self, raw: dict[str, Any] | None = None, *, text: str = "") -> None:
        self._raw = raw
        self._text = text

    @property
    def text(self) -> str:
        """The hex digits; empty for a claim that is too deep to have a fingerprint, and for a local job."""
        self.settle()
        return self._text

    def settle(self) -> None:
        """Work it out now, and let go of the claim."""
        raw = self._raw
        if raw is not None:
            # Two threads may do this at once, and both come to the same; the claim goes last.
            try:
                self._text = fingerprint(raw)
            except RecursionError:
                self._text = ""
            self._raw = None

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same work; one without a fingerprint equals nothing."""
        return isinstance(other, Fingerprint) and self.text != "" and self.text == other.text

    __hash__ = None  # type: ignore[assignment]  # compared, never looked up

    def __repr__(self) -> str:
        return f"Fingerprint({self.text[:12]!r})"
