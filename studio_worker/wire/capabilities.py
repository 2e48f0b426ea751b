"""What a worker says of itself, at registration, in hello and in every heartbeat (protocol section 2)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from studio_worker.wire.base import WireModel, bounded_text, number, whole

Name: TypeAlias = Annotated[str, bounded_text(1_024, may_be_blank=True)]
Names: TypeAlias = Annotated[tuple[Name, ...], Field(strict=False, max_length=100_000, fail_fast=True)]

MAX_KINDS = 1_000


def _few(kinds: Any) -> Any:
    if isinstance(kinds, dict) and len(kinds) > MAX_KINDS:
        raise ValueError(f"must hold at most {MAX_KINDS:,} of them")
    return kinds


NamesByKind: TypeAlias = Annotated[dict[Name, Names], BeforeValidator(_few)]
"""Counted before anything in it is looked at: each wrong value costs a sentence."""


class Capabilities(WireModel):
    """A worker's machine, engines and willingness. Kinds are plain text here: a studio may know more than we do."""

    machine_name: Name = "unknown-host"
    username: Name = ""
    agent_version: Name = ""
    engine: Name = "multi"
    vram_total_gb: Annotated[float, number(0, 1_000_000)] = 0.0
    vram_threshold_gb: Annotated[float, number(0, 1_000_000)] = 0.0
    auto_enabled: bool = True
    auto_start: bool = False
    supported_models: Names = ()
    task_kinds: Names = ()
    supported_models_per_kind: NamesByKind = Field(default_factory=dict)
    sources: NamesByKind | None = Field(None, description="Ours: the ModelSource.engine ids served, by kind.")
    max_concurrent_jobs: Annotated[int, whole(1, 1_024)] | None = Field(None, description="Extension `capacity`.")
